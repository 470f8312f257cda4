"""Draws runs: learning curves, scores, statistics, and rliable's plots.

    python -m experiments.plots curves FOLDER... --out=FILE.png

Kinds: curves (per task and aggregate), bars (normalised score per task, as
figures 8 and 9 of Hessel et al. 2018, arXiv:1809.04474), statistics (shift and
scale per task, as figure 3 there), intervals and profiles (of rliable, Agarwal
et al. 2021, arXiv:2108.13264).

A FOLDER is a logdir, a recorded result, or a folder of seed_* folders; those
are one agent. LABEL=FOLDER names an agent; the same label joins folders to one.
An incomplete run is dashed in curves and in no mean.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from core.errors import UserError
from experiments.plots import curves, drawing, scores
from experiments.runs import grouping, scoring

KINDS: dict[str, Callable[..., Any]] = {
  'curves': curves.draw_curves,
  'bars': scores.draw_bars,
  'statistics': curves.draw_statistics,
  'intervals': scores.draw_intervals,
  'profiles': scores.draw_profiles,
}


def draw(options: argparse.Namespace) -> Any:
  """Returns the figure that the command line names.

  Raises:
    UserError: there is no such kind, or the runs do not have what it shows.
  """
  if options.kind not in KINDS:
    raise UserError(
      f'unknown kind {options.kind!r}; there are {", ".join(KINDS)}'
    )
  if options.window < 1:
    raise UserError(f'--window is {options.window}, but must be at least 1')
  agents = grouping.read_agents(options.folders)
  return KINDS[options.kind](drawing.open_pyplot(), agents, options)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
  """Reads the command line."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.plots',
    description='Draw runs.',
  )
  parser.add_argument('kind', help=', '.join(KINDS))
  parser.add_argument(
    'folders', nargs='+', metavar='[LABEL=]FOLDER', help='runs or agents'
  )
  parser.add_argument('--out', required=True, help='picture to write')
  parser.add_argument(
    '--window', type=int, default=scoring.WINDOW, help='episodes of a mean'
  )
  parser.add_argument(
    '--aggregate',
    default='',
    choices=['', *scoring.AGGREGATES],
    help="of all tasks in curves; by default the suite's own",
  )
  parser.add_argument(
    '--axis', default='log', choices=['log', 'linear'], help='of bars'
  )
  parser.add_argument(
    '--references', default='', help='CSV: task, random, human (0 and 100 %%)'
  )
  return parser.parse_args(arguments)


def main() -> None:
  """Draws what the command line names."""
  options = parse()
  try:
    drawing.check_path(options.out)
    figure = draw(options)
    drawing.save(figure, options.out)
  except UserError as error:
    sys.exit(f'error: {error}')
  print(options.out)


if __name__ == '__main__':
  main()
