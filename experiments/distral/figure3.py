"""Figure 3 of Distral: learning curves and the corridor in two rooms.

    python -m experiments.distral.figure3           # prints, in half a minute
    python -m experiments.distral.figure3 --write   # figure and records too
    python -m experiments.distral.figure3 --layout=b --out=runs/figure_3_b

--write replaces distral/figure_3.png and experiments/results/distral/figure_3/.
Training and evaluation draw from generators of their own, so a point does not
depend on how many others there are, nor a seed on the seeds beside it.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import rich.progress

from core.environments import two_rooms
from core.errors import UserError
from distral import tabular
from experiments.distral import figure3_plot

RESULTS = os.path.join('experiments', 'results', 'distral', 'figure_3')
FIGURE = os.path.join('distral', 'figure_3.png')

AGENTS = {'distral': True, 'separate': False}  # Whether pi_0 is distilled.
NUM_TASKS = 5  # Ours, as all below: the paper does not say.
NUM_SEEDS = 5
NUM_ITERATIONS = 10_000
NUM_POINTS = 20  # After the first.
NUM_EPISODES = 10  # Of each task at each point.

# What to expect in layout a with 10,000 iterations.
MAX_DISTRAL_LENGTH = 15  # Steps, at the last point.
MIN_SEPARATE_LENGTH = 30
MIN_SAME_DIRECTION = 0.8


class Results(NamedTuple):
  """What the figure shows.

  Attributes:
    returns: columns agent, seed, env_steps_per_task, mean_return, mean_length;
      undiscounted, means of all tasks' episodes.
    corridor: columns cell ('ROW/COLUMN'), previous_action, action, probability,
      seed: pi_0 of Distral at the end, where the previous step hit no wall.
  """

  returns: pd.DataFrame
  corridor: pd.DataFrame


class _Streams(NamedTuple):
  """Generators of one seed."""

  goals: np.random.Generator
  training: np.random.Generator
  evaluation: np.random.Generator


def draw_goals(layout: str, seeds: Sequence[int]) -> np.ndarray:
  """Returns the goals that `run` uses: int64 [seeds, tasks] of cells."""
  draws = [
    two_rooms.draw_goals(layout, NUM_TASKS, _make_streams(seed).goals)
    for seed in seeds
  ]
  return np.stack(draws)


def run(
  layout: str,
  seeds: Sequence[int],
  points: Sequence[int],
  config: tabular.TabularConfig | None = None,
) -> Results:
  """Trains both agents and evaluates them on the way.

  Args:
    layout: 'a' or 'b'.
    seeds: of goals, training and evaluation.
    points: iterations after which to evaluate, rising; the last one ends it.
    config: hyperparameters; by default the paper's.

  Returns:
    Results.

  Raises:
    UserError: there is no such layout.
  """
  config = config or tabular.TabularConfig()
  grid = two_rooms.make_grid(layout)
  tasks = _make_tasks(grid, draw_goals(layout, seeds))
  tables = []
  for agent, is_distilled in AGENTS.items():
    streams = [_make_streams(seed) for seed in seeds]
    learner = tabular.Learner(
      tasks, config, is_distilled, [s.training for s in streams]
    )
    num_done = 0
    description = f'{agent}, {len(seeds)} seeds'
    for point in rich.progress.track(points, description):
      for _ in range(point - num_done):
        learner.run_iteration()
      num_done = point
      evaluation = tabular.evaluate(
        tasks,
        learner.task_policies(),
        NUM_EPISODES,
        [s.evaluation for s in streams],
      )
      table = _make_point(evaluation, seeds).assign(
        agent=agent, env_steps_per_task=point * config.rollout_length
      )
      tables.append(table)
    if is_distilled:
      corridor = _read_corridor(grid, learner.prior, seeds)
  columns = ['agent', 'seed', 'env_steps_per_task']
  returns = pd.concat(tables).sort_values(columns, ignore_index=True)
  return Results(returns[[*columns, 'mean_return', 'mean_length']], corridor)


def summarize(results: Results) -> pd.DataFrame:
  """Reduces a run to what the thresholds are about.

  Args:
    results: from `run`.

  Returns:
    A row per seed and one of their means: of both agents the mean return over
    all points and the length at the last one; of Distral the probability to go
    on to the left and to the right, mean of the corridor's cells.
  """
  returns, corridor = results
  last = returns.env_steps_per_task.max()
  columns = {}
  for agent in AGENTS:
    rows = returns[returns.agent == agent]
    columns[f'{agent}_return'] = rows.groupby('seed').mean_return.mean()
    rows = rows[rows.env_steps_per_task == last].set_index('seed')
    columns[f'{agent}_length'] = rows.mean_length
  same = corridor[corridor.action == corridor.previous_action]
  for action in ('left', 'right'):
    rows = same[same.action == action]
    columns[f'keeps_{action}'] = rows.groupby('seed').probability.mean()
  table = pd.DataFrame(columns)
  table.loc['mean'] = table.mean()
  return table


def check(summary: pd.DataFrame) -> pd.DataFrame:
  """Tells which thresholds are met, for every seed and for the mean.

  Args:
    summary: from `summarize`, of layout a after `NUM_ITERATIONS`.

  Returns:
    bool, indexed like `summary`. Columns: curve, Distral's return is above the
    separate agent's; length, Distral's is at most `MAX_DISTRAL_LENGTH` and the
    other's at least `MIN_SEPARATE_LENGTH`; corridor, the direction is kept both
    ways with at least `MIN_SAME_DIRECTION`.
  """
  keeps = summary[['keeps_left', 'keeps_right']].min(axis=1)
  is_short = summary.distral_length <= MAX_DISTRAL_LENGTH
  return pd.DataFrame(
    dict(
      curve=summary.distral_return > summary.separate_return,
      length=is_short & (summary.separate_length >= MIN_SEPARATE_LENGTH),
      corridor=keeps >= MIN_SAME_DIRECTION,
    )
  )


def stability(results: Results) -> pd.DataFrame:
  """Reduces the curves to how steadily they rise and how far apart they are.

  Args:
    results: from `run`.

  Returns:
    A row per agent. Columns: falls, what a curve loses from point to point,
    added up, mean of seeds; spread, the largest standard deviation over seeds
    (NaN with one seed); at, the steps per task where it is.
  """
  rows = {}
  for agent, table in results.returns.groupby('agent', sort=False):
    curves = table.pivot(
      index='env_steps_per_task', columns='seed', values='mean_return'
    )
    spread = curves.std(axis=1)
    falls = -curves.diff().clip(upper=0).sum().mean()
    rows[agent] = dict(
      falls=falls, spread=spread.max(), at=spread.fillna(0).idxmax()
    )
  return pd.DataFrame.from_dict(rows, orient='index')


def write(results: Results, folder: str, info: dict[str, Any]) -> None:
  """Writes returns.csv, corridor.csv and info.json.

  Args:
    results: from `run`.
    folder: created if need be.
    info: content of info.json.

  Raises:
    UserError: the folder cannot be written to.
  """
  try:
    os.makedirs(folder, exist_ok=True)
    for name, table in results._asdict().items():
      path = os.path.join(folder, f'{name}.csv')
      table.to_csv(path, index=False, float_format='%.6g')
    with open(os.path.join(folder, 'info.json'), 'w', encoding='utf-8') as file:
      file.write(json.dumps(info, indent=2) + '\n')
  except OSError as error:
    raise UserError(f'cannot write to {folder}: {error.strerror}') from error


def _make_streams(seed):
  children = np.random.SeedSequence(seed).spawn(len(_Streams._fields))
  return _Streams(*map(np.random.default_rng, children))


def _make_tasks(grid, goals):
  """Stacks the tables of goals [R, N]."""
  tables = [
    [two_rooms.make_task_tables(grid, goal) for goal in row] for row in goals
  ]

  def stack(name):
    return np.array([[getattr(t, name) for t in row] for row in tables])

  return tabular.Tasks(
    next_state=grid.next_state,
    rewards=stack('rewards'),
    is_last=stack('is_last'),
    starts=stack('starts'),
    max_steps=two_rooms.MAX_STEPS,
  )


def _make_point(evaluation, seeds):
  return pd.DataFrame(
    dict(
      seed=list(seeds),
      mean_return=evaluation.returns.mean(axis=(1, 2)),
      mean_length=evaluation.lengths.mean(axis=(1, 2)),
    )
  )


def _read_corridor(grid, prior, seeds):
  """Looks up pi_0 [R, S, A] in the corridor after left and right."""
  rows = []
  for cell in np.flatnonzero(grid.places == '-'):
    name = '/'.join(str(number) for number in grid.cells[cell])
    for previous in ('left', 'right'):
      index = two_rooms.ACTIONS.index(previous)
      state = two_rooms.state_index(cell, index, 0)
      for i, action in enumerate(two_rooms.ACTIONS):
        for seed, probability in zip(seeds, prior[:, state, i], strict=True):
          rows.append((name, previous, action, probability, seed))
  columns = ['cell', 'previous_action', 'action', 'probability', 'seed']
  return pd.DataFrame(rows, columns=columns)


def _make_info(config, layout, num_seeds, num_iterations):
  # Here because it loads TensorFlow, which nothing else needs.
  from core.training import run_info

  protocol = dict(
    layout=layout,
    num_tasks=NUM_TASKS,
    num_seeds=num_seeds,
    num_iterations=num_iterations,
    num_episodes=NUM_EPISODES,
    max_steps=two_rooms.MAX_STEPS,
  )
  return run_info.describe_command(config, protocol)


class _Parser(argparse.ArgumentParser):
  """Says what is wrong in one line."""

  def error(self, message):
    raise UserError(message)


def _parse(argv):
  parser = _Parser(description='Figure 3 of Distral.')
  parser.add_argument(
    '--write', action='store_true', help='replace the committed files'
  )
  parser.add_argument('--out', help='folder for figure and records instead')
  parser.add_argument('--layout', default='a', help='a: larger; b: smaller')
  parser.add_argument('--num_seeds', type=int, default=NUM_SEEDS)
  parser.add_argument('--num_iterations', type=int, default=NUM_ITERATIONS)
  parser.add_argument(
    '--count_decay', type=float, default=tabular.TabularConfig.count_decay
  )
  arguments = parser.parse_args(argv)
  two_rooms.make_grid(arguments.layout)
  if arguments.num_seeds < 1:
    raise UserError(f'--num_seeds={arguments.num_seeds} must be at least 1')
  if arguments.num_iterations < NUM_POINTS:
    raise UserError(
      f'--num_iterations={arguments.num_iterations} must be at least '
      f'{NUM_POINTS}, the points of the curve'
    )
  if not 0 <= arguments.count_decay <= 1:
    raise UserError(
      f'--count_decay={arguments.count_decay:g} must be between 0 and 1'
    )
  setting = arguments.layout, arguments.num_seeds, arguments.num_iterations
  is_default = setting == ('a', NUM_SEEDS, NUM_ITERATIONS)
  is_default &= arguments.count_decay == tabular.TabularConfig.count_decay
  if arguments.write and (arguments.out or not is_default):
    raise UserError(
      '--write records the default setting; for another one give --out=FOLDER '
      'instead'
    )
  return arguments


def main(argv: Sequence[str] | None = None) -> None:
  """Does what the command line asks for."""
  try:
    arguments = _parse(argv)
    setting = arguments.layout, arguments.num_seeds, arguments.num_iterations
    layout, num_seeds, num_iterations = setting
    is_written = arguments.write or arguments.out
    config = tabular.TabularConfig(count_decay=arguments.count_decay)
    info = _make_info(config, *setting) if is_written else {}
    start = time.monotonic()
    points = np.linspace(0, num_iterations, NUM_POINTS + 1).astype(int).tolist()
    results = run(layout, range(num_seeds), points, config)
    wall_secs = time.monotonic() - start
    if is_written:
      folder = arguments.out or RESULTS
      write(results, folder, {**info, 'wall_secs': round(wall_secs, 1)})
      figure = FIGURE if arguments.write else f'{folder}/figure_3.png'
      goals = draw_goals(layout, [0])[0]
      figure3_plot.draw(*results, layout, goals, figure)
  except UserError as error:
    sys.exit(f'error: {error}')
  table = summarize(results)
  print(table.round(3).to_string())
  print(f'\nstability:\n{stability(results).round(1).to_string()}')
  if (layout, num_iterations) == ('a', NUM_ITERATIONS):
    is_met = check(table).replace({True: 'met', False: 'MISSED'})
    print(f'\nthresholds:\n{is_met.to_string()}')
  print(f'{wall_secs:.0f} s')


if __name__ == '__main__':
  main()
