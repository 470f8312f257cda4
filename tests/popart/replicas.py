"""Compares 2 replicas with 1; replicas_test.py runs it by itself.

TensorFlow cannot split the CPU into two devices once it has begun.
"""

import dataclasses
import functools
import json
import tempfile

import numpy as np
import tensorflow as tf

from core import distribution
from popart.agent import Agent
from popart.config import DEBUG
from tests.runs import tiny_config, train
from tests.unrolls import SMALL_SPEC, learner_input, random_unroll

NUM_UPDATES = 3
# Both replicas have rollouts of task 0, so that the batch's order counts.
TASK_ID = np.array([0, 1, 0, 0, 1, 0], np.int32)


def batch(seed: int):
  """Returns a batch whose tasks are TASK_ID."""
  unroll = random_unroll(4, 6, seed=seed)
  return learner_input(unroll._replace(task_id=TASK_ID))


def run(strategy: str, xla: str) -> tuple[list, dict[str, np.ndarray]]:
  """Returns the metrics of each update and the variables after the last."""
  config = tiny_config(
    DEBUG,
    strategy=strategy,
    xla=xla,
    momentum=0.5,
    max_gradient_norm=2.0,
    reward_clipping='none',
    statistics_step_size=0.3,
  )
  agent = Agent(config, SMALL_SPEC)
  metrics = []
  for seed in range(NUM_UPDATES):
    found = agent.update(batch(seed), tf.constant(0.01))
    metrics.append({name: x.numpy().tolist() for name, x in found.items()})
  return metrics, {n: v.numpy() for n, v in agent.variables().items()}


def gathered_columns() -> dict[str, list]:
  """Returns what two replicas hand to the step besides the gradients."""

  def gradients_fn(unroll):
    reward = tf.transpose(unroll.env_outputs.reward)  # [B, T + 1]
    return (), {}, unroll.task_id, dict(reward=reward)

  def apply_fn(gradients, learning_rate, task_id, columns):
    return dict(columns, task_id=task_id)

  update = distribution.compile_update(
    distribution.make_strategy('mirrored'), gradients_fn, apply_fn, False
  )
  found = update(batch(0), tf.constant(0.0))
  return {name: value.numpy().tolist() for name, value in found.items()}


def main() -> None:
  """Prints, as JSON, what one and two replicas computed."""
  (cpu,) = tf.config.list_physical_devices('CPU')
  tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
  )
  # One per process, as in a run: a second would count its collectives from the
  # same number and meet the first's, of other shapes.
  distribution.make_strategy = functools.cache(distribution.make_strategy)
  metrics, variables = run('one_device', 'off')
  result = dict(
    num_replicas=distribution.make_strategy('mirrored').num_replicas_in_sync,
    expected=metrics,
    largest={n: float(np.max(np.abs(v))) for n, v in variables.items()},
    columns=gathered_columns(),
  )
  result['found'], others = run('mirrored', 'auto')
  assert others.keys() == variables.keys()
  result['differences'] = {
    name: float(np.max(np.abs(value - variables[name])))
    for name, value in others.items()
  }
  with tempfile.TemporaryDirectory() as logdir:
    config = tiny_config(
      DEBUG,
      strategy='mirrored',
      logdir=logdir,
      level_name='catch,tests.user_environments:make_catch',
    )
    stops = (60, 100)  # The second goes on from the first's checkpoint.
    result['trained_frames'] = [
      train(dataclasses.replace(config, stop_frames=stop)) for stop in stops
    ]
  print(json.dumps(result))


if __name__ == '__main__':
  main()
