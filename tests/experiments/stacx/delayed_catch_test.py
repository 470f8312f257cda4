"""Tests of experiments/stacx/delayed_catch.py."""

import json

import numpy as np
from absl.testing import absltest

from core.environments.catch import Catch
from experiments.stacx.delayed_catch import DelayedCatch, make_vector_env


class DelayedCatchTest(absltest.TestCase):
  def test_the_reward_of_catch_comes_thirty_steps_late(self):
    for seed in range(8):  # Some balls are caught by standing still.
      catch, delayed = Catch(), DelayedCatch()
      catch.reset(seed=seed)
      delayed.reset(seed=seed)
      for _ in range(9):
        frame, reward, is_last, *_ = catch.step(1)
        found = delayed.step(1)
        np.testing.assert_array_equal(found[0], frame)
        self.assertEqual(found[1:4], (0.0, False, False))
      self.assertTrue(is_last)
      for step in range(30):
        found = delayed.step(step % 3)
        np.testing.assert_array_equal(found[0], frame)
        is_end = step == 29
        self.assertEqual(found[1:3], (reward * is_end, is_end))
      # The next episode begins like any other.
      delayed.reset()
      self.assertEqual(delayed.step(1)[1:3], (0.0, False))

  def test_goes_on_from_its_state(self):
    game, other = DelayedCatch(), DelayedCatch()
    game.reset(seed=1)
    for _ in range(20):
      game.step(0)
    other.set_state(json.loads(json.dumps(game.get_state())))
    for _ in range(19):
      expected, found = game.step(1), other.step(1)
      np.testing.assert_array_equal(found[0], expected[0])
      self.assertEqual(found[1:3], expected[1:3])
    self.assertTrue(found[2])
    np.testing.assert_array_equal(other.reset()[0], game.reset()[0])

  def test_many_games(self):
    environment = make_vector_env(3, is_training=True)
    self.addCleanup(environment.close)
    environment.reset(seed=1)
    ends = []
    for _ in range(78):
      ends.append(environment.step(np.ones(3, int))[2])
    np.testing.assert_array_equal(
      np.flatnonzero(np.all(ends, axis=1)), [38, 77]
    )


if __name__ == '__main__':
  absltest.main()
