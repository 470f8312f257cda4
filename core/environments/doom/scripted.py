"""A player that knows the whole scene: what a task's score can be.

It sees walls, doors, objects and other players that an agent has to find, goes
the shortest way to the nearest thing that pays, and acts through the very
environment, by the 9 actions of IMPALA. Its score is a reference, not a limit
and not a human's.
"""

import math
from typing import Any

import gymnasium
import numpy as np

from core.environments.doom.env import ACTION_SETS, DoomEnv, DoomProtocol
from core.environments.doom.pictures import Textures
from core.environments.doom.processes import end_with_parent
from core.environments.doom.scene import CELL, Cell, cell_at, centre, distances
from core.environments.doom.tasks import PLAYABLE, Return

_FORWARD, _STRAFE_LEFT, _STRAFE_RIGHT, _LEFT, _RIGHT = 0, 2, 3, 4, 5
_FORWARD_LEFT, _FORWARD_RIGHT, _FIRE = 6, 7, 8
_TURN = 4 * ACTION_SETS['impala'][_RIGHT][4]  # Degrees a step.
_MAX_FORWARD_ERROR = 35.0  # Beyond it, turn on the spot.
_BODY, _MARGIN = 16.0, 20.0  # Half the width of a player; what it keeps clear.


class ScriptedPlayer:
  """Plays one environment of the action set 'impala'."""

  def __init__(self, task: str, env: DoomEnv):
    """Watches an environment that was reset; of laser-tag with players."""
    self._env = env
    self._is_tag = PLAYABLE[task].num_bots > 0
    rules = PLAYABLE[task].make_rules
    self._brings_home = getattr(rules, 'func', rules) is Return
    self._scene = None

  def act(self) -> int:
    """Returns the next action."""
    scene, seen = self._env.scene, self._env.seen
    if scene is not self._scene:
      self._scene, self._num_taken = scene, 0
      self._items = list(scene.items)
    num_taken = seen.apples + seen.goals + seen.bad
    for _ in range(num_taken - self._num_taken):
      self._items.remove(min(self._items, key=self._distance_to))
    self._num_taken = num_taken
    if self._is_tag:
      return self._act_tag()
    cells = [i.cell for i in self._items if not _is_bad(i.actor)]
    if self._brings_home and not cells:
      cells = [scene.start]
    bad = {i.cell for i in self._items if _is_bad(i.actor)}
    return self._approach(cells, scene.closed | bad)

  def _act_tag(self):
    """Fires at the nearest player in sight, or goes to where one is."""
    seen = self._env.seen
    others = sorted(
      seen.players, key=lambda p: math.hypot(p[0] - seen.x, p[1] - seen.y)
    )
    for x, y in others:
      if self._is_clear(x, y, 2.0):
        return self._aim(x, y)
    maze = self._scene.maze
    return self._approach([cell_at(maze, x, y) for x, y in others], ())

  def _aim(self, x, y):
    error, distance = self._error(x, y)
    if abs(error) > _TURN / 2:
      return _LEFT if error > 0 else _RIGHT
    if distance * abs(math.sin(math.radians(error))) < _BODY - 2.0:
      return _FIRE
    return _STRAFE_LEFT if error > 0 else _STRAFE_RIGHT

  def _approach(self, cells: list[Cell], closed) -> int:
    """Goes to the nearest of some cells."""
    maze, seen = self._scene.maze, self._env.seen
    here = cell_at(maze, seen.x, seen.y)
    reached = distances(maze, closed, here)
    cells = [cell for cell in cells if cell in reached]
    if not cells:
      return _RIGHT
    target = min(cells, key=reached.get)
    # Backwards along a shortest way, to the first cell in plain sight.
    x, y = centre(maze, target)
    while reached[target] and not self._is_clear(x, y, _MARGIN):
      target = next(
        cell
        for cell in _around(target)
        if reached.get(cell) == reached[target] - 1
      )
      x, y = centre(maze, target)
    error, _ = self._error(x, y)
    if abs(error) <= _TURN / 2:
      return _FORWARD
    if abs(error) > _MAX_FORWARD_ERROR:
      return _LEFT if error > 0 else _RIGHT
    return _FORWARD_LEFT if error > 0 else _FORWARD_RIGHT

  def _error(self, x, y):
    """Returns degrees to turn left, -180 to 180, and the distance."""
    seen = self._env.seen
    dx, dy = x - seen.x, y - seen.y
    wanted = math.degrees(math.atan2(dy, dx))
    error = (wanted - seen.angle + 180.0) % 360.0 - 180.0
    return error, math.hypot(dx, dy)

  def _distance_to(self, item):
    x, y = centre(self._scene.maze, item.cell)
    return math.hypot(x - self._env.seen.x, y - self._env.seen.y)

  def _is_clear(self, x, y, margin):
    """Tells whether nothing stands between here and a point."""
    seen, scene = self._env.seen, self._scene
    dx, dy = x - seen.x, y - seen.y
    distance = math.hypot(dx, dy) or 1.0
    bad = {i.cell for i in self._items if _is_bad(i.actor)}
    blocked = scene.closed | bad
    side = np.array([-dy, dx]) / distance * margin
    for part in np.linspace(0.0, 1.0, int(distance // (CELL / 8)) + 2):
      for sign in (-1.0, 1.0):
        r, c = cell_at(
          scene.maze,
          seen.x + dx * part + sign * side[0],
          seen.y + dy * part + sign * side[1],
        )
        if scene.maze.rows[r][c] == '*' or (r, c) in blocked:
          return False
    return True


class PlayedEnv(gymnasium.Wrapper):
  """An environment that plays itself: actions from outside are not read.

  By chance and by the scripted player, an episode each in turn.
  """

  def __init__(self, task: str, env: DoomEnv, scripted_first: bool):
    """Plays an environment that tells of players."""
    super().__init__(env)
    self._task = task
    self._is_scripted = not scripted_first
    self._rng = np.random.default_rng()

  def reset(self, *, seed: int | None = None, **kwargs: Any) -> tuple:
    """Begins an episode of the other player."""
    if seed is not None:
      self._rng = np.random.default_rng(seed)
    begun = self.env.reset(seed=seed, **kwargs)
    self._is_scripted = not self._is_scripted
    self._scripted = ScriptedPlayer(self._task, self.env)
    return begun

  def step(self, unused: int) -> tuple:
    """Steps by an action of its own."""
    if self._is_scripted:
      return self.env.step(self._scripted.act())
    return self.env.step(int(self._rng.integers(self.env.action_space.n)))


def start_played(
  task: str, textures: Textures, num_tics: int, scripted_first: bool
) -> PlayedEnv:
  """Builds a `PlayedEnv` in a process of its own, which ends with its parent.

  Args:
    task: key of `tasks.PLAYABLE`.
    textures: of `pictures.textures`.
    num_tics: of an episode; 0: the task's.
    scripted_first: whether the scripted player has the first episode.
  """
  end_with_parent()
  env = DoomEnv(task, DoomProtocol(), textures, num_tics, tells_players=True)
  return PlayedEnv(task, env, scripted_first)


def _is_bad(actor):
  return actor.startswith(('Wrong', 'Cue'))


def _around(cell):
  r, c = cell
  return (r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)
