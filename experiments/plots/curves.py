"""Pictures of training: learning curves, and PopArt's statistics."""

import argparse
from typing import Any

from core.errors import UserError
from experiments.plots import drawing
from experiments.runs import grouping, learning_curves, scoring
from experiments.runs.grouping import Agents

_X_NAME = 'environment frames of all tasks (millions)'


def draw_curves(
  pyplot: Any, agents: Agents, options: argparse.Namespace
) -> Any:
  """Draws a panel per task, and one of the aggregate before them."""
  data = learning_curves.make_curves(
    agents, options.window, options.aggregate, options.references
  )
  panels = dict(data.tasks)
  names = grouping.short_names(list(panels))
  if data.aggregate:
    title = f'{data.aggregate_name} of {len(panels)} tasks'
    panels, names = {title: data.aggregate, **panels}, {title: title, **names}
  figure, axes = drawing.make_panels(pyplot, len(panels))
  for ax, (task, by_agent) in zip(axes, panels.items(), strict=True):
    for i, (label, curve) in enumerate(by_agent.items()):
      drawing.draw_curve(ax, curve, label, f'C{i}')
    if task in data.references:
      drawing.draw_references(ax, data.references[task])
    ax.set_title(names[task])
    is_score = by_agent is data.aggregate
    name = scoring.score_name(data.references) if is_score else 'return'
    ax.set_ylabel(name)
  drawing.add_legend(figure, axes, _X_NAME)
  caption = (
    f'A point is the {data.window}. Thin: every seed (dashed: incomplete, not '
    'in the mean). Thick: mean of seeds; band: its 95 % bootstrap interval.\n'
    'Grey: score of 0 % (dotted) and 100 % (dashed).'
  )
  differences = grouping.protocol_differences(grouping.runs_of(agents))
  if differences:
    caption += '\nPROTOCOLS DIFFER: ' + '; '.join(differences)
  drawing.add_caption(figure, caption)
  return figure


def draw_statistics(
  pyplot: Any, agents: Agents, options: argparse.Namespace
) -> Any:
  """Draws shift ± scale, and below the scale on a log axis, per task.

  Raises:
    UserError: no run has them.
  """
  del options
  tables, tasks = learning_curves.read_statistics(agents)
  if not tables:
    folders = ', '.join(r.folder for r in grouping.runs_of(agents))
    raise UserError(f'no tasks.csv with shift and scale in {folders}')
  num_columns = min(len(tasks), 4)
  num_rows = -(-len(tasks) // num_columns)
  figure, axes = pyplot.subplots(
    2 * num_rows,
    num_columns,
    figsize=(max(4 * num_columns, 7), 5 * num_rows + 0.6),
    squeeze=False,
  )
  # A row of tasks is two rows of panels.
  pairs = [
    (axes[2 * row, column], axes[2 * row + 1, column])
    for row in range(num_rows)
    for column in range(num_columns)
  ]
  colors = {label: f'C{i}' for i, label in enumerate(agents)}
  titles = grouping.short_names(tasks)
  for (top, bottom), task in zip(pairs, tasks, strict=False):
    for run, table in tables.items():
      _draw_task(top, bottom, run, table[table.task == task], colors)
    top.set_title(titles[task])
    top.set_ylabel('shift ± scale')
    bottom.set_ylabel('scale')
    bottom.set_yscale('log')
  for pair in pairs[len(tasks) :]:
    for ax in pair:
      ax.remove()
  drawing.add_legend(figure, [ax for ax in axes.flat if ax.lines], _X_NAME)
  drawing.add_caption(
    figure, 'One line per seed (dashed: incomplete); band: shift ± scale.'
  )
  return figure


def _draw_task(top, bottom, run, rows, colors):
  millions, shift, scale = rows.env_frames / 1e6, rows['shift'], rows['scale']
  style = dict(color=colors[run.label], ls='-' if run.is_complete else '--')
  drawing.draw_band(top, millions, shift - scale, shift + scale, style['color'])
  top.plot(millions, shift, lw=1, label=run.label, **style)
  bottom.plot(millions, scale, lw=1, label=run.label, **style)
