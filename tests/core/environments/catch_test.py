"""Tests of core/environments/catch.py."""

import json

import numpy as np
from absl.testing import absltest
from gymnasium.utils.env_checker import check_env

from core.environments import catch
from core.environments.catch import COLUMNS, ROWS, Catch


def cells(frame):
  """Returns (ball row, ball column, paddle column) of a frame."""
  lit = np.argwhere(frame[::2, ::4, 0] == 255)
  paddle = [column for row, column in lit if row == ROWS - 1]
  ball = [(row, column) for row, column in lit if row < ROWS - 1]
  return *ball[0], paddle[0]


class CatchTest(absltest.TestCase):
  def test_keeps_gymnasiums_interface(self):
    check_env(Catch(), skip_render_check=True)

  def test_ball_falls_and_paddle_follows_the_actions(self):
    env = Catch()
    frame, _ = env.reset(seed=1)
    self.assertEqual((frame.shape, frame.dtype), ((20, 20, 1), np.uint8))
    row, column, paddle = cells(frame)
    self.assertEqual((row, paddle), (0, COLUMNS // 2))
    expected = [1, 0, 0, 1, 2, 3, 4, 4]  # Not past either side.
    for step, action in enumerate([0, 0, 0, 2, 2, 2, 2, 2]):
      frame, reward, terminated, truncated, _ = env.step(action)
      self.assertEqual(cells(frame), (step + 1, column, expected[step]))
      self.assertEqual((reward, terminated, truncated), (0.0, False, False))

  def test_reward_at_the_bottom(self):
    rewards = []
    for seed in range(20):
      env = Catch()
      frame, _ = env.reset(seed=seed)
      _, column, _ = cells(frame)
      for step in range(ROWS - 1):
        _, reward, terminated, _, _ = env.step(1)
        self.assertEqual(terminated, step == ROWS - 2)
      self.assertEqual(reward, 1.0 if column == COLUMNS // 2 else -1.0)
      rewards.append(reward)
    self.assertEqual(set(rewards), {-1.0, 1.0})

  def test_state_goes_through_json_and_holds_everything(self):
    env, other = Catch(), Catch()
    env.reset(seed=1)
    for _ in range(4):
      env.step(2)
    other.reset(seed=2)
    other.set_state(json.loads(json.dumps(env.get_state())))
    for _ in range(10):  # Many episodes: the generator is part of the state.
      for _ in range(5):
        np.testing.assert_array_equal(env.step(0)[0], other.step(0)[0])
      np.testing.assert_array_equal(env.reset()[0], other.reset()[0])

  def test_vector_environment_resets_in_the_last_step(self):
    envs = catch.make_vector_env(3, is_training=True)
    envs.reset(seed=0)
    for step in range(1, 2 * ROWS - 1):
      frames, _, terminated, _, _ = envs.step(np.ones(3, np.int32))
      is_last = step % (ROWS - 1) == 0
      self.assertEqual(terminated.tolist(), [is_last] * 3)
      if is_last:
        self.assertEqual([cells(f)[0] for f in frames], [0, 0, 0])


if __name__ == '__main__':
  absltest.main()
