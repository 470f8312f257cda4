"""Tables of evaluations beside random, human and published scores."""

import collections
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import rich.box
import rich.console
import rich.table

from core.evaluation.episodes import EvaluationRow
from core.suites import scores
from core.suites.tasks import SUITES, find_suite
from core.suites.tasks import reference as find_reference

_NONE = '-'
_SUCCESS = 'success %'
_OWN = ('episodes', 'return', 'random', 'human', 'normalised %')
# Of a terminal's characters: beside all columns, and between two.
_EDGES, _GAP = 3, 2
_MIN_NAME = 12  # Names of tasks that are longer may be folded to this.


class TaskScore(NamedTuple):
  """What an evaluation says about one task.

  Attributes:
    task: str.
    num_episodes: int.
    mean: float, mean raw return.
    standard_error: float, of the mean; NaN with one episode.
    random: float, random play; NaN where no reference is known.
    human: float, the human tester; likewise.
    normalized: float, human-normalised percent; likewise.
  """

  task: str
  num_episodes: int
  mean: float
  standard_error: float
  random: float
  human: float
  normalized: float


def score_tasks(
  rows: Sequence[EvaluationRow], human_starts: bool = False
) -> list[TaskScore]:
  """Scores each task of an evaluation, in the order of its rows.

  Args:
    rows: of one evaluation.
    human_starts: compare with random and human play from human starts.
  """
  results = []
  for task in dict.fromkeys(row['task'] for row in rows):
    returns = np.array([row['return'] for row in rows if row['task'] == task])
    error, low, high, score = [np.nan] * 4
    if len(returns) > 1:
      error = returns.std(ddof=1) / np.sqrt(len(returns))
    reference = find_reference(task, human_starts)
    if reference is not None and reference.is_human:
      low, high = reference.low, reference.high
      score = scores.human_normalized_score(returns, low, high)
    results.append(
      TaskScore(task, len(returns), returns.mean(), error, low, high, score)
    )
  return results


def score_table(
  rows: Sequence[EvaluationRow], human_starts: bool = False, width: int = 160
) -> rich.console.Group:
  """Draws the table of an evaluation for a terminal.

  Args:
    rows: of one evaluation; their protocols go into the caption.
    human_starts: compare with human starts. Published columns are then left
      out: they belong to no-op starts.
    width: of the terminal. What does not fit stands in further tables below:
      of a number that is broken at the end of a line, a part can be read for
      the whole.

  Returns:
    A table with a line per task, its success in percent where it can succeed,
    and at its end the human-normalised
    aggregates, in percent, of the tasks shown; also the mean of scores capped
    at 100 where that is the suite's own.
  """
  header, body, footer, caption = _cells(rows, human_starts)
  names, *numbers = zip(header, *body, *footer, strict=True)
  parts = _share_out(numbers, width)
  if len(parts) > 1:
    own, published = numbers[: len(_OWN)], numbers[len(_OWN) :]
    parts = [*_share_out(own, width), *_share_out(published, width)]
  tables = [_draw(names, part, len(body), width) for part in parts]
  tables[-1].caption = caption
  return rich.console.Group(*tables)


def score_markdown(
  rows: Sequence[EvaluationRow], human_starts: bool = False
) -> str:
  """Writes the table of `score_table` as Markdown."""
  header, body, footer, caption = _cells(rows, human_starts)
  ruler = ['---'] + ['---:'] * (len(header) - 1)
  lines = [f'| {" | ".join(c)} |' for c in [header, ruler, *body, *footer]]
  return '\n'.join([*lines, '', caption, ''])


def _cells(rows, human_starts):
  """Lays out header, body, footer (lists of cells) and caption."""
  results = score_tasks(rows, human_starts)
  tasks = {result.task for result in results}
  owners = {find_suite(task) for task in tasks}
  suites = [suite for suite in SUITES if suite in owners]
  published = {} if human_starts else _published(suites, tasks)
  for suite in suites:
    published = {**suite.yardsticks(), **published}
  success = _success(rows)
  if success:
    published = {_SUCCESS: success, **published}
  body = []
  for r in results:
    error = _NONE if np.isnan(r.standard_error) else f'{r.standard_error:,.1f}'
    numbers = [r.random, r.human, r.normalized]
    numbers += [column.get(r.task, np.nan) for column in published.values()]
    body.append(
      [r.task, str(r.num_episodes), f'{r.mean:,.1f} ± {error}']
      + [_format(number) for number in numbers]
    )
  is_capped = any(suite.aggregate == 'capped mean' for suite in suites)
  footer = _aggregate_cells(results, published, is_capped)
  protocols = ' / '.join(dict.fromkeys(row['protocol'] for row in rows))
  names = [s.reference_name for s in suites if s.reference_name]
  reference = 'human starts' if human_starts else ', '.join(names)
  caption = f'{protocols}. {_origin(rows)}Mean raw return ± standard error'
  if reference:
    caption += (
      f'; reference scores: {reference}; last lines: human-normalised %'
    )
  if success:
    mean = np.mean(list(success.values()))
    caption += f'; mean {_SUCCESS} of {len(success)}: {mean:.1f}'
  caption += '.'
  return ['task', *_OWN, *published], body, footer, caption


def _success(rows):
  """Returns how many of a task's episodes succeeded, by task that can."""
  successes = collections.defaultdict(list)
  for row in rows:
    if 'success' in row:
      successes[row['task']].append(row['success'])
  return {task: 100.0 * np.mean(found) for task, found in successes.items()}


def _origin(rows):
  """Returns which checkpoint was played, '' where the rows do not say."""
  known = {r['checkpoint']: r['preset'] for r in rows if 'checkpoint' in r}
  return ''.join(
    f'{name}, preset {preset or "not recorded"}. '
    for name, preset in known.items()
  )


def _published(suites, tasks):
  """Returns published mean returns of some of the tasks by method."""
  found = [
    (suite, name, column)
    for suite in suites
    for name, column in suite.published().items()
    if tasks & column.keys()
  ]
  names = collections.Counter(name for _, name, _ in found)
  return {
    # The same name in two suites is not the same agent.
    f'{name}, {suite.title}' if names[name] > 1 else name: column
    for suite, name, column in found
  }


def _aggregate_cells(results, published, is_capped):
  """Aggregates our and each published agent's scores over the tasks shown."""
  known = [r for r in results if not np.isnan(r.normalized)]
  if not known:
    return []
  columns = [[r.normalized for r in known]]
  for column in published.values():
    columns.append(
      [
        scores.human_normalized_score(column[r.task], r.random, r.human)
        for r in known
        if r.task in column
      ]
    )
  # An aggregate over fewer tasks would not compare.
  aggregates = [
    _aggregate(np.array([c])) if len(c) == len(known) else {} for c in columns
  ]
  names = ['mean', 'median'] + ['iqm'] * (len(known) > 1)
  if is_capped:
    names.append('capped mean')
  return [
    [f'{name} of {len(known)}', '', '', '', '']
    + [_format(a[name]) if a else _NONE for a in aggregates]
    for name in names
  ]


def _share_out(numbers, width):
  """Deals columns out to tables that are not wider than the terminal."""
  parts, room = [], 0
  for column in numbers:
    needed = _column_width(column) + _GAP
    if needed > room:
      parts.append([])
      room = width - _EDGES - _MIN_NAME
    parts[-1].append(column)
    room -= needed
  return parts


def _draw(names, numbers, num_tasks, width):
  """Draws some columns of numbers behind the names, which may be folded."""
  table = rich.table.Table(box=rich.box.SIMPLE, padding=(0, 1, 0, 0))
  widths = [_column_width(column) for column in numbers]
  room = width - _EDGES - sum(widths) - _GAP * len(widths)
  name_width = min(room, max(map(len, names)))
  table.add_column(names[0], width=max(1, name_width), overflow='fold')
  for column, wanted in zip(numbers, widths, strict=True):
    table.add_column(column[0], justify='right', width=wanted, overflow='fold')
  for i, cells in enumerate(zip(names, *numbers, strict=True)):
    if i:
      table.add_row(*cells, end_section=i == num_tasks)
  return table


def _column_width(column):
  """Returns how wide a column must be for its cells and its title's words."""
  title, *cells = column
  return max(map(len, [*title.split(), *cells]))


def _aggregate(score_matrix):
  points = {
    name: aggregate.point
    for name, aggregate in scores.aggregate(score_matrix, seed=0).items()
  }
  return {**points, 'capped mean': np.minimum(score_matrix, 100.0).mean()}


def _format(number):
  return _NONE if np.isnan(number) else f'{number:,.1f}'
