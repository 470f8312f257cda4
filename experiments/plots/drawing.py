"""How curves, bands and captions are drawn with matplotlib."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from core.errors import UserError
from core.files import atomic_file
from core.suites.suite import Reference
from experiments.runs.learning_curves import AgentCurve
from experiments.runs.wording import plural

ENDINGS = ('.pdf', '.png', '.svg', '.jpg', '.jpeg', '.webp', '.tif', '.eps')
"""Of pictures that are written."""


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


def check_path(path: str) -> None:
  """Refuses the path of a picture whose ending names no format.

  Raises:
    UserError: with the endings that work.
  """
  if os.path.splitext(path)[1].lower() not in ENDINGS:
    raise UserError(
      f'--out={path}: the name of a picture ends in {", ".join(ENDINGS)}'
    )


def save(figure: Any, path: str, dpi: int = 110) -> None:
  """Writes a figure to a file, whole or not at all, and closes it.

  Args:
    figure: of matplotlib.
    path: of the picture; its ending names the format. Missing folders are
      created.
    dpi: dots per inch.

  Raises:
    UserError: it cannot be written.
  """
  from matplotlib import pyplot

  try:
    check_path(path)
    ending = os.path.splitext(path)[1].lower()
    with atomic_file(path) as file:
      figure.savefig(file, dpi=dpi, format=ending[1:], bbox_inches='tight')
  except ValueError as error:  # Such as too many pixels.
    raise UserError(f'cannot write {path}: {error}') from error
  finally:
    pyplot.close(figure)


def make_panels(pyplot: Any, count: int) -> tuple[Any, list[Any]]:
  """Returns a figure and `count` axes, in rows that leave few gaps."""
  widest = 4 if count <= 20 else 6
  columns = count
  if count > widest:
    columns = min(range(widest, 2, -1), key=lambda n: -count % n)
  rows = -(-count // columns)
  size = (max(4.2 * columns, 7), 3.3 * rows + 0.8)
  figure, axes = pyplot.subplots(rows, columns, figsize=size, squeeze=False)
  for ax in axes.flat[count:]:
    ax.remove()
  return figure, list(axes.flat[:count])


def draw_curve(
  ax: Any, curve: AgentCurve, label: str, color: Any, unit: float = 1e6
) -> None:
  """Draws the curve of an agent: its runs, and their mean and band.

  Args:
    ax: axes.
    curve: incomplete runs are dashed.
    label: of the agent in the legend, where the number of runs is added.
    color: of all of it.
    unit: frames, or steps, per unit of the axis.
  """
  for run in curve.runs:
    style = dict(lw=0.8, alpha=0.55) if run.is_complete else dict(lw=1, ls='--')
    ax.plot(run.env_frames / unit, run.values, color=color, **style)
  if len(curve.low):
    draw_band(ax, curve.env_frames / unit, curve.low, curve.high, color)
  label = f'{label} ({plural(curve.num_complete, "seed")})'
  draw_line(ax, curve.env_frames, curve.mean, label, color, unit)


def draw_line(
  ax: Any,
  env_frames: np.ndarray,
  values: np.ndarray,
  label: str,
  color: Any,
  unit: float = 1e6,
) -> None:
  """Draws a line that stands in the legend."""
  ax.plot(env_frames / unit, values, color=color, lw=1.8, label=label)


def draw_band(
  ax: Any, x: np.ndarray, low: np.ndarray, high: np.ndarray, color: Any
) -> None:
  """Fills what lies between two lines."""
  ax.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)


def draw_references(ax: Any, reference: Reference) -> None:
  """Draws 0 and 100 % of the score where the axis reaches or nearly does."""
  low, high = ax.get_ylim()
  margin = 0.3 * (high - low)
  for value, style in ((reference.low, ':'), (reference.high, '--')):
    if low - margin <= value <= high + margin:
      ax.axhline(value, color='grey', lw=1, ls=style, zorder=0)


def add_legend(
  figure: Any, axes: Sequence[Any], x_name: str, num_columns: int = 4
) -> None:
  """Adds what is common to all panels: legend and name of the x axis."""
  handles = {}
  for ax in axes:
    for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
      handles.setdefault(label, handle)
    ax.set_xlim(left=0)
  figure.tight_layout()
  figure.legend(
    handles.values(),
    handles,
    loc='lower center',
    frameon=False,
    bbox_to_anchor=(0.5, 1.0),
    ncols=min(len(handles), num_columns),
  )
  figure.text(0.5, 0, x_name, ha='center', va='top')


def add_caption(figure: Any, text: str, gap: float = 0.3) -> None:
  """Writes a text below a figure, `gap` inches from it."""
  figure.text(
    0.5,
    -gap / figure.get_figheight(),
    text,
    ha='center',
    va='top',
    fontsize=9,
    color='dimgrey',
    wrap=True,
  )
