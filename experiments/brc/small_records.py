"""Records the small experiments: a table of evaluations per sweep.

experiments/results/brc/<name>/ holds tasks.csv.gz, the tasks.csv of all runs of
a sweep with the columns `setting` and `seed` before the others, and info.json.
"""

import json
import os
from typing import Any

import numpy as np
import pandas as pd

from core.errors import UserError
from core.files import atomic_file
from experiments.launch import process, sweeps
from experiments.runs import bootstrap, csv_files, json_files, reader

RESULTS = os.path.join('experiments', 'results', 'brc')


def record(name: str, sweep: sweeps.Sweep, num_parallel: int) -> None:
  """Puts what all runs of a sweep evaluated into one table.

  Args:
    name: of the experiment.
    sweep: its finished runs.
    num_parallel: how many ran at once, for the time that all took.

  Raises:
    UserError: a run has not got to its end or evaluated nothing.
  """
  tables, secs = [], 0.0
  for planned in sweep.runs:
    one = reader.read_run(planned.logdir)
    table = one.table('tasks', ('evaluation_return',))
    if not one.is_complete or table is None or table.empty:
      raise UserError(f'{one.folder} is incomplete: --run goes on')
    setting, seed = planned.name.split('/seed_')
    table.insert(0, 'setting', setting)
    table.insert(1, 'seed', int(seed))
    tables.append(table)
    secs += process.read_state(planned.logdir).secs
  folder = os.path.join(RESULTS, name)
  os.makedirs(folder, exist_ok=True)
  with atomic_file(os.path.join(folder, 'tasks.csv.gz')) as file:
    pd.concat(tables).to_csv(
      file,
      index=False,
      float_format='%.5g',
      compression=dict(method='gzip', mtime=0),
    )
  # Of the last run; what differs between runs stands in the table.
  command = f'python -m experiments.brc.small_results --run={name}'
  info = dict(one.info) | dict(
    command=command, wall_secs=round(secs / num_parallel, 1)
  )
  with atomic_file(os.path.join(folder, 'info.json')) as file:
    file.write((json.dumps(info, indent=2) + '\n').encode())


def read(name: str) -> pd.DataFrame | None:
  """Reads a recorded experiment.

  Args:
    name: of it.

  Returns:
    A row per run, evaluation and task: setting, seed, env_frames, task,
    evaluation_return and what else was measured; None if it is not recorded.
  """
  path = os.path.join(RESULTS, name, 'tasks.csv.gz')
  if not os.path.exists(path):
    return None
  numbers = ('seed', 'env_frames', 'evaluation_return')
  return csv_files.read(path, numbers, ('setting', 'task'))


def read_config(name: str) -> dict[str, Any]:
  """Returns the config of a recorded experiment's last run."""
  path = os.path.join(RESULTS, name, 'info.json')
  return json_files.read(path)['config']


def latest(table: pd.DataFrame, num_evaluations: int = 1) -> pd.DataFrame:
  """Returns the rows of each setting's last evaluations."""
  frames = table.groupby('setting').env_frames
  rank = frames.rank(method='dense', ascending=False)
  return table[rank <= num_evaluations]


def cell(values: np.ndarray, decimals: int) -> str:
  """Writes the mean over seeds and its 95 % bootstrap interval.

  Args:
    values: a number per seed; '-' if there is none.
    decimals: digits after the point.
  """
  if not len(values):
    return '-'
  text = f'{np.mean(values):.{decimals}f}'
  if len(values) > 1:
    low, high = bootstrap.mean_interval(np.asarray(values))
    text += f' [{low:.{decimals}f}, {high:.{decimals}f}]'
  return text
