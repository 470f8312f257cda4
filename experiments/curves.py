"""Draws learning curves of runs from their recorded episodes.

    python -m experiments.curves --out=curve.png runs/pong [runs/... ...]

Each folder is a logdir or a recorded result; it holds episodes.csv or
episodes.csv.gz. Every episode is a dot, the line is the mean of the last 100.
For means over seeds, aggregates and other pictures see experiments.plots.
"""

import argparse
import os
import sys

import numpy as np
import pandas as pd

from core import atari57
from core.errors import UserError
from experiments import run_records

WINDOW = 100  # Episodes.


def read_episodes(folder: str) -> pd.DataFrame:
  """Reads a run's episodes.

  Args:
    folder: holds episodes.csv or episodes.csv.gz.

  Returns:
    Columns env_frames, task, episode_return, episode_length, wall_secs.

  Raises:
    UserError: there is none, or it is malformed (with the line).
  """
  table = run_records.read_table(folder, 'episodes')
  if table is None:
    raise UserError(f'no episodes.csv in {folder}')
  return table


def draw(folders: list[str], out: str) -> None:
  """Draws one panel per task with a line per run.

  Args:
    folders: runs.
    out: path of the picture; its ending names the format.

  Raises:
    UserError: a run cannot be read, or none has an episode.
  """
  import matplotlib

  matplotlib.use('Agg')
  from matplotlib import pyplot

  runs = {folder: read_episodes(folder) for folder in folders}
  tasks = sorted({task for run in runs.values() for task in run.task.unique()})
  if not tasks:
    raise UserError('no finished episode in ' + ', '.join(folders))
  num_columns = min(3, len(tasks))
  num_rows = -(-len(tasks) // num_columns)
  figure, axes = pyplot.subplots(
    num_rows,
    num_columns,
    figsize=(
      7 * num_columns if len(tasks) == 1 else 5 * num_columns,
      4.2 * num_rows,
    ),
    squeeze=False,
  )
  for ax, task in zip(axes.flat, tasks, strict=False):
    for folder, run in runs.items():
      _draw_run(ax, run[run.task == task], os.path.normpath(folder))
    _draw_references(ax, task)
    ax.set_title(task)
    ax.set_xlabel('environment frames (millions)')
    ax.set_ylabel('return of whole episodes')
    ax.legend(loc='upper left', fontsize=8, frameon=False)
  for ax in list(axes.flat)[len(tasks) :]:
    ax.axis('off')
  figure.tight_layout()
  figure.savefig(out, dpi=110)
  pyplot.close(figure)


def _draw_run(ax, run, label):
  if run.empty:
    return
  millions = run.env_frames / 1e6
  dots = run.sample(min(len(run), 4000), random_state=0)
  (line,) = ax.plot(
    millions,
    run.episode_return.rolling(WINDOW, min_periods=min(20, len(run))).mean(),
    label=f'{label} (mean of {WINDOW})',
    zorder=3,
  )
  ax.scatter(
    dots.env_frames / 1e6,
    dots.episode_return,
    s=3,
    alpha=0.15,
    color=line.get_color(),
    linewidths=0,
  )


def _draw_references(ax, task):
  """Draws random and human play where the axis already reaches."""
  if task not in atari57.RANDOM_SCORES:
    return
  random, human = atari57.RANDOM_SCORES[task], atari57.HUMAN_SCORES[task]
  ax.axhline(random, color='grey', lw=1, ls=':', label='random play')
  low, high = ax.get_ylim()
  if human <= high + 0.3 * (high - low):
    ax.axhline(human, color='grey', lw=1, ls='--', label='human')


def last_episodes(table: pd.DataFrame, task: str) -> tuple[float, float, int]:
  """Returns mean, standard error and number of a task's last episodes."""
  returns = table[table.task == task].episode_return.to_numpy()[-WINDOW:]
  if len(returns) < 2:
    return float('nan'), float('nan'), len(returns)
  error = returns.std(ddof=1) / np.sqrt(len(returns))
  return float(returns.mean()), float(error), len(returns)


def main() -> None:
  """Draws what the command line names."""
  parser = argparse.ArgumentParser(
    description='Draw learning curves from recorded episodes.'
  )
  parser.add_argument('folders', nargs='+', help='logdirs or recorded results')
  parser.add_argument('--out', required=True, help='picture to write')
  arguments = parser.parse_args()
  try:
    draw(arguments.folders, arguments.out)
  except UserError as error:
    sys.exit(f'error: {error}')
  print(arguments.out)


if __name__ == '__main__':
  main()
