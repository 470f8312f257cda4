"""Short training runs for tests, in this process or in one of their own."""

import csv
import dataclasses
import os
import pathlib
import subprocess
import sys
import time
from typing import Any

import numpy as np

from core import actor_learner, checkpointing, environments
from core.atari import AtariProtocol
from impala.agent import Agent
from impala.config import DEBUG, Config

ROOT = pathlib.Path(__file__).resolve().parents[1]
WALL_CLOCK = ('wall_secs', 'frames_per_sec')  # And all phases, `*_secs`.

TINY = dict(
  actor_mode='sync',
  num_environments=4,
  num_groups=2,
  batch_size=4,
  unroll_length=5,
  checkpoint_updates=7,
)


def tiny_config(**changes: Any) -> Config:
  """Returns the debug preset, smaller: an update is 20 frames."""
  return dataclasses.replace(DEBUG, **{**TINY, **changes})


def protocol_of(config: Config) -> AtariProtocol:
  """Returns the protocol that the experiment would use."""
  return AtariProtocol(
    num_action_repeats=config.num_action_repeats,
    full_action_space=config.full_action_space,
  )


def make_agent(config: Config) -> Agent:
  """Returns a fresh agent for the config's tasks."""
  tasks = environments.task_names(config.level_name)
  return Agent(config, environments.env_spec(tasks, protocol_of(config)))


def train(config: Config) -> int:
  """Trains in this process, as the experiment does; returns the frames."""
  agent = make_agent(config)
  return actor_learner.train(config, agent, protocol_of(config))


def start(config: Config, **popen_arguments: Any) -> subprocess.Popen:
  """Starts the experiment in a process of its own, output piped."""
  flags = [
    f'--{name}={value}'
    for name, value in dataclasses.asdict(config).items()
    if value != getattr(DEBUG, name)
  ]
  return subprocess.Popen(
    [sys.executable, '-m', 'impala.experiment', '--preset=debug', *flags],
    cwd=ROOT,
    env={**os.environ, 'TF_CPP_MIN_LOG_LEVEL': '3'},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    **popen_arguments,
  )


def finish(process: subprocess.Popen, timeout: float = 240) -> tuple[str, str]:
  """Waits for the end; returns stdout and stderr. None outlives a test."""
  try:
    return process.communicate(timeout=timeout)
  finally:
    process.kill()


def wait_for_updates(
  process: subprocess.Popen, config: Config, num_updates: int
) -> None:
  """Waits until updates.csv has that many rows.

  Raises:
    AssertionError: the process ended before.
  """
  path = pathlib.Path(config.logdir, 'updates.csv')
  deadline = time.monotonic() + 240
  while not path.exists() or path.read_bytes().count(b'\n') <= num_updates:
    if process.poll() is not None or time.monotonic() > deadline:
      raise AssertionError(f'no {num_updates} updates: {finish(process, 5)}')
    time.sleep(0.002)


def rows(config: Config, name: str) -> list[dict[str, str]]:
  """Returns the rows of a CSV file of the run."""
  path = pathlib.Path(config.logdir, name)
  with open(path, newline='', encoding='utf-8') as file:
    return list(csv.DictReader(file))


def restore(config: Config) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """Returns arrays and metadata of the newest checkpoint."""
  directory = actor_learner.checkpoint_directory(config.logdir)
  arrays, metadata, _ = checkpointing.restore_latest(directory, print)
  return arrays, metadata


def timeless(row: dict[str, str]) -> dict[str, str]:
  """Returns a row without what the wall clock says."""
  return {
    name: value
    for name, value in row.items()
    if name not in WALL_CLOCK and not name.endswith('_secs')
  }


def assert_same_run(first: Config, second: Config) -> None:
  """Asserts that two finished runs are equal to the bit, but for the clock."""
  for name in ('updates.csv', 'episodes.csv'):
    ours, theirs = (
      [timeless(r) for r in rows(c, name)] for c in (first, second)
    )
    assert ours, name
    for a, b in zip(ours, theirs, strict=True):
      assert a == b, (name, a, b)
  (arrays, metadata), (others, other_metadata) = restore(first), restore(second)
  assert arrays.keys() == others.keys()
  for name, array in arrays.items():
    np.testing.assert_array_equal(
      array, others[name], strict=True, err_msg=name
    )
  for name in ('env_frames', 'num_updates', 'source', 'task_names'):
    assert metadata[name] == other_metadata[name], name
