"""The command line of scripts that run experiments and write their tables."""

import argparse
import sys
from collections.abc import Callable, Collection, Container, Sequence

from core.errors import UserError
from experiments.tables import markdown

_NUM_PARALLEL = 2


def main(
  module: str,
  description: str,
  names: Collection[str],
  run: Callable[[str, int], None],
  make_texts: Callable[[], Sequence[tuple[str, str, str]]],
  draw: Callable[[], None],
  alone: Container[str] = (),
) -> None:
  """Does what the command line asks for: --run, --write, or show the tables.

  Args:
    module: of the script, as it is run.
    description: of the script.
    names: of its experiments.
    run: trains and records one, given how many processes may run at once.
    make_texts: returns what is to be said of all that is recorded, as
      `markdown.write_all` takes it.
    draw: draws what is recorded.
    alone: experiments whose runs go one at a time if nothing else is said.
  """
  parser = argparse.ArgumentParser(
    prog=f'python -m {module}', description=description
  )
  parser.add_argument('--run', choices=names, help='train and record')
  parser.add_argument('--write', action='store_true', help='figures and tables')
  parser.add_argument('--num_parallel', type=int, help='runs at once')
  arguments = parser.parse_args()
  try:
    if arguments.run:
      usual = 1 if arguments.run in alone else _NUM_PARALLEL
      run(arguments.run, arguments.num_parallel or usual)
    texts = make_texts()
    if not texts:
      raise UserError('nothing is recorded: --run first')
    if arguments.write:
      markdown.write_all(texts)
      draw()
    for _, name, text in texts:
      print(f'{name}\n{text}\n')
  except UserError as error:
    sys.exit(f'error: {error}')
