"""Draws learning curves of runs from their recorded episodes.

    python -m experiments.curves --out=curve.png runs/pong [runs/... ...]

Each folder is a logdir or a recorded result; it holds episodes.csv or
episodes.csv.gz. Every episode is a dot, the line is the mean of the last 100.
For means over seeds, aggregates and other pictures see experiments.plots.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from core.errors import UserError
from core.suites import tasks as suites
from experiments.plots import drawing
from experiments.runs import learning_curves, reader, scoring

_MAX_DOTS = 4000  # Of a run and task.
_MANY_DOTS = 500  # So many may lie upon each other.


def draw(
  folders: Sequence[str], out: str, labels: Sequence[str] | None = None
) -> None:
  """Draws one panel per task with a line per run.

  Args:
    folders: runs.
    out: path of the picture; its ending names the format.
    labels: of the runs in the legend; by default their folders.

  Raises:
    UserError: a run cannot be read, or none has an episode.
  """
  drawing.check_path(out)
  runs = [
    reader.read_run(folder, os.path.normpath(label))
    for folder, label in zip(folders, labels or folders, strict=True)
  ]
  episodes = {run: run.table('episodes') for run in runs}
  for run, table in episodes.items():
    if table is None:
      raise UserError(f'no episodes.csv in {run.folder}')
  tasks = sorted({task for t in episodes.values() for task in t.task.unique()})
  if not tasks:
    raise UserError('no finished episode in ' + ', '.join(folders))
  smooth = {run: learning_curves.smooth_run(run)[0] for run in runs}
  figure, axes = drawing.make_panels(drawing.open_pyplot(), len(tasks))
  for ax, task in zip(axes, tasks, strict=True):
    for i, run in enumerate(runs):
      table = episodes[run]
      _draw_dots(ax, table[table.task == task], f'C{i}')
      if task in smooth[run]:
        label = f'{run.label} (mean of {scoring.WINDOW})'
        frames, means = smooth[run][task]
        # Between the dots of the same colour.
        ax.plot(frames / 1e6, means, color='white', lw=4)
        drawing.draw_line(ax, frames, means, label, f'C{i}')
    if reference := suites.reference(task):
      drawing.draw_references(ax, reference)
    ax.set_title(f'{task} (grey: score of 0 and 100 %)')
    ax.set_ylabel('return of whole episodes')
  drawing.add_legend(figure, axes, 'environment frames (millions)', 1)
  drawing.save(figure, out)


def _draw_dots(ax, episodes, color):
  dots = episodes.sample(min(len(episodes), _MAX_DOTS), random_state=0)
  ax.scatter(
    dots.env_frames / 1e6,
    dots.episode_return,
    s=7,
    alpha=0.6 if len(dots) < _MANY_DOTS else 0.4,
    color=color,
    linewidths=0,
  )


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
