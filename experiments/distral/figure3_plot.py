"""Draws figure 3 of Distral from the tables that figure3.py makes."""

import numpy as np
import pandas as pd

from core.environments import two_rooms
from experiments.plots import drawing
from experiments.runs import learning_curves

NAMES = {'distral': 'Distral', 'separate': 'separate soft Q-learning'}
COLORS = {'distral': 'tab:blue', 'separate': 'tab:orange'}
MAX_ARROW = 0.45  # Of a cell, for probability 1.
WALL, FLOOR, GOAL = '0.35', 'white', 'tab:green'


def draw(
  returns: pd.DataFrame,
  corridor: pd.DataFrame,
  layout: str,
  goals: np.ndarray,
  path: str,
) -> None:
  """Draws learning curves, the tasks of a seed, and pi_0 in the corridor.

  Args:
    returns: `Results.returns` of figure3.py.
    corridor: `Results.corridor`.
    layout: 'a' or 'b'.
    goals: int64 [tasks], the cells of the goals that are shown as an example.
    path: of the picture.

  Raises:
    UserError: it cannot be written.
  """
  figure = drawing.open_pyplot().figure(figsize=(15, 4.6), layout='constrained')
  grid = figure.add_gridspec(2, 3, width_ratios=(1.1, 1, 1))
  _draw_curves(figure.add_subplot(grid[:, 0]), returns)
  _draw_tasks(figure.add_subplot(grid[:, 1]), layout, goals)
  for row, previous_action in enumerate(('left', 'right')):
    ax = figure.add_subplot(grid[row, 2])
    rows = corridor[corridor.previous_action == previous_action]
    _draw_corridor(ax, rows, previous_action)
  drawing.save(figure, path, dpi=100)


def _draw_curves(ax, returns):
  for agent, name in NAMES.items():
    table = returns[returns.agent == agent].pivot(
      index='env_steps_per_task', columns='seed', values='mean_return'
    )
    curve = learning_curves.range_curve(table)
    drawing.draw_curve(ax, curve, name, COLORS[agent], 1e3)
  ax.set_xlabel('environment steps per task (thousands)')
  ax.set_ylabel('return, mean of the tasks')
  num_seeds = returns.seed.nunique()
  ax.set_title(f'Learning curves: {num_seeds} seeds and their mean')
  ax.legend(loc='lower right', frameon=False)


def _draw_tasks(ax, layout, goals):
  picture = two_rooms.LAYOUTS[layout]
  cells = two_rooms.make_grid(layout).cells
  _draw_floor(ax, cells, len(picture), len(picture[0]))
  for number, (row, column) in enumerate(cells[goals], start=1):
    ax.add_patch(_square(row, column, GOAL))
    ax.text(
      column,
      row,
      str(number),
      ha='center',
      va='center',
      color='white',
      weight='bold',
    )
  ax.set_title('Tasks of seed 0: a goal each')


def _draw_corridor(ax, rows, previous_action):
  """Draws an arrow per move, as long as its probability, mean of seeds."""
  probabilities = rows.groupby(['cell', 'action']).probability.mean()
  names = sorted(rows.cell.unique(), key=lambda name: int(name.split('/')[1]))
  cells = np.array([[1, 1 + i] for i in range(len(names))])
  _draw_floor(ax, cells, 3, len(names) + 2)
  ax.set_xlim(0.2, len(names) + 0.8)  # As much wall as needed to see it.
  ax.set_ylim(1.8, 0.2)
  for name, (row, column) in zip(names, cells, strict=True):
    for action, move in zip(two_rooms.ACTIONS, two_rooms.MOVES, strict=True):
      probability = probabilities[name, action]
      if action == 'stay':
        ax.add_patch(_disc(row, column, MAX_ARROW * probability))
      else:
        _draw_arrow(ax, row, column, MAX_ARROW * probability * np.array(move))
  ax.set_title(rf'$\pi_0$ in the corridor, previous action {previous_action}')
  num_seeds = rows.seed.nunique()
  ax.set_xlabel(f'arrow: probability, mean of {num_seeds} seeds; disc: stay')


def _draw_floor(ax, cells, num_rows, num_columns):
  """Draws walls with the free cells in them, row 0 on top."""
  ax.set_facecolor(WALL)
  for row, column in cells:
    ax.add_patch(_square(row, column, FLOOR))
  ax.set_xlim(-0.5, num_columns - 0.5)
  ax.set_ylim(num_rows - 0.5, -0.5)
  ax.set_aspect('equal')
  ax.set_xticks([])
  ax.set_yticks([])


def _draw_arrow(ax, row, column, move):
  length = np.hypot(*move)
  ax.arrow(
    column,
    row,
    move[1],
    move[0],
    width=0.25 * length,
    head_width=0.8 * length,
    head_length=0.5 * length,
    length_includes_head=True,
    color=COLORS['distral'],
    linewidth=0,
  )


def _square(row, column, color):
  from matplotlib import patches

  return patches.Rectangle(
    (column - 0.5, row - 0.5), 1, 1, facecolor=color, edgecolor='0.8', lw=0.5
  )


def _disc(row, column, radius):
  from matplotlib import patches

  return patches.Circle((column, row), radius, color=COLORS['distral'], lw=0)
