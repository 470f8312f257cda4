"""The tables of a run: their columns, and how they are read and checked."""

import csv
import gzip
import io
import os
import warnings
import zlib
from collections.abc import Sequence

import pandas as pd

from core.errors import UserError
from experiments.runs import json_files

# By table the columns that must be there, of numbers and of words. Others may
# stand beside them.
TABLES = {
  'updates': (('num_updates', 'env_frames', 'frames_per_sec', 'wall_secs'), ()),
  'episodes': (
    ('env_frames', 'episode_return', 'episode_length', 'wall_secs'),
    ('task',),
  ),
  'returns': (('env_frames', 'num_episodes', 'mean_return'), ('task',)),
  'tasks': (('env_frames',), ('task',)),
  'held_out': (
    ('iteration', 'step', 'loss', 'frequency_loss'),
    ('task', 'output'),
  ),
  'evaluation': (('episode', 'return', 'length'), ('task', 'protocol')),
}
_COUNTS = ('num_episodes',)  # Numbers that are at least 1.
_TAIL_BYTES = 16384


def find(folder: str, name: str) -> str | None:
  """Returns the path of one of `TABLES`: <name>.csv, else <name>.csv.gz."""
  for path in (f'{folder}/{name}.csv', f'{folder}/{name}.csv.gz'):
    if os.path.exists(path):
      return os.path.normpath(path)
  return None


def read(
  path: str, numbers: Sequence[str], words: Sequence[str]
) -> pd.DataFrame:
  """Reads a CSV file whose first line names the columns.

  Args:
    path: plain or gzip.
    numbers: columns that must be there and hold finite numbers.
    words: columns that must be there and may not be empty.

  Returns:
    Its rows. A last line without an end is still being written and left out.

  Raises:
    UserError: it is malformed, with the line.
  """
  content = _read_bytes(path)
  content = content[: content.rfind(b'\n') + 1]
  if not content:  # Opened, but nothing is written yet.
    return pd.DataFrame(columns=[*numbers, *words])
  table = _parse(path, content, words)
  missing = [name for name in (*numbers, *words) if name not in table]
  if missing:
    raise UserError(f'{path} has no column {", ".join(sorted(missing))}')
  for name in (*numbers, *words):
    column = table[name]
    if name in numbers:
      if column.dtype == bool:
        column = column.astype(str)
      column = pd.to_numeric(column, errors='coerce')
      is_bad = ~column.abs().lt(float('inf'))
      if name in _COUNTS:
        is_bad |= column.lt(1)
    else:
      is_bad = column.isna()
    if is_bad.any():
      row = int(is_bad.to_numpy().argmax())
      said = json_files.shorten(table[name].iloc[row])
      raise UserError(f'{path}, line {row + 2}: {name} is {said}')
    table[name] = column
  return table


def read_last_row(path: str) -> dict[str, str]:
  """Returns the last whole row of a CSV file, {} if there is none.

  Of a file that is not compressed only the end is read.

  Raises:
    UserError: it cannot be read.
  """
  head, tail = _read_ends(path)
  header = head.partition('\n')[0]
  whole = tail.rpartition('\n')[0].splitlines()
  if not whole or whole[-1] == header:
    return {}
  try:
    return next(csv.DictReader([header, whole[-1]]), {})
  except csv.Error as error:
    raise UserError(f'cannot read {path}: {error}') from error


def read_tail(path: str) -> str:
  """Returns the end of a text file; '' if there is none."""
  try:
    return _read_ends(path)[1]
  except UserError:
    return ''


def _parse(path, content, words):
  """Returns a table of all cells, none of whose rows is too long."""
  try:
    content.decode()
    with warnings.catch_warnings():
      # Pandas would drop a cell too many, and only warn of it.
      warnings.simplefilter('error', pd.errors.ParserWarning)
      return pd.read_csv(
        io.BytesIO(content),
        skip_blank_lines=False,
        index_col=False,
        dtype=dict.fromkeys(words, str),
        low_memory=False,
      )
  except UnicodeDecodeError as error:
    line = content.count(b'\n', 0, error.start) + 1
    raise UserError(
      f'{path}, line {line}: not text ({error.reason})'
    ) from error
  except pd.errors.ParserWarning as error:
    raise UserError(f'{path}: a row has more cells than the first') from error
  except (ValueError, OverflowError) as error:
    # Pandas' own message has the line of a row with too many cells.
    reason = str(error).strip().replace('Error tokenizing data. C error: ', '')
    raise UserError(f'cannot read {path}: {reason}') from error


def _read_ends(path):
  """Returns the first and the last kilobytes of a file as text."""
  _check_file(path)
  if path.endswith('.gz'):
    text = _read_bytes(path).decode(errors='replace')
    return text, text
  try:
    with open(path, 'rb') as file:
      head = file.read(_TAIL_BYTES)
      file.seek(max(0, os.path.getsize(path) - _TAIL_BYTES))
      tail = file.read()
  except OSError as error:
    raise UserError(f'cannot read {path}: {error}') from error
  return head.decode(errors='replace'), tail.decode(errors='replace')


def _read_bytes(path):
  _check_file(path)
  try:
    with open(path, 'rb') as file:
      content = file.read()
    return gzip.decompress(content) if path.endswith('.gz') else content
  except (OSError, EOFError, zlib.error) as error:
    raise UserError(f'cannot read {path}: {error}') from error


def _check_file(path):
  """Refuses what would never end, such as a named pipe."""
  if os.path.exists(path) and not os.path.isfile(path):
    raise UserError(f'cannot read {path}: it is not a file')
