"""Tests of core/environments/robots/humanoid_bench.py, on a stand-in."""

import contextlib
import importlib
import importlib.util
import io
import os
import pathlib
import sys
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from gymnasium.utils.env_checker import check_env

from core.environments.robots import humanoid_bench
from core.environments.robots.humanoid_bench import HumanoidBenchProtocol
from core.environments.workers import WorkerVectorEnv
from core.errors import UserError

FAKE = str(pathlib.Path(__file__).parents[3] / 'fake_robots')


def setUpModule():
  sys.path.insert(0, FAKE)
  importlib.invalidate_caches()


def tearDownModule():
  sys.path.remove(FAKE)
  for name in [n for n in sys.modules if n.startswith('humanoid_bench')]:
    del sys.modules[name]


class HumanoidBenchTest(parameterized.TestCase):
  def make(self, task, num_action_repeats=1):
    protocol = HumanoidBenchProtocol(num_action_repeats)
    env = humanoid_bench.make(task, protocol)
    self.addCleanup(env.close)
    return env

  @parameterized.parameters(
    ('h1-walk', 51, 19), ('h1hand-walk', 151, 61), ('h1hand-push', 165, 61)
  )
  def test_plays_what_the_package_plays(self, task, num_features, num_actions):
    env = self.make(task)
    self.assertEqual(env.observation_space.shape, (num_features,))
    self.assertEqual(env.action_space.shape, (num_actions,))
    self.assertEqual(env.action_space.low.tolist(), [-1.0] * num_actions)
    features, _ = env.reset(seed=4)
    import humanoid_bench as package

    robot, name = task.split('-')
    own = package.HumanoidEnv(robot, 'pos', name, render_mode=None)
    expected, _ = own.reset(seed=4)
    np.testing.assert_array_equal(features, np.float32(expected))
    self.assertEqual(features.dtype, np.float32)
    action = np.linspace(-0.5, 0.5, num_actions, dtype=np.float32)
    for _ in range(5):
      features, reward, terminated, truncated, info = env.step(action)
      expected, own_reward, *_ = own.step(action)
      np.testing.assert_array_equal(features, np.float32(expected))
      self.assertEqual(
        (reward, terminated, truncated), (own_reward, False, False)
      )
      self.assertEqual(info, {})

  def test_keeps_gymnasiums_interface(self):
    check_env(self.make('h1-walk'), skip_render_check=True)

  @parameterized.named_parameters(
    ('limit', 'h1-walk', 1, 1000),
    ('shorter_limit', 'h1-push', 1, 500),
    ('repeats', 'h1-push', 3, 167),
  )
  def test_the_packages_limit_truncates(self, task, num_repeats, num_steps):
    env = self.make(task, num_repeats)
    env.reset(seed=0)
    action = np.zeros(env.action_space.shape)
    ends = [env.step(action)[2:4] for _ in range(num_steps)]
    self.assertEqual(ends[:-1], [(False, False)] * (num_steps - 1))
    self.assertEqual(ends[-1], (False, True))

  def test_a_fall_terminates_and_ends_the_repeats(self):
    env = self.make('h1-walk', 4)
    env.reset(seed=0)
    action = np.full(19, 0.5, np.float32)
    self.assertEqual(env.step(action)[1:4], (2.0, False, False))
    action[0] = 7.0  # Clipped to 1.
    _, reward, terminated, truncated, _ = env.step(action)
    self.assertAlmostEqual(reward, (18 * 0.5 + 1) / 19, places=6)
    self.assertEqual((terminated, truncated), (True, False))

  def test_says_nothing_and_leaves_the_environment_alone(self):
    for name in [n for n in sys.modules if n.startswith('humanoid_bench')]:
      del sys.modules[name]
    before = dict(os.environ)
    with contextlib.redirect_stdout(io.StringIO()) as said:
      self.make('h1-stair')
    self.assertEqual(said.getvalue(), '')
    self.assertEqual(dict(os.environ), before)

  def test_in_processes_of_its_own(self):
    protocol = HumanoidBenchProtocol()
    makers = [
      _Maker(task, protocol) for task in ('h1-walk', 'h1hand-push', 'h1-slide')
    ]
    env = WorkerVectorEnv(makers, 2)
    self.addCleanup(env.close)
    features, _ = env.reset(seed=1)
    self.assertEqual(features.shape, (3, 165))
    self.assertFalse(features[0, 51:].any())
    actions = np.full([3, 61], 0.25, np.float32)
    actions[0, 0] = 1.0
    _, rewards, terminated, *_ = env.step(actions)
    self.assertEqual(rewards[1:].tolist(), [0.25, 0.25])
    self.assertEqual(terminated.tolist(), [True, False, False])
    self.assertIsNone(env.get_state())


class _Maker:
  """Builds a task in another process."""

  def __init__(self, *arguments):
    self._arguments = arguments

  def __call__(self):
    return humanoid_bench.make(*self._arguments)


class InstallationTest(absltest.TestCase):
  def refusal(self, missing):
    def find_spec(name):
      return None if name == missing else mock.sentinel.found

    with (
      mock.patch.object(importlib.util, 'find_spec', find_spec),
      self.assertRaises(UserError) as caught,
    ):
      humanoid_bench.check_installation()
    self.assertNotIn('\n', str(caught.exception))
    return str(caught.exception)

  def test_missing(self):
    self.assertRegex(
      self.refusal('humanoid_bench'),
      '^HumanoidBench is not installed: git clone .*pip install --no-deps -e',
    )
    self.assertRegex(
      self.refusal('dm_control'),
      '^HumanoidBench is not installed: .*pip install dm-control==1.0.28',
    )

  def test_python_that_has_no_wheel(self):
    with mock.patch.object(sys, 'version_info', (3, 13, 0)):
      message = self.refusal('dm_control')
    self.assertRegex(
      message, '^HumanoidBench needs Python 3.10 to 3.12: .*wheel'
    )


if __name__ == '__main__':
  absltest.main()
