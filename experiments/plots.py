"""Draws runs: learning curves, scores, statistics, and rliable's plots.

    python -m experiments.plots curves FOLDER... --out=FILE.png

Kinds: curves (per task and aggregate), bars (normalised score per task, as
figures 8 and 9 of Hessel et al. 2018, arXiv:1809.04474), statistics (shift and
scale per task, as figure 3 there), intervals and profiles (of rliable, Agarwal
et al. 2021, arXiv:2108.13264).

A FOLDER is a logdir, a recorded result, or a folder of seed_* folders; those
are one agent. LABEL=FOLDER names an agent; the same label joins folders to one.
An incomplete run is dashed in curves and in no mean.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from core.errors import UserError
from experiments import curves, learning_curves, run_records, run_scores
from experiments import score_plots as plots_of_scores
from experiments.learning_curves import AgentCurve
from experiments.run_records import Agents

Options = argparse.Namespace
"""references, window, aggregate, axis: see `main`."""


def draw(kind: str, agents: Agents, out: str, options: Options) -> None:
  """Draws one kind of picture.

  Args:
    kind: one of `KINDS`.
    agents: from `run_records.read_agents`.
    out: path of the picture; its ending names the format.
    options: from the command line.

  Raises:
    UserError: there is no such kind, the runs do not have what it shows, or
      `out` cannot be written.
  """
  if kind not in KINDS:
    raise UserError(f'unknown kind {kind!r}; there are {", ".join(KINDS)}')
  pyplot = open_pyplot()
  figure = KINDS[kind](pyplot, agents, options)
  try:
    figure.savefig(out, dpi=110, bbox_inches='tight')
  except OSError as error:
    raise UserError(f'cannot write {out}: {error.strerror}') from error
  except ValueError as error:  # An unknown ending.
    raise UserError(f'cannot write {out}: {error}') from error
  finally:
    pyplot.close(figure)


def open_pyplot() -> Any:
  """Returns matplotlib.pyplot for files, with colours that all can tell."""
  import matplotlib

  matplotlib.use('Agg')
  from matplotlib import pyplot

  pyplot.rcParams['axes.prop_cycle'] = matplotlib.cycler(
    color=matplotlib.color_sequences['petroff10']
  )
  pyplot.rcParams['axes.spines.top'] = False
  pyplot.rcParams['axes.spines.right'] = False
  return pyplot


def draw_curves(pyplot: Any, agents: Agents, options: Options) -> Any:
  """Draws a panel per task, and one of the aggregate before them."""
  runs = run_scores.runs_of(agents)
  data = learning_curves.make_curves(
    agents, options.window, options.aggregate, options.references
  )
  panels = dict(data.tasks)
  names = run_records.short_names(panels)
  if data.aggregate:
    title = f'{data.aggregate_name} of {len(panels)} tasks'
    panels, names = {title: data.aggregate, **panels}, {title: title, **names}
  figure, axes = _panels(pyplot, len(panels))
  for ax, (task, by_agent) in zip(axes, panels.items(), strict=True):
    for i, (label, curve) in enumerate(by_agent.items()):
      _draw_curve(ax, curve, label, f'C{i}')
    if task in data.references:
      _draw_reference_lines(ax, data.references[task])
    ax.set_title(names[task])
    is_score = panels[task] is data.aggregate
    name = run_scores.score_name(data.references) if is_score else 'return'
    ax.set_ylabel(name)
  _finish(
    figure,
    axes,
    'environment frames of all tasks (millions)',
    f'A point is the {data.window}. Thin: every seed (dashed: incomplete, not '
    'in the mean). Thick: mean of seeds; band: its 95 % bootstrap interval.\n'
    'Grey: score of 0 % (dotted) and 100 % (dashed).',
    run_records.protocol_differences(runs),
  )
  return figure


def draw_statistics(pyplot: Any, agents: Agents, options: Options) -> Any:
  """Draws shift ± scale, and below the scale on a log axis, per task.

  Raises:
    UserError: no run has them.
  """
  del options
  tables = {}
  for run in run_scores.runs_of(agents):
    table = run_records.read_table(run.folder, 'tasks')
    if table is not None and {'shift', 'scale'} <= set(table.columns):
      tables[run] = table
  if not tables:
    folders = ', '.join(r.folder for r in run_scores.runs_of(agents))
    raise UserError(f'no tasks.csv with shift and scale in {folders}')
  names = {task for table in tables.values() for task in table.task}
  tasks = run_records.order_tasks(names, list(tables))
  num_columns = min(len(tasks), 4)
  num_rows = 2 * -(-len(tasks) // num_columns)
  figure, axes = pyplot.subplots(
    *(num_rows, num_columns),
    figsize=(max(4 * num_columns, 7), 2.5 * num_rows + 0.6),
    squeeze=False,
  )
  colors = {label: f'C{i}' for i, label in enumerate(agents)}
  titles = run_records.short_names(tasks)
  for i, task in enumerate(tasks):
    row, column = 2 * (i // num_columns), i % num_columns
    top, bottom = axes[row, column], axes[row + 1, column]
    for run, table in tables.items():
      _draw_statistics(top, bottom, run, table[table.task == task], colors)
    top.set_title(titles[task])
    top.set_ylabel('shift ± scale')
    bottom.set_ylabel('scale')
    bottom.set_yscale('log')
  for ax in (
    axes.reshape(-1, 2, num_columns)
    .swapaxes(1, 2)
    .reshape(-1, 2)[len(tasks) :]
    .flat
  ):
    ax.remove()
  _finish(
    figure,
    [ax for ax in axes.flat if ax.lines],
    'environment frames of all tasks (millions)',
    'One line per seed (dashed: incomplete); band: shift ± scale.',
    [],
  )
  return figure


def _draw_curve(ax, curve: AgentCurve, label, color):
  for run, frames, values in curve.runs:
    style = dict(lw=0.8, alpha=0.55) if run.is_complete else dict(lw=1, ls='--')
    ax.plot(frames / 1e6, values, color=color, **style)
  if len(curve.low):
    ax.fill_between(
      *(curve.env_frames / 1e6, curve.low, curve.high),
      color=color, alpha=0.2, linewidth=0,
    )  # fmt: skip
  seeds = sum(of_run.run.is_complete for of_run in curve.runs)
  text = f'{label} ({seeds} seed{"s" * (seeds != 1)})'
  ax.plot(curve.env_frames / 1e6, curve.mean, color=color, lw=1.8, label=text)


def _draw_reference_lines(ax, reference):
  """Draws 0 and 100 % of the score where the axis reaches or nearly does."""
  low, high = ax.get_ylim()
  margin = 0.3 * (high - low)
  for value, style in ((reference.random, ':'), (reference.human, '--')):
    if low - margin <= value <= high + margin:
      ax.axhline(value, color='grey', lw=1, ls=style, zorder=0)


def _draw_statistics(top, bottom, run, rows, colors):
  millions, shift, scale = rows.env_frames / 1e6, rows['shift'], rows['scale']
  style = dict(color=colors[run.label], ls='-' if run.is_complete else '--')
  top.fill_between(
    *(millions, shift - scale, shift + scale),
    color=style['color'], alpha=0.12, linewidth=0,
  )  # fmt: skip
  top.plot(millions, shift, lw=1, label=run.label, **style)
  bottom.plot(millions, scale, lw=1, label=run.label, **style)


def _panels(pyplot, count):
  """Returns a figure and `count` axes, in rows that leave few gaps."""
  widest = 4 if count <= 20 else 6
  if count <= widest:
    columns = count
  else:
    columns = min(range(widest, 2, -1), key=lambda n: -count % n)
  rows = -(-count // columns)
  size = (max(4.2 * columns, 7), 3.3 * rows + 0.8)
  figure, axes = pyplot.subplots(rows, columns, figsize=size, squeeze=False)
  for ax in axes.flat[count:]:
    ax.remove()
  return figure, list(axes.flat[:count])


def _finish(figure, axes, x_name, caption, differences):
  """Adds what is common to all panels: legend, name of x, caption."""
  handles = {}
  for ax in axes:
    for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
      handles.setdefault(label, handle)
    ax.set_xlim(left=0)
  figure.tight_layout()
  figure.legend(
    handles.values(), handles, loc='lower center', frameon=False,
    bbox_to_anchor=(0.5, 1.0), ncols=min(len(handles), 4),
  )  # fmt: skip
  if differences:
    caption += '\nPROTOCOLS DIFFER: ' + '; '.join(differences)
  figure.text(0.5, 0, x_name, ha='center', va='top')
  figure.text(0.5, -0.3 / figure.get_figheight(), caption, ha='center',
              va='top', fontsize=9, color='dimgrey', wrap=True)  # fmt: skip


KINDS: dict[str, Callable[..., Any]] = {
  'curves': draw_curves,
  'bars': plots_of_scores.draw_bars,
  'statistics': draw_statistics,
  'intervals': plots_of_scores.draw_intervals,
  'profiles': plots_of_scores.draw_profiles,
}


def parse(arguments: Sequence[str] | None = None) -> Options:
  """Reads the command line."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.plots',
    description='Draw runs.',
  )
  parser.add_argument('kind', help=', '.join(KINDS))
  parser.add_argument(
    'folders', nargs='+', metavar='[LABEL=]FOLDER', help='runs or agents'
  )
  parser.add_argument('--out', required=True, help='picture to write')
  parser.add_argument(
    '--window', type=int, default=curves.WINDOW, help='episodes of a mean'
  )
  parser.add_argument(
    '--aggregate', default='', choices=['', *run_scores.AGGREGATES],
    help='of all tasks in curves; by default the suite\'s own',
  )  # fmt: skip
  parser.add_argument(
    '--axis', default='log', choices=['log', 'linear'], help='of bars'
  )
  parser.add_argument(
    '--references', default='', help='CSV: task, random, human (0 and 100 %%)'
  )
  return parser.parse_args(arguments)


def main() -> None:
  """Draws what the command line names."""
  options = parse()
  try:
    if options.window < 1:
      raise UserError(f'--window is {options.window}, but must be at least 1')
    agents = run_records.read_agents(options.folders)
    os.makedirs(os.path.dirname(options.out) or '.', exist_ok=True)
    draw(options.kind, agents, options.out, options)
  except UserError as error:
    sys.exit(f'error: {error}')
  print(options.out)


if __name__ == '__main__':
  main()
