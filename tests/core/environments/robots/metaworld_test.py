"""Tests of core/environments/robots/metaworld.py."""

import functools
import importlib.util
import json
import sys
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from gymnasium.utils.env_checker import check_env

from core.environments.robots import metaworld
from core.environments.robots.metaworld import MetaWorldEnv, MetaWorldProtocol
from core.errors import UserError

# One or two objects, hinges, slides, walls; placed in model or state.
TEN_TASKS = (
  *('assembly', 'button-press-topdown-wall', 'dial-turn', 'door-open'),
  *('drawer-close', 'hammer', 'peg-insert-side', 'reach', 'stick-pull'),
  'window-open',
)
FROZEN = MetaWorldProtocol()
RANDOM = MetaWorldProtocol(metaworld_goals='random')


def its_own(task, goal):
  """Returns MetaWorld's own environment with a goal."""
  own = metaworld._load()[f'{task}-v3-goal-observable'](seed=9)
  own._last_rand_vec = goal  # As its set_task does.
  own.reset()  # Some show where the object was in the episode before.
  return own


def actions_of(num_steps, seed=0):
  return np.random.default_rng(seed).uniform(-1, 1, [num_steps, 4])


def run(env, actions):
  """Returns features, rewards and successes, over the ends of episodes."""
  outputs = []
  for action in actions:
    features, reward, _, truncated, info = env.step(action)
    outputs.append([*features, reward, info['success']])
    if truncated:
      outputs.append([*env.reset()[0], 0.0, 0.0])
  return np.array(outputs)


def goal_of(env):
  return env._env._last_rand_vec.tolist()


class MetaWorldEnvTest(parameterized.TestCase):
  def make(self, task, protocol=FROZEN):
    env = MetaWorldEnv(task, protocol)
    self.addCleanup(env.close)
    return env

  @parameterized.parameters(*TEN_TASKS)
  def test_equals_metaworlds_own(self, task):
    env = self.make(task)
    features, _ = env.reset(seed=3)
    own = its_own(task, env._env._last_rand_vec)
    self.assertEqual(own.reward_function_version, 'v2')
    self.assertEqual(own.observation_space.shape, env.observation_space.shape)
    np.testing.assert_array_equal(own.action_space.high, env.action_space.high)
    np.testing.assert_array_equal(features, own.reset()[0].astype(np.float32))
    self.assertTrue(features[-3:].any())  # The goal is seen.
    for action in actions_of(30):
      features, reward, *ends, info = env.step(action)
      observation, expected, *_, own_info = own.step(action.astype(np.float32))
      np.testing.assert_array_equal(features, observation.astype(np.float32))
      self.assertEqual(features.dtype, np.float32)
      self.assertEqual(reward, expected)
      self.assertBetween(reward, 0.0, 10.0)
      self.assertEqual(info, {'success': own_info['success']})
      self.assertEqual(ends, [False, False])

  def test_keeps_gymnasiums_interface(self):
    check_env(self.make('door-open'), skip_render_check=True)

  @parameterized.parameters('reach', 'drawer-close')
  def test_a_policy_that_can_succeeds(self, task):
    from metaworld.policies import ENV_POLICY_MAP

    env, policy = self.make(task), ENV_POLICY_MAP[f'{task}-v3']()
    features, _ = env.reset(seed=0)
    total, successes = 0.0, []
    for _ in range(200):
      action = policy.get_action(features.astype(np.float64))
      features, reward, terminated, truncated, info = env.step(action)
      self.assertFalse(terminated)
      total += reward
      successes.append(info['success'])
    self.assertTrue(truncated)
    self.assertEqual((successes[0], max(successes)), (0.0, 1.0))
    self.assertBetween(total, 500.0, 2000.0)

  @parameterized.named_parameters(
    ('one_by_one', 1, 200), ('four', 4, 50), ('not_a_divisor', 3, 67)
  )
  def test_episodes_are_truncated(self, num_repeats, num_steps):
    env = self.make('reach', MetaWorldProtocol(num_repeats))
    env.reset(seed=0)
    ends = [env.step(np.zeros(4))[3] for _ in range(num_steps)]
    self.assertEqual(ends, [False] * (num_steps - 1) + [True])

  def test_repeats_add_up_and_any_success_counts(self):
    env, single = self.make('reach', MetaWorldProtocol(7)), self.make('reach')
    env.reset(seed=1)
    single.reset(seed=1)
    goal = env._env._target_pos
    successes = []
    for step in range(20):
      hand = env._env.get_endeff_pos()
      direction = 10.0 if step < 10 else -10.0  # There, and away from it.
      action = np.append(direction * (goal - hand), 0.0)
      features, reward, *_, info = env.step(action)
      singles = [single.step(action) for _ in range(7)]
      np.testing.assert_array_equal(features, singles[-1][0])
      self.assertEqual(reward, sum(result[1] for result in singles))
      expected = max(result[4]['success'] for result in singles)
      self.assertEqual(info['success'], expected)
      successes.append([result[4]['success'] for result in singles])
    # In one of the steps it was at the goal, and no more when the step ended.
    self.assertIn((1.0, 0.0), [(max(row), row[-1]) for row in successes])

  def test_goals(self):
    frozen, random = self.make('door-open'), self.make('door-open', RANDOM)
    for env, num_goals in ((frozen, 1), (random, 4)):
      goals = []
      for seed in (5, None, None, None):
        env.reset(seed=seed)
        goals.append(goal_of(env))
      self.assertLen(set(map(tuple, goals)), num_goals)
      env.reset(seed=5)
      self.assertEqual(goal_of(env), goals[0])
      env.reset(seed=6)
      self.assertNotEqual(goal_of(env), goals[0])

  def test_rewards_of_the_first_version(self):
    old = self.make('reach', MetaWorldProtocol(metaworld_rewards='v1'))
    new = self.make('reach')
    outputs = []
    for env in (old, new):
      env.reset(seed=2)
      outputs.append(run(env, actions_of(5)))
    np.testing.assert_array_equal(outputs[0][:, :39], outputs[1][:, :39])
    self.assertTrue(np.all(outputs[0][:, 39] != outputs[1][:, 39]))

  @parameterized.product(
    task=(
      'assembly',
      'drawer-close',
      'stick-pull',
      'button-press-topdown-wall',
    ),
    protocol=(MetaWorldProtocol(metaworld_episode_steps=20), RANDOM),
  )
  def test_state_there_and_back_is_exact(self, task, protocol):
    env, other = self.make(task, protocol), self.make(task, protocol)
    env.reset(seed=1)
    other.reset(seed=2)
    run(env, actions_of(7))
    run(other, actions_of(3, seed=1))
    other.set_state(json.loads(json.dumps(env.get_state())))
    actions = actions_of(30, seed=2)
    np.testing.assert_array_equal(run(env, actions), run(other, actions))
    np.testing.assert_array_equal(env.reset()[0], other.reset()[0])


class InstallationTest(absltest.TestCase):
  def refusal(self):
    find = functools.partial(_find_spec, 'metaworld')
    with (
      mock.patch.object(importlib.util, 'find_spec', find),
      self.assertRaises(UserError) as caught,
    ):
      metaworld.check_installation()
    self.assertNotIn('\n', str(caught.exception))
    return str(caught.exception)

  def test_missing(self):
    self.assertRegex(self.refusal(), 'pip install metaworld==3.1.1 mujoco==3.3')

  def test_python_that_has_no_wheel(self):
    with mock.patch.object(sys, 'version_info', (3, 13, 0)):
      self.assertRegex(self.refusal(), '^MetaWorld needs Python.*no wheel')


def _find_spec(missing, name):
  return None if name == missing else mock.DEFAULT


if __name__ == '__main__':
  absltest.main()
