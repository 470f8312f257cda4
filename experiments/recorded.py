"""Recorded runs: experiments/results/<paper>/<row>/seed_<n>/ and their schema.

Every seed's folder holds

    run.json            config, command, commit, versions, protocol, hardware
    updates.csv.gz      losses and speed, a line every --log_updates
    episodes.csv.gz     one line per training episode, or
    returns.csv.gz      means per task and bin of frames, where they are many
    evaluation.csv      one line per test episode, with its protocol
    evaluation.md       the same beside published scores
    curve.png           learning curve (optional)
    tasks.csv.gz        PopArt's statistics (optional)

as experiments/record.py writes them. A folder <paper>/<row> without seeds is a
table experiment with columns of its own; its info.json names its command.
"""

import dataclasses
import glob
import json
import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from core import atari57, dmlab30
from core.errors import UserError
from experiments import run_records
from experiments.record import RESULTS

# By file its columns of numbers and of words. Others may stand beside them.
COLUMNS = {
  'updates.csv.gz': (
    ('num_updates', 'env_frames', 'frames_per_sec', 'wall_secs'),
    (),
  ),
  'episodes.csv.gz': (
    ('env_frames', 'episode_return', 'episode_length', 'wall_secs'),
    ('task',),
  ),
  'returns.csv.gz': (('env_frames', 'num_episodes', 'mean_return'), ('task',)),
  'evaluation.csv': (('episode', 'return', 'length'), ('task', 'protocol')),
  'tasks.csv.gz': (('env_frames', 'shift', 'scale'), ('task',)),
}
RUN_KEYS = (
  *('config', 'protocol', 'command', 'start_time', 'git', 'versions'),
  'hardware',
)
INFO_KEYS = ('command', 'hardware', 'wall_secs')
HARDWARE_KEYS = ('cpu', 'cpu_cores', 'accelerators')

_ALWAYS = ('run.json', 'updates.csv.gz', 'evaluation.csv', 'evaluation.md')
_TRAINING = ('episodes.csv.gz', 'returns.csv.gz')
_SOMETIMES = ('curve.png', 'tasks.csv.gz')
# Fields of a config that may differ between the seeds of one row.
_NOT_LEARNING = {
  *('logdir', 'seed', 'mode', 'log_updates', 'checkpoint_secs'),
  *('checkpoint_updates', 'keep_checkpoints', 'test_num_episodes'),
  *('start_states', 'num_start_states', 'record_video', 'dataset_path'),
  *('level_cache_dir', 'strategy', 'xla'),
}


class Result(NamedTuple):
  """One recorded seed.

  Attributes:
    run: config, frames and state of its training.
    evaluation: its test episodes; none if it was not tested.
    wall_secs: of training.
    problem: why it is no whole run; '' if it is.
  """

  run: run_records.Run
  evaluation: pd.DataFrame
  wall_secs: float
  problem: str

  @property
  def seed_name(self) -> str:
    """The name of its folder, such as 'seed_1'."""
    return os.path.basename(self.run.folder)


def names(results: str = RESULTS) -> list[str]:
  """Returns the recorded rows, '<paper>/<row>', that have seeds."""
  return [name for name, has_seeds in _folders(results) if has_seeds]


def table_experiments(results: str = RESULTS) -> list[str]:
  """Returns what is recorded in another shape, '<paper>/<row>'."""
  return [name for name, has_seeds in _folders(results) if not has_seeds]


def read(name: str, results: str = RESULTS) -> list[Result]:
  """Reads the seeds of a row, incomplete ones too.

  Args:
    name: '<paper>/<row>'.
    results: folder of all results.

  Raises:
    UserError: there is no such row; a file is malformed (with the line).
  """
  folder = os.path.join(results, name)
  if name not in names(results):
    raise UserError(f'{folder} has no recorded run (seed_<n>)')
  seeds = glob.glob(os.path.join(glob.escape(folder), 'seed_*'))
  for seed in seeds:
    if not re.fullmatch(r'seed_\d+', os.path.basename(seed)):
      raise UserError(f'{seed} is not named seed_<n>')
  return [_read(seed) for seed in sorted(seeds, key=_seed_number)]


def read_table_experiment(name: str, results: str = RESULTS) -> dict[str, Any]:
  """Returns info.json of a table experiment.

  Raises:
    UserError: it is missing, malformed or names no command.
  """
  path = os.path.join(results, name, 'info.json')
  try:
    with open(path, encoding='utf-8') as file:
      info = dict(json.load(file))
  except (OSError, TypeError, ValueError) as error:
    raise UserError(f'cannot read {path}: {error}') from error
  missing = [key for key in INFO_KEYS if key not in info]
  if missing:
    raise UserError(f'{path} has no {", ".join(missing)}')
  return info


def check(folder: str) -> None:
  """Checks a whole recorded run of one seed against the schema.

  Args:
    folder: .../seed_<n>.

  Raises:
    UserError: what is missing, malformed or too much.
  """
  files = set(os.listdir(folder))
  missing = [name for name in _ALWAYS if name not in files]
  if not files & set(_TRAINING):
    missing.append(' or '.join(_TRAINING))
  unknown = files - {*_ALWAYS, *_TRAINING, *_SOMETIMES}
  if missing or unknown:
    raise UserError(
      f'{folder}: missing: {", ".join(missing) or "nothing"}; not of the '
      f'schema: {", ".join(sorted(unknown)) or "nothing"}'
    )
  info = run_records.read_run(folder, '').info
  for keys, part in ((RUN_KEYS, info), (HARDWARE_KEYS, info.get('hardware'))):
    absent = [key for key in keys if key not in (part or {})]
    if absent:
      raise UserError(f'{folder}/run.json has no {", ".join(absent)}')
  if info['config'].get('seed') != _seed_number(folder):
    raise UserError(f'{folder}/run.json has another seed')
  for name in sorted(files & COLUMNS.keys()):
    _check_order(os.path.join(folder, name), _read_csv(folder, name))


def check_same_protocol(results: Sequence[Result]) -> None:
  """Refuses results whose scores do not compare.

  Raises:
    UserError: with the fields of protocol, environment versions or test
      protocol that differ, and who differs.
  """
  run_records.check_same_protocol([_with_test_protocol(r) for r in results])


def check_same_config(results: Sequence[Result]) -> None:
  """Refuses seeds of one row that learned in different ways.

  Fields that not all of them have are of later versions, and passed over.

  Raises:
    UserError: with the fields.
  """
  configs = {r.run.folder: r.run.info.get('config', {}) for r in results}
  shared = set.intersection(*map(set, configs.values())) - _NOT_LEARNING
  for field in sorted(shared):
    values = {folder: config[field] for folder, config in configs.items()}
    if len(set(map(str, values.values()))) > 1:
      said = ', '.join(f'{value} ({at})' for at, value in values.items())
      raise UserError(f'seeds of one row differ in {field}: {said}')


def evaluation_protocol(result: Result) -> str:
  """Returns the line that says how test episodes were played."""
  return ' / '.join(dict.fromkeys(result.evaluation.protocol))


def _folders(results):
  found = []
  for folder in sorted(glob.glob(os.path.join(results, '*', '*'))):
    if os.path.isdir(folder):
      name = '/'.join(os.path.normpath(folder).split(os.sep)[-2:])
      has_seeds = bool(glob.glob(os.path.join(folder, 'seed_*')))
      found.append((name, has_seeds))
  return found


def _seed_number(folder):
  return int(os.path.basename(os.path.normpath(folder)).split('_')[1])


def _read(folder):
  run = run_records.read_run(folder, folder)
  updates = _read_csv(folder, 'updates.csv.gz')
  evaluation = _read_csv(folder, 'evaluation.csv')
  wall_secs = float(updates.wall_secs.iloc[-1]) if len(updates) else 0.0
  problem = _training_problem(run) or _test_problem(run, evaluation)
  return Result(run, evaluation, wall_secs, problem)


def _read_csv(folder, name):
  """Returns a file of the schema; without rows if there is none."""
  numbers, words = COLUMNS[name]
  path = os.path.join(folder, name)
  if not os.path.exists(path):
    return pd.DataFrame(columns=[*numbers, *words])
  return run_records.read_csv(path, numbers, words)


def _training_problem(run):
  if not run.info:
    return 'no run.json'
  return '' if run.is_complete else run.state.removeprefix('incomplete: ')


def _test_problem(run, evaluation):
  """Says which part of the test is missing."""
  suites = {
    'atari57': len(atari57.GAMES),
    'dmlab30': len(dmlab30.LEVEL_MAPPING),
  }
  level_name = run.info['config']['level_name']
  num_tasks = suites.get(level_name, level_name.count(',') + 1)
  counts = evaluation.task.value_counts()
  if counts.empty:
    return 'not tested'
  if len(counts) != num_tasks:
    return f'{len(counts)} of {num_tasks} tasks tested'
  if counts.min() != counts.max():
    return f'{counts.min()} to {counts.max()} test episodes per task'
  return ''


def _check_order(path, table):
  """Looks for rows that are missing, doubled or out of order."""
  if table.empty:
    raise UserError(f'{path} has no row')
  if 'env_frames' in table and not table.env_frames.is_monotonic_increasing:
    raise UserError(f'{path}: env_frames fall')
  if 'num_updates' in table and len(set(table.num_updates.diff()[1:])) > 1:
    raise UserError(f'{path}: rows are missing or doubled')


def _with_test_protocol(result):
  """Returns its run, with how it was tested as a field of the protocol."""
  info = dict(result.run.info)
  info['protocol'] = {**info['protocol'], 'test': evaluation_protocol(result)}
  return dataclasses.replace(result.run, info=info)
