"""Short training runs for tests, in this process or in one of their own."""

import contextlib
import csv
import dataclasses
import importlib
import os
import pathlib
import signal
import tempfile
import time
from typing import Any, NamedTuple

import numpy as np

from core import actor_learner, checkpointing, environments
from impala.config import DEBUG
from tests import forked

ROOT = forked.ROOT
TIMEOUT_SECS = 240


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
  """Returns a module (`agent`, `config`) of the paper that a config is of."""
  paper = type(config).__module__.split('.')[0]
  return importlib.import_module(f'{paper}.{name}')


def protocol_of(config: Any) -> environments.Protocol:
  """Returns the protocol that the experiment would use."""
  tasks = environments.task_names(config.level_name)
  return environments.make_protocol(config, tasks)


def make_agent(config: Any) -> Any:
  """Returns a fresh agent of the config's paper for the config's tasks."""
  tasks = environments.task_names(config.level_name)
  spec = environments.env_spec(tasks, protocol_of(config))
  return module_of(config, 'agent').Agent(config, spec)


def train(config: Any) -> int:
  """Trains in this process, as the experiment does; returns the frames."""
  return actor_learner.train(config, make_agent(config), protocol_of(config))


def command(module: str, *arguments: str) -> 'Finished':
  """Runs a module as a user does, in a process of its own, to its end."""
  return Process(module, *arguments).finish()


class Finished(NamedTuple):
  """How a run in a process of its own ended.

  Attributes:
    status: exit status, negative after a signal.
    stdout: what it printed.
    stderr: likewise.
    time: wall clock at its end.
    left_children: whether a process that it started was still there.
  """

  status: int
  stdout: str
  stderr: str
  time: float
  left_children: bool


class Process:
  """A command in a process of its own, which no test outlives.

  Attributes:
    pid: of the process, and of the group of all that it starts.
  """

  def __init__(self, module: str, *arguments: str):
    """Starts it, as `python -m module arguments` would."""
    # Files: a child that lives on would hold a pipe open.
    self._outputs = tempfile.TemporaryDirectory()
    self._paths = [
      pathlib.Path(self._outputs.name, name) for name in ('stdout', 'stderr')
    ]
    self._process = forked.start(module, arguments, *map(str, self._paths))
    self.pid = self._process.pid

  def wait_for_stderr(self, text: str) -> None:
    """Waits until it said `text`."""
    self._wait(lambda: text in self._read(1))

  def signal(self, number: int) -> None:
    """Sends a signal to all of its processes, as a terminal does."""
    os.killpg(self.pid, number)

  def wait(self, timeout: float) -> int | None:
    """Returns the exit status, None if it did not end in time."""
    self._process.join(timeout)
    return self._process.exitcode

  def finish(self, timeout: float = TIMEOUT_SECS) -> Finished:
    """Waits for the end and cleans up."""
    try:
      status = self.wait(timeout)
      end = time.time()
      time.sleep(0.2)  # For children to be reaped.
      return Finished(
        status, self._read(0), self._read(1), end, self._has_members()
      )
    finally:
      with contextlib.suppress(ProcessLookupError):
        self.signal(signal.SIGKILL)
      self._process.kill()  # Should it have no group of its own yet.
      self._process.join()
      self._outputs.cleanup()

  def _wait(self, is_true):
    deadline = time.monotonic() + TIMEOUT_SECS
    while not is_true():
      if not self._process.is_alive() or time.monotonic() > deadline:
        raise AssertionError(f'waited in vain: {self.finish(1)}')
      time.sleep(0.002)

  def _read(self, index):
    path = self._paths[index]
    return path.read_text(errors='replace') if path.exists() else ''

  def _has_members(self):
    try:
      self.signal(0)
    except ProcessLookupError:
      return False
    return True


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
    experiment = module.__name__.replace('.config', '.experiment')
    super().__init__(experiment, '--preset=debug', *flags)
    self._config = config

  def wait_for_updates(self, num_updates: int) -> None:
    """Waits until updates.csv has that many rows."""
    path = pathlib.Path(self._config.logdir, 'updates.csv')
    self._wait(
      lambda: path.exists() and path.read_bytes().count(b'\n') > num_updates
    )


def rows(config: Any, name: str) -> list[dict[str, str]]:
  """Returns the rows of a CSV file of the run."""
  path = pathlib.Path(config.logdir, name)
  with open(path, newline='', encoding='utf-8') as file:
    return list(csv.DictReader(file))


def restore(config: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """Returns arrays and metadata of the newest checkpoint."""
  directory = actor_learner.checkpoint_directory(config.logdir)
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
