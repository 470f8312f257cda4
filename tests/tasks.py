"""Tasks for tests, by name and played in any way."""

from collections.abc import Sequence
from typing import Any

from gymnasium.vector import VectorEnv

from core.suites.tasks import Tasks, suite_of
from impala.config import Config


def tasks_of(*names: str, **options: Any) -> Tasks:
  """Returns tasks as a run with these options would play them."""
  return Tasks(names, Config(**options))


class PlayedAs(Tasks):
  """Tasks of one suite with a protocol that no option asks for."""

  def __init__(self, names: Sequence[str], protocol: Any):
    """Takes the protocol as it is."""
    super().__init__(names, Config())
    self._protocol = protocol

  def protocol(self, task: str) -> Any:
    """Returns the one protocol."""
    return self._protocol

  def make(
    self, rows: Sequence[str], is_training: bool, num_threads: int
  ) -> list[VectorEnv]:
    """Builds environments that are played so."""
    suite = suite_of(rows[0])
    return suite.make(rows, self._protocol, is_training, num_threads)
