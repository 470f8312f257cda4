"""What every kind of torture shares: cases, commands and what is clean."""

import dataclasses
import os
import pathlib
import re
import shutil
import time
from collections.abc import Callable

from tools.forked import Finished, Process

TIMEOUT_SECS = 60.0

# Every paper's debug preset, so small that an update takes 20 ms.
SMALL = (
  '--preset=debug',
  '--num_environments=8',
  '--batch_size=8',
  '--unroll_length=5',
  '--xla=off',
)
FRAMES_PER_UPDATE = 40
PAPERS = ('impala', 'popart', 'pixel_control', 'distral')

# What TensorFlow itself says.
_TENSORFLOW = re.compile(
  r'WARNING: All log messages|[IWE]\d{4} \d\d:|\d{4}-\d\d-\d\d \d\d:.*: [IWE] '
)


@dataclasses.dataclass
class Case:
  """One case of a kind, which its seed repeats.

  Attributes:
    seed: of all that is random in it.
    title: what was done, in a few words.
    problems: what was wrong, a line each.
    counts: what the summary adds up.
  """

  seed: int
  title: str = ''
  problems: list[str] = dataclasses.field(default_factory=list)
  counts: dict[str, float] = dataclasses.field(default_factory=dict)


class Workshop:
  """A folder for all cases, with samples that are made once.

  Attributes:
    folder: of everything.
  """

  def __init__(self, folder: pathlib.Path):
    """Works in a folder, which is created if need be."""
    self.folder = folder
    self._samples = set()
    self._newest = folder / 'cases'

  def sample(
    self, name: str, make: Callable[[pathlib.Path], None]
  ) -> pathlib.Path:
    """Returns a folder that all cases may read and none may change.

    Args:
      name: of the sample.
      make: called with the folder, the first time.
    """
    folder = self.folder / 'samples' / name
    if folder not in self._samples:
      remove(folder)
      folder.mkdir(parents=True)
      make(folder)
      self._samples.add(folder)
    return folder

  def fresh(self, name: str) -> pathlib.Path:
    """Returns an empty folder for a case."""
    folder = self.folder / 'cases' / name
    remove(folder)
    folder.mkdir(parents=True)
    self._newest = folder
    return folder

  def tidy(self) -> None:
    """Removes what the newest case left."""
    remove(self._newest)


def remove(path: pathlib.Path) -> None:
  """Removes whatever is there."""
  if path.is_dir() and not path.is_symlink():
    shutil.rmtree(path)
  elif os.path.lexists(path):
    path.unlink()


def run(
  module: str,
  *arguments: str,
  cwd: pathlib.Path,
  timeout: float = TIMEOUT_SECS,
) -> Finished:
  """Runs a command to its end."""
  return Process(module, *arguments, cwd=cwd).finish(timeout)


def must_run(module: str, *arguments: str, cwd: pathlib.Path) -> float:
  """Runs a command that samples need; returns the seconds that it took.

  Raises:
    RuntimeError: it failed.
  """
  start = time.monotonic()
  finished = run(module, *arguments, cwd=cwd, timeout=4 * TIMEOUT_SECS)
  if finished.status != 0:
    raise RuntimeError(f'{module} {arguments}: {finished}')
  return time.monotonic() - start


def complaints(
  finished: Finished, statuses: tuple[int, ...] = (0, 1)
) -> list[str]:
  """Returns what is not clean in how a command ended.

  Clean is status 0, or status 1 with one line on stderr; never a traceback, a
  signal of its own or a hang.

  Args:
    finished: how it ended.
    statuses: those that are allowed.
  """
  if finished.status is None:
    return ['did not end in time']
  found = []
  said = [
    line
    for line in finished.stderr.splitlines()
    if line.strip() and not _TENSORFLOW.match(line)
  ]
  if 'Traceback' in finished.stdout + finished.stderr:
    found.append(f'a traceback: {said[-1] if said else "on stdout"}')
  elif finished.status not in statuses:
    found.append(f'status {finished.status}: {" / ".join(said[-3:])}')
  elif finished.status == 1 and not (
    len(said) == 1 and said[0].startswith('error: ')
  ):
    found.append(f'status 1 with {len(said)} lines: {" / ".join(said[:3])}')
  if finished.left_children:
    found.append('left processes behind')
  return found


def contents(folder: pathlib.Path) -> dict[str, bytes]:
  """Returns the files below a folder, by their path in it."""
  return {
    str(path.relative_to(folder)): path.read_bytes()
    for path in sorted(folder.rglob('*'))
    if path.is_file()
  }
