"""Compares two runs, or two sets of runs, task by task and in the aggregate.

    python -m experiments.compare OLD [OLD2 ...] --with NEW [NEW2 ...]
    python -m experiments.compare OLD --with NEW --markdown

prints the table that belongs to a change which may move a number. A folder is a
logdir, a recorded result, or a folder of seed_* folders. Incomplete runs are
named and left out. Runs of different protocols or tasks are refused.

Intervals are scipy.stats.bootstrap's: percentiles of 95 %. Whole runs are drawn
anew, as one run plays all its tasks; with a single run of a kind on one side
episodes are, and the interval then tells nothing about other seeds.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import rich.box
import rich.console
import rich.table

from core.errors import UserError
from experiments import run_records, run_scores
from experiments.run_records import Run
from experiments.run_scores import AGGREGATES, References, Scores

A, B = 'A', 'B'
NUM_RESAMPLES = 5000
CONFIDENCE = 0.95
FEW_RUNS = 5
_HEADER = ('task', A, B, 'B - A', '95 % interval', '')


class Row(NamedTuple):
  """One line of the comparison.

  Attributes:
    name: of a task, with its unit, or of an aggregate.
    a: float, mean of A's runs.
    b: float, mean of B's.
    low: float, lower end of the interval of b - a; NaN if there is none.
    high: float, upper end.
    is_aggregate: whether it is over all tasks, in percent.
  """

  name: str
  a: float
  b: float
  low: float
  high: float
  is_aggregate: bool

  @property
  def is_told_apart(self) -> bool:
    """Whether the interval leaves out 0."""
    return self.low > 0 or self.high < 0


class Comparison(NamedTuple):
  """What is compared, and how it comes out.

  Attributes:
    runs: by side, all that were named.
    rows: a line per task and per aggregate.
    source: which returns count.
    unit: 'runs' or 'episodes': what the bootstrap draws.
    note: on references that are missing, or ''.
  """

  runs: dict[str, list[Run]]
  rows: list[Row]
  source: str
  unit: str
  note: str


class _Cell(NamedTuple):
  """Units that are drawn together: a matrix [num_units, num_columns]."""

  values: np.ndarray
  columns: list[int]  # Indices of tasks.
  is_of_runs: bool  # Else a unit is an episode.


def compare(
  folders_a: Sequence[str], folders_b: Sequence[str], references: str = ''
) -> Comparison:
  """Compares B with A.

  Args:
    folders_a: runs of A.
    folders_b: runs of B.
    references: CSV file of further references, or ''.

  Raises:
    UserError: a folder has no records, a side has no complete run, protocols or
      tasks differ, or a file is malformed.
  """
  named = [f'{A}={f}' for f in folders_a] + [f'{B}={f}' for f in folders_b]
  agents = run_records.read_agents(named)
  scores = run_scores.read_scores(agents)
  tasks = _common_tasks(scores, run_scores.runs_of(agents))
  known = run_scores.find_references(tasks, scores.is_human_starts, references)
  cells, unit = _make_cells(scores, tasks)
  missing = [task for task in tasks if task not in known]
  note = ''
  if missing:
    note = f'No aggregates: no 0 and 100 % are known for {", ".join(missing)}.'
  rows = _bootstrap(cells, tasks, known, names=[] if missing else None)
  return Comparison(agents, rows, scores.source, unit, note)


def to_rich(comparison: Comparison) -> rich.table.Table:
  """Returns the table for a terminal."""
  table = rich.table.Table(box=rich.box.SIMPLE, padding=(0, 1, 0, 0))
  for i, name in enumerate(_HEADER):
    justify = 'right' if 0 < i < 5 else 'left'
    table.add_column(name, justify=justify, no_wrap=True)
  rows = comparison.rows
  for i, row in enumerate(rows):
    is_last = not row.is_aggregate and rows[min(i + 1, len(rows) - 1)][-1]
    table.add_row(*_row_cells(row), end_section=is_last)
  return table


def to_markdown(comparison: Comparison) -> str:
  """Returns table and notes for a description of a change."""
  ruler = ['---', *['---:'] * 4, '---']
  lines = [_HEADER, ruler, *map(_row_cells, comparison.rows)]
  table = [f'| {" | ".join(cells)} |' for cells in lines]
  return '\n'.join([*table, '', *(f'- {n}' for n in notes(comparison))])


def notes(comparison: Comparison) -> list[str]:
  """Returns the lines under the table: what was compared, and how."""
  lines = [_describe(side, runs) for side, runs in comparison.runs.items()]
  complete = run_records.complete_runs(comparison.runs)
  runs = run_scores.runs_of(complete)
  if len({run.frames for run in runs}) > 1:
    lines.append('The runs differ in frames.')
  fields = runs[0].info['protocol'].items()
  protocol = ', '.join(f'{name} {json.dumps(v)}' for name, v in fields)
  lines.append(f'Protocol of both: {protocol}.')
  lines.append(f'Returns: {comparison.source}.')
  intervals = '95 % percentile bootstrap (scipy) over whole runs'
  if comparison.unit == 'episodes':
    intervals = (
      '95 % percentile bootstrap (scipy) over episodes, because a task has one '
      'run on some side: they tell nothing about other seeds'
    )
  elif min(map(len, complete.values())) < FEW_RUNS:
    intervals += f'; of fewer than {FEW_RUNS} runs they are too narrow'
  lines.append(
    f'Intervals of B - A: {intervals}. "higher" and "lower" say that 0 is '
    f'outside; of {len(comparison.rows)} lines without any difference one in '
    '20 would say so.'
  )
  return lines + [comparison.note] * bool(comparison.note)


def _common_tasks(scores: Scores, runs: Sequence[Run]) -> list[str]:
  """Returns the tasks, the same on both sides.

  Raises:
    UserError: they are not; with those that one side has alone.
  """
  on_side = {
    side: {task for run in of_side for task in run}
    for side, of_side in scores.returns.items()
  }
  lines = [
    f'only {side} has {", ".join(sorted(on_side[side] - on_side[other]))}'
    for side, other in ((A, B), (B, A))
    if on_side[side] - on_side[other]
  ]
  if lines:
    raise UserError('the tasks differ: ' + '; '.join(lines))
  return run_records.order_tasks(on_side[A], runs)


def _make_cells(scores, tasks):
  """Returns by side what the bootstrap draws, and the name of its unit.

  Runs of the same tasks are one cell: the tasks of one run are not independent.
  If some cell had a single run, every task is a cell of episodes.
  """
  cells = {}
  for side, runs in scores.returns.items():
    by_tasks: dict[tuple[str, ...], list] = {}
    for run in runs:
      own = tuple(task for task in tasks if task in run)
      by_tasks.setdefault(own, []).append([run[task].mean() for task in own])
    cells[side] = [
      _Cell(np.array(means), [tasks.index(task) for task in own], True)
      for own, means in by_tasks.items()
    ]
  if min(len(c.values) for side in cells.values() for c in side) > 1:
    return cells, 'runs'
  for side, runs in scores.returns.items():
    cells[side] = []
    for i, task in enumerate(tasks):
      returns = np.concatenate([run[task] for run in runs if task in run])
      cells[side].append(_Cell(returns[:, np.newaxis], [i], False))
  return cells, 'episodes'


def _bootstrap(cells, tasks, references: References, names=None) -> list[Row]:
  """Returns a row per task and per aggregate named (None: all that apply)."""
  if names is None:
    names = list(AGGREGATES) if len(tasks) > 1 else []
    if run_scores.default_aggregate(tasks) != 'capped mean':
      names = [name for name in names if name != 'capped mean']
  samples = [c for side in (A, B) for c in cells[side]]
  num_a = len(cells[A])

  def statistics(*indices, axis=-1):
    """Returns sides [2, rows, ...] of drawn units [..., num_units]."""
    del axis  # The last one.
    return np.stack(
      [
        _side_statistics(samples[side], indices[side], tasks, references, names)
        for side in (slice(None, num_a), slice(num_a, None))
      ]
    )

  def difference(*indices, axis=-1):
    a, b = statistics(*indices, axis=axis)
    return b - a

  everything = [np.arange(len(cell.values)) for cell in samples]
  a, b = statistics(*everything)
  low = high = np.full(len(a), np.nan)
  if min(map(len, everything)) > 1:
    from scipy import stats

    low, high = stats.bootstrap(
      everything,
      difference,
      vectorized=True,
      n_resamples=NUM_RESAMPLES,
      batch=500,
      confidence_level=CONFIDENCE,
      method='percentile',
      rng=np.random.default_rng(0),
    ).confidence_interval
  short = run_records.short_names(tasks)
  titles = [short[task] for task in tasks]
  titles += [f'{name} of {len(tasks)}, %' for name in names]
  return [
    Row(title, *map(float, numbers), i >= len(tasks))
    for i, (title, *numbers) in enumerate(
      zip(titles, a, b, low, high, strict=True)
    )
  ]


def _side_statistics(cells, indices, tasks, references, names):
  """Returns a side's means and aggregates, float [rows, ...].

  As in rliable, the IQM is of all runs' scores of all tasks, the others are of
  the tasks' means. Where a unit is an episode, all are of the tasks' means.
  """
  drawn = [[] for _ in tasks]  # Of each task, arrays [..., num_units].
  for cell, of_cell in zip(cells, indices, strict=True):
    for column, task in enumerate(cell.columns):
      drawn[task].append(cell.values[of_cell, column])
  drawn = [np.concatenate(values, axis=-1) for values in drawn]
  rows = [values.mean(axis=-1) for values in drawn]
  if not names:
    return np.stack(rows)
  known = [references[task] for task in tasks]
  scored = np.stack(list(map(run_scores.normalize, rows, known)))
  is_of_runs = any(cell.is_of_runs for cell in cells)
  for name in names:
    values = scored
    if name == 'iqm' and is_of_runs:
      units = list(map(run_scores.normalize, drawn, known))
      values = np.moveaxis(np.concatenate(units, axis=-1), -1, 0)
    rows.append(AGGREGATES[name](values, axis=0))
  return np.stack(rows)


def _row_cells(row):
  interval = 'none'
  if not np.isnan(row.low):
    interval = f'[{_signed(row.low)}, {_signed(row.high)}]'
  mark = '' if not row.is_told_apart else ('higher' if row.low > 0 else 'lower')
  difference = _signed(row.b - row.a)
  return [row.name, _plain(row.a), _plain(row.b), difference, interval, mark]


def _describe(side, runs):
  complete = [run for run in runs if run.is_complete]
  commits = {_commit(run) for run in complete}
  frames = {run_records.format_frames(run.frames) for run in complete}
  folders = dict.fromkeys(run_records.agent_folder(r.folder) for r in complete)
  seeds = ', '.join(run.seed for run in complete)
  plural = 's' * (len(complete) > 1)
  line = (
    f'{side}: {len(complete)} run{plural}, seed{plural} {seeds}; '
    f'{" or ".join(sorted(frames))} frames; commit '
    f'{" or ".join(sorted(commits))}; {", ".join(folders)}.'
  )
  for run in runs:
    if not run.is_complete:
      line += f' Left out: {run.folder} ({run.state}).'
  return line


def _commit(run):
  git = run.info.get('git') or {}
  return str(git.get('commit'))[:10] + ' and changes' * bool(git.get('dirty'))


def _plain(number):
  return f'{number:,.1f}' if abs(number) >= 100 else f'{number:.3g}'


def _signed(number):
  return f'{"+" if number > 0 else ""}{_plain(number)}'


def main() -> None:
  """Prints the comparison that the command line asks for."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.compare', description='Compare runs.'
  )
  parser.add_argument('a', nargs='+', metavar='A', help='logdirs or results')
  parser.add_argument(
    *('--with', '-w'), dest='b', nargs='+', required=True, metavar='B'
  )
  parser.add_argument('--markdown', action='store_true')
  parser.add_argument(
    '--references', default='', help='CSV: task, random, human (0 and 100 %%)'
  )
  arguments = parser.parse_args()
  try:
    comparison = compare(arguments.a, arguments.b, arguments.references)
  except UserError as error:
    sys.exit(f'error: {error}')
  if arguments.markdown:
    print(to_markdown(comparison))
  else:
    console = rich.console.Console(highlight=False)
    console.print(to_rich(comparison))
    for line in notes(comparison):
      console.print(line, markup=False)


if __name__ == '__main__':
  main()
