"""Tests of core/environments/atari.py, and of Atari as one of the tasks."""

import dataclasses

import ale_py
import numpy as np
from absl.testing import absltest, parameterized
from gymnasium.spaces import Discrete

from core.environments import atari
from core.environments.atari import AtariEnv, AtariProtocol
from core.suites.task_environments import TaskEnvironments
from tests.tasks import PlayedAs

PROTOCOL = AtariProtocol()


def make(games, num_envs, is_training=True, **settings):
  protocol = dataclasses.replace(PROTOCOL, **settings)
  task_id = np.arange(num_envs, dtype=np.int32) % len(games)
  tasks = PlayedAs(games, protocol)
  env = TaskEnvironments(tasks, task_id, is_training)
  env.single_action_space = Discrete(tasks.env_spec.num_actions)
  return env


def play(env, num_steps, reset_seed, action_seed=0):
  """Plays random actions; returns the reset's frames and the stacked steps."""
  rng = np.random.default_rng(action_seed)
  first, _ = env.reset(seed=reset_seed)
  steps = []
  for _ in range(num_steps):
    actions = rng.integers(env.single_action_space.n, size=env.num_envs)
    observation, rewards, terminated, truncated, infos = env.step(
      actions.astype(np.int32)
    )
    done = infos['episode_done']
    steps.append((observation.frame, rewards, terminated, truncated, done))
  return first.frame, [np.stack(column) for column in zip(*steps, strict=True)]


class AtariTest(parameterized.TestCase):
  def test_shapes_and_dtypes(self):
    env = make(('pong',), 3)
    self.addCleanup(env.close)
    first, (frames, rewards, terminated, truncated, done) = play(env, 5, 0)
    self.assertEqual((first.shape, first.dtype), ((3, 4, 84, 84), np.uint8))
    self.assertEqual((frames[0].shape, frames.dtype), (first.shape, np.uint8))
    self.assertEqual((rewards.shape, rewards.dtype), ((5, 3), np.float32))
    for array in (terminated, truncated, done):
      self.assertEqual((array.shape, array.dtype), ((5, 3), np.bool_))

  def test_newest_frame_is_last(self):
    env = make(('pong',), 2)
    self.addCleanup(env.close)
    first, (frames, *_) = play(env, 6, 0)
    frames = np.concatenate([first[None], frames])
    np.testing.assert_array_equal(frames[1:, :, :3], frames[:-1, :, 1:])
    self.assertTrue(np.any(frames[1:, :, 3] != frames[:-1, :, 3]))

  def test_lost_lives_end_episodes_in_training_only(self):
    runs = []
    for is_training in (True, False):
      env = make(('breakout',), 4, is_training)
      self.addCleanup(env.close)
      runs.append(play(env, 350, 3))
    (_, training), (_, evaluation) = runs
    # Whatever `terminated` says, the games themselves are the same.
    for index in (0, 1, 3, 4):  # Frames, rewards, truncated, episode_done.
      np.testing.assert_array_equal(training[index], evaluation[index])
    done = training[4]
    np.testing.assert_array_equal(evaluation[2], done)
    self.assertGreaterEqual(done.sum(), 3)
    self.assertFalse(np.any(done & ~training[2]))
    for column in range(4):
      # Breakout has 5 lives: the fifth end of every game is the game's.
      ends = done[training[2][:, column], column]
      expected = np.arange(1, len(ends) + 1) % 5 == 0
      np.testing.assert_array_equal(ends, expected)

  def test_game_goes_on_after_a_lost_life(self):
    env = make(('breakout',), 4)
    self.addCleanup(env.close)
    _, (frames, _, terminated, _, done) = play(env, 150, 3)
    life_lost, game_over = terminated & ~done, terminated & done
    self.assertTrue(life_lost.any())
    self.assertTrue(game_over.any())
    # A new game's stack begins with black frames; after a lost life it is full.
    blank = np.all(frames[:, :, 0] == 0, axis=(2, 3))
    np.testing.assert_array_equal(blank[terminated], game_over[terminated])

  def test_rewards_are_raw(self):
    env = make(('alien',), 2)  # 10 points an egg.
    self.addCleanup(env.close)
    _, (_, rewards, *_) = play(env, 60, 0)
    self.assertEqual(set(np.unique(rewards)), {0.0, 10.0})

  @parameterized.named_parameters(('training', True), ('evaluation', False))
  def test_frame_cap_truncates(self, is_training):
    env = make(('pong',), 2, is_training, max_frames_per_episode=40)
    self.addCleanup(env.close)
    _, (_, _, terminated, truncated, done) = play(env, 25, 0)
    expected = np.arange(1, 26) % 10 == 0  # Of 4 frames each.
    for column in range(2):
      np.testing.assert_array_equal(truncated[:, column], expected)
      np.testing.assert_array_equal(done[:, column], expected)
    self.assertFalse(terminated.any())

  @parameterized.named_parameters(('papers', 30), ('none', 0), ('five', 5))
  def test_noops(self, noop_max):
    # Every step of a game of 4 frames is the last, so each draws anew.
    env = make(('pong',), 4, noop_max=noop_max, max_frames_per_episode=4)
    self.addCleanup(env.close)
    _, infos = env.reset(seed=0)
    counts = [infos['episode_frame_number']]
    for _ in range(75 if noop_max else 5):
      infos = env.step(np.zeros(4, np.int32))[-1]
      counts.append(infos['episode_frame_number'])
    counts = np.concatenate(counts)
    # 304 draws miss one end of 0 to 30 with a chance of 5e-5.
    self.assertEqual((counts.min(), counts.max()), (0, noop_max))
    self.assertBetween(counts.mean(), 0.4 * noop_max, 0.6 * noop_max)

  def test_same_seed_same_games(self):
    runs = []
    for reset_seed in (1, 1, 2):
      env = make(('breakout',), 2)
      self.addCleanup(env.close)
      first, columns = play(env, 60, reset_seed)
      runs.append([first, *columns])
    for a, b in zip(*runs[:2], strict=True):
      np.testing.assert_array_equal(a, b)
    self.assertTrue(np.any(runs[0][1] != runs[2][1]))
    # Rows have seeds of their own: row 1 of seed 1 is row 0 of seed 2.
    np.testing.assert_array_equal(runs[0][0][1], runs[2][0][0])

  def test_two_games_side_by_side(self):
    games = ('pong', 'breakout')
    both = make(games, 4, full_action_space=True)
    self.addCleanup(both.close)
    first, columns = play(both, 40, 7)
    actions = np.random.default_rng(0).integers(18, size=(40, 4))
    for task, game in enumerate(games):
      rows = slice(2 * task, 2 * task + 2)
      protocol = dataclasses.replace(PROTOCOL, full_action_space=True)
      alone = AtariEnv(game, 2, protocol, num_threads=1)
      self.addCleanup(alone.close)
      frames, _ = alone.reset(seed=7 + rows.start)
      np.testing.assert_array_equal(first[rows], frames)
      for t in range(40):
        *outputs, infos = alone.step(actions[t, rows])
        outputs.append(infos['episode_done'])
        for found, expected in zip(columns, outputs, strict=True):
          np.testing.assert_array_equal(found[t, rows], expected)


class ActionTableTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('pong', 'pong', 6), ('breakout', 'breakout', 4), ('skiing', 'skiing', 3)
  )
  def test_minimal(self, game, num_actions):
    table = atari.action_table(game, False)
    self.assertEqual(table.tolist(), list(range(num_actions)))

  def test_full(self):
    table = atari.action_table('pong', True)
    self.assertEqual(table.tolist(), list(range(18)))

  def test_skiing_ignores_fire(self):
    # NOOP, FIRE, UP, RIGHT, LEFT, DOWN, the 4 diagonals, the 8 with fire.
    table = atari.action_table('skiing', True)
    diagonals_and_moves = list(range(1, 9))
    self.assertEqual(
      table.tolist(), [0, 0, *diagonals_and_moves, *diagonals_and_moves]
    )

  def test_skiing_moves_alike_with_and_without_fire(self):
    runs = []
    for shift in (0, 8):  # RIGHT and RIGHTFIRE, LEFT and LEFTFIRE, ...
      env = make(('skiing',), 2, full_action_space=True, noop_max=0)
      self.addCleanup(env.close)
      env.reset(seed=0)
      actions = np.array([3, 4]) + shift
      runs.append(np.stack([env.step(actions)[0].frame for _ in range(30)]))
    np.testing.assert_array_equal(*runs)
    self.assertTrue(np.any(runs[0][-1, 0] != runs[0][-1, 1]))


# What each of the 18 actions presses: fire, horizontal, vertical.
CONTROLS = {
  'NOOP': (0, 0, 0),
  'FIRE': (1, 0, 0),
  'UP': (0, 0, 1),
  'RIGHT': (0, 1, 0),
  'LEFT': (0, -1, 0),
  'DOWN': (0, 0, -1),
  'UPRIGHT': (0, 1, 1),
  'UPLEFT': (0, -1, 1),
  'DOWNRIGHT': (0, 1, -1),
  'DOWNLEFT': (0, -1, -1),
  'UPFIRE': (1, 0, 1),
  'RIGHTFIRE': (1, 1, 0),
  'LEFTFIRE': (1, -1, 0),
  'DOWNFIRE': (1, 0, -1),
  'UPRIGHTFIRE': (1, 1, 1),
  'UPLEFTFIRE': (1, -1, 1),
  'DOWNRIGHTFIRE': (1, 1, -1),
  'DOWNLEFTFIRE': (1, -1, -1),
}


class FactoredControlsTest(parameterized.TestCase):
  def test_all_18(self):
    controls = atari.factored_controls('pong', full_action_space=True)
    self.assertEqual(controls.shape, (18, 3))
    for i, row in enumerate(controls.tolist()):
      self.assertEqual(tuple(row), CONTROLS[ale_py.Action(i).name])

  @parameterized.parameters(
    ('breakout', ('NOOP', 'FIRE', 'RIGHT', 'LEFT')),
    (
      'demon_attack',
      ('NOOP', 'FIRE', 'RIGHT', 'LEFT', 'RIGHTFIRE', 'LEFTFIRE'),
    ),
  )
  def test_a_games_own(self, game, names):
    controls = atari.factored_controls(game, full_action_space=False)
    self.assertEqual(controls.tolist(), [list(CONTROLS[n]) for n in names])

  def test_left_and_right_move_the_paddle(self):
    env = make(('breakout',), 2, full_action_space=True, noop_max=0)
    self.addCleanup(env.close)
    table = atari.factored_controls('breakout', True).tolist()
    actions = [table.index([0, -1, 0]), table.index([0, 1, 0])]
    env.reset(seed=1)
    for _ in range(20):
      observation, *_ = env.step(np.array(actions, np.int32))
    columns = np.arange(84)[8:-8]
    paddle = observation.frame[:, -1, 75:77, 8:-8].sum(1)
    left, right = (paddle * columns).sum(1) / paddle.sum(1)
    self.assertLess(left, 30)
    self.assertGreater(right, 54)

  def test_games_that_count_lives(self):
    counted = [
      atari.counts_lives(g) for g in ('breakout', 'demon_attack', 'pong')
    ]
    self.assertEqual(counted, [True, True, False])


if __name__ == '__main__':
  absltest.main()
