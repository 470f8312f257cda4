"""The player: what it puts into the replay, and what it tells the agent."""

import tempfile

import gymnasium
import numpy as np
from absl.testing import absltest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from core.errors import UserError
from core.experience.player import Player
from core.experience.timing import Timer
from core.run_config import ReplayConfig
from core.suites.tasks import Tasks

NAMES = tuple(
  f'tests.core.experience.player_test:make_{name}'
  for name in ('terminated', 'truncated', 'both')
)
LENGTH = 3


class Counter(gymnasium.Env):
  """Observes episode and step; the reward is twice the force."""

  def __init__(self, ending):
    self.observation_space = gymnasium.spaces.Box(0, 99, (2,), np.float32)
    self.action_space = gymnasium.spaces.Box(0.0, 4.0, (1,), np.float32)
    self._ending = ending
    self._episode = 0

  def reset(self, *, seed=None, options=None):
    self._episode, self._num_steps = self._episode + 1, 0
    return self._observe(), {}

  def step(self, action):
    self._num_steps += 1
    is_last = self._num_steps == LENGTH
    flags = (is_last and name in self._ending for name in ('term', 'trunc'))
    return self._observe(), 2.0 * float(action[0]), *flags, {}

  def _observe(self):
    return np.float32([self._episode, self._num_steps])


def make(ending, num_envs):
  return SyncVectorEnv(
    [lambda: Counter(ending)] * num_envs,
    autoreset_mode=AutoresetMode.SAME_STEP,
  )


def make_terminated(num_envs, is_training):
  return make('term', num_envs)


def make_truncated(num_envs, is_training):
  return make('trunc', num_envs)


def make_both(num_envs, is_training):
  return make('term trunc', num_envs)


class Silent(SyncVectorEnv):
  """Does not say what an episode ended with."""

  def step(self, actions):
    *outputs, _ = super().step(actions)
    return *outputs, {}


def make_silent(num_envs, is_training):
  return Silent(
    [lambda: Counter('term')] * num_envs,
    autoreset_mode=AutoresetMode.SAME_STEP,
  )


class Agent:
  """Always acts alike, and remembers what it was told."""

  def __init__(self, env_spec):
    self.env_spec = env_spec
    self.seen = []
    self.seeds = []

  def explore(self, task_id, features, seed):
    self.seeds.append(seed.tolist())
    return np.full([len(task_id), 1], 0.5, np.float32)

  def observe(self, *step):
    self.seen.append(step)

  def get_state(self):
    return {}


class PlayerTest(absltest.TestCase):
  def make(self, names=NAMES, warm_up_steps=1):
    tasks = Tasks(names, ReplayConfig())
    config = ReplayConfig(
      logdir=self.enter_context(tempfile.TemporaryDirectory()),
      num_action_repeats=1,
      replay_capacity=50,
      warm_up_steps=warm_up_steps,
      seed=5,
    )
    self.agent = Agent(tasks.env_spec)
    player = Player(config, self.agent, tasks, Timer(), {})
    self.addCleanup(player.close)
    return player

  def test_transitions_end_with_their_own_episode(self):
    player = self.make()
    for _ in range(2 * LENGTH + 1):
      player.step()
    self.assertEqual(player.replay.count, 2 * LENGTH + 1)
    index = np.arange(player.replay.count)
    for task in range(3):
      batch = player.replay.gather(np.full(len(index), task), index)
      steps = batch.features[:, 1]
      np.testing.assert_array_equal(steps, index % LENGTH)
      np.testing.assert_array_equal(batch.next_features[:, 1], steps + 1)
      np.testing.assert_array_equal(
        batch.next_features[:, 0], batch.features[:, 0]
      )
      # The replay has the action within -1 and 1, the environment got 3.
      np.testing.assert_array_equal(batch.action, np.full([7, 1], 0.5))
      np.testing.assert_array_equal(batch.reward, np.full(7, 6.0))
      # Only what terminated and was not truncated has no future.
      is_last = index % LENGTH == LENGTH - 1
      expected = ~is_last if task == 0 else np.ones(7)
      np.testing.assert_array_equal(batch.goes_on, expected)

  def test_agent_sees_every_step_and_its_end(self):
    player = self.make()
    for _ in range(LENGTH):
      player.step()
    task_id, reward, terminated, truncated, last = self.agent.seen[-1]
    self.assertEqual(task_id.tolist(), [0, 1, 2])
    self.assertEqual(reward.tolist(), [6.0, 6.0, 6.0])
    self.assertEqual(terminated.tolist(), [True, False, True])
    self.assertEqual(truncated.tolist(), [False, True, True])
    self.assertEqual(last[:, 1].tolist(), [LENGTH] * 3)
    self.assertLen(self.agent.seen, LENGTH)

  def test_episodes(self):
    player = self.make()
    found = [player.step() for _ in range(LENGTH)]
    self.assertEqual([len(episodes) for episodes in found], [0, 0, 3])
    for name, episode in zip(NAMES, found[-1], strict=True):
      self.assertEqual(episode.task_name, name)
      self.assertEqual(episode.episode_return, 6.0 * LENGTH)
      self.assertEqual(episode.episode_length, LENGTH)

  def test_first_actions_are_random_and_seeded(self):
    rewards = []
    for _ in range(2):
      player = self.make(warm_up_steps=200)
      for _ in range(200):
        player.step()
      self.assertEqual(self.agent.seeds, [[5, 200]])
      rewards.append(np.stack([step[1] for step in self.agent.seen]))
    np.testing.assert_array_equal(*rewards)
    drawn = rewards[0][:-1]
    self.assertEqual(rewards[0][-1].tolist(), [6.0] * 3)
    # Forces are uniform between 0 and 4; rewards are twice that.
    self.assertTrue(0.0 <= drawn.min() < 0.2 and 7.8 < drawn.max() <= 8.0)
    self.assertAlmostEqual(drawn.mean(), 4.0, delta=0.35)
    self.assertEqual(player.first_update, 200)

  def test_an_environment_must_say_how_an_episode_ended(self):
    name = 'tests.core.experience.player_test:make_silent'
    player = self.make((name,))
    for _ in range(LENGTH - 1):
      player.step()
    with self.assertRaisesRegex(UserError, 'last observation of an episode'):
      player.step()

  def test_success_is_that_of_any_step(self):
    player = self.make()
    self.agent.env_spec = self.agent.env_spec._replace(has_success=True)
    step = player._environments.step
    # The first task succeeds in the midst of its first episode, the second
    # never; the third cannot.
    success = iter([(0, 0), (1, 0), (0, 0), (0, 0), (0, 0), (0, 0)])

    def step_with_success(actions):
      *outputs, infos = step(actions)
      told = np.array([*next(success), np.nan], np.float32)
      return *outputs, {**infos, 'success': told}

    player._environments.step = step_with_success
    episodes = [e for _ in range(2 * LENGTH) for e in player.step()]
    self.assertEqual(
      [e.episode_success for e in episodes],
      [True, False, None, False, False, None],
    )


if __name__ == '__main__':
  absltest.main()
