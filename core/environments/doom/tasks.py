"""What is to be done in each of the 26 tasks, and in one to check learning.

A task's rules draw an episode (`begin`), then scene after scene of it
(`scene`); `judge` says what the player earned, and whether the next scene is
due. All chance is that of the generator they are given.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from core.environments.doom import pictures, wad
from core.environments.doom.engine import Seen
from core.environments.doom.scene import (
  CELL,
  Cell,
  Item,
  Maze,
  Scene,
  centre,
  distances,
  doors,
  open_cells,
  random_maze,
)

_SHORT, _USUAL, _LONG = 3_600, 5_400, 7_200  # Tics, of 35 a second.
_GOAL = 10.0

# Rooms of 3 x 2 cells, four cells of corridor between them.
_CUE_ROWS = (
  *('*****', '*   *', '*   *'),
  *('** **', '** **', '** **', '** **'),
  *('*   *', '*   *', '*****'),
)
_CUE_ROOMS = (
  *('.....', '.AAA.', '.AAA.'),
  *('.....', '.....', '.....', '.....'),
  *('.BBB.', '.BBB.', '.....'),
)
_NUM_BEACONS, _MAX_SPAWNS = 8, 16


class Judgement(NamedTuple):
  """What a step brought.

  Attributes:
    reward: of it.
    is_over: whether another scene follows.
  """

  reward: float
  is_over: bool


class Forage:
  """Apples (+1) and a goal (+10) in a maze.

  The goal ends a scene, without a goal the last apple does. The next one has
  the same maze with all apples, the player elsewhere and doors drawn anew.
  """

  def __init__(
    self,
    size: int,
    num_apples: int,
    has_goal: bool = False,
    has_doors: bool = False,
    layout_seed: int | None = None,
    has_new_mazes: bool = False,
  ):
    """Draws nothing.

    Args:
      size: cells of a side, walls included.
      num_apples: how many there are.
      has_goal: whether there is one.
      has_doors: each is closed with probability 1/2, the goal stays in reach.
      layout_seed: labmaze's, of a maze and a goal that never change; None:
        every episode draws them.
      has_new_mazes: whether every scene has another maze.
    """
    self._size = size
    self._num_apples = num_apples
    self._has_goal = has_goal
    self._has_doors = has_doors
    self._layout_seed = layout_seed
    self._has_new_mazes = has_new_mazes

  def begin(self, rng: np.random.Generator) -> None:
    """Draws maze, goal and apples."""
    fixed = self._layout_seed
    layout_rng = rng if fixed is None else np.random.default_rng(fixed)
    self._maze = random_maze(
      self._size, layout_rng, self._has_doors, seed=fixed
    )
    cells = open_cells(self._maze)
    self._items = []
    if self._has_goal:
      goal = cells.pop(layout_rng.integers(len(cells)))
      self._items.append(Item('Goal', goal))
    drawn = rng.permutation(len(cells))
    self._items += [Item('Apple', cells[i]) for i in drawn[: self._num_apples]]
    self._free = [cells[i] for i in drawn[self._num_apples :]]
    self._is_first = True

  def scene(self, rng: np.random.Generator) -> Scene:
    """Draws the player's place, and doors; see the class."""
    if self._has_new_mazes and not self._is_first:
      self.begin(rng)
    self._is_first = False
    start = self._free[rng.integers(len(self._free))]
    closed = self._doors(rng, start)
    return Scene(
      self._maze, closed, start, int(rng.integers(360)), tuple(self._items)
    )

  def _doors(self, rng, start):
    if not self._has_doors:
      return frozenset()
    goal = self._items[0].cell
    while True:
      all_doors = doors(self._maze)
      is_closed = rng.random(len(all_doors)) < 0.5
      closed = frozenset(
        door for door, c in zip(all_doors, is_closed, strict=True) if c
      )
      if goal in distances(self._maze, closed, start):
        return closed

  def judge(self, scene: Scene, before: Seen, after: Seen) -> Judgement:
    """Pays for what was taken."""
    goals = after.goals - before.goals
    reward = after.apples - before.apples + _GOAL * goals
    is_over = goals > 0
    if not self._has_goal:
      is_over = after.apples == self._num_apples
    return Judgement(reward, is_over)


class Return(Forage):
  """Apples that count when they are brought to where the player began."""

  def scene(self, rng: np.random.Generator) -> Scene:
    """Draws as `Forage`; nothing is carried."""
    self._num_paid = 0
    return super().scene(rng)

  def judge(self, scene: Scene, before: Seen, after: Seen) -> Judgement:
    """Pays for what was brought home, within half a cell of the start."""
    x, y = centre(scene.maze, scene.start)
    reward = 0
    if np.hypot(after.x - x, after.y - y) < CELL / 2:
      reward = after.apples - self._num_paid
      self._num_paid = after.apples
    return Judgement(float(reward), self._num_paid == self._num_apples)


class Objects:
  """Two objects in a room; an instruction says which one to collect."""

  _SIZE = 9

  def begin(self, rng: np.random.Generator) -> None:
    """Draws nothing: every scene is new."""

  def scene(self, rng: np.random.Generator) -> Scene:
    """Draws objects of two colours and any shapes, and where they stand."""
    maze = _open_room(self._SIZE, rng)
    cells = open_cells(maze)
    start, *places = (cells[i] for i in rng.permutation(len(cells))[:3])
    colours = rng.permutation(list(pictures.COLOURS))[:2].tolist()
    shapes = rng.choice(pictures.SHAPES, 2).tolist()
    items = tuple(
      Item(wad.object_actor(colour, shape, is_right), place)
      for colour, shape, is_right, place in zip(
        colours, shapes, (True, False), places, strict=True
      )
    )
    return Scene(
      maze,
      frozenset(),
      start,
      int(rng.integers(360)),
      items,
      instruction=f'collect the {colours[0]} {shapes[0]}',
    )

  def judge(self, scene: Scene, before: Seen, after: Seen) -> Judgement:
    """Pays +10 for the right object and -10 for the wrong one."""
    right, wrong = after.goals - before.goals, after.bad - before.bad
    return Judgement(_GOAL * (right - wrong), right + wrong > 0)


class Room:
  """A goal in one room, always near and mostly in sight: no maze to learn."""

  _SIZE = 5

  def begin(self, rng: np.random.Generator) -> None:
    """Draws nothing: every scene is new."""

  def scene(self, rng: np.random.Generator) -> Scene:
    """Draws the looks, and where goal and player are."""
    maze = _open_room(self._SIZE, rng)
    cells = open_cells(maze)
    start, goal = (cells[i] for i in rng.permutation(len(cells))[:2])
    angle = int(rng.integers(360))
    return Scene(maze, frozenset(), start, angle, (Item('Goal', goal),))

  def judge(self, scene: Scene, before: Seen, after: Seen) -> Judgement:
    """Pays +10 for the goal."""
    goals = after.goals - before.goals
    return Judgement(_GOAL * goals, goals > 0)


class Cue(Objects):
  """A column tells which of two balls far away is the right one.

  The player looks at it from one cell away, and has to turn and go.
  """

  def scene(self, rng: np.random.Generator) -> Scene:
    """Draws the column's colour, and the side of the ball of that colour."""
    right, wrong = rng.permutation(['red', 'blue']).tolist()
    sides: list[Cell] = [(8, 1), (8, 3)]
    if rng.random() < 0.5:
      sides.reverse()
    items = (
      Item(wad.cue_actor(right), (1, 2)),
      Item(wad.object_actor(right, 'ball', True), sides[0]),
      Item(wad.object_actor(wrong, 'ball', False), sides[1]),
    )
    maze = Maze(_CUE_ROWS, _CUE_ROOMS, 'style_01', 0)
    return Scene(maze, frozenset(), (2, 2), 90, items)


class Tag:
  """Laser-tag: +1 for every other player that is tagged."""

  def __init__(self, size: int):
    """Draws nothing; mazes will have `size` x `size` cells."""
    self._size = size

  def begin(self, rng: np.random.Generator) -> None:
    """Draws a maze."""
    self._maze = random_maze(self._size, rng)

  def scene(self, rng: np.random.Generator) -> Scene:
    """Draws where players come back and what draws the others around."""
    cells = open_cells(self._maze)
    cells = [cells[i] for i in rng.permutation(len(cells))]
    items = [Item('Beacon', cell) for cell in cells[1 : 1 + _NUM_BEACONS]]
    return Scene(
      self._maze,
      frozenset(),
      cells[0],
      int(rng.integers(360)),
      tuple(items),
      spawns=tuple(cells[: -_MAX_SPAWNS - 1 : -1]),
    )

  def judge(self, scene: Scene, before: Seen, after: Seen) -> Judgement:
    """Pays for tags; one's own end costs nothing."""
    return Judgement(float(max(0, after.tags - before.tags)), False)


@dataclasses.dataclass(frozen=True)
class Task:
  """One task.

  Attributes:
    make_rules: builds its rules.
    num_tics: of an episode.
    num_bots: other players.
  """

  make_rules: Callable[[], Any]
  num_tics: int = _USUAL
  num_bots: int = 0


def _forage(*args, num_tics=_USUAL, **kwargs):
  return Task(functools.partial(Forage, *args, **kwargs), num_tics)


def _open_room(size, rng):
  """Returns a maze that is one room."""
  inner = size - 2
  wall = '*' * size
  style = pictures.STYLES[rng.integers(len(pictures.STYLES))]
  return Maze(
    (wall, *(f'*{" " * inner}*' for _ in range(inner)), wall),
    ('.' * size, *(f'.{"A" * inner}.' for _ in range(inner)), '.' * size),
    style,
    int(rng.integers(2**31)),
  )


def _explore():
  for size, cells, objects, apples, tics in (
    ('small', 11, 5, 3, _USUAL),
    ('large', 21, 15, 10, _LONG),
  ):
    name = f'explore_object_locations_{size}'
    yield name, _forage(cells, objects, num_tics=tics)
    for kind, has_doors in (('goal_locations', False), ('obstructed', True)):
      kind = kind if not has_doors else 'obstructed_goals'
      yield (
        f'explore_{kind}_{size}',
        _forage(
          cells, apples, has_goal=True, has_doors=has_doors, num_tics=tics
        ),
      )


MAZES = {
  f'mazes_{i}': _forage(13, 4, has_goal=True, layout_seed=100 + i)
  for i in range(8)
}
"""Fixed layouts, as Distral's mazes have them (Teh et al. 2017, section 5)."""

NAVIGATION = {
  'nav_collect': _forage(15, 12, has_new_mazes=True),
  'nav_collect_return': Task(
    functools.partial(Return, 13, 8, has_new_mazes=True)
  ),
  'nav_goal': _forage(13, 0, has_goal=True),
  'nav_goal_doors': _forage(15, 0, has_goal=True, has_doors=True),
}
"""Layouts that every episode draws."""

EXPLORE = dict(_explore())
"""What DMLab-30 has under these names."""

COGNITION = {
  'language_select': Task(Objects, _SHORT),
  'memory_cue': Task(Cue, _SHORT),
}
"""An instruction to follow, a colour to remember."""

LASER_TAG = {
  f'lasertag_{name}_{size}': Task(
    functools.partial(Tag, cells), num_bots=num_bots
  )
  for name, num_bots in (('one', 1), ('three', 3), ('seven', 7))
  for size, cells in (('small', 11), ('large', 17))
}
"""Against one, three or seven bots."""

TASKS = {**MAZES, **NAVIGATION, **EXPLORE, **COGNITION, **LASER_TAG}
"""All 26."""

CHECKS = {'one_room': Task(Room, _SHORT)}
"""Ours, of no set: does an agent learn at all? Minutes tell."""

PLAYABLE = {**TASKS, **CHECKS}
"""By name."""
