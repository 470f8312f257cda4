"""Point masses, to try continuous control out."""

import itertools
import re
from collections.abc import Sequence
from typing import Any

from gymnasium.vector import VectorEnv

from core.environments import point_mass
from core.errors import UserError
from core.suites import suite


class PointMass(suite.Suite):
  """point_mass/2 is a mass in two dimensions."""

  name = 'point_mass'
  title = 'Point mass'
  examples = 'point masses (point_mass/2)'

  def owns(self, task: str) -> bool:
    """Tells whether a task is a point mass."""
    return task.startswith('point_mass')

  def expand(self, name: str) -> tuple[str, ...] | None:
    """Lists the one task.

    Raises:
      UserError: the number of dimensions is missing or not from 1 to 9.
    """
    if not self.owns(name):
      return None
    if not re.fullmatch('point_mass/[1-9]', name):
      raise UserError(
        f'{name}: write point_mass/D with 1 to 9 dimensions, such as '
        'point_mass/2'
      )
    return (name,)

  def make(
    self,
    rows: Sequence[str],
    protocol: Any,
    is_training: bool,
    num_threads: int,
  ) -> list[VectorEnv]:
    """Builds a vector environment per number of dimensions."""
    return [
      point_mass.make_vector_env(int(task[-1]), len(list(group)))
      for task, group in itertools.groupby(rows)
    ]
