"""Makes the updates of one of two workers; two_workers_test.py runs it.

Collectives need a process of its own for each worker.
"""

import os
import sys
import time
from typing import Any

import numpy as np
import tensorflow as tf

import popart.agent
from core.device import Device
from core.errors import WorkerLost
from core.strategies.gang import Gang
from core.strategies.tf_config import Cluster
from core.types import Unroll
from core.unrolls import select_columns
from popart.config import DEBUG
from tests import runs
from tests.unrolls import (
  LANGUAGE_SPEC,
  SMALL_SPEC,
  learner_input,
  random_unroll,
)

NUM_UPDATES = 10
B = 6
# Both workers have rollouts of task 0, so that the batch's order counts.
TASK_ID = np.array([0, 1, 0, 0, 1, 0], np.int32)
# Norms that clip.
CONFIGS = dict(
  impala=runs.tiny_config(use_lstm=True, momentum=0.5, max_gradient_norm=2.0),
  popart=runs.tiny_config(
    DEBUG,
    momentum=0.5,
    max_gradient_norm=2.0,
    reward_clipping='none',
    statistics_step_size=0.3,
  ),
)
LONG = 'x' * 10_000
# Long, as one may trace an update while the other waits for it already.
TIMEOUT_SECS = 60.0
SILENCE_SECS = 10.0


def make_agent(name: str, device: Device) -> Any:
  """Returns the agent of one of CONFIGS."""
  if name == 'popart':
    return popart.agent.Agent(CONFIGS[name], SMALL_SPEC, device)
  return runs.agent_of(CONFIGS[name], LANGUAGE_SPEC, device)


def batch(name: str, seed: int, columns: slice) -> Unroll:
  """Returns some columns of a batch."""
  if name == 'popart':
    unroll = random_unroll(4, B, seed=seed)._replace(task_id=TASK_ID)
  else:
    unroll = random_unroll(4, B, LANGUAGE_SPEC, use_lstm=True, seed=seed)
  return learner_input(select_columns(unroll, columns))


def updates(
  name: str, device: Device, columns: slice = slice(None)
) -> dict[str, np.ndarray]:
  """Returns metrics by update and variables after the last, by name."""
  agent = make_agent(name, device)
  found = {}
  for seed in range(NUM_UPDATES):
    metrics = agent.update(batch(name, seed, columns), tf.constant(0.01))
    found |= {f'{name}/{n}/{seed}': x.numpy() for n, x in metrics.items()}
  variables = agent.variables().items()
  return {**found, **{f'{name}/{n}': v.numpy() for n, v in variables}}


def main() -> None:
  """Writes what this worker has after its updates."""
  cluster = Cluster.from_environment()
  device = Device(
    'multi_worker', 'off', cluster=cluster, timeout_secs=TIMEOUT_SECS
  )
  width = B // len(cluster.addresses)
  columns = slice(cluster.index * width, (cluster.index + 1) * width)
  found = {}
  for name in CONFIGS:
    found |= updates(name, device, columns)
  # Longer ones than before make room for themselves.
  for value in ('short', LONG, None):
    exchanged = device.gang.exchange([cluster.index, value])
    assert exchanged == [[0, value], [1, value]], exchanged
  found['line'] = is_left_alone(device) if cluster.is_chief else ''
  np.savez(sys.argv[1], **found)
  if not cluster.is_chief:  # It is alive, but takes part in nothing.
    time.sleep(1.5 * SILENCE_SECS)
  # As core.flags.run: what TensorFlow left waiting may crash on its way out.
  os._exit(0)


def is_left_alone(device: Device) -> str:
  """Returns what is said of another that does not answer."""
  device.strategy.extended._communication_options = (
    tf.distribute.experimental.CommunicationOptions(
      timeout_seconds=SILENCE_SECS
    )
  )
  gang = Gang(device.gang.index, device.gang.count, device.strategy)
  start = time.monotonic()
  try:
    gang.exchange(None)
  except WorkerLost as error:
    assert SILENCE_SECS - 1.0 < time.monotonic() - start < SILENCE_SECS + 5.0
    return str(error)
  return ''


if __name__ == '__main__':
  main()
