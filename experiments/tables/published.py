"""Published numbers of the papers, as tables.

experiments/reference/<paper>.csv has one number per row:

    table = published.read('popart')            # all that the paper prints
    table = published.select('popart', 'Table 1')

Mean returns per game or level that test mode prints beside its own stand in
core/suites/<suite>_published.csv, in the same columns, and are read as well.
"""

import csv
import math
import os
import pathlib
from collections.abc import Iterator

import pandas as pd

from core.errors import UserError
from core.files import refuse_pipe
from core.suites.tasks import SUITES

FOLDER = str(pathlib.Path(__file__).resolve().parents[1] / 'reference')
PAPERS = ('impala', 'popart', 'distral', 'stacx', 'prl', 'brc')
COLUMNS = (
  'paper',  # One of PAPERS; pixel control is part of popart.
  'item',  # 'Table 1', 'Figure 4' or 'Text'.
  'row',  # The method, as the paper prints it.
  'task',  # Game, level, environment id or suite; several joined by commas.
  'protocol',  # '1-30 no-ops', 'human starts', 'test levels', ...
  'statistic',  # What the value is and its unit.
  'value',
  'frames',  # Environment frames; empty where the paper says nothing.
  'source',
  'note',  # Known inconsistencies and doubts.
)
_MAY_BE_EMPTY = ('frames', 'note')
_KEY = ('item', 'row', 'task', 'protocol', 'statistic', 'frames')


def read(paper: str, folder: str = FOLDER) -> pd.DataFrame:
  """Reads every published number of a paper.

  Args:
    paper: one of `PAPERS`.
    folder: where <paper>.csv is.

  Returns:
    One row per number, in the order of the file, with `COLUMNS`: `value` is
    float64, `frames` Int64 (missing where not stated), the others are strings.
    Distral, which prints curves only, has no row.

  Raises:
    UserError: unknown paper; missing or malformed file (with the line).
  """
  if paper not in PAPERS:
    raise UserError(f'unknown paper {paper!r}; there are {", ".join(PAPERS)}')
  path = os.path.join(folder, f'{paper}.csv')
  refuse_pipe(path)
  try:
    with open(path, newline='', encoding='utf-8') as file:
      rows = list(_parse(file, paper, path))
  except OSError as error:
    raise UserError(f'cannot read {path}: {error.strerror}') from error
  except UnicodeDecodeError as error:
    raise UserError(f'{path} is not UTF-8: {error}') from error
  rows += _rows_of_suites(paper)
  table = pd.DataFrame(rows, columns=COLUMNS)
  return table.astype({'value': 'float64', 'frames': 'Int64'})


def items(paper: str, folder: str = FOLDER) -> list[str]:
  """Lists a paper's tables and figures that have numbers, in order.

  Args:
    paper: one of `PAPERS`.
    folder: where <paper>.csv is.

  Raises:
    UserError: as `read`.
  """
  return list(read(paper, folder)['item'].unique())


def select(paper: str, item: str, folder: str = FOLDER) -> pd.DataFrame:
  """Reads one table or figure of a paper.

  Args:
    paper: one of `PAPERS`.
    item: one of `items(paper)`, such as 'Table 1'.
    folder: where <paper>.csv is.

  Returns:
    The rows of `read` that belong to it, numbered from 0.

  Raises:
    UserError: no such table or figure (with the list); as `read`.
  """
  table = read(paper, folder)
  known = list(table['item'].unique())
  if item not in known:
    raise UserError(
      f'{paper} has no published numbers for {item!r}; there are '
      f'{", ".join(known) or "none at all"}'
    )
  return table[table['item'] == item].reset_index(drop=True)


def _rows_of_suites(paper: str) -> list[list]:
  """Returns the numbers of a paper that stand beside the suites."""
  seen: dict[tuple, int] = {}
  return [
    _check(list(row.values()), paper, seen, number)
    for suite in SUITES
    for number, row in enumerate(suite.published_rows())
    if row['paper'] == paper
  ]


def _parse(file, paper: str, path: str) -> Iterator[list]:
  """Yields the rows of a file, checked; comments stand at its head only."""
  num_comments = 0
  for line in file:
    if not line.startswith('#'):
      break
    num_comments += 1
  else:
    line = ''
  header = line.rstrip('\r\n').split(',')
  if tuple(header) != COLUMNS:
    raise UserError(
      f'{path}, line {num_comments + 1}: the columns must be '
      f'{",".join(COLUMNS)}, not {",".join(header)}'
    )
  reader = csv.reader(file, strict=True)
  seen: dict[tuple, int] = {}
  while True:
    # A row may span lines; what is wrong with it is told at its first.
    number = num_comments + 2 + reader.line_num
    try:
      cells = next(reader, None)
      if cells is None:
        return
      yield _check(cells, paper, seen, number)
    except (ValueError, csv.Error) as error:
      raise UserError(f'{path}, line {number}: {error}') from error


def _check(
  cells: list[str], paper: str, seen: dict[tuple, int], number: int
) -> list:
  """Returns the typed cells of one row.

  Raises:
    ValueError: what is wrong with the row.
  """
  if len(cells) != len(COLUMNS):
    raise ValueError(f'{len(cells)} cells instead of {len(COLUMNS)}')
  row = dict(zip(COLUMNS, cells, strict=True))
  for name, cell in row.items():
    if cell != cell.strip() or not (cell or name in _MAY_BE_EMPTY):
      raise ValueError(f'{name} is empty or has blanks around it: {cell!r}')
  if row['paper'] != paper:
    raise ValueError(f'paper is {row["paper"]!r}, not {paper!r}')
  key = tuple(row[name] for name in _KEY)
  if key in seen:
    raise ValueError(f'the same number as in line {seen[key]}: {key}')
  seen[key] = number
  frames = row['frames']
  if frames and not (frames.isascii() and frames.isdigit()):
    raise ValueError(f'frames is not a whole number: {frames!r}')
  try:
    row['value'] = float(row['value'])
  except ValueError:
    row['value'] = math.nan
  if not math.isfinite(row['value']):
    raise ValueError(
      f'value is not a number: {cells[COLUMNS.index("value")]!r}'
    )
  row['frames'] = int(frames) if frames else None
  return list(row.values())
