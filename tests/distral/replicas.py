"""Compares 2 replicas with 1; replicas_test.py runs it by itself."""

import dataclasses
import functools
import json
import tempfile

import numpy as np
import tensorflow as tf

from core.device import Device
from core.errors import UserError
from distral.agent import Agent
from distral.config import ALGORITHMS, DEBUG
from tests import two_devices
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
    **dict(value_regularization_cost=0.3),
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


def run(name: str, device: Device) -> tuple[list, dict[str, np.ndarray]]:
  """Returns the metrics of each update and the variables after the last."""
  agent = Agent(config_of(name), SMALL_SPEC, device)
  batches = (batch(agent, seed) for seed in range(NUM_UPDATES))
  return two_devices.update(agent, batches)


def refusal(device: Device, **settings) -> str:
  """Returns what the agent says to settings that two replicas cannot take."""
  try:
    Agent(config_of('kl_1col', **settings), SMALL_SPEC, device)
  except UserError as error:
    return str(error)
  return ''


def trained_frames(device: Device) -> list[int]:
  """Trains in two parts, the second from the first's checkpoint."""
  with tempfile.TemporaryDirectory() as logdir:
    config = tiny_config(DEBUG, logdir=logdir)
    return [
      train(dataclasses.replace(config, stop_frames=stop), device)
      for stop in (60, 100)
    ]


def main() -> None:
  """Prints all of it as JSON."""
  two_devices.split_cpu()
  # One per process, as in a run: a second would count its collectives from the
  # same number and meet the first's, of other shapes.
  one, two = Device(xla='off'), Device('mirrored', xla='off')
  result = dict(
    num_replicas=two.num_replicas,
    refusals=[refusal(two, batch_size=size) for size in (4, 6, 10, 12)],
    trained_frames=trained_frames(two),
  )
  for name in SETTINGS:
    result[name] = two_devices.compare(functools.partial(run, name), one, two)
  print(json.dumps(result))


if __name__ == '__main__':
  main()
