"""Short training runs for tests, in this process or in one of their own."""

import csv
import dataclasses
import importlib
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from core import checkpointing
from core.device import Device
from core.suites.tasks import Tasks
from core.training import train as actor_learner
from impala.config import DEBUG
from tools import forked
from tools.forked import Finished

ROOT = forked.ROOT
TIMEOUT_SECS = forked.TIMEOUT_SECS


def tiny_config(preset: Any = DEBUG, **changes: Any) -> Any:
  """Returns a paper's debug preset, smaller: an update is 20 frames.

  XLA, which takes seconds to compile, is for the tests that ask for it.
  """
  tiny = dict(
    actor_mode='sync',
    num_environments=4,
    num_groups=2,
    batch_size=4,
    unroll_length=5,
    checkpoint_updates=7,
    xla='off',
  )
  return dataclasses.replace(preset, **{**tiny, **changes})


def module_of(config: Any, name: str) -> Any:
  """Returns a module (`agent`, `config`) that belongs to a config's.

  Beside brc.drq_config is brc.drq_agent.
  """
  stem = type(config).__module__.removesuffix('config')
  return importlib.import_module(f'{stem}{name}')


def make_agent(config: Any, device: Device | None = None) -> Any:
  """Returns a fresh agent of the config's paper for the config's tasks."""
  return agent_of(config, Tasks.of(config).env_spec, device)


def agent_of(config: Any, env_spec: Any, device: Device | None = None) -> Any:
  """Returns a fresh agent of the config's paper for any spec."""
  device = device or Device.from_config(config)
  return module_of(config, 'agent').Agent(config, env_spec, device)


def train(config: Any, device: Device | None = None) -> int:
  """Trains in this process, as the experiment does; returns the frames."""
  agent = make_agent(config, device)
  experiment = module_of(config, 'experiment')
  # A paper that is not an actor-critic brings a loop of its own.
  loop = getattr(experiment, 'train', actor_learner.train)
  return loop(config, agent, Tasks.of(config))


def command(module: str, *arguments: str) -> Finished:
  """Runs a module as a user does, in a process of its own, to its end."""
  return Process(module, *arguments).finish()


class Process(forked.Process):
  """A command in a process of its own, which no test outlives."""

  def finish(self, timeout: float = forked.TIMEOUT_SECS) -> Finished:
    """Waits for the end and cleans up.

    A process forked from one with TensorFlow may say on its own that there is
    no GPU; start_test sees to it that a user's does not.
    """
    finished = super().finish(timeout)
    lines = finished.stderr.splitlines(keepends=True)
    said = [line for line in lines if 'failed call to cuInit' not in line]
    return finished._replace(stderr=''.join(said))

  def wait_for_stderr(self, text: str) -> None:
    """Waits until it said `text`."""
    self.wait_for(lambda: text in self.stderr)

  def wait_for(self, is_true: Callable[[], bool]) -> None:
    """Waits until something is true, which must come."""
    if not self.wait_until(is_true):
      raise AssertionError(f'waited in vain: {self.finish(1)}')


class Run(Process):
  """The experiment of a config."""

  def __init__(self, config: Any):
    """Starts it."""
    module = module_of(config, 'config')
    flags = [
      f'--{name}={value}'
      for name, value in dataclasses.asdict(config).items()
      if value != getattr(module.DEBUG, name)
    ]
    experiment = module.__name__.removesuffix('config') + 'experiment'
    super().__init__(experiment, '--preset=debug', *flags)
    self._config = config

  def wait_for_updates(self, num_updates: int) -> None:
    """Waits until updates.csv has that many rows."""
    path = pathlib.Path(self._config.logdir, 'updates.csv')
    self.wait_for(
      lambda: path.exists() and path.read_bytes().count(b'\n') > num_updates
    )


def rows(config: Any, name: str) -> list[dict[str, str]]:
  """Returns the rows of a CSV file of the run."""
  path = pathlib.Path(config.logdir, name)
  with open(path, newline='', encoding='utf-8') as file:
    return list(csv.DictReader(file))


def restore(config: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """Returns arrays and metadata of the newest checkpoint."""
  directory = checkpointing.directory_of(config.logdir)
  arrays, metadata, _ = checkpointing.restore_latest(directory, print)
  return arrays, metadata


def timeless(row: dict[str, str]) -> dict[str, str]:
  """Returns a row without what the wall clock says."""
  return {
    name: value
    for name, value in row.items()
    if name != 'frames_per_sec' and not name.endswith('_secs')
  }


def assert_same_run(found: Any, expected: Any) -> None:
  """Asserts that two finished runs are equal to the bit, but for the clock."""
  for name in ('updates.csv', 'episodes.csv'):
    ours, theirs = (
      [timeless(row) for row in rows(config, name)]
      for config in (found, expected)
    )
    assert theirs, name
    for a, b in zip(ours, theirs, strict=True):
      assert a == b, (name, a, b)
  (arrays, metadata), (others, other_metadata) = map(restore, (found, expected))
  assert arrays.keys() == others.keys()
  for name, array in arrays.items():
    np.testing.assert_array_equal(array, others[name], name, strict=True)
  for name in ('env_frames', 'num_updates', 'source', 'task_names'):
    assert metadata[name] == other_metadata[name], name
