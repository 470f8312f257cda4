"""The report's interactive figures, as JSON for plotly.js."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from experiments.runs import grouping, learning_curves, scoring
from experiments.runs.grouping import Agents
from experiments.runs.learning_curves import AgentCurve, Curves

COLORS = (
  '#3f90da',
  '#ffa90e',
  '#bd1f01',
  '#94a4a2',
  '#832db6',
  '#a96b59',
  '#e76300',
  '#b9ac70',
  '#717581',
  '#92dadd',
)
"""Petroff's ten colours (arXiv:2107.02270), which colour-blind people tell."""

_HOVER = '%{fullData.name}<br>frame %{x:.4s}: %{y:.5g}<extra></extra>'


class Panel(NamedTuple):
  """A figure of the page.

  Attributes:
    title: str.
    json: data and layout; safe inside of a <script>.
  """

  title: str
  json: str


def color_by_label(agents: Agents) -> dict[str, str]:
  """Returns a colour per agent; from the eleventh on they come again."""
  return {label: COLORS[i % len(COLORS)] for i, label in enumerate(agents)}


def curve_panels(curves: Curves, colors: Mapping[str, str]) -> list[Panel]:
  """Draws learning curves, the aggregate first.

  Args:
    curves: from `learning_curves.make_curves`.
    colors: by agent.
  """
  panels = []
  if curves.aggregate:
    title = f'{curves.aggregate_name} of {len(curves.tasks)} tasks'
    name = scoring.score_name(curves.references)
    panels.append(_curve_panel(title, name, curves.aggregate, colors))
  names = grouping.short_names(list(curves.tasks))
  for task, by_agent in curves.tasks.items():
    panels.append(_curve_panel(names[task], 'return', by_agent, colors))
  return panels


def statistics_panels(agents: Agents, colors: Mapping[str, str]) -> list[Panel]:
  """Draws shift ± scale per task of the runs that have them."""
  tables, tasks = learning_curves.read_statistics(agents)
  names = grouping.short_names(tasks)
  panels = []
  for task in tasks:
    traces = []
    for run, table in tables.items():
      rows = table[table.task == task]
      x, shift = rows.env_frames.to_numpy(), rows['shift'].to_numpy()
      scale, color = rows['scale'].to_numpy(), colors[run.label]
      traces += _band(x, shift - scale, shift + scale, color)
      dash = 'solid' if run.is_complete else 'dash'
      traces.append(_line(x, shift, run.name, color, 1.5, dash))
    panels.append(_panel(names[task], 'shift ± scale', traces))
  return panels


def _curve_panel(title, y_name, by_agent: Mapping[str, AgentCurve], colors):
  traces = []
  for label, curve in by_agent.items():
    color = colors[label]
    for name, is_complete, frames, values in curve.runs:
      dash = 'solid' if is_complete else 'dash'
      width = 0.8 if is_complete else 1.3
      traces.append(_line(frames, values, name, color, width, dash, 0.65))
    if len(curve.low):
      traces += _band(curve.env_frames, curve.low, curve.high, color)
    if len(curve.env_frames):
      name = f'{label}, mean of {curve.num_complete}'
      traces.append(_line(curve.env_frames, curve.mean, name, color, 2.5))
  return _panel(title, y_name, traces)


def _line(
  x, y, name, color, width, dash='solid', opacity=1.0
) -> dict[str, Any]:
  return dict(
    type='scatter',
    mode='lines',
    x=_numbers(x),
    y=_numbers(y),
    name=name,
    opacity=opacity,
    line=dict(color=color, width=width, dash=dash),
    hovertemplate=_HOVER,
  )


def _band(x, low, high, color) -> list[dict[str, Any]]:
  red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
  return [
    dict(
      type='scatter',
      mode='lines',
      hoverinfo='skip',
      fill='toself',
      x=_numbers(np.concatenate([x, x[::-1]])),
      y=_numbers(np.concatenate([high, low[::-1]])),
      fillcolor=f'rgba({red}, {green}, {blue}, 0.18)',
      line=dict(width=0),
    )
  ]


def _numbers(values):
  # Half the size; nobody sees the eighth digit.
  return np.asarray(values, np.float32)


def _panel(title, y_name, traces) -> Panel:
  from plotly import graph_objects

  layout = dict(
    template='none',
    height=300,
    margin=dict(l=60, r=10, t=28, b=45),
    showlegend=False,
    hovermode='closest',
    paper_bgcolor='rgba(0,0,0,0)',
    plot_bgcolor='rgba(0,0,0,0)',
    xaxis=dict(title='environment frames', tickformat='~s', rangemode='tozero'),
    yaxis=dict(title=y_name, zeroline=False),
  )
  return Panel(title, graph_objects.Figure(traces, layout).to_json())
