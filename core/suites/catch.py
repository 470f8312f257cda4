"""Catch, to try things out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from core.environments import catch
from core.suites import suite
from core.suites.suite import Reference


class Catch(suite.Suite):
  """One task."""

  name = 'catch'
  title = 'Catch'
  examples = 'catch'
  names = ('catch',)

  def owns(self, task: str) -> bool:
    """Tells whether a task is Catch."""
    return task == self.name

  def expand(self, name: str) -> tuple[str, ...] | None:
    """Lists the one task."""
    return self.names if name == self.name else None

  def make(
    self,
    rows: Sequence[str],
    protocol: Any,
    is_training: bool,
    num_threads: int,
  ) -> list[VectorEnv]:
    """Builds one vector environment."""
    return [catch.make_vector_env(len(rows), is_training)]

  def controls(self, task: str, protocol: Any) -> np.ndarray:
    """Returns left, stay and right."""
    return np.array([[0, -1, 0], [0, 0, 0], [0, 1, 0]], np.int32)

  def reference(
    self, task: str, is_human_starts: bool = False
  ) -> Reference | None:
    """Returns 0 and the return of a caught ball."""
    return Reference(0.0, 1.0, is_human=False)
