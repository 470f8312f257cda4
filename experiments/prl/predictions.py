"""What PRL predicts of held-out cases: loss and AUC over the horizon."""

from typing import Any

import pandas as pd

from core.errors import UserError
from experiments.plots import drawing
from experiments.prl import scores
from experiments.runs import bootstrap, grouping
from experiments.tables import markdown

NAMES = {'multi_task': 'RRNN', 'rrnn': 'RRNN', 'lstm': 'LSTM'}
OUTPUTS = ('death', 'point')


def read_steps(name: str) -> pd.DataFrame:
  """Reads the held-out curves of an experiment's runs after their training.

  Args:
    name: as for `scores.read_runs`.

  Returns:
    Columns model, seed, game, step, output, loss, frequency_loss and auc.

  Raises:
    UserError: nothing is recorded.
  """
  tables = []
  for setting, runs in scores.read_runs(name).items():
    for run in runs:
      table = run.table('held_out')
      if table is None:
        raise UserError(f'{run.folder} has no held_out.csv.gz')
      last = table[table.iteration == table.iteration.max()]
      tables.append(last.assign(model=NAMES[setting], seed=run.seed))
  if not tables:
    raise UserError(f'no run of {name} is recorded: --run={name} first')
  steps = pd.concat(tables, ignore_index=True)
  games = grouping.short_names(list(dict.fromkeys(steps.task)))
  return steps.assign(game=steps.task.map(games))


def make_table(name: str) -> str:
  """Returns Markdown: held-out loss per model and game.

  Args:
    name: as for `scores.read_runs`.
  """
  steps = read_steps(name)
  end = steps[steps.step == steps.step.max()]
  header = ['game', 'model', 'seeds', 'class frequencies', 'held-out loss']
  header += [f'{output}, AUC at the end' for output in OUTPUTS]
  body = []
  for game in [*steps.game.unique(), 'mean of games']:
    of_game = (
      steps if game not in set(steps.game) else steps[steps.game == game]
    )
    for model in of_game.model.unique():
      found = of_game[of_game.model == model]
      losses = _sums(found, 'loss')
      areas = [
        end[
          (end.model == model)
          & (end.output == output)
          & end.game.isin(found.game)
        ].auc.mean()
        for output in OUTPUTS
      ]
      body.append(
        [
          game,
          model,
          str(len(losses)),
          f'{_sums(found, "frequency_loss").mean():.2f}',
          _interval(losses),
          *(f'{area:.3f}' for area in areas),
        ]
      )
  return markdown.table(header, body, numbers=range(2, len(header)))


def _sums(steps, column):
  """Returns sums over steps and outputs, means over games, [seeds]."""
  by_game = steps.groupby(['seed', 'game'])[column].sum()
  return by_game.groupby('seed').mean().to_numpy()


def _interval(values):
  if len(values) < 2:
    return f'{values.mean():.2f}'
  low, high = bootstrap.mean_interval(values)
  return f'{values.mean():.2f} [{low:.2f}, {high:.2f}]'


def draw_steps(pyplot: Any, name: str) -> Any:
  """Returns a figure: loss and AUC over the horizon, a panel per game each.

  Deaths are drawn through, points dashed; grey is the loss of class
  frequencies. Means over seeds.
  """
  steps = read_steps(name)
  games, models = steps.game.unique(), steps.model.unique()
  figure, axes = drawing.make_panels(pyplot, 2 * len(games))
  for ax, (column, game) in zip(
    axes, [(c, g) for c in ('loss', 'auc') for g in games], strict=True
  ):
    of_game = steps[steps.game == game]
    for output, style in zip(OUTPUTS, ('-', '--'), strict=True):
      found = of_game[of_game.output == output]
      if column == 'loss':
        line = found.groupby('step').frequency_loss.mean()
        label = f'class frequencies, {output}'
        ax.plot(line.index, line, color='grey', ls=style, lw=1, label=label)
      for i, model in enumerate(models):
        line = found[found.model == model].groupby('step')[column].mean()
        label = f'{model}, {output}'
        ax.plot(line.index, line, color=f'C{i}', ls=style, label=label)
    if column == 'auc':
      ax.axhline(0.5, color='grey', lw=1, ls=':')
      ax.set_ylim(top=1.0)
    ax.set_title(f'{game}, {"AUC" if column == "auc" else column}')
  drawing.add_legend(figure, axes, 'step of the horizon')
  return figure


def spreads(name: str) -> str:
  """Returns Markdown: how much candidates differ in what is predicted.

  Args:
    name: as for `scores.read_runs`.
  """
  body = []
  for setting, runs in scores.read_runs(name).items():
    for run in runs:
      tasks = run.table('tasks', ('iteration', 'death_spread', 'point_spread'))
      names = grouping.short_names(list(run.tasks))
      for row in tasks[tasks.iteration == tasks.iteration.max()].itertuples():
        values = (row.death_spread, row.point_spread)
        cells = [f'{value:.3f}' for value in values]
        body.append([names[row.task], NAMES[setting], run.seed, *cells])
  header = ['game', 'model', 'seed', 'death', 'point']
  return markdown.table(header, body, numbers=range(2, 5))
