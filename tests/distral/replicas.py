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
from core.errors import UserError
from distral.agent import Agent
from distral.config import ALGORITHMS, DEBUG
from tests.runs import tiny_config, train
from tests.unrolls import SMALL_SPEC, learner_input, random_unroll

T, B = 2, 8
NUM_UPDATES = 2
# Both replicas have as many rows of each task, in another order.
TASK_ID = np.array([1, 0, 0, 1, 0, 1, 1, 0], np.int32)
SETTINGS = {'kl_ent_2col': dict(use_lstm=True), 'kl_1col': {}}


def config_of(name: str, **settings):
  """Returns a small config of an algorithm."""
  settings = {
    **dict(torso='mlp', use_lstm=False, num_environments=B, batch_size=B),
    **dict(unroll_length=T, beta=2.0, momentum=0.5, max_gradient_norm=2.0),
    **dict(value_regularization_cost=0.3, xla='off'),
    **SETTINGS[name],
    **settings,
  }
  return tiny_config(ALGORITHMS[name], **settings)


def batch(agent: Agent, seed: int):
  """Returns a batch whose tasks are TASK_ID, with random states."""
  rng = np.random.default_rng(seed)
  states = tf.nest.map_structure(
    lambda x: rng.normal(size=x.shape).astype(np.float32),
    agent.initial_state(B),
  )
  unroll = random_unroll(T, B, seed=seed)
  return learner_input(unroll._replace(task_id=TASK_ID, core_state=states))


def run(config) -> tuple[list, dict[str, np.ndarray]]:
  """Returns the metrics of each update and the variables after the last."""
  agent = Agent(config, SMALL_SPEC)
  metrics = []
  for seed in range(NUM_UPDATES):
    found = agent.update(batch(agent, seed), tf.constant(0.01))
    metrics.append({name: x.numpy().tolist() for name, x in found.items()})
  return metrics, {n: v.numpy() for n, v in agent.variables().items()}


def compare(name: str) -> dict:
  """Returns what one and two replicas computed."""
  expected, variables = run(config_of(name))
  found, others = run(config_of(name, strategy='mirrored'))
  assert others.keys() == variables.keys()
  return dict(
    expected=expected,
    found=found,
    largest={n: float(np.max(np.abs(v))) for n, v in variables.items()},
    differences={
      n: float(np.max(np.abs(v - variables[n]))) for n, v in others.items()
    },
  )


def refusal(**settings) -> str:
  """Returns what the agent says to settings that two replicas cannot take."""
  try:
    Agent(config_of('kl_1col', strategy='mirrored', **settings), SMALL_SPEC)
  except UserError as error:
    return str(error)
  return ''


def trained_frames() -> list[int]:
  """Trains in two parts, the second from the first's checkpoint."""
  with tempfile.TemporaryDirectory() as logdir:
    config = tiny_config(DEBUG, strategy='mirrored', xla='off', logdir=logdir)
    return [
      train(dataclasses.replace(config, stop_frames=stop)) for stop in (60, 100)
    ]


def main() -> None:
  """Prints all of it as JSON."""
  (cpu,) = tf.config.list_physical_devices('CPU')
  tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
  )
  # One per process, as in a run: a second would count its collectives from the
  # same number and meet the first's, of other shapes.
  distribution.make_strategy = functools.cache(distribution.make_strategy)
  result = dict(
    num_replicas=distribution.make_strategy('mirrored').num_replicas_in_sync,
    refusals=[refusal(batch_size=size) for size in (4, 6, 10, 12)],
    trained_frames=trained_frames(),
    **{name: compare(name) for name in SETTINGS},
  )
  print(json.dumps(result))


if __name__ == '__main__':
  main()
