"""Differences between two sets of runs: per task, and of the aggregates.

Whole runs are drawn anew by the bootstrap, as one run plays all its tasks; with
a single run of a kind on one side episodes are, and the interval then tells
nothing about other seeds.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from core.errors import UserError
from experiments.runs import bootstrap, grouping, scoring
from experiments.runs.reader import Run
from experiments.runs.scoring import AGGREGATES, References, Scores

A, B = 'A', 'B'
NUM_RESAMPLES = 5000


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
    missing: tasks without a reference, which leave no aggregates.
  """

  runs: dict[str, list[Run]]
  rows: list[Row]
  source: str
  unit: str
  missing: list[str]


class _Cell(NamedTuple):
  """Units that are drawn together: a matrix [num_units, num_columns]."""

  values: np.ndarray
  columns: list[int]  # Indices of tasks.


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
  agents = grouping.read_agents(named)
  scores = scoring.read_scores(agents, references)
  tasks = _common_tasks(scores, grouping.runs_of(agents))
  missing = [task for task in tasks if task not in scores.references]
  names = []
  if len(tasks) > 1 and not missing:
    names = scoring.aggregate_names(tasks)
  cells, unit = _run_cells(scores, tasks), 'runs'
  if min(len(c.values) for side in cells.values() for c in side) < 2:
    cells, unit = _episode_cells(scores, tasks), 'episodes'
  numbers = _bootstrap(cells, tasks, scores.references, names, unit)
  short = grouping.short_names(tasks)
  titles = [short[task] for task in tasks]
  titles += [f'{name} of {len(tasks)}, %' for name in names]
  rows = [
    Row(title, *map(float, of_row), i >= len(tasks))
    for i, (title, of_row) in enumerate(zip(titles, numbers, strict=True))
  ]
  return Comparison(agents, rows, scores.source, unit, missing)


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
  return grouping.order_tasks(on_side[A], runs)


def _run_cells(scores, tasks):
  """Returns by side a cell per set of tasks that a run has.

  The tasks of one run are not independent, so they are drawn together.
  """
  cells = {}
  for side, runs in scores.returns.items():
    by_tasks: dict[tuple[str, ...], list] = {}
    for run in runs:
      own = tuple(task for task in tasks if task in run)
      by_tasks.setdefault(own, []).append([run[task].mean() for task in own])
    cells[side] = [
      _Cell(np.array(means), [tasks.index(task) for task in own])
      for own, means in by_tasks.items()
    ]
  return cells


def _episode_cells(scores, tasks):
  """Returns by side a cell per task, whose units are episodes."""
  cells = {side: [] for side in scores.returns}
  for side, runs in scores.returns.items():
    for i, task in enumerate(tasks):
      returns = np.concatenate([run[task] for run in runs if task in run])
      cells[side].append(_Cell(returns[:, np.newaxis], [i]))
  return cells


def _bootstrap(cells, tasks, references: References, names, unit):
  """Returns a, b, low and high of every task and aggregate, float [rows, 4]."""
  samples = [*cells[A], *cells[B]]
  num_a = len(cells[A])

  def statistics(*indices):
    """Returns sides [2, rows, ...] of drawn units [..., num_units]."""
    return np.stack(
      [
        _side_statistics(samples[s], indices[s], tasks, references, names, unit)
        for s in (slice(None, num_a), slice(num_a, None))
      ]
    )

  def difference(*indices, axis):
    del axis  # The last one.
    a, b = statistics(*indices)
    return b - a

  units = [np.arange(len(cell.values)) for cell in samples]
  a, b = statistics(*units)
  low = high = np.full(len(a), np.nan)
  if min(map(len, units)) > 1:
    low, high = bootstrap.interval(units, difference, NUM_RESAMPLES)
  return np.stack([a, b, low, high], axis=1)


def _side_statistics(cells, indices, tasks, references, names, unit):
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
  scored = np.stack(list(map(scoring.normalize, rows, known)))
  for name in names:
    values = scored
    if name == 'iqm' and unit == 'runs':
      units = list(map(scoring.normalize, drawn, known))
      values = np.moveaxis(np.concatenate(units, axis=-1), -1, 0)
    rows.append(AGGREGATES[name](values, axis=0))
  return np.stack(rows)
