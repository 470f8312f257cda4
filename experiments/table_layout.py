"""How comparisons look: pages for terminal and Markdown, rows for CSV."""

import collections
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from experiments import markdown, recorded, run_texts, table_comparison
from experiments.table_comparison import Line

INTERVAL = (
  'Ours: the same statistic [95 % bootstrap interval], over seeds where there '
  'are several, else over the test episodes of the one seed, which says '
  'nothing of how much seeds differ. Over fewer tasks or after fewer frames '
  'than published it is another quantity: how far so small a run gets.'
)
CSV_COLUMNS = (
  *('paper', 'item', 'row', 'task', 'protocol', 'statistic', 'published'),
  *('published_frames', 'source', 'note', 'status', 'ours', 'low', 'high'),
  *('num_tasks', 'num_seeds', 'num_episodes', 'frames', 'hours'),
  *('our_protocol', 'hardware', 'command', 'results', 'incomplete'),
)

_MAX_LONG = 20  # Rows of a table with one number a row.
_MAX_METHODS = 8  # Columns of published numbers side by side.
_MAX_DECIMALS = 4
_MANY_FRAMES = 1e9  # No other published number is so large.
_COMMON_SHARE = 0.9  # Of a table, from which on exceptions are named.


class Page(NamedTuple):
  """A table and what stands below it.

  Attributes:
    title: of the table.
    header: names of the columns.
    body: cells by row.
    num_words: columns of words; those of numbers follow.
    texts: paragraphs; commands stand between backquotes.
  """

  title: str
  header: Sequence[str]
  body: Sequence[Sequence[str]]
  num_words: int
  texts: Sequence[str] = ()

  def markdown(self) -> str:
    """Returns it in Markdown, with a heading."""
    table = markdown.table(self.header, self.body, self.num_words)
    return '\n\n'.join([f'### {self.title}', table, *self.texts]) + '\n'


def make_page(lines: Sequence[Line]) -> Page:
  """Lays out the comparison of one published table.

  Up to 20 numbers stand one a row. More are set side by side, a column per
  published method, if they fit.

  Args:
    lines: of `table_comparison.compare`.
  """
  numbers = [line.published for line in lines]
  table = pd.DataFrame(numbers)
  common = _common(table)
  notes = _notes(lines)
  make = _make_wide if _fits_wide(table) else _make_long
  header, body, num_words = make(lines, common, notes)
  shared = [_name(value) for value in common.values()]
  texts = [f'Published: {"; ".join(shared)}.'] if shared else []
  if 'source' not in common:
    texts.append(f'Sources: {"; ".join(table["source"].unique())}.')
  shared_note = _shared_note(lines)
  texts += [f'On all of it: {shared_note}.'] if shared_note else []
  texts.append(_not_run(lines))
  texts += [f'[{index}] {note}' for note, index in notes.items()]
  texts += describe_runs(lines)
  title = f'{numbers[0].paper}, {numbers[0].item}'
  return Page(title, header, body, num_words, [t for t in texts if t])


def csv_rows(lines: Sequence[Line]) -> list[dict]:
  """Returns a dict of `CSV_COLUMNS` per line; what is not there is ''."""
  rows = []
  for number, ours in lines:
    whole, has_value = ours.whole, ours.status == table_comparison.RUN
    values = (
      *(number.paper, number.item, number.row, number.task, number.protocol),
      *(number.statistic, number.value, number.frames, number.source),
      *(number.note, ours.status, ours.value, ours.low, ours.high),
      len(ours.tasks) if has_value else '',
      len(whole) if ours.name else '',
      sum(len(result.evaluation) for result in whole) if whole else '',
      run_texts.mean_frames(whole) if whole else '',
      f'{run_texts.mean_hours(whole):.2f}' if whole else '',
      recorded.evaluation_protocol(whole[0]) if whole else '',
      run_texts.hardware(whole) if whole else '',
      run_texts.command(whole) if whole else '',
      *(ours.name, _incomplete_seeds(ours)),
    )
    cells = ('' if pd.isna(value) else value for value in values)
    rows.append(dict(zip(CSV_COLUMNS, cells, strict=True)))
  return rows


def describe_runs(lines: Sequence[Line]) -> list[str]:
  """Describes the runs that stand in a table: how, where, tested how."""
  texts = []
  if any(line.ours.status == table_comparison.RUN for line in lines):
    texts.append(INTERVAL)
  by_name = {line.ours.name: line.ours for line in lines if line.ours.name}
  for ours in by_name.values():
    if ours.whole:
      texts.append(run_texts.describe(ours.name, ours.whole))
    for result in ours.incomplete:
      texts.append(
        f'{ours.name}/{result.seed_name} is incomplete ({result.problem}) and '
        'not averaged.'
      )
  return texts


def format_ours(line: Line, decimals: int) -> str:
  """Returns our value with its interval, or why there is none."""
  ours = line.ours
  if ours.status != table_comparison.RUN:
    return ours.status
  decimals = max(decimals, 1)
  text = f'{ours.value:,.{decimals}f}'
  if np.isfinite(ours.low):
    text += f' [{ours.low:,.{decimals}f}, {ours.high:,.{decimals}f}]'
  if len(ours.tasks) < ours.num_tasks:
    text += f', {len(ours.tasks)} of {ours.num_tasks} tasks'
  return text


def format_seeds(line: Line) -> str:
  """Returns how many seeds count, and which do not."""
  if line.ours.status not in (
    table_comparison.RUN,
    table_comparison.INCOMPLETE,
  ):
    return ''
  skipped = _incomplete_seeds(line.ours)
  count = str(len(line.ours.whole))
  return f'{count} ({skipped} incomplete)' if skipped else count


def decimals_of(numbers: Iterable) -> dict[tuple[str, str], int]:
  """Returns by statistic and task how many decimals are published."""
  decimals = collections.Counter()
  for number in numbers:
    digits = f'{number.value:.10g}'.partition('.')[2]
    count = min(len(digits), _MAX_DECIMALS)
    key = number.statistic, number.task
    decimals[key] = max(decimals[key], count)
  return decimals


def _incomplete_seeds(ours):
  return ', '.join(result.seed_name for result in ours.incomplete)


def _notes(lines):
  """Numbers the distinct notes of published values."""
  notes = dict.fromkeys(x.published.note for x in lines if x.published.note)
  notes = [note for note in notes if note != _shared_note(lines)]
  return {note: index for index, note in enumerate(notes, start=1)}


def _shared_note(lines):
  """Returns the note that all published values have, or ''."""
  notes = {line.published.note for line in lines}
  return notes.pop() if len(notes) == 1 else ''


def _name(value):
  return 'protocol not said' if value == 'not said' else value


def _common(table):
  """Returns what (nearly) all published numbers share, by column."""
  common = {}
  for name in ('statistic', 'protocol', 'source'):
    counts = table[name].value_counts()
    needed = 1.0 if name == 'source' else _COMMON_SHARE
    if counts.iloc[0] >= needed * len(table):
      common[name] = counts.index[0]
  return common


def _label(number, common):
  """Returns the task, and in what the number differs from the common."""
  others = [
    getattr(number, name)
    for name, value in common.items()
    if getattr(number, name) != value
  ]
  task = ', '.join(number.task.split(','))
  return f'{task} ({"; ".join(others)})' if others else task


def _format_published(number, decimals, notes):
  if number.value >= _MANY_FRAMES:
    text = run_texts.format_frames(number.value)
  else:
    text = f'{number.value:,.{decimals[number.statistic, number.task]}f}'
  return f'{text} [{notes[number.note]}]' if number.note in notes else text


def _not_run(lines):
  """Says what was not run of a table, if no cell does."""
  run = {line.published.row for line in lines if line.ours.name}
  missing = {line.published.row: 0 for line in lines} if run else {}
  missing = [row for row in missing if row not in run]
  if not run:
    return f'Ours: {table_comparison.NOT_RUN}.'
  if len(lines) <= _MAX_LONG or not missing:
    return ''
  missing.append('what is marked -')
  return f'{table_comparison.NOT_RUN.capitalize()}: {"; ".join(missing)}.'


def _make_long(lines, common, notes):
  """Returns header, body with a number a row, and how many columns of words."""
  decimals = decimals_of(line.published for line in lines)
  shown = [c for c in ('statistic', 'protocol') if c not in common]
  with_frames = any(not pd.isna(line.published.frames) for line in lines)
  with_ours = any(line.ours.name for line in lines)
  header = ['row', 'task'] + ['measure'] * bool(shown)
  header += ['published'] + ['frames'] * with_frames
  header += ['ours', 'seeds', 'our frames'] * with_ours
  body = []
  for line in lines:
    number, ours = line
    is_run = ours.status == table_comparison.RUN
    cells = [number.row, _label(number, common)]
    if shown:
      cells.append('; '.join(_name(getattr(number, name)) for name in shown))
    cells += [_format_published(number, decimals, notes)]
    cells += [run_texts.format_frames(number.frames)] * with_frames
    if with_ours:
      cells += [format_ours(line, decimals[number.statistic, number.task])]
      cells += [format_seeds(line)]
      cells += [
        run_texts.format_frames(run_texts.mean_frames(ours.whole))
        if is_run
        else ''
      ]
    body.append(cells)
  return header, body, 2 + bool(shown)


def _fits_wide(table):
  """Whether its numbers are many and stand well side by side."""
  numbers = table.drop_duplicates()
  keys = ['row', 'task', 'protocol', 'statistic']
  keys += ['frames'] * _needs_frames(table)
  return (
    len(numbers) > _MAX_LONG
    and numbers['row'].nunique() <= _MAX_METHODS
    and not numbers.duplicated(keys).any()
  )


def _needs_frames(table):
  """Whether some method has numbers after different frames."""
  return bool(table.groupby('row')['frames'].nunique(dropna=False).max() > 1)


def _make_wide(lines, common, notes):
  """Returns header, body with a column per method, and the number of keys."""
  table = pd.DataFrame([line.published for line in lines])
  decimals = decimals_of(line.published for line in lines)
  has_frames = _needs_frames(table)
  run = {line.published.row for line in lines if line.ours.name}
  methods = table.drop_duplicates('row').set_index('row')['frames']
  cells, keys = _wide_cells(lines, common, has_frames)
  header = [*keys]
  for method, frames in methods.items():
    is_shown = not has_frames and not pd.isna(frames)
    header.append(method + f' ({run_texts.format_frames(frames)})' * is_shown)
    header += [f'ours: {method}'] * (method in run)
  body = []
  for key, by_method in cells.items():
    row = list(key)
    for method in methods.index:
      found = by_method.get(method, [])
      row += [
        _format_published(x.published, decimals, notes) for x in found[:1]
      ]
      row += [''] * (not found)
      if method in run:
        row.append('; '.join(_wide_ours(line, decimals) for line in found))
    body.append(row)
  return header, body, len(keys)


def _wide_cells(lines, common, has_frames):
  """Groups lines by row and method of a wide table.

  Returns:
    {key: {method: lines}}, tasks in the order of the method with most of them;
    and the names of the parts of a key.
  """
  shown = [c for c in ('statistic', 'protocol') if c not in common]
  names = ['task'] + ['measure'] * bool(shown) + ['frames'] * has_frames
  counts = collections.Counter(line.published.row for line in lines)
  cells: dict[tuple, dict[str, list[Line]]] = {}
  for line in sorted(lines, key=lambda line: -counts[line.published.row]):
    number = line.published
    key = [_label(number, common)]
    key += ['; '.join(_name(getattr(number, c)) for c in shown)] * bool(shown)
    key += [run_texts.format_frames(number.frames)] * has_frames
    by_method = cells.setdefault(tuple(key), {})
    by_method.setdefault(number.row, []).append(line)
  return cells, names


def _wide_ours(line, decimals):
  number = line.published
  text = format_ours(line, decimals[number.statistic, number.task])
  if line.ours.status == table_comparison.RUN:
    frames = run_texts.mean_frames(line.ours.whole)
    return f'{text} at {run_texts.format_frames(frames)}'
  return '-' if line.ours.status == table_comparison.NOT_RUN else text
