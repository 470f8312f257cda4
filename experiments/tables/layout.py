"""How comparisons look: pages for terminal and Markdown, rows for CSV."""

import collections
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from experiments.runs import describe
from experiments.runs.wording import format_frames
from experiments.tables import comparison, markdown, published
from experiments.tables.comparison import Line

INTERVAL = (
  'Ours: the same statistic [95 % bootstrap interval], over seeds where there '
  'are several, else over the test episodes of the one seed, which says '
  'nothing of how much seeds differ. Over fewer tasks or after fewer frames '
  'than published it is another quantity: how far so small a run gets.'
)
_RENAMED = {'value': 'published', 'frames': 'published_frames'}
CSV_COLUMNS = (
  *(_RENAMED.get(name, name) for name in published.COLUMNS),
  'status',
  'ours',
  'low',
  'high',
  'num_tasks',
  'num_seeds',
  'num_episodes',
  'frames',
  'hours',
  'our_protocol',
  'hardware',
  'command',
  'results',
  'incomplete',
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
    numbers = range(self.num_words, len(self.header))
    table = markdown.table(self.header, self.body, numbers)
    return '\n\n'.join([f'### {self.title}', table, *self.texts]) + '\n'


def make_page(lines: Sequence[Line]) -> Page:
  """Lays out the comparison of one published table.

  Up to 20 numbers stand one a row. More are set side by side, a column per
  published method, if they fit.

  Args:
    lines: of `comparison.compare`.
  """
  numbers = [line.published for line in lines]
  table = pd.DataFrame(numbers)
  common = _common(table)
  notes = _notes(lines)
  make = _make_wide if _fits_wide(table) else _make_long
  rows, num_words = make(lines, common, notes)
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
  body = [list(row.values()) for row in rows]
  return Page(title, list(rows[0]), body, num_words, [t for t in texts if t])


def csv_rows(lines: Sequence[Line]) -> list[dict]:
  """Returns a dict of `CSV_COLUMNS` per line; what is not there is ''."""
  rows = []
  for number, ours in lines:
    row = {_RENAMED.get(k, k): v for k, v in number._asdict().items()}
    row |= dict(status=ours.status, results=ours.name)
    row |= dict(ours=ours.value, low=ours.low, high=ours.high)
    if ours.is_run:
      row['num_tasks'] = len(ours.tasks)
    if ours.name:
      row['num_seeds'] = len(ours.whole)
      row['incomplete'] = _incomplete_seeds(ours)
    if whole := ours.whole:
      row |= dict(
        num_episodes=sum(len(run.evaluation) for run in whole),
        frames=describe.mean_frames(whole),
        hours=f'{describe.mean_hours(whole):.2f}',
        our_protocol=whole[0].test_protocol,
        hardware=describe.hardware(whole),
        command=describe.command(whole),
      )
    cells = [row.get(name, '') for name in CSV_COLUMNS]
    cells = ['' if pd.isna(cell) else cell for cell in cells]
    rows.append(dict(zip(CSV_COLUMNS, cells, strict=True)))
  return rows


def describe_runs(lines: Sequence[Line]) -> list[str]:
  """Describes the runs that stand in a table: how, where, tested how."""
  texts = []
  if any(line.ours.is_run for line in lines):
    texts.append(INTERVAL)
  by_name = {line.ours.name: line.ours for line in lines if line.ours.name}
  for ours in by_name.values():
    if ours.whole:
      texts.append(describe.paragraph(ours.name, ours.whole))
    for run in ours.incomplete:
      texts.append(
        f'{ours.name}/{run.seed_name} is incomplete ({run.problem}) and not '
        'averaged.'
      )
  return texts


def format_ours(line: Line, decimals: int) -> str:
  """Returns our value with its interval, or why there is none."""
  ours = line.ours
  if not ours.is_run:
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
  if line.ours.status not in (comparison.RUN, comparison.INCOMPLETE):
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
  return ', '.join(run.seed_name for run in ours.incomplete)


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
    text = format_frames(number.value)
  else:
    text = f'{number.value:,.{decimals[number.statistic, number.task]}f}'
  return f'{text} [{notes[number.note]}]' if number.note in notes else text


def _not_run(lines):
  """Says what was not run of a table, if no cell does."""
  run = {line.published.row for line in lines if line.ours.name}
  missing = {line.published.row: 0 for line in lines} if run else {}
  missing = [row for row in missing if row not in run]
  if not run:
    return f'Ours: {comparison.NOT_RUN}.'
  if len(lines) <= _MAX_LONG or not missing:
    return ''
  missing.append('what is marked -')
  return f'{comparison.NOT_RUN.capitalize()}: {"; ".join(missing)}.'


def _make_long(lines, common, notes):
  """Returns rows by column, a number each, and how many columns of words."""
  decimals = decimals_of(line.published for line in lines)
  with_frames = any(not pd.isna(line.published.frames) for line in lines)
  with_ours = any(line.ours.name for line in lines)
  rows = []
  for line in lines:
    number = line.published
    row = {'row': number.row, **_keys(number, common)}
    num_words = len(row)
    row['published'] = _format_published(number, decimals, notes)
    if with_frames:
      row['frames'] = format_frames(number.frames)
    if with_ours:
      digits = decimals[number.statistic, number.task]
      row['ours'] = format_ours(line, digits)
      row['seeds'] = format_seeds(line)
      row['our frames'] = _our_frames(line.ours) if line.ours.is_run else ''
    rows.append(row)
  return rows, num_words


def _fits_wide(table):
  """Whether its numbers are many and stand well side by side."""
  numbers = table.drop_duplicates()
  keys = ['row', 'task', 'protocol', 'statistic']
  if _needs_frames(table):
    keys.append('frames')
  return (
    len(numbers) > _MAX_LONG
    and numbers['row'].nunique() <= _MAX_METHODS
    and not numbers.duplicated(keys).any()
  )


def _needs_frames(table):
  """Whether some method has numbers after different frames."""
  return bool(table.groupby('row')['frames'].nunique(dropna=False).max() > 1)


def _make_wide(lines, common, notes):
  """Returns rows with a column per method, and how many columns of words.

  Tasks are in the order of the method with most of them.
  """
  table = pd.DataFrame([line.published for line in lines])
  decimals = decimals_of(line.published for line in lines)
  has_frames = _needs_frames(table)
  headings, columns = {}, []
  run = {line.published.row for line in lines if line.ours.name}
  for number in table.drop_duplicates('row').itertuples():
    headings[number.row] = number.row
    if not has_frames and not pd.isna(number.frames):
      headings[number.row] += f' ({format_frames(number.frames)})'
    columns.append(headings[number.row])
    if number.row in run:
      columns.append(f'ours: {number.row}')
  counts = table['row'].value_counts()
  rows: dict[tuple, dict[str, str]] = {}
  for line in sorted(lines, key=lambda line: -counts[line.published.row]):
    number = line.published
    keys = _keys(number, common)
    if has_frames:
      keys['frames'] = format_frames(number.frames)
    empty = {**keys, **dict.fromkeys(columns, '')}
    row = rows.setdefault(tuple(keys.values()), empty)
    text = _format_published(number, decimals, notes)
    row[headings[number.row]] = row[headings[number.row]] or text
    if number.row in run:
      cells = (row[f'ours: {number.row}'], _wide_ours(line, decimals))
      row[f'ours: {number.row}'] = '; '.join(filter(None, cells))
  return list(rows.values()), len(keys)


def _keys(number, common):
  """Returns the cells that say which number it is."""
  keys = {'task': _label(number, common)}
  shown = [name for name in ('statistic', 'protocol') if name not in common]
  if shown:
    measures = (getattr(number, name) for name in shown)
    keys['measure'] = '; '.join(map(_name, measures))
  return keys


def _wide_ours(line, decimals):
  number = line.published
  text = format_ours(line, decimals[number.statistic, number.task])
  if line.ours.is_run:
    return f'{text} at {_our_frames(line.ours)}'
  return '-' if line.ours.status == comparison.NOT_RUN else text


def _our_frames(ours):
  return format_frames(describe.mean_frames(ours.whole))
