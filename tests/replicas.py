"""Compares 2 replicas with 1; distribution_test.py runs it by itself.

TensorFlow cannot split the CPU into two devices once it has begun.
"""

import dataclasses
import json
import os
import tempfile

import numpy as np
import tensorflow as tf

from impala.agent import Agent
from tests.runs import tiny_config, train
from tests.unrolls import LANGUAGE_SPEC, learner_input, random_unroll

NUM_UPDATES = 3


def run(strategy: str, xla: str) -> tuple[list, dict[str, np.ndarray]]:
  """Returns the metrics of each update and the variables after the last."""
  config = tiny_config(
    strategy=strategy,
    xla=xla,
    use_lstm=True,
    momentum=0.5,
    max_gradient_norm=2.0,
  )
  agent = Agent(config, LANGUAGE_SPEC)
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
  expected_metrics, expected = run('one_device', 'off')
  num_threads = tf.config.threading.get_intra_op_parallelism_threads()
  result = dict(expected=expected_metrics, threads_per_operation=num_threads)
  for xla in ('off', 'auto'):
    metrics, variables = run('mirrored', xla)
    assert variables.keys() == expected.keys()
    result[xla] = dict(
      metrics=metrics,
      differences={
        name: float(np.max(np.abs(value - expected[name])))
        for name, value in variables.items()
      },
      largest={n: float(np.max(np.abs(v))) for n, v in variables.items()},
    )
  config = tiny_config(strategy='mirrored', xla='off')
  agent = Agent(config, LANGUAGE_SPEC._replace(instruction_length=0))
  result['num_replicas'] = agent.strategy.num_replicas_in_sync
  try:
    agent.update(learner_input(random_unroll(4, 3)), tf.constant(0.01))
  except ValueError as error:
    result['odd_batch'] = str(error)
  with tempfile.TemporaryDirectory() as logdir:
    config = tiny_config(strategy='mirrored', logdir=logdir)
    stops = (60, 100)  # The second goes on from the first's checkpoint.
    result['trained_frames'] = [
      train(dataclasses.replace(config, stop_frames=stop)) for stop in stops
    ]
  print(json.dumps(result))


if __name__ == '__main__':
  main()
