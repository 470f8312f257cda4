"""Two rooms and a corridor: the grid world of Distral (Teh et al. 2017, 4.1).

A task is a goal cell. The state is the cell, the previous action and whether
the previous step hit a wall; it is small enough for tables, and the frame is
its one-hot code, so a network can learn the same tasks.
"""

import itertools
import re
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from core.errors import UserError

# The paper draws the rooms but does not give their size. # is wall, L and R are
# the rooms, - is the corridor.
LAYOUTS = {
  'a': (
    '#################',
    '#LLLLL#####RRRRR#',
    '#LLLLL#####RRRRR#',
    '#LLLLL-----RRRRR#',
    '#LLLLL#####RRRRR#',
    '#LLLLL#####RRRRR#',
    '#################',
  ),
  'b': (
    '##########',
    '#LL####RR#',
    '#LL####RR#',
    '#LL####RR#',
    '#LL----RR#',
    '#LL####RR#',
    '#LL####RR#',
    '#LL####RR#',
    '##########',
  ),
}
LAYOUT_OF_PREFIX = {'two_rooms': 'a', 'two_rooms_b': 'b'}

ACTIONS = ('stay', 'up', 'down', 'left', 'right')
MOVES = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))  # Rows, columns.
NUM_ACTIONS = len(ACTIONS)
NO_ACTION = NUM_ACTIONS  # The previous action in the first state.
NUM_PREVIOUS_REWARDS = 2  # None or the cost of a step; the wall.

# Teh et al. 2017, appendix B.1.
STEP_REWARD = -0.1
WALL_REWARD = -0.5  # Beside that of the step.
GOAL_REWARD = 1.0  # Likewise.
MAX_STEPS = 100  # Ours: the paper names no end but the goal.


class Task(NamedTuple):
  """A goal: the key of `LAYOUTS`, and row and column counted from 0."""

  layout: str
  row: int
  column: int


class Grid(NamedTuple):
  """A layout as tables, for C free cells, S states and A actions.

  Attributes:
    cells: int64 [C, 2], row and column.
    places: str [C], 'L', 'R' or '-': which room, or the corridor.
    next_cell: int64 [C, A]; a move into a wall stays.
    hits_wall: bool [C, A].
    next_state: int64 [S, A], indices from `state_index`.
  """

  cells: np.ndarray
  places: np.ndarray
  next_cell: np.ndarray
  hits_wall: np.ndarray
  next_state: np.ndarray


class TaskTables(NamedTuple):
  """What a goal adds to a grid.

  Attributes:
    rewards: float64 [S, A].
    is_last: bool [S, A], whether the action enters the goal.
    starts: int64 [C - 1], the states an episode begins in, equally likely: all
      cells but the goal, without previous action or reward.
  """

  rewards: np.ndarray
  is_last: np.ndarray
  starts: np.ndarray


def state_index(cell: Any, previous_action: Any, previous_reward: Any) -> Any:
  """Returns the index of a state; the arguments broadcast.

  Args:
    cell: index into `Grid.cells`.
    previous_action: 0 to 4, or `NO_ACTION`.
    previous_reward: 1 if the previous step hit a wall, else 0.

  Returns:
    An integer below S = C * 6 * 2.
  """
  index = cell * (NUM_ACTIONS + 1) + previous_action
  return index * NUM_PREVIOUS_REWARDS + previous_reward


def make_grid(layout: str) -> Grid:
  """Builds the tables of a layout.

  Args:
    layout: a key of `LAYOUTS`.

  Returns:
    Grid.

  Raises:
    UserError: there is no such layout.
  """
  if layout not in LAYOUTS:
    raise UserError(
      f'unknown layout {layout!r}: it must be one of {", ".join(LAYOUTS)}'
    )
  picture = np.array([list(row) for row in LAYOUTS[layout]])
  is_wall = picture == '#'
  cells = np.argwhere(~is_wall)
  cell_at = np.full(picture.shape, -1)
  cell_at[tuple(cells.T)] = np.arange(len(cells))
  target = cells[:, None] + np.array(MOVES)  # [C, A, 2]
  hits_wall = is_wall[target[..., 0], target[..., 1]]
  next_cell = np.where(
    hits_wall,
    np.arange(len(cells))[:, None],
    cell_at[target[..., 0], target[..., 1]],
  )
  next_state = state_index(next_cell, np.arange(NUM_ACTIONS), hits_wall)
  num_codes = state_index(1, 0, 0)  # States per cell.
  return Grid(
    cells=cells,
    places=picture[tuple(cells.T)],
    next_cell=next_cell,
    hits_wall=hits_wall,
    next_state=np.repeat(next_state, num_codes, axis=0),
  )


def make_task_tables(grid: Grid, goal: int) -> TaskTables:
  """Builds the tables of a goal.

  Args:
    grid: from `make_grid`.
    goal: index of its cell.

  Returns:
    TaskTables.
  """
  is_last = grid.next_cell == goal
  rewards = STEP_REWARD + WALL_REWARD * grid.hits_wall + GOAL_REWARD * is_last
  num_codes = state_index(1, 0, 0)
  cells = np.arange(len(grid.cells))
  return TaskTables(
    rewards=np.repeat(rewards, num_codes, axis=0),
    is_last=np.repeat(is_last, num_codes, axis=0),
    starts=state_index(cells[cells != goal], NO_ACTION, 0),
  )


def draw_goals(
  layout: str, num_tasks: int, rng: np.random.Generator
) -> np.ndarray:
  """Draws different goals, uniformly where each room holds one at least.

  Where all goals are in one room, no task crosses the corridor one way.

  Args:
    layout: a key of `LAYOUTS`.
    num_tasks: 2 or more.
    rng: draws them.

  Returns:
    int64 [num_tasks], indices of cells.

  Raises:
    UserError: no such layout, or not so many tasks in it.
  """
  places = make_grid(layout).places
  if not 2 <= num_tasks <= len(places):
    raise UserError(
      f'layout {layout} has from 2 to {len(places)} tasks with a goal in each '
      f'room, not {num_tasks}'
    )
  while True:
    goals = rng.choice(len(places), num_tasks, replace=False)
    if {'L', 'R'} <= set(places[goals]):
      return goals


def is_task(name: str) -> bool:
  """Tells whether a task name is meant for this module."""
  return name.startswith('two_rooms') and ':' not in name


def parse_task(name: str) -> Task:
  """Reads a task name such as 'two_rooms/1/5' or 'two_rooms_b/7/8'.

  Args:
    name: prefix of the layout, row and column of the goal.

  Returns:
    Task.

  Raises:
    UserError: the name is malformed, or the goal is no free cell.
  """
  match = re.fullmatch(r'([^/]*)/(0|[1-9][0-9]*)/(0|[1-9][0-9]*)', name)
  if not match:
    raise UserError(
      f'{name!r} is no task of two rooms: write two_rooms/ROW/COLUMN, such as '
      'two_rooms/1/5'
    )
  if match[1] not in LAYOUT_OF_PREFIX:
    raise UserError(
      f'{name}: unknown layout; task names begin with '
      f'{" or ".join(LAYOUT_OF_PREFIX)}'
    )
  task = Task(LAYOUT_OF_PREFIX[match[1]], int(match[2]), int(match[3]))
  picture = LAYOUTS[task.layout]
  is_inside = task.row < len(picture) and task.column < len(picture[0])
  if not is_inside or picture[task.row][task.column] == '#':
    size = f'{len(picture)} x {len(picture[0])} grid'
    where = 'in a wall' if is_inside else f'outside of the {size}'
    raise UserError(
      f'{name}: the goal is {where}; free are {_describe_free(picture)} '
      '(counted from 0)'
    )
  return task


class TwoRoomsVectorEnv(VectorEnv):
  """N agents that look for the same goal, each in a grid of its own.

  Frames are uint8 [1, 1, C + 6 + 2]: one-hot codes, 0 or 255, of the cell, the
  previous action (the last code: none) and the previous reward (none or the
  cost of a step; the wall).
  """

  metadata = {'autoreset_mode': AutoresetMode.SAME_STEP}

  def __init__(self, task: Task, num_envs: int):
    """Builds the tables.

    Args:
      task: from `parse_task`.
      num_envs: N.
    """
    grid = make_grid(task.layout)
    is_goal = (grid.cells == (task.row, task.column)).all(axis=1)
    tables = make_task_tables(grid, int(is_goal.argmax()))
    self._next_state = grid.next_state
    self._rewards = tables.rewards.astype(np.float32)
    self._is_last = tables.is_last
    self._starts = tables.starts
    self._frames = _make_frames(len(grid.cells))
    self._generators = [None] * num_envs
    self.num_envs = num_envs
    self.single_observation_space = gymnasium.spaces.Box(
      0, 255, self._frames.shape[1:], np.uint8
    )
    self.single_action_space = gymnasium.spaces.Discrete(NUM_ACTIONS)
    batch_space = gymnasium.vector.utils.batch_space
    self.observation_space = batch_space(
      self.single_observation_space, num_envs
    )
    self.action_space = batch_space(self.single_action_space, num_envs)

  def reset(
    self, *, seed: int | None = None, options: dict[str, Any] | None = None
  ) -> tuple[np.ndarray, dict[str, Any]]:
    """Starts all episodes; row i is seeded with `seed` + i."""
    for row in range(self.num_envs):
      if seed is not None:
        self._generators[row] = np.random.default_rng(seed + row)
      elif self._generators[row] is None:
        self._generators[row] = np.random.default_rng()
    self._state = np.zeros(self.num_envs, np.int64)
    self._num_steps = np.zeros(self.num_envs, np.int64)
    self._start(range(self.num_envs))
    return self._frames[self._state], {}

  def step(self, actions: np.ndarray) -> tuple[np.ndarray, ...]:
    """Moves all agents.

    Args:
      actions: int [N], indices into `ACTIONS`.

    Returns:
      frames uint8 [N, 1, 1, C + 8], already of the next episode where one
      ended; rewards float32 [N], terminations and truncations bool [N]; {}.
    """
    at = self._state, actions
    rewards, terminated = self._rewards[at], self._is_last[at]
    self._state = self._next_state[at]
    self._num_steps += 1
    truncated = (self._num_steps == MAX_STEPS) & ~terminated
    ended = np.flatnonzero(terminated | truncated)
    if len(ended):
      self._start(ended)
    return self._frames[self._state], rewards, terminated, truncated, {}

  def get_state(self) -> dict[str, Any]:
    """Returns all that `set_state` needs, as JSON can hold it."""
    return dict(
      state=self._state.tolist(),
      num_steps=self._num_steps.tolist(),
      generators=[rng.bit_generator.state for rng in self._generators],
    )

  def set_state(self, state: dict[str, Any]) -> None:
    """Goes on from `get_state`; call it after `reset`."""
    self._state[:] = state['state']
    self._num_steps[:] = state['num_steps']
    for rng, saved in zip(self._generators, state['generators'], strict=True):
      rng.bit_generator.state = saved

  def _start(self, rows):
    for row in rows:
      start = self._generators[row].integers(len(self._starts))
      self._state[row] = self._starts[start]
      self._num_steps[row] = 0


def make_vector_env(task_name: str, num_envs: int) -> TwoRoomsVectorEnv:
  """Builds N copies of a task; `parse_task` says what is raised."""
  return TwoRoomsVectorEnv(parse_task(task_name), num_envs)


def _make_frames(num_cells):
  """Returns uint8 [S, 1, 1, C + 6 + 2]."""
  sizes = num_cells, NUM_ACTIONS + 1, NUM_PREVIOUS_REWARDS
  parts = np.meshgrid(*map(np.arange, sizes), indexing='ij')
  codes = [
    255 * np.eye(size, dtype=np.uint8)[part.ravel()]
    for size, part in zip(sizes, parts, strict=True)
  ]
  return np.concatenate(codes, axis=1)[:, None, None]


def _describe_free(picture):
  """Returns such as 'rows 1-5 in columns 1-5, row 3 in columns 6-10'."""
  free_rows = [
    [row for row, line in enumerate(picture) if line[column] != '#']
    for column in range(len(picture[0]))
  ]
  parts = []
  for rows, group in itertools.groupby(enumerate(free_rows), lambda x: x[1]):
    columns = [column for column, _ in group]
    if rows:
      parts.append(f'{_span("row", rows)} in {_span("column", columns)}')
  return ', '.join(parts)


def _span(noun, numbers):
  if len(numbers) == 1:
    return f'{noun} {numbers[0]}'
  return f'{noun}s {numbers[0]}-{numbers[-1]}'
