"""Pictures of final scores: bars per task, rliable's intervals and profiles."""

import argparse
from typing import Any

import numpy as np

from core.errors import UserError
from core.suites import scores as core_scores
from experiments.plots import drawing
from experiments.runs import bootstrap, grouping, scoring
from experiments.runs.grouping import Agents
from experiments.runs.scoring import Scores
from experiments.runs.wording import plural

AGGREGATES = {'mean': 'Mean', 'median': 'Median', 'iqm': 'IQM'}
LINEAR_BELOW = 1.0  # Percent; on a log axis there is no 0 and no negative.


def draw_bars(pyplot: Any, agents: Agents, options: argparse.Namespace) -> Any:
  """Draws normalised scores per task, a bar per agent and a dot per run.

  Figures 8 and 9 of Hessel et al. 2018 (arXiv:1809.04474). Tasks are sorted by
  the score of the first agent.

  Raises:
    UserError: as `scoring.read_scores`; a task has no reference.
  """
  scores = _read(agents, options)
  points = {
    label: {
      task: [
        scoring.normalize(run[task].mean(), scores.references[task])
        for run in runs
        if task in run
      ]
      for task in scores.tasks
    }
    for label, runs in scores.returns.items()
  }
  first = next(iter(points.values()))
  tasks = sorted(
    scores.tasks, key=lambda t: np.mean(first[t]) if first[t] else -np.inf
  )
  names = grouping.short_names(tasks)
  height = 0.8 / len(points)
  figure, ax = pyplot.subplots(
    figsize=(8, 1.4 + len(tasks) * (0.18 + 0.13 * len(points)))
  )
  for i, (label, by_task) in enumerate(points.items()):
    # The first agent on top, as in the legend.
    rows = np.arange(len(tasks)) + 0.4 - height * (i + 0.5)
    means = [np.mean(by_task[t]) if by_task[t] else np.nan for t in tasks]
    ax.barh(rows, means, height, color=f'C{i}', label=_legend(label, scores))
    for row, task in zip(rows, tasks, strict=True):
      if len(by_task[task]) > 1:
        x = by_task[task]
        ax.plot(x, [row] * len(x), '|', color='black', ms=5, mew=0.8, alpha=0.6)
  _set_axis(ax, options.axis)
  ax.axvline(100, color='grey', lw=1, ls='--')
  ax.axvline(0, color='black', lw=0.8)
  ax.set_yticks(range(len(tasks)), [names[task] for task in tasks])
  ax.set_ylim(-0.6, len(tasks) - 0.4)
  ax.set_xlabel(scoring.score_name(scores.references))
  ax.legend(frameon=False, loc='lower center', bbox_to_anchor=(0.5, 1.0))
  figure.tight_layout()
  note = 'Ticks on a bar: its runs. Dashed: 100 %.'
  if options.axis == 'log':
    note += f' Axis: linear up to ±{LINEAR_BELOW:g} %, logarithmic beyond.'
  drawing.add_caption(figure, f'{note}\n{scores.source}', 0.15)
  return figure


def draw_intervals(
  pyplot: Any, agents: Agents, options: argparse.Namespace
) -> Any:
  """Draws mean, median and IQM of agents with rliable's intervals.

  Raises:
    UserError: as `draw_bars`; the agents have not the same tasks.
  """
  matrices, scores = _matrices(agents, options)
  from rliable import plot_utils

  estimates = {
    label: core_scores.aggregate(matrix, 0, bootstrap.NUM_RESAMPLES)
    for label, matrix in matrices.items()
  }
  # rliable draws from below to above.
  order = list(reversed(estimates))
  points = {
    label: [estimates[label][name].point for name in AGGREGATES]
    for label in order
  }
  intervals = {
    label: np.array(
      [(estimates[label][n].low, estimates[label][n].high) for n in AGGREGATES]
    ).T
    for label in order
  }
  colors = {label: f'C{i}' for i, label in enumerate(estimates)}
  figure, axes = plot_utils.plot_interval_estimates(
    points,
    intervals,
    [f'{name}, %' for name in AGGREGATES.values()],
    colors=colors,
    row_height=max(0.5, 1.6 / len(order)),
    interval_height=0.5,
    xlabel='',
  )
  axes[0].set_yticks(
    range(len(order)), [_legend(label, scores) for label in order]
  )
  for ax in axes:
    ax.use_sticky_edges = False  # They would cut the bars at the frame.
    ax.margins(x=0.08)
    ax.tick_params(labelsize='medium')
    ax.title.set_size('large')
  single = [label for label, matrix in matrices.items() if len(matrix) == 1]
  note = (
    f'{scoring.score_name(scores.references)}. Bars: 95 % bootstrap intervals'
  )
  note += ' over runs, stratified by task (rliable).'
  if single:
    note += f' One run, so no interval: {", ".join(single)}.'
  drawing.add_caption(figure, f'{note}\n{scores.source}')
  return figure


def draw_profiles(
  pyplot: Any, agents: Agents, options: argparse.Namespace
) -> Any:
  """Draws the share of runs and tasks above each score, by rliable.

  Raises:
    UserError: as `draw_intervals`.
  """
  matrices, scores = _matrices(agents, options)
  from rliable import plot_utils

  everything = np.concatenate([m.ravel() for m in matrices.values()])
  low, high = min(everything.min(), 0.0), max(everything.max(), 100.0)
  margin = 0.02 * (high - low)
  taus = np.linspace(low - margin, high + margin, 301)
  is_wide = high > 1000
  if is_wide:
    taus = np.concatenate(
      [np.linspace(low, 100, 151), np.geomspace(100, 1.1 * high, 151)[1:]]
    )
  profiles, intervals = bootstrap.profiles(matrices, taus)
  figure, ax = pyplot.subplots(figsize=(8, 4.5))
  plot_utils.plot_performance_profiles(
    profiles,
    taus,
    intervals,
    ax=ax,
    colors={label: f'C{i}' for i, label in enumerate(profiles)},
    xlabel=scoring.score_name(scores.references) + ' (τ)',
    ylabel='share of runs and tasks above τ',
    labelsize='medium',
    ticklabelsize='medium',
  )
  if is_wide:
    ax.set_xscale('symlog', linthresh=100)
  ax.set_xlim(taus[0], taus[-1])
  handles, labels = ax.get_legend_handles_labels()
  names = [_legend(label, scores) for label in labels]
  ax.legend(
    handles, names, frameon=False, loc='lower center', bbox_to_anchor=(0.5, 1.0)
  )
  note = 'Bands: 95 % bootstrap intervals over runs (rliable).'
  drawing.add_caption(figure, f'{note}\n{scores.source}', 0.15)
  return figure


def _read(agents, options) -> Scores:
  scores = scoring.read_scores(agents, options.references)
  scoring.check_references(scores)
  return scores


def _matrices(agents, options):
  """Returns score matrices by agent, of one set of tasks, and the scores.

  Raises:
    UserError: the agents have not the same tasks.
  """
  scores = _read(agents, options)
  for label, runs in scores.returns.items():
    missing = set(scores.tasks).difference(*runs)
    if missing:
      raise UserError(
        f'{label} has no returns of {", ".join(sorted(missing))}: '
        'aggregates need the same tasks of all'
      )
  matrices = {
    label: scoring.score_matrix(scores, label) for label in scores.returns
  }
  return matrices, scores


def _legend(label, scores):
  return f'{label} ({plural(len(scores.returns[label]), "run")})'


def _set_axis(ax, axis):
  if axis == 'linear':
    return
  from matplotlib import ticker

  ax.set_xscale('symlog', linthresh=LINEAR_BELOW, linscale=0.4)
  ax.xaxis.set_major_formatter(
    ticker.FuncFormatter(lambda value, _: f'{value:g}')
  )
