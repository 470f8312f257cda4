"""Tests of experiments/prl/boards.py: what each game's rules say."""

import numpy as np
from absl.testing import absltest, parameterized

from experiments.prl import boards
from tests.tasks import tasks_of

LEFT, STAY, RIGHT, FIRE = 0, 1, 2, 4
GAMES = (boards.Catch, boards.Breakout, boards.Shooter)


def begin(game, **state):
  """Returns a game whose state is as told."""
  env = game()
  env.reset(seed=0)
  for name, value in state.items():
    setattr(env, name, value)
  return env


def follow(env, target):
  """Plays to the end with the paddle under what `target` says."""
  total, is_over = 0.0, False
  while not is_over:
    column = target(env)
    move = STAY
    if column < env.paddle:
      move = LEFT
    elif column > env.paddle + 1:
      move = RIGHT
    _, reward, terminated, truncated, _ = env.step(move)
    total, is_over = total + reward, terminated or truncated
  return total, terminated


class BoardTest(parameterized.TestCase):
  @parameterized.parameters(*GAMES)
  def test_frames_show_now_and_one_step_before(self, game):
    env = begin(game)
    previous = env.draw()
    for action in (LEFT, FIRE, RIGHT, FIRE):
      frame, _, terminated, _, _ = env.step(action)
      self.assertTrue(env.observation_space.contains(frame))
      np.testing.assert_array_equal(frame[::2, ::2, 0], env.draw())
      np.testing.assert_array_equal(frame[1::2, 1::2, 1], previous)
      self.assertFalse(terminated)
      previous = env.draw()

  @parameterized.parameters('catch', 'breakout', 'shooter')
  def test_task_tells_its_controls(self, name):
    task = f'experiments.prl.boards:{name}'
    tasks = tasks_of(task)
    np.testing.assert_array_equal(tasks.controls(task), boards.CONTROLS)
    self.assertEqual(tasks.env_spec.frame_shape, (20, 20, 2))
    self.assertEqual(tasks.env_spec.num_actions, 6)

  @parameterized.parameters(*GAMES)
  def test_random_play_dies_and_scores(self, game):
    env, rng = begin(game), np.random.default_rng(0)
    rewards = []
    for _ in range(1500):
      _, reward, terminated, truncated, _ = env.step(int(rng.integers(6)))
      self.assertEqual(terminated, reward < 0)
      rewards.append(reward)
      if terminated or truncated:
        env.reset()
    self.assertEqual(set(rewards), {-1.0, 0.0, 1.0})


class CatchTest(absltest.TestCase):
  def test_caught_by_both_cells_and_missed_beside_them(self):
    for column, reward in ((3, -1), (4, 1), (5, 1), (6, -1)):
      env = begin(boards.Catch, paddle=4, ball=[8, column])
      _, found, terminated, _, _ = env.step(STAY)
      self.assertEqual(found, reward)
      self.assertEqual(terminated, reward < 0)
      if reward > 0:
        self.assertEqual(env.ball[0], 0)  # The next one.

  def test_every_ball_can_be_caught_until_the_time_is_over(self):
    total, terminated = follow(begin(boards.Catch), lambda env: env.ball[1])
    self.assertEqual(total, 300 // 9)
    self.assertFalse(terminated)


class BreakoutTest(absltest.TestCase):
  def test_a_brick_is_a_point_and_sends_the_ball_back(self):
    env = begin(boards.Breakout, ball=[4, 2], way=[-1, 1])
    _, reward, _, _, _ = env.step(STAY)
    self.assertEqual((reward, env.ball, env.way), (1.0, [4, 3], [1, 1]))
    self.assertFalse(env.bricks[3, 3])
    self.assertEqual(env.bricks.sum(), 29)

  def test_the_paddles_half_decides_the_way(self):
    for column, way in ((4, -1), (5, 1)):
      env = begin(boards.Breakout, paddle=4, ball=[8, column - 1], way=[1, 1])
      _, reward, _, _, _ = env.step(STAY)
      self.assertEqual((reward, env.ball), (0.0, [8, column]))
      self.assertEqual(env.way, [-1, way])

  def test_a_ball_beside_the_paddle_is_lost(self):
    env = begin(boards.Breakout, paddle=4, ball=[8, 5], way=[1, 1])
    self.assertEqual(env.step(STAY)[1:3], (-1.0, True))

  def test_walls_and_ceiling_reflect(self):
    env = begin(boards.Breakout, ball=[6, 9], way=[1, 1])
    env.step(STAY)
    self.assertEqual((env.ball, env.way), ([7, 8], [1, -1]))
    env = begin(boards.Breakout, ball=[0, 4], way=[-1, 1])
    env.bricks[:] = False
    env.bricks[3, 0] = True
    env.step(STAY)
    self.assertEqual((env.ball, env.way), ([1, 5], [1, 1]))

  def test_bricks_come_back(self):
    env = begin(boards.Breakout, ball=[4, 2], way=[-1, 1])
    env.bricks[:] = False
    env.bricks[3, 3] = True
    self.assertEqual(env.step(STAY)[1], 1.0)
    self.assertEqual(env.bricks.sum(), 30)

  def test_following_the_ball_never_loses_it(self):
    total, terminated = follow(
      begin(boards.Breakout), lambda env: env.ball[1] + env.way[1]
    )
    self.assertFalse(terminated)
    self.assertGreater(total, 20)


class ShooterTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    patched = absltest.mock.patch.object(boards, 'BOMB_PROBABILITY', 0.0)
    self.enter_context(patched)

  def test_a_shot_takes_its_time_and_hits(self):
    env = begin(boards.Shooter, player=3, alien=4, way=1)
    # In 8 steps the alien is at 9 and comes back; shots are at 8, 7, ... 1.
    rewards = [env.step(FIRE)[1]]
    self.assertEqual(env.shot, [8, 3])
    env.alien, env.way = 9, 1  # Seven more steps: 8, 7, ... 2.
    env.shot[1] = 2
    rewards += [env.step(FIRE)[1] for _ in range(7)]
    self.assertEqual(rewards, [0.0] * 7 + [1.0])
    self.assertIsNone(env.shot)

  def test_a_shot_misses(self):
    env = begin(boards.Shooter, alien=2, way=1, shot=[2, 7])
    self.assertEqual(env.step(STAY)[1], 0.0)
    self.assertIsNone(env.shot)

  def test_one_shot_at_a_time(self):
    env = begin(boards.Shooter, player=3, shot=[8, 7])
    env.step(FIRE)
    self.assertEqual(env.shot, [7, 7])

  def test_a_bomb_kills_where_it_lands(self):
    for move, reward in ((STAY, -1.0), (LEFT, 0.0)):
      env = begin(boards.Shooter, player=3, bombs=[[8, 3], [4, 9]])
      self.assertEqual(env.step(move)[1], reward)
      self.assertEqual(env.bombs, [[5, 9]])

  def test_a_death_outweighs_a_point(self):
    env = begin(
      boards.Shooter, player=3, bombs=[[8, 3]], shot=[2, 5], alien=4, way=1
    )
    self.assertEqual(env.step(STAY)[1:3], (-1.0, True))

  def test_drops_at_most_two_bombs_from_where_it_is(self):
    with absltest.mock.patch.object(boards, 'BOMB_PROBABILITY', 1.0):
      env = begin(boards.Shooter, player=0, alien=4, way=1)
      for _ in range(3):
        env.step(STAY)
    self.assertEqual(env.bombs, [[4, 5], [3, 6]])


if __name__ == '__main__':
  absltest.main()
