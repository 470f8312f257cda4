"""Figure 4 of Distral in small: seven algorithms on the two-room grid world.

    python -m experiments.distral.figure4_small --run    # 80 minutes, two cores
    python -m experiments.distral.figure4_small --write  # figure and tables

--run trains every algorithm with each setting and seed, goes on where it was
stopped, and records the curves under experiments/results/distral/. --write
draws distral/figure_4_small.png and the tables in distral/README.md.
"""

import argparse
import json
import os
import sys

import numpy as np
import pandas as pd

from core.errors import UserError
from core.files import atomic_file
from experiments.distral.figure4_small_curve import NUM_POINTS, read_curve
from experiments.launch import process, schedule, sweeps
from experiments.plots import drawing
from experiments.runs import bootstrap, csv_files, learning_curves, reader
from experiments.tables import markdown

SWEEP = os.path.join('experiments', 'distral', 'figure4_small_sweep.py')
RECORD = os.path.join(
  'experiments', 'results', 'distral', 'figure_4_small', 'curves.csv.gz'
)
README = os.path.join('distral', 'README.md')
FIGURE = os.path.join('distral', 'figure_4_small.png')
NAME = 'figure_4_small'
# In the order and with the names of the paper.
NAMES = {
  'a3c': 'A3C',
  'a3c_multitask': 'A3C multitask',
  'a3c_2col': 'A3C 2col',
  'kl_1col': 'KL 1col',
  'kl_2col': 'KL 2col',
  'kl_ent_1col': 'KL+ent 1col',
  'kl_ent_2col': 'KL+ent 2col',
}
# What the paper compares.
PAIRS = (
  ('kl_ent_2col', 'a3c'),
  ('kl_ent_2col', 'a3c_2col'),
  ('kl_ent_2col', 'a3c_multitask'),
  ('a3c_2col', 'a3c'),
  ('kl_2col', 'kl_1col'),
  ('kl_ent_2col', 'kl_ent_1col'),
  ('kl_ent_1col', 'kl_1col'),
  ('kl_ent_2col', 'kl_2col'),
)
GOOD_RETURN = -1.0  # Goals are reached in some 10 steps and few are missed.
SETTING = ['algorithm', 'entropy_cost', 'learning_rate']
NUM_RESAMPLES = 10_000
NUM_TASKS = 4


def run_all(num_parallel: int) -> None:
  """Runs what is not done and records the curves.

  Raises:
    UserError: a run failed or was interrupted; the same command goes on.
  """
  record(schedule.run_sweep(SWEEP, num_parallel), num_parallel)


def record(sweep: sweeps.Sweep, num_parallel: int) -> None:
  """Puts the curves of all runs into one table: means over tasks.

  Args:
    sweep: whose runs have a curve.csv each.
    num_parallel: how many ran at once, for the time that all took.

  Raises:
    UserError: a run is not complete.
  """
  tables, secs = [], 0.0
  for run in sweep.runs:
    path = os.path.join(run.logdir, 'curve.csv')
    if not os.path.exists(path):
      raise UserError(f'{path} is missing: --run goes on')
    curve = read_curve(path)
    if curve.point.max() < NUM_POINTS:
      raise UserError(f'{path} is incomplete: --run goes on')
    means = curve.groupby(['policy', 'env_frames'])[
      ['mean_return', 'mean_length']
    ].mean()
    setting, seed = run.name.split('/seed_')
    algorithm, *costs = setting.split(',')
    costs = dict(cost.split('=') for cost in costs)
    means = means.reset_index().assign(
      algorithm=algorithm, seed=int(seed), **costs
    )
    tables.append(means)
    secs += process.read_state(run.logdir).secs
  columns = [*SETTING, 'seed', 'policy', 'env_frames']
  table = pd.concat(tables)[[*columns, 'mean_return', 'mean_length']]
  os.makedirs(os.path.dirname(RECORD), exist_ok=True)
  with atomic_file(RECORD) as file:
    table.to_csv(
      file,
      index=False,
      float_format='%.5g',
      compression=dict(method='gzip', mtime=0),
    )
  # Of the last run; of what differs between runs the table tells.
  info = dict(reader.read_run(run.logdir).info)
  info |= dict(
    command='python -m experiments.distral.figure4_small --run',
    wall_secs=round(secs / num_parallel, 1),
  )
  path = os.path.join(os.path.dirname(RECORD), 'info.json')
  with atomic_file(path) as file:
    file.write((json.dumps(info, indent=2) + '\n').encode())


def read(path: str = RECORD) -> pd.DataFrame:
  """Reads the recorded curves.

  Args:
    path: of curves.csv.gz.

  Returns:
    A row per algorithm, setting, seed, policy and point.

  Raises:
    UserError: nothing is recorded.
  """
  if not os.path.exists(path):
    raise UserError(f'no {path}: --run first')
  return csv_files.read(
    path, ('seed', 'env_frames', 'mean_return'), ('policy',)
  )


def final_returns(curves: pd.DataFrame, policy: str) -> pd.Series:
  """Returns the last mean return of every run, indexed by setting and seed."""
  rows = curves[curves.policy == policy]
  rows = rows[rows.env_frames == rows.env_frames.max()]
  return rows.set_index([*SETTING, 'seed']).mean_return.sort_index()


def best_settings(curves: pd.DataFrame) -> pd.DataFrame:
  """Picks each algorithm's setting by the area under the task policies' curve.

  Args:
    curves: from `read`.

  Returns:
    Indexed by algorithm: entropy_cost and learning_rate.
  """
  rows = curves[curves.policy == 'task']
  areas = rows.groupby(SETTING).mean_return.mean()
  best = areas.groupby('algorithm').idxmax()
  table = pd.DataFrame(list(best), columns=SETTING)
  return table.set_index('algorithm').loc[[n for n in NAMES if n in best.index]]


def of_best(curves: pd.DataFrame, policy: str) -> pd.DataFrame:
  """Returns the rows of the best settings for one policy."""
  best = best_settings(curves).reset_index()
  return curves[curves.policy == policy].merge(best, on=SETTING)


def make_table(curves: pd.DataFrame) -> str:
  """Returns the Markdown table of the README, a line per algorithm."""
  header = [
    'algorithm',
    'best 1 / beta, learning rate',
    'curve of best',
    'end of best',
    'end of all runs [95 %]',
    'good runs',
    'pi_0, end of best',
    'pi_0, end of all runs [95 %]',
  ]
  body = []
  finals = {p: final_returns(curves, p) for p in ('task', 'distilled')}
  for algorithm, best in best_settings(curves).iterrows():
    setting = (algorithm, best.entropy_cost, best.learning_rate)
    rows = of_best(curves, 'task')
    area = rows[rows.algorithm == algorithm].mean_return.mean()
    cells = [f'{area:.2f}']
    for policy, final in finals.items():
      if algorithm not in final.index:
        cells += ['none', 'none']
        continue
      runs = final[algorithm].to_numpy()
      cells += [f'{final[setting].mean():.2f}', _mean_with_interval(runs)]
      if policy == 'task':
        cells.append(f'{(runs >= GOOD_RETURN).sum()} of {len(runs)}')
    costs = f'{best.entropy_cost:g}, {best.learning_rate:g}'
    body.append([NAMES[algorithm], costs, *cells])
  return markdown.table(header, body)


def make_differences(curves: pd.DataFrame) -> str:
  """Returns the Markdown table of differences between algorithms.

  Runs are paired by setting and seed; intervals are of the mean over pairs.
  """
  tasks = curves[curves.policy == 'task']
  measures = {
    'curve': tasks.groupby([*SETTING, 'seed']).mean_return.mean(),
    'end': final_returns(curves, 'task'),
    'pi_0, end': final_returns(curves, 'distilled'),
  }
  body = []
  for first, second in PAIRS:
    cells = [f'{NAMES[first]} - {NAMES[second]}']
    for runs in measures.values():
      if not {first, second} <= set(runs.index.get_level_values(0)):
        cells.append('none')
      else:
        pairs = (runs[first] - runs[second]).to_numpy()
        cells.append(_mean_with_interval(pairs))
    body.append(cells)
  return markdown.table(['difference [95 %]', *measures], body)


def make_learning_rates(curves: pd.DataFrame) -> str:
  """Returns the Markdown table of mean returns at the end by learning rate."""
  finals = final_returns(curves, 'task')
  means = finals.groupby(['algorithm', 'learning_rate']).mean().unstack()
  header = ['end, task policies', *(f'{rate:g}' for rate in means.columns)]
  body = [
    [name, *(f'{value:.2f}' for value in means.loc[algorithm])]
    for algorithm, name in NAMES.items()
    if algorithm in means.index
  ]
  return markdown.table(header, body)


def make_tables(curves: pd.DataFrame) -> str:
  """Returns all tables of the README."""
  tables = (make_table, make_differences, make_learning_rates)
  return '\n\n'.join(make(curves) for make in tables)


def draw(curves: pd.DataFrame, path: str) -> None:
  """Draws the four panels A1, A2, B1, B2 of the paper's figure.

  Args:
    curves: from `read`.
    path: of the picture.
  """
  figure, axes = drawing.open_pyplot().subplots(2, 2, figsize=(13, 9))
  titles = {'task': 'task policies', 'distilled': 'distilled policy'}
  for (left, right), (policy, title) in zip(axes, titles.items(), strict=True):
    _draw_curves(left, of_best(curves, policy))
    left.set_title(f'Best setting of each algorithm: {title}')
    _draw_sorted(right, final_returns(curves, policy))
    right.set_title(f'Final returns of all runs, sorted: {title}')
  axes[0, 0].legend(frameon=False, fontsize=9)
  figure.tight_layout()
  drawing.save(figure, path, dpi=90)


def _mean_with_interval(values):
  if len(values) < 2:
    return f'{values.mean():.2f}'
  low, high = bootstrap.mean_interval(values, NUM_RESAMPLES)
  return f'{values.mean():.2f} [{low:.2f}, {high:.2f}]'


def _draw_curves(ax, rows):
  for i, (algorithm, name) in enumerate(NAMES.items()):
    runs = rows[rows.algorithm == algorithm]
    if not runs.empty:
      table = runs.pivot(
        index='env_frames', columns='seed', values='mean_return'
      )
      curve = learning_curves.range_curve(table)
      drawing.draw_curve(ax, curve, name, f'C{i}', 1e3 * NUM_TASKS)
  ax.set_xlabel('environment steps per task (thousands)')
  ax.set_ylabel('return, mean of tasks (thin: a seed)')


def _draw_sorted(ax, finals):
  for i, algorithm in enumerate(NAMES):
    if algorithm in finals.index:
      runs = np.sort(finals[algorithm])[::-1]
      ax.plot(np.arange(1, len(runs) + 1), runs, color=f'C{i}', marker='.')
  ax.axhline(GOOD_RETURN, color='grey', lw=1, ls=':')
  ax.set_xlabel('run, best first')
  ax.set_ylabel('return after the last step')


def main() -> None:
  """Does what the command line asks for."""
  parser = argparse.ArgumentParser(description='Figure 4 of Distral in small.')
  parser.add_argument('--run', action='store_true', help='train and record')
  parser.add_argument('--write', action='store_true', help='figure and tables')
  parser.add_argument('--num_parallel', type=int, default=2)
  arguments = parser.parse_args()
  try:
    if arguments.run:
      run_all(arguments.num_parallel)
    curves = read()
    tables = make_tables(curves)
    if arguments.write:
      markdown.write(README, NAME, tables)
      draw(curves, FIGURE)
  except UserError as error:
    sys.exit(f'error: {error}')
  print(tables)


if __name__ == '__main__':
  main()
