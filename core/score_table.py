"""Tables of evaluations beside random, human and published scores."""

import csv
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import rich.table

from core import atari57, dmlab30, scores
from core.errors import UserError
from core.evaluation import EvaluationRow

_NONE = '-'


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
  random = atari57.RANDOM_SCORES | dmlab30.RANDOM_SCORES
  human = atari57.HUMAN_SCORES | dmlab30.HUMAN_SCORES
  if human_starts:
    random = atari57.RANDOM_SCORES_HUMAN_STARTS
    human = atari57.HUMAN_SCORES_HUMAN_STARTS
  results = []
  for task in dict.fromkeys(row['task'] for row in rows):
    returns = np.array([row['return'] for row in rows if row['task'] == task])
    error, low, high, score = [np.nan] * 4
    if len(returns) > 1:
      error = returns.std(ddof=1) / np.sqrt(len(returns))
    if task in random:
      low, high = random[task], human[task]
      score = scores.human_normalized_score(returns, low, high)
    results.append(
      TaskScore(task, len(returns), returns.mean(), error, low, high, score)
    )
  return results


def score_table(
  rows: Sequence[EvaluationRow],
  published_csv: str | None = None,
  human_starts: bool = False,
) -> rich.table.Table:
  """Draws the table of an evaluation for a terminal.

  Args:
    rows: of one evaluation; their protocols go into the caption.
    published_csv: file with a `task` column and one column of mean returns per
      published agent (no-op starts), or None.
    human_starts: compare with human starts. Published columns are then left
      out: they belong to no-op starts.

  Returns:
    A table with a line per task, and at its end the human-normalised
    aggregates, in percent, of the tasks shown; for DMLab-30 also the mean of
    scores capped at 100.

  Raises:
    UserError: if the file cannot be read.
  """
  header, body, footer, caption = _cells(rows, published_csv, human_starts)
  table = rich.table.Table(caption=caption)
  for name in header:
    justify = 'left' if name == header[0] else 'right'
    table.add_column(name, justify=justify)
  for i, cells in enumerate([*body, *footer], start=1):
    table.add_row(*cells, end_section=i == len(body))
  return table


def score_markdown(
  rows: Sequence[EvaluationRow],
  published_csv: str | None = None,
  human_starts: bool = False,
) -> str:
  """Writes the table of `score_table` as Markdown."""
  header, body, footer, caption = _cells(rows, published_csv, human_starts)
  ruler = ['---'] + ['---:'] * (len(header) - 1)
  lines = [f'| {" | ".join(c)} |' for c in [header, ruler, *body, *footer]]
  return '\n'.join([*lines, '', caption, ''])


def read_published(path: str) -> dict[str, dict[str, float]]:
  """Reads published mean returns: column name to task to value.

  Raises:
    UserError: if the file is missing or malformed.
  """
  try:
    with open(path, newline='', encoding='utf-8') as file:
      lines = (line for line in file if not line.startswith('#'))
      table = list(csv.DictReader(lines, strict=True))
    names = [name for name in table[0] if name != 'task']
    return {
      name: {line['task']: float(line[name]) for line in table if line[name]}
      for name in names
    }
  except OSError as error:
    raise UserError(f'cannot read {path}: {error.strerror}') from error
  except (csv.Error, KeyError, IndexError, ValueError, TypeError) as error:
    raise UserError(
      f'{path} is no table of published scores (task, then one column of '
      f'numbers per agent): {error}'
    ) from error


def _cells(rows, published_csv, human_starts):
  """Lays out header, body, footer (lists of cells) and caption."""
  published = {}
  if published_csv and not human_starts:
    published = read_published(published_csv)
  header = ['task', 'episodes', 'return', 'random', 'human', 'normalised %']
  results = score_tasks(rows, human_starts)
  tasks = {result.task for result in results}
  published = {n: c for n, c in published.items() if tasks & c.keys()}
  body = []
  for r in results:
    error = _NONE if np.isnan(r.standard_error) else f'{r.standard_error:,.1f}'
    numbers = [r.random, r.human, r.normalized]
    numbers += [column.get(r.task, np.nan) for column in published.values()]
    body.append(
      [r.task, str(r.num_episodes), f'{r.mean:,.1f} ± {error}']
      + [_format(number) for number in numbers]
    )
  footer = _aggregate_cells(results, published)
  protocols = ' / '.join(dict.fromkeys(row['protocol'] for row in rows))
  reference = 'human starts' if human_starts else '1-30 no-ops'
  if tasks & dmlab30.ALL_LEVELS:
    reference = "DMLab-30's"
  caption = (
    f'{protocols}. Mean raw return ± standard error; reference scores: '
    f'{reference}; last lines: human-normalised %.'
  )
  return header + list(published), body, footer, caption


def _aggregate_cells(results, published):
  """Aggregates our and each published agent's scores over the tasks shown."""
  known = [r for r in results if not np.isnan(r.normalized)]
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
    _aggregate(np.array([c])) if len(c) == len(known) > 0 else {}
    for c in columns
  ]
  names = ['mean', 'median'] + ['iqm'] * (len(known) > 1)
  if any(r.task in dmlab30.ALL_LEVELS for r in known):
    names.append('capped mean')
  return [
    [f'{name} of {len(known)}', '', '', '', '']
    + [_format(a[name]) if a else _NONE for a in aggregates]
    for name in names
  ]


def _aggregate(score_matrix):
  points = {
    name: aggregate.point
    for name, aggregate in scores.aggregate(score_matrix, seed=0).items()
  }
  return {**points, 'capped mean': np.minimum(score_matrix, 100.0).mean()}


def _format(number):
  return _NONE if np.isnan(number) else f'{number:,.1f}'
