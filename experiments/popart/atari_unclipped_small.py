"""Figures and table of atari_unclipped_small, from its recorded runs.

    python -m experiments.popart.atari_unclipped_small --write

draws popart/atari_unclipped_small.png (learning curves and the median
human-normalised score) and popart/atari_statistics.png (as figure 3 of Hessel
et al. 2018: shift, and shift +- scale, over the returns), and writes the table
in popart/README.md.
"""

import argparse
import os
import sys

import numpy as np

from core.errors import UserError
from core.suites import tasks as suites
from experiments.plots import curves, drawing
from experiments.runs import learning_curves, reader, recorded, scoring
from experiments.runs.grouping import Agents
from experiments.tables import markdown

NAME = 'atari_unclipped_small'
AGENTS = {
  'popart_impala': 'PopArt-IMPALA',
  'multihead_impala': 'MultiHead-IMPALA',
  'impala': 'IMPALA',
}
GAMES = ('pong', 'breakout', 'crazy_climber', 'qbert')
WINDOW = 50  # Episodes of a running mean.
README = os.path.join('popart', 'README.md')
CURVES = os.path.join('popart', 'atari_unclipped_small.png')
STATISTICS = os.path.join('popart', 'atari_statistics.png')
# Median of 57 games in Table 1.
PUBLISHED = {'PopArt-IMPALA': '107.0 %', 'IMPALA': '0.3 %'}


def read() -> Agents:
  """Reads the recorded agents.

  Raises:
    UserError: none is recorded.
  """
  agents = {}
  for agent, name in AGENTS.items():
    folder = os.path.join(recorded.RESULTS, 'popart', f'{NAME}_{agent}')
    if os.path.isdir(folder):
      agents[name] = [reader.read_run(f'{folder}/seed_1', name)]
  if not agents:
    raise UserError('no recorded run of atari_unclipped_small')
  return agents


def make_table() -> str:
  """Returns a Markdown table: returns and normalised scores per agent."""
  header = ['agent', *GAMES, 'median %', 'mean %', 'median of 57, Table 1']
  references = {game: suites.reference(game) for game in GAMES}
  body = []
  for name, (run,) in read().items():
    cells, scores = [], []
    for game, reference in references.items():
      rows = run.evaluation[run.evaluation.task == game]
      returns = rows['return'].to_numpy(np.float64)
      mean, error = returns.mean(), scoring.standard_error(returns)
      scores.append(scoring.normalize(mean, reference))
      cells.append(f'{mean:,.1f} ± {error:,.1f} ({scores[-1]:.1f} %)')
    cells += [f'{np.median(scores):.1f}', f'{np.mean(scores):.1f}']
    body.append([name, *cells, PUBLISHED.get(name, 'as IMPALA')])
  for name, bound, percent in (
    ('random play', 'low', '0.0'),
    ('human', 'high', '100.0'),
  ):
    cells = [f'{getattr(r, bound):,.1f}' for r in references.values()]
    body.append([name, *cells, percent, percent, ''])
  return markdown.table(header, body)


def draw_curves(path: str) -> None:
  """Draws a panel per game and the median normalised score, all agents."""
  options = argparse.Namespace(window=WINDOW, aggregate='', references='')
  figure = curves.draw_curves(drawing.open_pyplot(), read(), options)
  drawing.save(figure, path)


def draw_statistics(path: str) -> None:
  """Draws shift and scale over the returns of PopArt-IMPALA."""
  (run,) = read()['PopArt-IMPALA']
  statistics = run.table('tasks')
  returns, window = learning_curves.smooth_run(run, WINDOW)
  figure, axes = drawing.open_pyplot().subplots(
    2, len(GAMES), figsize=(17, 6), sharex=True
  )
  for (top, bottom), game in zip(axes.T, GAMES, strict=True):
    rows = statistics[statistics.task == game]
    frames, shift, scale = rows.env_frames, rows['shift'], rows['scale']
    drawing.draw_band(top, frames / 1e6, shift - scale, shift + scale, 'C0')
    drawing.draw_line(top, frames, shift, run.name, 'C0')
    drawing.draw_line(bottom, *returns[game], run.name, 'C0')
    top.set_title(game)
    bottom.set_xlabel('frames of all games (millions)')
  axes[0, 0].set_ylabel('shift, band: shift ± scale')
  axes[1, 0].set_ylabel(f'return, {window}')
  figure.tight_layout()
  drawing.save(figure, path)


def main() -> None:
  """Does what the command line asks for."""
  parser = argparse.ArgumentParser(description='Four unclipped games.')
  parser.add_argument('--write', action='store_true', help='figures and table')
  arguments = parser.parse_args()
  try:
    table = make_table()
    if arguments.write:
      markdown.write(README, NAME, table)
      draw_curves(CURVES)
      draw_statistics(STATISTICS)
  except UserError as error:
    sys.exit(f'error: {error}')
  print(table)


if __name__ == '__main__':
  main()
