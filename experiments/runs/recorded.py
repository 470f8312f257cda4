"""Recorded runs: experiments/results/<paper>/<row>/seed_<n>/ and their schema.

Every seed's folder holds

    run.json            config, command, commit, versions, protocol, hardware
    updates.csv.gz      losses and speed, a line every --log_updates
    episodes.csv.gz     one line per training episode, or
    returns.csv.gz      means per task and bin of frames, where they are many
    evaluation.csv      one line per test episode, with its protocol
    evaluation.md       the same beside published scores
    curve.png           learning curve (optional)
    tasks.csv.gz        PopArt's statistics, PRL's iterations (optional)
    held_out.csv.gz     PRL's predictions of held-out cases (optional)

as experiments/record.py writes them; csv_files.py has the columns. A folder
<paper>/<row> without seeds is a table experiment with columns of its own; its
info.json names its command.
"""

import glob
import os
from collections.abc import Sequence
from typing import Any

from core import config as configs
from core.errors import UserError
from core.run_config import ActorLearnerConfig
from experiments.runs import json_files, reader
from experiments.runs.reader import SEED_FOLDER, Run

RESULTS = os.path.join('experiments', 'results')
RUN_KEYS = (
  'config',
  'protocol',
  'command',
  'start_time',
  'git',
  'versions',
  'hardware',
)
INFO_KEYS = ('command', 'hardware', 'wall_secs')
HARDWARE_KEYS = ('cpu', 'cpu_cores', 'accelerators')

_ALWAYS = ('run.json', 'updates.csv.gz', 'evaluation.csv', 'evaluation.md')
_TRAINING = ('episodes.csv.gz', 'returns.csv.gz')
_SOMETIMES = ('curve.png', 'tasks.csv.gz', 'held_out.csv.gz')


def names(results: str = RESULTS) -> list[str]:
  """Returns the recorded rows, '<paper>/<row>', that have seeds."""
  return [name for name, has_seeds in _folders(results) if has_seeds]


def table_experiments(results: str = RESULTS) -> list[str]:
  """Returns what is recorded in another shape, '<paper>/<row>'."""
  return [name for name, has_seeds in _folders(results) if not has_seeds]


def read(name: str, results: str = RESULTS) -> list[Run]:
  """Reads the seeds of a row, incomplete ones too.

  Args:
    name: '<paper>/<row>'.
    results: folder of all results.

  Returns:
    The runs, labelled with their folders.

  Raises:
    UserError: there is no such row; a file is malformed (with the line).
  """
  folder = os.path.join(results, name)
  seeds = glob.glob(os.path.join(glob.escape(folder), 'seed_*'))
  if not seeds:
    raise UserError(f'{folder} has no recorded run (seed_<n>)')
  for seed in seeds:
    if not SEED_FOLDER.search(seed):
      raise UserError(f'{seed} is not named seed_<n>')
  return [reader.read_run(s, s) for s in sorted(seeds, key=_seed_number)]


def read_table_experiment(name: str, results: str = RESULTS) -> dict[str, Any]:
  """Returns info.json of a table experiment.

  Raises:
    UserError: it is missing, malformed or names no command.
  """
  path = os.path.join(results, name, 'info.json')
  info = json_files.read(path)
  missing = [key for key in INFO_KEYS if key not in info]
  if missing:
    raise UserError(f'{path} has no {", ".join(missing)}')
  json_files.check_run(path, info)
  if not json_files.is_number(info['wall_secs']):
    raise UserError(f'{path}: wall_secs is not a number')
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
  run = reader.read_run(folder)
  for keys, part in (
    (RUN_KEYS, run.info),
    (HARDWARE_KEYS, run.info.get('hardware')),
  ):
    absent = [key for key in keys if key not in (part or {})]
    if absent:
      raise UserError(f'{folder}/run.json has no {", ".join(absent)}')
  if run.config.get('seed') != _seed_number(folder):
    raise UserError(f'{folder}/run.json has another seed')
  for file in sorted(name for name in files if '.csv' in name):
    _check_order(os.path.join(folder, file), run.table(file.split('.')[0]))


def fields_of_machine() -> set[str]:
  """Returns the fields of a config on which what is learned does not depend.

  Papers add none.
  """
  return configs.names(ActorLearnerConfig, changes_learning=False)


def check_same_config(runs: Sequence[Run]) -> None:
  """Refuses seeds of one row that learned in different ways.

  Fields that not all of them have are of later versions, and passed over.

  Raises:
    UserError: with the fields.
  """
  shared = set.intersection(*(set(run.config) for run in runs))
  shared -= fields_of_machine()
  for field in sorted(shared):
    values = {run.folder: run.config[field] for run in runs}
    if len(set(map(str, values.values()))) > 1:
      said = ', '.join(f'{value} ({at})' for at, value in values.items())
      raise UserError(f'seeds of one row differ in {field}: {said}')


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


def _check_order(path, table):
  """Looks for rows that are missing, doubled or out of order."""
  if table.empty:
    raise UserError(f'{path} has no row')
  if 'env_frames' in table and not table.env_frames.is_monotonic_increasing:
    raise UserError(f'{path}: env_frames fall')
  if 'num_updates' in table and len(set(table.num_updates.diff()[1:])) > 1:
    raise UserError(f'{path}: rows are missing or doubled')
