"""Tests of core/types.py."""

import numpy as np
from absl.testing import absltest

from core.types import ActionBox, EnvSpec


class ActionBoxTest(absltest.TestCase):
  def test_stretches_to_the_bounds(self):
    box = ActionBox((0.0, -1.0), (4.0, 1.0))
    actions = np.float32([[-1.0, -1.0], [1.0, 1.0], [0.5, 0.5]])
    np.testing.assert_allclose(
      box.stretch(actions), [[0.0, -1.0], [4.0, 1.0], [3.0, 0.5]]
    )
    # Not even rounded where the bounds are these.
    unit = ActionBox((-1.0, -1.0), (1.0, 1.0))
    self.assertIs(unit.stretch(actions), actions)


class EnvSpecTest(absltest.TestCase):
  def test_action_before_the_first_one(self):
    discrete = EnvSpec(task_names=('a',), num_actions=3)
    continuous = EnvSpec(
      task_names=('a',), action_box=ActionBox((-1.0, -1.0), (1.0, 2.0))
    )
    for spec, expected in (
      (discrete, np.zeros(4, np.int32)),
      (continuous, np.zeros([4, 2], np.float32)),
    ):
      found = spec.zero_actions(4)
      np.testing.assert_array_equal(found, expected, strict=True)


if __name__ == '__main__':
  absltest.main()
