"""Compares two runs, or two sets of runs, task by task and in the aggregate.

    python -m experiments.compare OLD [OLD2 ...] --with NEW [NEW2 ...]
    python -m experiments.compare OLD --with NEW --markdown

prints the table that belongs to a change which may move a number. A folder is a
logdir, a recorded result, or a folder of seed_* folders. Incomplete runs are
named and left out. Runs of different protocols or tasks are refused.

Intervals are percentiles of 95 %, by scipy; runs/differences.py says of what.
"""

import argparse
import json
import sys

import numpy as np
import rich.box
import rich.console
import rich.table

from core.errors import UserError
from experiments.runs import differences, grouping
from experiments.runs.differences import Comparison
from experiments.runs.wording import (
  describe_commit,
  format_frames,
  format_number,
  plural,
)
from experiments.tables import markdown

FEW_RUNS = 5
_HEADER = ('task', 'A', 'B', 'B - A', '95 % interval', '')
_NUMBERS = range(1, 5)  # Columns of numbers.


def to_rich(comparison: Comparison) -> rich.table.Table:
  """Returns the table for a terminal."""
  table = rich.table.Table(box=rich.box.SIMPLE, padding=(0, 1, 0, 0))
  for i, name in enumerate(_HEADER):
    justify = 'right' if i in _NUMBERS else 'left'
    table.add_column(name, justify=justify, no_wrap=True)
  num_tasks = sum(not row.is_aggregate for row in comparison.rows)
  for i, row in enumerate(comparison.rows, start=1):
    table.add_row(*_row_cells(row), end_section=i == num_tasks)
  return table


def to_markdown(comparison: Comparison) -> str:
  """Returns table and notes for a description of a change."""
  body = list(map(_row_cells, comparison.rows))
  table = markdown.table(_HEADER, body, _NUMBERS)
  return '\n'.join([table, '', *(f'- {note}' for note in notes(comparison))])


def notes(comparison: Comparison) -> list[str]:
  """Returns the lines under the table: what was compared, and how."""
  lines = [_describe(side, runs) for side, runs in comparison.runs.items()]
  complete = grouping.complete_runs(comparison.runs)
  runs = grouping.runs_of(complete)
  if len({run.frames for run in runs}) > 1:
    lines.append('The runs differ in frames.')
  fields = (runs[0].info.get('protocol') or {}).items()
  protocol = ', '.join(f'{name} {json.dumps(v)}' for name, v in fields)
  lines.append(f'Protocol of both: {protocol}.')
  lines.append(f'Returns: {comparison.source}.')
  intervals = f'95 % percentile bootstrap (scipy) over whole {comparison.unit}'
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
  if comparison.missing:
    tasks = ', '.join(comparison.missing)
    lines.append(f'No aggregates: no 0 and 100 % are known for {tasks}.')
  return lines


def _row_cells(row):
  interval = 'none'
  if not np.isnan(row.low):
    interval = f'[{_signed(row.low)}, {_signed(row.high)}]'
  mark = ''
  if row.is_told_apart:
    mark = 'higher' if row.low > 0 else 'lower'
  means = [format_number(row.a), format_number(row.b)]
  return [row.name, *means, _signed(row.b - row.a), interval, mark]


def _describe(side, runs):
  complete = [run for run in runs if run.is_complete]
  commits = {describe_commit(run.info.get('git')) for run in complete}
  frames = {format_frames(run.frames) for run in complete}
  folders = dict.fromkeys(grouping.agent_folder(r.folder) for r in complete)
  seeds = ', '.join(run.seed for run in complete)
  line = (
    f'{side}: {plural(len(complete), "run")}, '
    f'{"seed" if len(complete) == 1 else "seeds"} {seeds}; '
    f'{" or ".join(sorted(frames))} frames; commit '
    f'{" or ".join(sorted(commits))}; {", ".join(folders)}.'
  )
  for run in runs:
    if not run.is_complete:
      line += f' Left out: {run.folder} ({run.state}).'
  return line


def _signed(number):
  sign = '+' if number > 0 else ''
  return f'{sign}{format_number(number)}'


def main() -> None:
  """Prints the comparison that the command line asks for."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.compare', description='Compare runs.'
  )
  parser.add_argument('a', nargs='+', metavar='A', help='logdirs or results')
  parser.add_argument(
    '--with', '-w', dest='b', nargs='+', required=True, metavar='B'
  )
  parser.add_argument('--markdown', action='store_true')
  parser.add_argument(
    '--references', default='', help='CSV: task, random, human (0 and 100 %%)'
  )
  arguments = parser.parse_args()
  try:
    comparison = differences.compare(
      arguments.a, arguments.b, arguments.references
    )
  except UserError as error:
    sys.exit(f'error: {error}')
  if arguments.markdown:
    print(to_markdown(comparison))
    return
  console = rich.console.Console(highlight=False)
  console.print(to_rich(comparison))
  for line in notes(comparison):
    console.print(line, markup=False)


if __name__ == '__main__':
  main()
