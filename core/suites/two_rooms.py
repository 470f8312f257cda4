"""Two rooms and a corridor: the grid world of Distral; a task is a goal."""

import itertools
from collections.abc import Sequence
from typing import Any

from gymnasium.vector import VectorEnv

from core.environments import two_rooms
from core.suites import suite


class TwoRooms(suite.Suite):
  """Goals in either layout, such as two_rooms/1/12 or two_rooms_b/7/8."""

  name = 'two_rooms'
  title = 'Two rooms'
  examples = 'goals in two rooms (two_rooms/1/12)'

  def owns(self, task: str) -> bool:
    """Tells whether a task is a goal in two rooms."""
    return two_rooms.is_task(task)

  def expand(self, name: str) -> tuple[str, ...] | None:
    """Lists the one goal; `two_rooms.parse_task` says what is refused."""
    if not self.owns(name):
      return None
    two_rooms.parse_task(name)
    return (name,)

  def make(
    self,
    rows: Sequence[str],
    protocol: Any,
    is_training: bool,
    num_threads: int,
  ) -> list[VectorEnv]:
    """Builds a vector environment per goal."""
    return [
      two_rooms.make_vector_env(task, len(list(group)))
      for task, group in itertools.groupby(rows)
    ]
