"""A test case with two sets of runs to compare."""

from collections.abc import Sequence
from typing import Any

from absl.testing import parameterized

from experiments.runs import differences
from experiments.runs.differences import Comparison, Row
from tests.experiments.fake_runs import write_run

PONG = (-20.7, 14.6)  # Random, human.
BREAKOUT = (1.7, 30.5)


def returns_of(score: float, reference: tuple[float, float]) -> float:
  """Returns the return that has a human-normalised score in percent."""
  low, high = reference
  return low + score / 100 * (high - low)


class ComparisonTestCase(parameterized.TestCase):
  """Writes and compares runs of pong and breakout."""

  def setUp(self):
    super().setUp()
    self.root = self.create_tempdir().full_path

  def write(
    self, side: str, scores: Sequence[tuple[float, float]], **changes: Any
  ) -> str:
    """Writes a run per pair of scores (pong, breakout); returns the folder."""
    for i, (pong, breakout) in enumerate(scores, start=1):
      means = {
        'pong': returns_of(pong, PONG),
        'breakout': returns_of(breakout, BREAKOUT),
      }
      write_run(f'{self.root}/{side}/seed_{i}', means, i, **changes)
    return f'{self.root}/{side}'

  def compare(self, a: str, b: str) -> tuple[Comparison, dict[str, Row]]:
    """Returns the comparison of two folders, and its rows by name."""
    result = differences.compare([a], [b])
    return result, {row.name: row for row in result.rows}
