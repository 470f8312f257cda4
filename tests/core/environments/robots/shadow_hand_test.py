"""Tests of core/environments/robots/shadow_hand.py, on a stand-in."""

import importlib
import importlib.util
import pathlib
import sys
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from gymnasium.utils.env_checker import check_env

from core.environments.robots import shadow_hand
from core.environments.robots.shadow_hand import ShadowHandProtocol
from core.errors import UserError

FAKE = str(pathlib.Path(__file__).parents[3] / 'fake_robots')


def setUpModule():
  sys.path.insert(0, FAKE)
  importlib.invalidate_caches()


def tearDownModule():
  sys.path.remove(FAKE)
  sys.modules.pop('dex_envs', None)


class ShadowHandTest(parameterized.TestCase):
  def make(self, task='rubber_duck', num_action_repeats=1):
    env = shadow_hand.make(task, ShadowHandProtocol(num_action_repeats))
    self.addCleanup(env.close)
    return env

  def test_features_are_observation_and_goal(self):
    env = self.make()
    self.assertEqual(env.observation_space.shape, (shadow_hand.NUM_FEATURES,))
    self.assertEqual(env.action_space.shape, (shadow_hand.NUM_ACTIONS,))
    features, _ = env.reset(seed=8)
    import dex_envs

    own = dex_envs.HandEnv('rubber_duck', 'z', 'sparse')
    observed, _ = own.reset(seed=8)
    expected = [*observed['observation'], *observed['desired_goal']]
    np.testing.assert_array_equal(features, np.float32(expected))
    self.assertEqual(features.dtype, np.float32)

  def test_keeps_gymnasiums_interface(self):
    check_env(self.make(), skip_render_check=True)

  def test_success_is_told_and_ends_nothing(self):
    env = self.make(num_action_repeats=2)
    env.reset(seed=0)
    results = [env.step(np.full(20, x))[1:] for x in (0.0, 0.5, 0.1)]
    self.assertEqual(
      results,
      [
        (-2.0, False, False, {'success': 0.0}),
        (0.0, False, False, {'success': 1.0}),
        (-2.0, False, False, {'success': 0.0}),
      ],
    )

  def test_the_packages_limit_truncates(self):
    env = self.make('cube')
    env.reset(seed=0)
    ends = [env.step(np.zeros(20))[2:4] for _ in range(100)]
    self.assertEqual(ends, [(False, False)] * 99 + [(False, True)])

  @parameterized.named_parameters(
    ('mesh', 'torus', 'Error opening file'),
    ('all', 'flute', "flute-rotate.* doesn't exist"),
  )
  def test_missing_files_of_an_object(self, task, reason):
    with self.assertRaisesRegex(
      UserError, f'^shadow_hand:{task}: dex_envs cannot build it .*{reason}'
    ) as caught:
      self.make(task)
    self.assertNotIn('\n', str(caught.exception))


class InstallationTest(absltest.TestCase):
  def refusal(self, missing):
    def find_spec(name):
      return None if name == missing else mock.sentinel.found

    with (
      mock.patch.object(importlib.util, 'find_spec', find_spec),
      self.assertRaises(UserError) as caught,
    ):
      shadow_hand.check_installation()
    self.assertNotIn('\n', str(caught.exception))
    return str(caught.exception)

  def test_missing(self):
    message = self.refusal('dex_envs')
    self.assertRegex(
      message, 'git clone .*BiggerRegularized.* export PYTHONPATH'
    )
    message = self.refusal('gymnasium_robotics')
    self.assertRegex(message, 'pip install gymnasium-robotics==1.4.2 mujoco')

  def test_python_that_has_no_wheel(self):
    with mock.patch.object(sys, 'version_info', (3, 13, 0)):
      message = self.refusal('gymnasium_robotics')
    self.assertRegex(message, '^Shadow Hand needs Python 3.10 to 3.12: .*wheel')


if __name__ == '__main__':
  absltest.main()
