"""Compares 2 replicas with 1; replicas_test.py runs it by itself."""

import json

import numpy as np

from core.device import Device
from stacx.agent import Agent
from stacx.config import DEBUG
from tests import two_devices
from tests.runs import tiny_config
from tests.stacx.batches import FEATURES_SPEC, batch

NUM_UPDATES = 3


def run(device: Device) -> tuple[list, dict[str, np.ndarray]]:
  """Returns the metrics of each update and the variables after the last."""
  # A norm that clips: it is of the sum over replicas.
  config = tiny_config(
    DEBUG, num_heads=2, momentum=0.5, max_gradient_norm=2.0, epsilon=0.5
  )
  agent = Agent(config, FEATURES_SPEC, device)
  batches = (
    batch(5, 6, FEATURES_SPEC, seed=seed) for seed in range(NUM_UPDATES)
  )
  return two_devices.update(agent, batches)


def main() -> None:
  """Prints, as JSON, what one and two replicas computed."""
  two_devices.split_cpu()
  two = Device('mirrored', xla='off')
  result = dict(
    num_replicas=two.num_replicas,
    **two_devices.compare(run, Device(xla='off'), two),
  )
  print(json.dumps(result))


if __name__ == '__main__':
  main()
