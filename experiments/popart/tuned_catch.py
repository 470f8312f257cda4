"""Runs the populations of tuned_catch, and draws their figure and table.

    python -m experiments.popart.tuned_catch --run    # hours
    python -m experiments.popart.tuned_catch --write  # figure and table

--run launches tuned_catch_population.py, goes on where it was stopped, tests
the best member of each population, and records what is published under
experiments/results/popart/tuned_catch/: evaluation.csv, a row per test episode;
slices.csv, a row per slice of a member; lineage_*.png; info.json.
--write draws popart/tuned_catch.png and the table in popart/README.md.
"""

import argparse
import io
import json
import os
import sys

import numpy as np
import pandas as pd

from core.errors import UserError
from core.files import atomic_file
from experiments.launch import cluster
from experiments.plots import drawing
from experiments.popart import multi_task_catch, scaled_catch
from experiments.population import lineage, picture, state
from experiments.population import run as population_run
from experiments.runs import csv_files, json_files, recorded
from experiments.tables import markdown

NAME = 'tuned_catch'
AGENTS = multi_task_catch.AGENTS
FILE = os.path.join('experiments', 'popart', f'{NAME}_population.py')
README = multi_task_catch.README
FIGURE = os.path.join('popart', f'{NAME}.png')
FOLDER = os.path.join(recorded.RESULTS, 'popart', NAME)
COMMAND = f'python -m experiments.popart.{NAME} --run'
NOT_RUN = (
  'Not run yet: 72 runs of 1M frames. `python -m experiments.population '
  'experiments/popart/tuned_catch_population.py --estimate` says an hour, two '
  'at a time on 2 cores of an AMD EPYC, and 720 starts of processes on top.'
)
_TESTS = (('seed', 'member', 'episode', 'return', 'length'), ('agent', 'task'))
_SLICES = (
  ('seed', 'member', 'first_frame', 'env_frames', 'fitness', 'is_best'),
  ('agent', 'slice'),
)


def run_all(slots: int | None, where: cluster.Where) -> None:
  """Trains and tests every population, and records them.

  Raises:
    UserError: a member failed or was interrupted; the same command goes on.
  """
  populations = population_run.run(FILE, slots, where).populations
  tests, slices, info = [], [], {}
  for population in populations:
    agent, _, seed = population.name.partition('/seed_')
    keys = dict(agent=agent, seed=int(seed))
    events = state.read_events(population.logdir)
    logdir = population_run.best_logdir(population)
    info = json_files.read(os.path.join(logdir, 'run.json'))
    path = os.path.join(logdir, 'evaluation.csv')
    tested = csv_files.read(path, *csv_files.TABLES['evaluation'])
    best = int(events[-1]['best'])
    tests.append(tested.assign(**keys, member=best))
    slices.append(slice_table(events).assign(**keys))
    picture.draw(
      population, os.path.join(FOLDER, f'lineage_{agent}_{seed}.png')
    )
  tests, slices = pd.concat(tests), pd.concat(slices)
  columns = [*_TESTS[1], *_TESTS[0], 'protocol']
  _write_csv('evaluation.csv', tests[columns])
  _write_csv('slices.csv', slices)
  kept = {k: info.get(k) for k in ('git', 'versions', 'hardware', 'protocol')}
  content = dict(
    command=COMMAND, wall_secs=round(float(slices.secs.sum()), 1), **kept
  )
  with atomic_file(os.path.join(FOLDER, 'info.json')) as file:
    file.write((json.dumps(content, indent=2) + '\n').encode())


def slice_table(events: list[dict]) -> pd.DataFrame:
  """Returns a row per slice; is_best: the best member descends from it.

  Args:
    events: of a population that is done.
  """
  slices = lineage.slices_of(events)
  best = events[-1]['best']
  # Nothing is copied after a member's last slice.
  last = [name for name, e in slices.items() if e['member'] == best][-1]
  chosen = {e['slice'] for e in lineage.ancestry(slices, last)}
  rows = []
  for e in slices.values():
    numbers = ('member', 'first_frame', 'env_frames', 'fitness', 'secs')
    short = [e[name].partition('/')[2] for name in ('slice', 'parent')]
    row = dict(zip(('slice', 'parent'), short, strict=True))
    row |= {name: e[name] for name in numbers}
    rows.append({**row, **e['values'], 'is_best': int(e['slice'] in chosen)})
  return pd.DataFrame(rows)


def read(name: str) -> pd.DataFrame:
  """Reads a recorded table: 'evaluation' or 'slices'.

  Raises:
    UserError: it is not recorded, or damaged.
  """
  path = os.path.join(FOLDER, f'{name}.csv')
  if not os.path.exists(path):
    raise UserError(f'tuned_catch is not recorded: {COMMAND} first')
  return csv_files.read(path, *(_TESTS if name == 'evaluation' else _SLICES))


def tuned_success() -> pd.DataFrame:
  """Returns the best members' test returns over the best possible.

  Returns:
    Columns agent, seed, scale and success, a row per test episode.
  """
  rows = read('evaluation')
  scale = rows.task.map(scaled_catch.SCALE_OF_TASK)
  return rows.assign(scale=scale, success=rows['return'] / scale)


def make_table() -> str:
  """Returns a Markdown table: success per agent and scale, tuned and not.

  Where nothing is recorded yet, a sentence that says so.
  """
  if not os.path.exists(os.path.join(FOLDER, 'evaluation.csv')):
    return NOT_RUN
  scales = [f'x {scale:g}' for scale in scaled_catch.SCALES]
  body = []
  for title, rows, unit in (
    ('tuned', tuned_success(), 'populations of 8'),
    ('one setting for all', multi_task_catch.read('evaluation'), 'seeds'),
  ):
    means = rows.groupby(['agent', 'scale', 'seed']).success.mean()
    for agent, name in AGENTS.items():
      if agent not in means.index:
        continue
      scores = means[agent].unstack('seed')  # [scale, seed]
      cells = [
        f'{row.mean():.2f} ({row.min():.2f})' for _, row in scores.iterrows()
      ]
      solved = (scores >= multi_task_catch.SOLVED).sum(axis=0)
      body.append(
        [
          name,
          title,
          f'{scores.shape[1]} {unit}',
          *cells,
          ', '.join(str(count) for count in solved),
        ]
      )
  header = ['agent', 'hyperparameters', 'of', *scales, 'scales solved']
  return markdown.table(header, body)


def draw(path: str) -> None:
  """Draws a panel per agent and quantity, every population's best in colour."""
  pyplot = drawing.open_pyplot()
  slices = read('slices')
  names = ('fitness', 'learning_rate', 'entropy_cost', 'max_gradient_norm')
  figure, axes = pyplot.subplots(
    len(AGENTS), len(names), figsize=(16, 9), sharex=True, sharey='col'
  )
  for row, (agent, title) in zip(axes, AGENTS.items(), strict=True):
    row[0].set_ylabel(title)
    for seed, of in slices[slices.agent == agent].groupby('seed'):
      best = of[of.is_best == 1].sort_values('env_frames')
      for ax, name in zip(row, names, strict=True):
        ax.plot(of.env_frames / 1e6, of[name], '.', color='0.8', ms=3, zorder=1)
        drawing.draw_line(
          ax,
          best.env_frames.to_numpy(),
          best[name].to_numpy(),
          f'best of population {seed}',
          f'C{int(seed) - 1}',
        )
  for ax, name in zip(axes[0], names, strict=True):
    unit = ', % of the best return' if name == 'fitness' else ''
    ax.set_title(name + unit)
    if name != 'fitness':
      ax.set_yscale('log')
  drawing.add_legend(
    figure, list(axes.flat), 'environment frames of a member (millions)'
  )
  drawing.save(figure, path)


def _write_csv(name, table):
  text = io.StringIO()
  table.replace({np.nan: ''}).to_csv(text, index=False, lineterminator='\n')
  with atomic_file(os.path.join(FOLDER, name)) as file:
    file.write(text.getvalue().encode())


def main() -> None:
  """Does what the command line asks for."""
  parser = argparse.ArgumentParser(description='Catch, tuned by populations.')
  parser.add_argument('--run', action='store_true', help='train, test, record')
  parser.add_argument('--write', action='store_true', help='figure and table')
  parser.add_argument('--slots', type=int, help='processes at once (2)')
  cluster.add_arguments(parser)
  arguments = parser.parse_args()
  try:
    if arguments.run:
      run_all(arguments.slots, cluster.where_of(arguments))
    table = make_table()
    if arguments.write:
      markdown.write(README, NAME, table)
      draw(FIGURE)
  except UserError as error:
    sys.exit(f'error: {error}')
  print(table)


if __name__ == '__main__':
  main()
