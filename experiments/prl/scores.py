"""Scores of PRL by iteration, one network on all games against one on each.

Iteration 0 is random play. What a block of the data set was collected with are
the weights of the iteration before; the last iteration's are those of the test.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from core.errors import UserError
from experiments.plots import drawing
from experiments.runs import bootstrap, grouping, recorded
from experiments.runs.reader import Run
from experiments.tables import markdown, published

NETWORKS = ('single-task', 'multi-task')
_NORMAL = 1.96  # Standard errors of a 95 % interval.


class Score(NamedTuple):
  """A mean return.

  Attributes:
    mean: over seeds, or over the games of the one seed.
    low: end of its 95 % interval: bootstrap over seeds, or 1.96 standard errors
      over games.
    high: the other end.
    error: standard error over games, of one seed; NaN of several.
  """

  mean: float
  low: float
  high: float
  error: float


def read_runs(name: str) -> dict[str, list[Run]]:
  """Reads the recorded runs of an experiment, by setting.

  Args:
    name: their rows are prl/<name>_<setting>.
  """
  prefix = f'prl/{name}_'
  return {
    row.removeprefix(prefix): recorded.read(row)
    for row in recorded.names()
    if row.startswith(prefix)
  }


def read_points(name: str) -> pd.DataFrame:
  """Reads the mean returns of an experiment's runs.

  Args:
    name: as for `read_runs`.

  Returns:
    Columns network, seed, game, iteration (0: random play), mean and error
    (standard error over games).

  Raises:
    UserError: nothing is recorded, or a run has no tasks.csv.
  """
  rows = []
  for setting, runs in read_runs(name).items():
    network = NETWORKS[setting.startswith('multi')]
    for run in runs:
      tasks = run.table('tasks', ('iteration', 'games'))
      if tasks is None:
        raise UserError(f'{run.folder} has no tasks.csv.gz')
      for row in tasks[tasks.games > 0].itertuples():
        point = (row.iteration - 1, row.episode_return)
        error = row.episode_return_error
        rows.append((network, run.seed, row.task, *point, error))
      for task, returns in run.evaluation.groupby('task')['return']:
        point = (tasks.iteration.max(), returns.mean())
        rows.append((network, run.seed, task, *point, returns.sem()))
  if not rows:
    raise UserError(f'no run of {name} is recorded: --run={name} first')
  columns = ['network', 'seed', 'game', 'iteration', 'mean', 'error']
  points = pd.DataFrame(rows, columns=columns)
  names = grouping.short_names(list(dict.fromkeys(points.game)))
  return points.assign(game=points.game.map(names))


def score(points: pd.DataFrame) -> Score:
  """Summarises the rows of one network, game and iteration, a row per seed."""
  values = points['mean'].to_numpy()
  if len(values) > 1:
    low, high = bootstrap.mean_interval(values)
    return Score(values.mean(), float(low), float(high), np.nan)
  (value,), (error,) = values, points['error']
  return Score(value, value - _NORMAL * error, value + _NORMAL * error, error)


def difference(multi: pd.DataFrame, single: pd.DataFrame) -> Score:
  """Returns by how much the first is better; rows as for `score`."""
  ours, theirs = (p['mean'].to_numpy() for p in (multi, single))
  mean = ours.mean() - theirs.mean()
  if len(ours) > 1 and len(theirs) > 1:
    low, high = bootstrap.interval(
      (ours, theirs), lambda a, b, axis: a.mean(axis) - b.mean(axis)
    )
    return Score(mean, float(low), float(high), np.nan)
  error = np.hypot(score(multi).error, score(single).error)
  return Score(mean, mean - _NORMAL * error, mean + _NORMAL * error, error)


def cell(found: Score) -> str:
  """Writes a score and its interval."""
  digits = 0 if abs(found.mean) >= 100 else 2
  mean, low, high = (
    f'{value:,.{digits}f}' for value in (found.mean, found.low, found.high)
  )
  return f'{mean} [{low}, {high}]' if np.isfinite(found.low) else mean


def make_iterations_table(name: str) -> str:
  """Returns Markdown: a line per game and network, a column per iteration.

  The last column is by how much multi-task is better at the end.

  Args:
    name: as for `read_runs`.
  """
  points = read_points(name)
  iterations = sorted(points.iteration.unique())
  names = ['random play', *map(str, iterations[1:])]
  header = ['game', 'network', 'seeds', *names, 'multi less single']
  body = []
  for game in points.game.unique():
    of_game = points[points.game == game]
    for network in [n for n in NETWORKS if n in set(of_game.network)]:
      found = of_game[of_game.network == network]
      by_iteration = [found[found.iteration == i] for i in iterations]
      cells = [cell(score(p)) if len(p) else '-' for p in by_iteration]
      seeds = str(found.seed.nunique())
      body.append([game, network, seeds, *cells, ''])
    ends = of_game[of_game.iteration == iterations[-1]]
    single, multi = (ends[ends.network == n] for n in NETWORKS)
    if len(single) and len(multi):
      body[-1][-1] = cell(difference(multi, single))
  return markdown.table(header, body, numbers=range(2, len(header)))


def draw_iterations(pyplot: Any, name: str) -> Any:
  """Returns a figure: a panel per game, a line with bars per network."""
  points = read_points(name)
  games = list(points.game.unique())
  figure, axes = drawing.make_panels(pyplot, len(games))
  for ax, game in zip(axes, games, strict=True):
    for i, network in enumerate(NETWORKS):
      found = points[(points.game == game) & (points.network == network)]
      if found.empty:
        continue
      scores = {n: score(p) for n, p in found.groupby('iteration')}
      means = np.array([s.mean for s in scores.values()])
      ends = np.array([[s.low, s.high] for s in scores.values()]).T
      bars = np.nan_to_num(np.abs(ends - means))
      places = np.array(list(scores)) + 0.06 * i  # Bars hide none.
      style = dict(color=f'C{i}', marker='o', capsize=3, label=network)
      ax.errorbar(places, means, bars, **style)
    ax.set_title(game)
  axes[0].set_ylabel('mean return')
  drawing.add_legend(figure, axes, 'iterations trained (0: random play)')
  for ax in axes:
    ax.set_xlim(left=-0.3)
  return figure


def make_random_play_table(name: str) -> str:
  """Returns Markdown: a line per game, ours beside Table 3, third row.

  Args:
    name: of an experiment with one run of one iteration.
  """
  points = read_points(name)
  table = published.select('prl', 'Table 3')
  header = ['game', 'random play', 'after it', 'better by, standard errors']
  header += ['published: random play', 'after it']
  body = []
  for game in points.game.unique():
    found = points[points.game == game]
    before, after = (score(found[found.iteration == i]) for i in (0, 1))
    errors = (after.mean - before.mean) / np.hypot(after.error, before.error)
    of_game = table[table.task == game].set_index('row').value
    rows = [f'{of_game[r]:g}' for r in ('Random', 'PRL Iteration 2')]
    body.append([game, cell(before), cell(after), f'{errors:.1f}', *rows])
  return markdown.table(header, body, numbers=range(1, len(header)))
