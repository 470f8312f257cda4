"""Compares 2 replicas with 1; agent_test.py runs it by itself."""

import json

import numpy as np

from core.device import Device
from pixel_control.agent import Agent
from pixel_control.config import DEBUG
from tests import two_devices
from tests.runs import tiny_config
from tests.unrolls import LANGUAGE_SPEC, learner_input, random_unroll


def run(device: Device) -> tuple[list, dict[str, np.ndarray]]:
  """Returns the metrics of each update and the variables after the last."""
  config = tiny_config(
    DEBUG,
    use_lstm=True,
    momentum=0.5,
    max_gradient_norm=2.0,
    statistics_step_size=0.1,
    pixel_control_cost=0.1,
  )
  agent = Agent(config, LANGUAGE_SPEC, device)
  unrolls = (
    random_unroll(4, 6, LANGUAGE_SPEC, use_lstm=True, seed=seed)
    for seed in range(3)
  )
  return two_devices.update(agent, map(learner_input, unrolls))


def main() -> None:
  """Prints, as JSON, how two replicas differ from one device."""
  two_devices.split_cpu()
  two = Device('mirrored', xla='off')
  result = two_devices.compare(run, Device(xla='off'), two)
  print(json.dumps({'num_replicas': two.num_replicas, **result}))


if __name__ == '__main__':
  main()
