"""How much tasks differ under three losses: table and figure (Figure 3).

Relative variance is Var / mean^2 over tasks (`brc.task_measures`); returns are
in % of the greatest that a copy can give.
"""

from typing import Any

import numpy as np
import pandas as pd

from experiments.brc import scaled_point_mass, small_records
from experiments.plots import drawing
from experiments.runs import bootstrap
from experiments.tables import markdown

LOSSES = {
  'mse': 'MSE',
  'mse_normalised': 'MSE, rewards normalised',
  'cross_entropy': 'cross-entropy, rewards normalised',
}
MEASURES = {
  'td_loss_relative_variance': 'TD loss',
  'gradient_norm_relative_variance': 'gradient norm',
  'policy_entropy_relative_variance': 'policy entropy',
}


def add_scores(table: pd.DataFrame) -> pd.DataFrame:
  """Adds `scale` and `score`, the return in % of the best."""
  scale = table.task.map(scaled_point_mass.SCALE_OF_TASK)
  return table.assign(scale=scale, score=table.evaluation_return / scale)


def make_text(table: pd.DataFrame) -> str:
  """Returns two Markdown tables of the last evaluation, a line per loss.

  Args:
    table: from `small_records.read`.
  """
  last = add_scores(small_records.latest(table))
  losses = [loss for loss in LOSSES if loss in set(last.setting)]
  by_loss = {loss: last[last.setting == loss] for loss in losses}
  parts = []
  header = ['relative variance over tasks', 'seeds', *MEASURES.values()]
  body = []
  for loss, rows in by_loss.items():
    # The same in the rows of all tasks.
    per_seed = rows.groupby('seed')[list(MEASURES)].first()
    cells = [
      small_records.cell(per_seed[column].to_numpy(), 3) for column in MEASURES
    ]
    body.append([LOSSES[loss], str(len(per_seed)), *cells])
  parts.append(markdown.table(header, body, range(1, len(header))))
  scales = sorted(last.scale.unique())
  header = ['return, % of the best', *(f'x {s:g}' for s in scales), 'mean']
  body = []
  for loss, rows in by_loss.items():
    scores = rows.pivot(index='seed', columns='scale', values='score')
    cells = [small_records.cell(scores[s].to_numpy(), 1) for s in scales]
    mean = small_records.cell(scores.mean(axis=1).to_numpy(), 1)
    body.append([LOSSES[loss], *cells, mean])
  parts.append(markdown.table(header, body, range(1, len(header))))
  return '\n\n'.join(parts)


def draw(pyplot: Any, table: pd.DataFrame) -> Any:
  """Returns the figure: the measures over steps on log axes, and returns.

  Args:
    pyplot: from `drawing.open_pyplot`.
    table: from `small_records.read`.
  """
  table = add_scores(table)
  titles = {**MEASURES, 'score': 'return, % of the best, mean of tasks'}
  figure, axes = drawing.make_panels(pyplot, len(titles))
  for ax, (column, title) in zip(axes, titles.items(), strict=True):
    for i, (loss, name) in enumerate(LOSSES.items()):
      rows = table[table.setting == loss]
      if not rows.empty:
        _draw_line(ax, rows, column, name, f'C{i}')
    ax.set_title(title)
    if column in MEASURES:
      ax.set_yscale('log')
  axes[0].set_ylabel('relative variance over tasks')
  drawing.add_legend(figure, axes, 'steps of each task (thousands)')
  drawing.add_caption(figure, 'Mean of seeds and its 95 % bootstrap interval.')
  return figure


def _draw_line(ax, rows, column, name, color):
  num_tasks = rows.task.nunique()
  means = rows.groupby(['seed', 'env_frames'])[column].mean().unstack('seed')
  values = means.to_numpy().T  # [seeds, evaluations]
  steps = means.index.to_numpy() / num_tasks
  low, high = bootstrap.mean_interval(values)
  if len(low):
    drawing.draw_band(ax, steps / 1e3, low, high, color)
  drawing.draw_line(ax, steps, np.mean(values, axis=0), name, color, 1e3)
