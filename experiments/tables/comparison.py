"""Sets our recorded runs beside published numbers.

experiments/reference/runs.csv says which recorded row belongs to which
published one; a published number without a line there was not run.
"""

import functools
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from core.errors import UserError
from core.suites import scores
from core.suites import tasks as suites
from experiments.runs import csv_files, grouping, recorded, scoring
from experiments.runs.reader import Run
from experiments.tables import published

CONNECTION_COLUMNS = ('paper', 'item', 'row', 'task', 'results')

RUN = 'run'
NOT_RUN = 'not run at this scale'
OTHER_PROTOCOL = 'not run in this protocol'
NOT_MEASURED = 'not measured'
INCOMPLETE = 'incomplete'

MEAN_RETURN = 'mean return'
# What we compute of a suite, in percent, by the name of the published
# statistic, and what the published unit is in percent.
SUITE_STATISTICS = {
  'median human-normalised %': ('median', 1.0),
  'mean human-normalised %': ('mean', 1.0),
  'mean human-normalised': ('mean', 100.0),
  'mean normalised score': ('mean', 100.0),  # Of success where tasks tell it.
}
# By how a published protocol begins, what the line of ours must contain.
# Human start states were never published: no test of ours plays from them.
_REQUIRED = {
  '1-30 no-ops': 'start: 1-30 no-ops;',
  'human starts': 'start: human starts;',
  'test levels': 'test levels,',
  'training levels': 'training levels,',
}


class Connection(NamedTuple):
  """A line of runs.csv; `results` is '<paper>/<row>' of what we recorded."""

  paper: str
  item: str
  row: str
  task: str
  results: str


class Ours(NamedTuple):
  """What we have for one published number.

  Attributes:
    status: RUN, NOT_RUN, OTHER_PROTOCOL, NOT_MEASURED or INCOMPLETE.
    name: '<paper>/<row>' of the results, '' if nothing was run.
    value: the statistic over `tasks`, in the published unit.
    low: lower end of its 95 % bootstrap interval, NaN if it cannot be told.
    high: upper end.
    tasks: those that were played, of `num_tasks` that the statistic is over.
    num_tasks: in the published suite.
    whole: runs that count.
    incomplete: runs that do not.
  """

  status: str = NOT_RUN
  name: str = ''
  value: float = np.nan
  low: float = np.nan
  high: float = np.nan
  tasks: tuple[str, ...] = ()
  num_tasks: int = 0
  whole: tuple[Run, ...] = ()
  incomplete: tuple[Run, ...] = ()

  @property
  def is_run(self) -> bool:
    """Whether there is a value."""
    return self.status == RUN


class Line(NamedTuple):
  """A published number, a row of `published.read`, beside ours."""

  published: Any
  ours: Ours


def read_connections(folder: str = published.FOLDER) -> list[Connection]:
  """Reads which recorded rows belong to which published ones.

  Args:
    folder: where runs.csv is.

  Raises:
    UserError: it is malformed, names a line twice or no published row (with
      the line).
  """
  path = os.path.join(folder, 'runs.csv')
  table = csv_files.read(path, (), CONNECTION_COLUMNS)
  if tuple(table.columns) != CONNECTION_COLUMNS:
    raise UserError(
      f'{path}, line 1: the columns must be {",".join(CONNECTION_COLUMNS)}'
    )
  lines = [Connection(*row) for row in table.itertuples(index=False)]
  for number, line in enumerate(lines, start=2):
    try:
      rows = published.select(line.paper, line.item, folder)
    except UserError as error:
      raise UserError(f'{path}, line {number}: {error}') from error
    if rows[(rows['row'] == line.row) & (rows['task'] == line.task)].empty:
      raise UserError(
        f'{path}, line {number}: {line.paper}, {line.item} has no row '
        f'{line.row!r} with task {line.task!r}'
      )
    if line in lines[: number - 2]:
      raise UserError(f'{path}, line {number}: a line for the second time')
  return lines


def compare(
  paper: str,
  item: str,
  row: str | None = None,
  folder: str = published.FOLDER,
  results: str = recorded.RESULTS,
) -> list[Line]:
  """Sets ours beside each number of a published table.

  Args:
    paper: one of `published.PAPERS`.
    item: one of `published.items(paper)`.
    row: this published row only.
    folder: where <paper>.csv and runs.csv are.
    results: folder of recorded results.

  Returns:
    A line per published number in the order of the file; several where several
    recorded rows belong to it.

  Raises:
    UserError: nothing of this name is published; results of different
      protocols would stand in one table; a file is malformed.
  """
  table = published.select(paper, item, folder)
  if row is not None:
    known = list(table['row'].unique())
    if row not in known:
      raise UserError(f'{paper}, {item} has no row {row!r}; there are {known}')
    table = table[table['row'] == row]
  connections = [
    line
    for line in read_connections(folder)
    if (line.paper, line.item) == (paper, item)
  ]
  seeds: dict[str, list[Run]] = {}
  lines = []
  for number in table.itertuples(index=False):
    names = [
      line.results
      for line in connections
      if (line.row, line.task) == (number.row, number.task)
    ]
    for name in names:
      if name not in seeds:
        seeds[name] = recorded.read(name, results)
      lines.append(Line(number, _compare_one(number, name, seeds[name])))
    if not names:
      lines.append(Line(number, Ours()))
  check_same_protocol(lines)
  return lines


def _compare_one(number, name: str, results: Sequence[Run]) -> Ours:
  """Returns what a recorded row says about a published number."""
  whole = tuple(r for r in results if not r.problem)
  incomplete = tuple(r for r in results if r.problem)
  ours = Ours(name=name, whole=whole, incomplete=incomplete)
  if not whole:
    return ours._replace(status=INCOMPLETE)
  recorded.check_same_config(whole)
  protocol = whole[0].test_protocol
  for start, required in _REQUIRED.items():
    if number.protocol.startswith(start) and required not in protocol:
      return ours._replace(status=OTHER_PROTOCOL)
  if number.statistic == MEAN_RETURN:
    suite, statistic, unit = (number.task,), 'mean', 1.0
  elif number.statistic in SUITE_STATISTICS and _tasks_of(number.task):
    suite = _tasks_of(number.task)
    statistic, unit = SUITE_STATISTICS[number.statistic]
  else:
    return ours._replace(status=NOT_MEASURED)
  played = set.intersection(*(set(r.evaluation.task) for r in whole))
  tasks = tuple(task for task in suite if task in played)
  if not tasks:
    raise UserError(f'runs.csv: {name} was not tested on {number.task}')
  if any(_column(number, tasks) not in r.evaluation for r in whole):
    return ours._replace(status=NOT_MEASURED)
  value, low, high = _estimate(number, whole, tasks, statistic)
  return ours._replace(
    status=RUN,
    value=value / unit,
    low=low / unit,
    high=high / unit,
    tasks=tasks,
    num_tasks=len(suite),
  )


def _estimate(
  number,
  results: Sequence[Run],
  tasks: Sequence[str],
  statistic: str,
) -> scores.Aggregate:
  """Estimates a statistic over tasks and its interval.

  The bootstrap is over seeds, stratified by task; with one seed over its test
  episodes, which leaves out how much seeds differ.
  """
  column = _column(number, tasks)
  returns = [  # [seed][task, episode]
    np.array([r.evaluation[column][r.evaluation.task == t] for t in tasks])
    for r in results
  ]
  if column == 'success':
    returns = [100.0 * per_seed for per_seed in returns]
  elif number.statistic != MEAN_RETURN:
    references = list(map(suites.reference, tasks))
    returns = [
      np.stack(list(map(scoring.normalize, per_seed, references)))
      for per_seed in returns
    ]
  cap = 100.0 if 'capped at 100' in number.protocol else np.inf
  matrix = np.minimum([r.mean(axis=1) for r in returns], cap)  # [seeds, tasks]
  estimate = _aggregate(matrix)[statistic]
  # A cap on single episodes would be another statistic.
  if len(results) > 1 or np.isfinite(cap) or returns[0].shape[1] < 2:
    return estimate
  interval = _aggregate(returns[0].T)[statistic]
  return estimate._replace(low=interval.low, high=interval.high)


def _column(number, tasks):
  """Returns which column of evaluation.csv a statistic is computed from."""
  suite = suites.find_suite(tasks[0])
  is_success = suite is not None and suite.has_success
  is_success = is_success and number.statistic != MEAN_RETURN
  return 'success' if is_success else 'return'


def _aggregate(matrix: np.ndarray) -> dict[str, scores.Aggregate]:
  """Returns `scores.aggregate`, which a table asks for several times."""
  return _aggregate_once(tuple(map(tuple, matrix.tolist())))


@functools.cache
def _aggregate_once(rows):
  return scores.aggregate(np.array(rows), seed=0)


def _tasks_of(name: str) -> tuple[str, ...]:
  """Returns the tasks of a suite or set, none if we cannot score it."""
  for suite in suites.SUITES:
    if name in suite.lists:
      return suite.expand(name)
    if name.removesuffix('_unclipped') == suite.name:
      return suite.names
  return ()


def check_same_protocol(lines: Sequence[Line]) -> None:
  """Refuses results of different protocols for the same kind of task.

  Raises:
    UserError: with the fields that differ.
  """
  groups: dict[tuple, dict[str, Run]] = {}
  for number, ours in lines:
    if not ours.is_run:
      continue
    suite = suites.find_suite(ours.tasks[0])
    kind = suite.title if suite else ours.tasks[0]
    group = groups.setdefault((number.protocol, kind), {})
    group.update({run.folder: run for run in ours.whole})
  for (protocol, kind), group in groups.items():
    try:
      grouping.check_same_protocol(list(group.values()), with_tests=True)
    except UserError as error:
      number = lines[0].published
      raise UserError(
        f'{number.paper}, {number.item} ({kind}, {protocol}): {error}; print '
        'its rows apart with --row'
      ) from error
