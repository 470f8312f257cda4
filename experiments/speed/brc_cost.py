"""Measures BRC's update: time and memory by width, beside the official code.

    python -m experiments.speed.brc_cost --widths=256,512,1024
    python -m experiments.speed.brc_cost --widths=256,512,1024 \\
      --official=CHECKOUT --official_python=PYTHON
    python -m experiments.speed.brc_cost --widths=4096 --num_warm=0 \\
      --num_rounds=1

An update is two gradient steps with batches of 1024 of seven tasks. Each
implementation has a process of its own; they update in turn, so that whatever
else the machine does hits both alike, and the least CPU and wall time of the
rounds is printed. CHECKOUT is one of naumix/BiggerRegularizedCategorical, which
is not part of this repository, PYTHON an interpreter that has what it needs.
Peak memory is the process's, compiling included.
"""

import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

import rich.console
import rich.table

from core.errors import UserError

_WORKER = str(pathlib.Path(__file__).with_name('brc_worker.py'))
_ROOT = str(pathlib.Path(__file__).resolve().parents[2])
_KEYS = ('cpu', 'wall')


class Worker:
  """A process that makes an update when it is asked to."""

  def __init__(self, python: str, path: str, arguments: Sequence[str]):
    """Starts it.

    Args:
      python: interpreter.
      path: what it can import from.
      arguments: of brc_worker.py.

    Raises:
      UserError: it cannot be started.
    """
    self.name = arguments[0]
    self.least: dict[str, float] = {}
    environment = os.environ | dict(PYTHONPATH=path)
    try:
      self._process = subprocess.Popen(
        [python, _WORKER, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
      )
    except OSError as error:
      raise UserError(f'cannot start {python}: {error.strerror}') from error

  def update(self, counts: bool) -> None:
    """Makes one update.

    Args:
      counts: whether its time does; memory always does.

    Raises:
      UserError: the process ended instead.
    """
    try:
      self._process.stdin.write('\n')
      self._process.stdin.flush()
      found = json.loads(self._process.stdout.readline())
    except (OSError, ValueError) as error:
      raise UserError(f'{self.name} failed; its error is above') from error
    self.least['peak_mb'] = found['peak_mb']
    for key in _KEYS if counts else ():
      self.least[key] = min(found[key], self.least.get(key, found[key]))

  def close(self) -> None:
    """Ends it."""
    with contextlib.suppress(OSError):
      self._process.stdin.close()
    self._process.wait()
    self._process.stdout.close()


def measure(
  width: int, arguments: argparse.Namespace
) -> dict[str, dict[str, float]]:
  """Times the updates of one width in turn.

  Args:
    width: of the critics.
    arguments: of the command line.

  Returns:
    By implementation seconds `cpu` and `wall`, and `peak_mb`.
  """
  with contextlib.ExitStack() as stack:
    ours = ['ours', str(width), arguments.precision]
    workers = [Worker(sys.executable, _ROOT, ours)]
    if arguments.official:
      python = arguments.official_python
      theirs = ['official', str(width)]
      workers.append(Worker(python, arguments.official, theirs))
    for worker in workers:
      stack.callback(worker.close)
    for i in range(arguments.num_warm + arguments.num_rounds):
      for worker in workers:
        worker.update(i >= arguments.num_warm)
    return {worker.name: worker.least for worker in workers}


def make_table(
  found: dict[int, dict[str, dict[str, float]]],
) -> rich.table.Table:
  """Lays out what was measured, by width."""
  table = rich.table.Table(title='BRC, one update of two gradient steps')
  table.add_column('width')
  for column in ('update of', 'CPU ms', 'wall ms', 'peak MB', 'CPU', 'wall'):
    table.add_column(column, justify='right')
  for width, by_name in found.items():
    for name, one in by_name.items():
      cells = [f'{1000 * one[key]:,.0f}' for key in _KEYS]
      ratios = [''] * len(_KEYS)
      if name == 'ours' and 'official' in by_name:
        other = by_name['official']
        ratios = [f'{one[key] / other[key]:.2f} x' for key in _KEYS]
      peak = f'{one["peak_mb"]:,.0f}'
      table.add_row(f'{width:,}', name, *cells, peak, *ratios)
  return table


def main() -> None:
  """Prints the table that the command line asks for."""
  parser = argparse.ArgumentParser(description="Cost of BRC's update.")
  parser.add_argument('--widths', default='256,512,1024', help='with commas')
  parser.add_argument('--num_rounds', type=int, default=10)
  parser.add_argument(
    '--num_warm',
    type=int,
    default=2,
    help='updates that do not count; the official code compiles in two',
  )
  parser.add_argument(
    '--precision',
    choices=('float32', 'bfloat16'),
    default='float32',
    help="of ours; the official code's is float32",
  )
  parser.add_argument('--official', default='', help='checkout, to compare')
  parser.add_argument(
    '--official_python', default=sys.executable, help='its interpreter'
  )
  arguments = parser.parse_args()
  try:
    if arguments.num_rounds < 1 or arguments.num_warm < 0:
      raise UserError('--num_rounds must be at least 1, --num_warm at least 0')
    if arguments.official and not os.path.isdir(arguments.official):
      raise UserError(f'--official: there is no folder {arguments.official}')
    widths = arguments.widths.split(',')
    if not all(width.isdigit() and int(width) for width in widths):
      raise UserError(f'--widths={arguments.widths}: whole numbers with commas')
    found = {int(width): measure(int(width), arguments) for width in widths}
  except UserError as error:
    sys.exit(f'error: {error}')
  rich.console.Console().print(make_table(found))


if __name__ == '__main__':
  main()
