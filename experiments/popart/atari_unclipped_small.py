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
import pandas as pd

from core import atari57, score_table
from core.errors import UserError
from experiments import curves, markdown, record

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
MARKERS = (
  '<!-- atari_unclipped_small: begin -->',
  '<!-- atari_unclipped_small: end -->',
)


def folders() -> dict[str, str]:
  """Returns the folder of each recorded agent.

  Raises:
    UserError: none is recorded.
  """
  found = {}
  for agent in AGENTS:
    folder = os.path.join(
      record.RESULTS, 'popart', f'atari_unclipped_small_{agent}', 'seed_1'
    )
    if os.path.isdir(folder):
      found[agent] = folder
  if not found:
    raise UserError('no recorded run of atari_unclipped_small')
  return found


def make_table() -> str:
  """Returns a Markdown table: returns and normalised scores per agent."""
  header = ['agent', *GAMES, 'median %', 'mean %', 'median of 57, Table 1']
  lines = [header, ['---'] * len(header)]
  published = {'popart_impala': '107.0 %', 'impala': '0.3 %'}
  for agent, folder in folders().items():
    evaluation = pd.read_csv(os.path.join(folder, 'evaluation.csv'))
    scores = score_table.score_tasks(evaluation.to_dict('records'))
    scores = {score.task: score for score in scores}
    cells = [
      f'{scores[g].mean:,.1f} ± {scores[g].standard_error:,.1f} '
      f'({scores[g].normalized:.1f} %)'
      for g in GAMES
    ]
    normalized = [scores[g].normalized for g in GAMES]
    cells += [f'{np.median(normalized):.1f}', f'{np.mean(normalized):.1f}']
    lines.append([AGENTS[agent], *cells, published.get(agent, 'as IMPALA')])
  for name, reference in (
    ('random play', atari57.RANDOM_SCORES),
    ('human', atari57.HUMAN_SCORES),
  ):
    percent = '0.0' if name == 'random play' else '100.0'
    cells = [f'{reference[game]:,.1f}' for game in GAMES]
    lines.append([name, *cells, percent, percent, ''])
  return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def draw_curves(path: str) -> None:
  """Draws a panel per game and the median normalised score, all agents."""
  pyplot = _pyplot()
  figure, axes = pyplot.subplots(1, 5, figsize=(20, 4))
  for agent, folder in folders().items():
    episodes = curves.read_episodes(folder)
    grid = np.linspace(0, episodes.env_frames.max(), 101)[1:]
    normalized = []
    for ax, game in zip(axes, GAMES, strict=False):
      rows = episodes[episodes.task == game]
      mean = rows.episode_return.rolling(WINDOW, min_periods=10).mean()
      ax.plot(rows.env_frames / 1e6, mean, label=AGENTS[agent])
      low, high = atari57.RANDOM_SCORES[game], atari57.HUMAN_SCORES[game]
      on_grid = np.interp(grid, rows.env_frames, mean.bfill())
      normalized.append(100 * (on_grid - low) / (high - low))
    axes[-1].plot(grid / 1e6, np.median(normalized, axis=0))
  for ax, game in zip(axes, GAMES, strict=False):
    ax.axhline(atari57.RANDOM_SCORES[game], color='grey', lw=1, ls=':')
    ax.set_title(f'{game} (dotted: random play)')
    ax.set_ylabel(f'return, mean of {WINDOW} episodes')
  axes[-1].set_title('median of the 4, human-normalised')
  axes[-1].set_ylabel('%')
  for ax in axes:
    ax.set_xlabel('frames of all games (millions)')
  axes[0].legend(frameon=False)
  _save(figure, path)


def draw_statistics(path: str) -> None:
  """Draws shift and scale over the returns of PopArt-IMPALA."""
  pyplot = _pyplot()
  folder = folders()['popart_impala']
  statistics = pd.read_csv(os.path.join(folder, 'tasks.csv.gz'))
  episodes = curves.read_episodes(folder)
  figure, axes = pyplot.subplots(2, 4, figsize=(17, 6), sharex=True)
  for (top, bottom), game in zip(axes.T, GAMES, strict=True):
    rows = statistics[statistics.task == game]
    millions, shift, scale = rows.env_frames / 1e6, rows['shift'], rows['scale']
    top.fill_between(millions, shift - scale, shift + scale, alpha=0.25)
    top.plot(millions, shift)
    top.set_title(game)
    rows = episodes[episodes.task == game]
    bottom.plot(
      rows.env_frames / 1e6,
      rows.episode_return.rolling(WINDOW, min_periods=10).mean(),
    )
    bottom.set_xlabel('frames of all games (millions)')
  axes[0, 0].set_ylabel('shift, band: shift ± scale')
  axes[1, 0].set_ylabel(f'return, mean of {WINDOW} episodes')
  _save(figure, path)


def _pyplot():
  import matplotlib

  matplotlib.use('Agg')
  from matplotlib import pyplot

  return pyplot


def _save(figure, path):
  figure.tight_layout()
  figure.savefig(path, dpi=90)
  _pyplot().close(figure)


def main() -> None:
  """Does what the command line asks for."""
  parser = argparse.ArgumentParser(description='Four unclipped games.')
  parser.add_argument('--write', action='store_true', help='figures and table')
  arguments = parser.parse_args()
  try:
    table = make_table()
    if arguments.write:
      markdown.write(README, table, *MARKERS)
      draw_curves(CURVES)
      draw_statistics(STATISTICS)
  except UserError as error:
    sys.exit(f'error: {error}')
  print(table)


if __name__ == '__main__':
  main()
