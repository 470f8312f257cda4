"""Figures of the runs on tasks of DeepMind Control.

Lines are means over seeds, bands and bars their 95 % bootstrap intervals.
"""

from typing import Any

import numpy as np
import pandas as pd

from experiments.brc import control_results
from experiments.plots import drawing
from experiments.runs import bootstrap

_CAPTION = 'Mean of seeds and its 95 % bootstrap interval.'
_SCORE = 'score, % of the greatest return'


def draw_curves(pyplot: Any, table: pd.DataFrame, width: int) -> Any:
  """Returns scores against steps: a panel for the mean and for every task.

  Args:
    pyplot: from `drawing.open_pyplot`.
    table: from `control_results.read_all`.
    width: of the critics.
  """
  agents = [a for a in control_results.AGENTS if a in set(table.agent)]
  lines = {
    control_results.AGENTS[agent]: table[
      (table.agent == agent) & (table.width == width)
    ]
    for agent in agents
  }
  return _draw_lines(pyplot, lines)


def draw_transfer(pyplot: Any, table: pd.DataFrame, names: dict) -> Any:
  """Returns the scores of a new task against its steps.

  Args:
    pyplot: from `drawing.open_pyplot`.
    table: with setting, seed, task, steps and score.
    names: of the lines, by setting.
  """
  lines = {name: table[table.setting == s] for s, name in names.items()}
  return _draw_lines(pyplot, lines)


def draw_widths(pyplot: Any, table: pd.DataFrame) -> Any:
  """Returns four panels: Figures 4 and 5, 9 and 6 of the paper in small.

  Args:
    pyplot: from `drawing.open_pyplot`.
    table: from `control_results.read_all`.
  """
  figure, axes = drawing.make_panels(pyplot, 4)
  ends = control_results.at_end(table)
  _draw_by_width(axes[0], ends, 'score at the end, %')
  conflicts = 100.0 * control_results.conflicts(table)
  _draw_by_width(axes[1], conflicts, 'conflicting pairs of gradients, %')
  _draw_updates(axes[2], table)
  _draw_shapley(axes[3], control_results.ablation(table))
  drawing.add_legend(figure, axes, '')
  drawing.add_caption(figure, _CAPTION)
  return figure


def _draw_lines(pyplot, lines):
  lines = {name: rows for name, rows in lines.items() if not rows.empty}
  tasks = sorted({task for rows in lines.values() for task in rows.task})
  panels = ['mean of tasks', *tasks] if len(tasks) > 1 else tasks
  figure, axes = drawing.make_panels(pyplot, len(panels))
  for ax, panel in zip(axes, panels, strict=True):
    for i, (name, rows) in enumerate(lines.items()):
      own = rows[rows.task == panel] if panel in tasks else rows
      _draw_line(ax, own, 'steps', name, f'C{i}', 1e3)
    ax.set_title(panel.rpartition(':')[2])
  axes[0].set_ylabel(_SCORE)
  drawing.add_legend(figure, axes, 'steps of each task (thousands)')
  drawing.add_caption(figure, _CAPTION)
  return figure


def _draw_line(ax, rows, column, name, color, unit):
  if rows.empty:
    return
  by_task = rows.groupby([column, 'seed', 'task']).score.mean()
  means = by_task.groupby([column, 'seed']).mean().unstack('seed')
  x, values = means.index.to_numpy(), means.to_numpy().T
  low, high = bootstrap.mean_interval(values)
  if len(low):
    drawing.draw_band(ax, x / unit, low, high, color)
  drawing.draw_line(ax, x, values.mean(axis=0), name, color, unit)


def _draw_by_width(ax, values, title):
  widths = sorted(values.index.unique('width'))
  for i, (agent, name) in enumerate(control_results.AGENTS.items()):
    known = [w for w in widths if (agent, w) in values.index]
    if not known:
      continue
    of_width = [values[agent, w].to_numpy() for w in known]
    means = np.array([v.mean() for v in of_width])
    ends = [bootstrap.mean_interval(v) for v in of_width]
    spread = [
      np.abs(np.array(e) - m) if np.size(e[0]) else np.zeros(2)
      for e, m in zip(ends, means, strict=True)
    ]
    beside = 0.06 * (i - 1)  # Bars hide none.
    places = [1 + widths.index(w) + beside for w in known]
    style = dict(color=f'C{i}', label=name, marker='o', capsize=3)
    ax.errorbar(places, means, np.transpose(spread), **style)
  ax.set_xticks(range(1, 1 + len(widths)), [str(w) for w in widths])
  ax.set_xlabel('width of the critics')
  ax.set_title(title)


def _draw_updates(ax, table):
  """Draws scores at width 256 against the gradient steps of all runs."""
  for i, (agent, name) in enumerate(control_results.AGENTS.items()):
    rows = table[(table.agent == agent) & (table.width == 256)]
    if agent == 'single' and not rows.empty:
      total = rows.updates * rows.task.nunique()
      rows = rows.assign(updates=total)
    _draw_line(ax, rows, 'updates', name, f'C{i}', 1e3)
  ax.set_xlabel('gradient steps for all tasks (thousands)')
  ax.set_title('score, width 256, %')


def _draw_shapley(ax, scores):
  ax.set_title('Shapley values of the score, points')
  if scores is None:
    ax.text(0.5, 0.5, 'not run yet', ha='center', transform=ax.transAxes)
    return
  per_seed = control_results.shapley_per_seed(scores)
  for i, (choice, values) in enumerate(per_seed.items()):
    ax.bar(i + 1, values.mean(), color='C3', width=0.6)
    ax.plot(np.full(len(values), i + 1), values, 'k.', ms=4)
    ax.annotate(
      choice,
      (i + 1, 0),
      ha='center',
      va='top',
      xytext=(0, -4),
      textcoords='offset points',
    )
  ax.set_xticks([])
