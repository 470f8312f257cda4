"""Compares 2 replicas with 1; replicas_test.py runs it by itself."""

import dataclasses
import json
import tempfile

import numpy as np
import tensorflow as tf

from core.device import Device
from popart.agent import Agent
from popart.config import DEBUG
from tests import two_devices
from tests.runs import tiny_config, train
from tests.unrolls import SMALL_SPEC, learner_input, random_unroll

NUM_UPDATES = 3
# Both replicas have rollouts of task 0, so that the batch's order counts.
TASK_ID = np.array([0, 1, 0, 0, 1, 0], np.int32)


def batch(seed: int):
  """Returns a batch whose tasks are TASK_ID."""
  unroll = random_unroll(4, 6, seed=seed)
  return learner_input(unroll._replace(task_id=TASK_ID))


def run(device: Device) -> tuple[list, dict[str, np.ndarray]]:
  """Returns the metrics of each update and the variables after the last."""
  config = tiny_config(
    DEBUG,
    momentum=0.5,
    max_gradient_norm=2.0,
    reward_clipping='none',
    statistics_step_size=0.3,
  )
  agent = Agent(config, SMALL_SPEC, device)
  return two_devices.update(agent, map(batch, range(NUM_UPDATES)))


def gathered_columns(device: Device) -> dict[str, list]:
  """Returns what two replicas hand to the step besides the gradients."""

  def gradients_fn(unroll):
    reward = tf.transpose(unroll.env_outputs.reward)  # [B, T + 1]
    return (), {}, unroll.task_id, dict(reward=reward)

  def apply_fn(gradients, learning_rate, task_id, columns):
    return dict(columns, task_id=task_id)

  update = device.compile_update(gradients_fn, apply_fn)
  found = update(batch(0), tf.constant(0.0))
  return {name: value.numpy().tolist() for name, value in found.items()}


def trained_frames(device: Device) -> list[int]:
  """Trains in two parts, the second from the first's checkpoint."""
  with tempfile.TemporaryDirectory() as logdir:
    config = tiny_config(
      DEBUG,
      logdir=logdir,
      level_name='catch,tests.user_environments:make_catch',
    )
    return [
      train(dataclasses.replace(config, stop_frames=stop), device)
      for stop in (60, 100)
    ]


def main() -> None:
  """Prints, as JSON, what one and two replicas computed."""
  two_devices.split_cpu()
  # One per process, as in a run: a second would count its collectives from the
  # same number and meet the first's, of other shapes.
  two = Device('mirrored')
  result = dict(
    num_replicas=two.num_replicas,
    columns=gathered_columns(two),
    trained_frames=trained_frames(two),
    **two_devices.compare(run, Device(xla='off'), two),
  )
  print(json.dumps(result))


if __name__ == '__main__':
  main()
