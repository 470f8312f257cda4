"""The one reader of runs: of logdirs and of recorded results.

run = reader.read_run('runs/pong')
run.frames, run.is_complete, run.table('episodes')
"""

import dataclasses
import functools
import glob
import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from core.errors import UserError
from core.suites import tasks as suites
from experiments.runs import csv_files, json_files, wording

SEED_FOLDER = re.compile(r'seed_(\d+)$')


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
  """One training run, as far as it is recorded.

  Attributes:
    folder: logdir or recorded result.
    label: of the agent that it belongs to.
    info: content of run.json, {} without one.
    frames: environment frames of the newest record, 0 without any.
    frames_per_sec: of the newest record.
    wall_secs: of training, up to the newest record.
  """

  folder: str
  label: str
  info: Mapping[str, Any]
  frames: int
  frames_per_sec: float
  wall_secs: float

  @property
  def config(self) -> Mapping[str, Any]:
    """The resolved config, {} if it is not recorded."""
    return self.info.get('config') or {}

  @property
  def versions(self) -> Mapping[str, Any]:
    """The versions of packages, {} if they are not recorded."""
    return self.info.get('versions') or {}

  @property
  def seed(self) -> str:
    """Seed of the config, else of the folder's name; '?' if neither says."""
    match = SEED_FOLDER.search(self.folder)
    return str(self.config.get('seed', match[1] if match else '?'))

  @property
  def seed_name(self) -> str:
    """The name of its folder, such as 'seed_1'."""
    return os.path.basename(self.folder)

  @property
  def tasks(self) -> tuple[str, ...]:
    """The tasks of --level_name, in their order."""
    level_name = str(self.config.get('level_name', ''))
    try:
      return suites.expand(level_name)
    except UserError:  # It may name a function that is not installed here.
      return tuple(level_name.split(','))

  @property
  def protocol(self) -> dict[str, Any]:
    """How tasks were played, the versions of their emulators included."""
    found = [suites.find_suite(task) for task in self.tasks]
    if not any(suite is None or suite.has_protocol for suite in found):
      return {}  # Early runs recorded one of Atari though they played none.
    packages = [p for suite in found if suite for p in suite.packages]
    known = {package: self.versions.get(package) for package in packages}
    return {**(self.info.get('protocol') or {}), **known}

  @property
  def total(self) -> int:
    """Environment frames at which training is to end, 0 if unknown."""
    stop = self.config.get('stop_frames')
    return stop or self.config.get('total_environment_frames', 0)

  @property
  def is_complete(self) -> bool:
    """Whether it got to its end, which must be known.

    The newest record is at most one period of the log before the end.
    """
    period = 1
    for key in ('log_updates', 'batch_size', 'unroll_length'):
      period *= self.config.get(key, 0)
    period *= self.config.get('num_action_repeats', 0)
    missing = self.total - self.frames
    return bool(self.total) and missing <= max(period, self.total // 100)

  @property
  def state(self) -> str:
    """Returns 'complete', or how far it is."""
    if self.is_complete:
      return 'complete'
    frames = wording.format_frames(self.frames)
    if not self.total:
      return f'at {frames}, its end is not recorded'
    return f'incomplete: {frames} of {wording.format_frames(self.total)}'

  @property
  def name(self) -> str:
    """What a legend calls it; an incomplete run is marked."""
    name = f'{self.label}, seed {self.seed}'
    return name if self.is_complete else f'{name} ({self.state})'

  def table(self, name: str, more: Sequence[str] = ()) -> pd.DataFrame | None:
    """Reads a table of the run, checked.

    Args:
      name: one of `csv_files.TABLES`.
      more: columns of numbers that must also be there.

    Returns:
      Its rows; None without such a file.

    Raises:
      UserError: it is malformed, with the line.
    """
    path = csv_files.find(self.folder, name)
    numbers, words = csv_files.TABLES[name]
    return path and csv_files.read(path, (*numbers, *more), words)

  @functools.cached_property
  def evaluation(self) -> pd.DataFrame:
    """Its test episodes, without rows if it was not tested."""
    table = self.table('evaluation')
    if table is None:
      numbers, words = csv_files.TABLES['evaluation']
      return pd.DataFrame(columns=[*numbers, *words])
    return table

  @property
  def test_protocol(self) -> str:
    """The line that says how its test episodes were played."""
    return ' / '.join(dict.fromkeys(self.evaluation.protocol))

  @property
  def problem(self) -> str:
    """Why it is not a whole run, trained to its end and tested; '' if it is."""
    if not self.info:
      return 'no run.json'
    if not self.is_complete:
      return self.state.removeprefix('incomplete: ')
    counts = self.evaluation.task.value_counts()
    if counts.empty:
      return 'not tested'
    if len(counts) != len(self.tasks):
      return f'{len(counts)} of {len(self.tasks)} tasks tested'
    if counts.min() != counts.max():
      return f'{counts.min()} to {counts.max()} test episodes per task'
    return ''

  @property
  def checkpoint_frames(self) -> int | None:
    """Frames of the newest checkpoint, which are in its name; None if none."""
    pattern = os.path.join(glob.escape(self.folder), 'checkpoints')
    names = glob.glob(os.path.join(pattern, 'checkpoint_*.npz'))
    frames = [int(re.sub(r'\D', '', os.path.basename(name))) for name in names]
    return max(frames, default=None)


def read_run(folder: str, label: str = '') -> Run:
  """Reads what a run is and how far it is.

  Args:
    folder: of the run.
    label: of its agent.

  Raises:
    UserError: run.json or the newest record is malformed.
  """
  newest = _read_newest(folder)
  path = os.path.join(folder, 'run.json')
  info = json_files.read(path, if_missing={})
  json_files.check_run(path, info)
  return Run(
    folder,
    label,
    info,
    int(newest['env_frames']),
    newest['frames_per_sec'],
    newest['wall_secs'],
  )


def has_records(folder: str) -> bool:
  """Whether a folder is that of a run."""
  return os.path.isfile(os.path.join(folder, 'run.json')) or any(
    csv_files.find(folder, name) for name in csv_files.TABLES
  )


def _read_newest(folder):
  """Returns numbers of the newest row of the first table that has one."""
  newest = dict(env_frames=0.0, frames_per_sec=0.0, wall_secs=0.0)
  for name in ('updates', 'episodes', 'returns'):
    path = csv_files.find(folder, name)
    row = csv_files.read_last_row(path) if path else {}
    if not row:
      continue
    if 'env_frames' not in row:
      raise UserError(f'{path} has no column env_frames')
    for column in newest:
      newest[column] = _number(path, column, row.get(column, '0'))
    break
  return newest


def _number(path, column, text):
  try:
    number = float(text)
    if math.isfinite(number):
      return number
  except (TypeError, ValueError):
    pass  # A row that is cut off has None.
  said = json_files.shorten(text)
  raise UserError(f'{path}, last line: {column} is {said}')
