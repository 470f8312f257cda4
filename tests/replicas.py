"""Compares 2 replicas with 1; device_test.py runs it by itself.

TensorFlow cannot split the CPU into two devices once it has begun.
"""

import dataclasses
import json
import os
import tempfile

import numpy as np
import tensorflow as tf

from core.device import Device
from tests import runs
from tests.runs import tiny_config
from tests.unrolls import LANGUAGE_SPEC, learner_input, random_unroll

NUM_UPDATES = 3


def run(device: Device) -> tuple[list, dict[str, np.ndarray]]:
  """Returns the metrics of each update and the variables after the last."""
  config = tiny_config(use_lstm=True, momentum=0.5, max_gradient_norm=2.0)
  agent = runs.agent_of(config, LANGUAGE_SPEC, device)
  metrics = []
  for seed in range(NUM_UPDATES):
    unroll = random_unroll(4, 6, LANGUAGE_SPEC, use_lstm=True, seed=seed)
    found = agent.update(learner_input(unroll), tf.constant(0.01))
    metrics.append({name: float(value) for name, value in found.items()})
  return metrics, {n: v.numpy() for n, v in agent.variables().items()}


def main() -> None:
  """Prints, as JSON, the number of replicas and what they computed."""
  os.environ.pop('TF_NUM_INTRAOP_THREADS', None)
  (cpu,) = tf.config.list_physical_devices('CPU')
  tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
  )
  config = tiny_config(strategy='mirrored')
  expected_metrics, expected = run(
    Device.from_config(dataclasses.replace(config, strategy='one_device'))
  )
  num_threads = tf.config.threading.get_intra_op_parallelism_threads()
  result = dict(expected=expected_metrics, threads_per_operation=num_threads)
  # One in a process: the collectives of a second strategy would count from the
  # same number and could meet the first's.
  device = Device.from_config(config)
  for xla in ('off', 'auto'):
    device.compiles_parts = xla == 'auto'  # All that 'auto' is on a CPU.
    metrics, variables = run(device)
    assert variables.keys() == expected.keys()
    result[xla] = dict(
      metrics=metrics,
      differences={
        name: float(np.max(np.abs(value - expected[name])))
        for name, value in variables.items()
      },
      largest={n: float(np.max(np.abs(v))) for n, v in variables.items()},
    )
  result['num_replicas'] = device.num_replicas
  device.compiles_parts = False
  spec = LANGUAGE_SPEC._replace(instruction_length=0)
  agent = runs.agent_of(config, spec, device)
  try:
    agent.update(learner_input(random_unroll(4, 3)), tf.constant(0.01))
  except ValueError as error:
    result['odd_batch'] = str(error)
  with tempfile.TemporaryDirectory() as logdir:
    stops = (60, 100)  # The second goes on from the first's checkpoint.
    result['trained_frames'] = [
      runs.train(
        dataclasses.replace(config, logdir=logdir, stop_frames=stop), device
      )
      for stop in stops
    ]
  print(json.dumps(result))


if __name__ == '__main__':
  main()
