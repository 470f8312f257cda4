"""Tests of the bodies and starts of core/environments/rwrl.py."""

import importlib
import math

import numpy as np
from absl.testing import absltest, parameterized

from core.environments import control
from core.environments.rwrl import PERTURBATIONS, Challenge, RealWorldEnv
from tests.core.environments.rwrl_test import PROTOCOL, STANDARD


class BodyTest(parameterized.TestCase):
  def make(self, task, bounds):
    env = RealWorldEnv(task, PROTOCOL, Challenge(), bounds)
    self.addCleanup(env.close)
    return env

  @parameterized.product(task=list(STANDARD), level=['easy', 'medium', 'hard'])
  def test_every_episode_has_another_body(self, task, level):
    low, high = PERTURBATIONS[task][level]
    env = self.make(task, (low, high))
    measured = []
    for seed in (0, None, None, None):
      env.reset(seed=seed)
      measured.append(self._measure(task, env._physics))
      self.assertAlmostEqual(measured[-1], env._parameter, places=12)
      self.assertBetween(measured[-1], low, high)
    self.assertLen(set(measured), 4)

  def _measure(self, task, physics):
    """Returns what is perturbed as the compiled model has it."""
    model = physics.named.model
    if task == 'cartpole/swingup':
      length = 2.0 * model.geom_size['pole_1', 1]
      self.assertAlmostEqual(model.geom_pos['pole_1', 'z'], length / 2)
      self.assertAlmostEqual(model.body_mass['pole_1'], length / 10)
      return length
    if task == 'humanoid/walk':
      friction = model.geom_friction['floor', 0]
      expected = np.broadcast_to([friction, 0.1, 0.1], [20, 3])
      np.testing.assert_array_equal(physics.model.geom_friction, expected)
      return friction
    if task == 'walker/walk':
      for side in ('left', 'right'):
        half = model.geom_size[f'{side}_thigh', 1]
        self.assertAlmostEqual(model.geom_pos[f'{side}_thigh', 'z'], -half)
        self.assertAlmostEqual(
          model.body_pos[f'{side}_leg', 'z'], -0.25 - 2 * half
        )
      return half
    for leg in ('front_left', 'front_right', 'back_left', 'back_right'):
      geom = model.body_geomadr[f'knee_{leg}']
      reach = math.sqrt(2.0) * physics.model.geom_size[geom, 1]
      np.testing.assert_allclose(
        model.body_pos[f'ankle_{leg}'], [reach, 0.0, -reach], atol=1e-12
      )
    return reach

  def test_draws_are_uniform(self):
    env = self.make('cartpole/swingup', (0.5, 2.3))
    env.reset(seed=0)
    found = []
    for _ in range(100):
      env._begin()
      found.append(env._parameter)
    self.assertBetween(min(found), 0.5, 0.6)
    self.assertBetween(max(found), 2.2, 2.3)
    # Deviation 0.52, of the mean of 100 0.052.
    self.assertAlmostEqual(np.mean(found), 1.4, delta=0.2)
    self.assertAlmostEqual(np.std(found), 0.52, delta=0.08)

  @parameterized.parameters('cartpole/swingup', 'walker/walk', 'quadruped/walk')
  def test_standard_body_is_dm_controls(self, task):
    env = self.make(task, (STANDARD[task],) * 2)
    env.reset(seed=0)
    plain = control.ControlEnv(task, PROTOCOL)
    self.addCleanup(plain.close)
    fresh = plain._fresh
    compared = 0
    for name, array in env._fresh.items():
      kind = name.split('_')[0]
      if kind in ('body', 'geom', 'jnt', 'dof', 'actuator', 'sensor', 'site'):
        np.testing.assert_array_equal(array, fresh[name], name)
        compared += 1
    self.assertGreater(compared, 100)

  def test_quadruped_begins_upright_with_any_heading(self):
    env = self.make('quadruped/walk', (0.25, 1.4))
    headings = []
    for seed in (0, None, None, None, None, None):
      env.reset(seed=seed)
      frame = env._physics.named.data.xmat['torso'].reshape(3, 3)
      self.assertAlmostEqual(frame[2, 2], 1.0)
      self.assertEqual(env._physics.data.ncon, 0)
      headings.append(math.atan2(frame[1, 0], frame[0, 0]))
    self.assertGreater(np.ptp(headings), 2.0)
    # As in dm_control's own, walking at 0.5 m/s or more is all that counts.
    own = importlib.import_module('dm_control.suite').load('quadruped', 'walk')
    self.assertEqual(env._task._desired_speed, own.task._desired_speed)


if __name__ == '__main__':
  absltest.main()
