"""Tests of core/environments/control_custom.py: rewards, models, beginnings."""

import math

import numpy as np
from absl.testing import absltest, parameterized

from core.environments import control_custom
from core.environments.control import ControlEnv, ControlProtocol

PROTOCOL = ControlProtocol()


def line(x, bound, margin, value_at_margin):
  """Returns dm_control's linear tolerance of x above a bound."""
  slope = (1.0 - value_at_margin) / margin
  return float(np.clip(1.0 - slope * (bound - x), 0.0, 1.0)) * (
    bound - x < margin / (1.0 - value_at_margin)
  )


def bell(x, bound):
  """Returns its Gaussian tolerance above a bound, a tenth at half of it."""
  distance = max(0.0, bound - x) / (bound / 2)
  return 0.1 ** (distance**2)


def walker(data, speed):
  height, up = data.xpos['torso', 'z'], data.xmat['torso', 'zz']
  stand = (3 * bell(height, 1.2) + (1 + up) / 2) / 4
  velocity = -data.sensordata['torso_subtreelinvel'][0]
  return stand * (5 * line(velocity, speed, speed / 2, 0.5) + 1) / 6


def cheetah(data):
  speed = data.sensordata['torso_subtreelinvel'][0]
  torso, back, front = data.xpos[['torso', 'bfoot', 'ffoot'], 'z']
  return speed, torso, back, front


def on_a_foot(data, lifted):
  speed, torso, back, front = cheetah(data)
  foot = {'back': back, 'front': front}[lifted]
  up = (3 * bell(foot, 1.2) + 2 * bell(torso, 1.2)) / 5
  return up * (5 * line(speed, 6.0, 6.0, 0.0) + 1) / 6


def jump(data):
  speed, torso, back, front = cheetah(data)
  rest = line(-abs(speed), -0.5, 0.5, 0.0)
  high = [bell((torso + foot) / 2, 1.2) for foot in (back, front)]
  return (5 * sum(high) / 2 + rest) / 6


def hop(data):
  height = data.xipos['torso', 'z'] - data.xipos['foot', 'z']
  velocity = -data.sensordata['torso_subtreelinvel'][0]
  return (0.6 <= height <= 2) * line(velocity, 1.0, 0.5, 0.5)


def spin(data):
  away = np.abs(
    data.site_xpos['target', ['x', 'z']] - data.xpos['ball', ['x', 'z']]
  )
  far = line(math.hypot(*away), 0.5, 0.25, 0.5)
  speed = math.hypot(data.qvel['ball_x'].item(), data.qvel['ball_z'].item())
  is_inside = np.all(away < 0.05 - 0.025)
  return (not is_inside) * (far + 2 * line(speed, 6.0, 3.0, 0.5)) / 3


# Rewards written anew from raw data, and how velocities and heights are spread.
REWARDS = {
  'walker/walk_backwards': (lambda data: walker(data, 1.0), 1.0, 1.0),
  'walker/run_backwards': (lambda data: walker(data, 8.0), 8.0, 1.0),
  'cheetah/run_backwards': (
    lambda data: line(-cheetah(data)[0], 8.0, 8.0, 0.0),
    8.0,
    1.0,
  ),
  'cheetah/run_front': (lambda data: on_a_foot(data, 'back'), 6.0, 1.0),
  'cheetah/run_back': (lambda data: on_a_foot(data, 'front'), 6.0, 1.0),
  'cheetah/jump': (jump, 0.6, 1.0),
  'hopper/hop_backwards': (hop, 1.0, 0.5),
  'ball_in_cup/spin': (spin, 2.0, 0.4),
  'pendulum/spin': (
    lambda data: line(abs(data.qvel['hinge'].item()), 9.0, 4.5, 0.5),
    9.0,
    1.0,
  ),
}


class RewardTest(parameterized.TestCase):
  @parameterized.parameters(*REWARDS)
  def test_reward_in_any_state(self, task):
    reward_of, speed, height = REWARDS[task]
    env = ControlEnv(task, PROTOCOL)
    self.addCleanup(env.close)
    env.reset(seed=0)
    physics, rng = env._physics, np.random.default_rng(1)
    rewards = []
    for _ in range(150):
      with physics.reset_context():
        position = physics.data.qpos
        position[:] = rng.uniform(-height, height, position.shape)
        physics.data.qvel[:] = speed * rng.normal(size=physics.data.qvel.shape)
        if 'rootx' in physics.named.data.qvel.axes.row.names:
          physics.data.qvel[0] = speed * rng.uniform(-1.5, 1.5)
          physics.data.qvel[2:] /= 10
      reward = env._task.get_reward(physics)
      self.assertAlmostEqual(reward, reward_of(physics.named.data), places=9)
      rewards.append(reward)
    self.assertBetween(min(rewards), 0.0, 0.25)
    self.assertBetween(max(rewards), 0.4, 1.0)
    self.assertGreater(len(set(rewards)), 30)

  @parameterized.parameters(*control_custom.TASKS)
  def test_an_episode(self, task):
    env = ControlEnv(task, PROTOCOL)
    self.addCleanup(env.close)
    domain = task.partition('/')[0]
    own = {'reacher': 'easy', 'ball_in_cup': 'catch', 'hopper': 'hop'}
    sizes = [8, 3]
    if domain != 'reacher':  # As dm_control's own task of the domain.
      name = own.get(domain, 'swingup' if domain == 'pendulum' else 'run')
      other = ControlEnv(f'{domain}/{name}', PROTOCOL)
      self.addCleanup(other.close)
      spaces = other.observation_space, other.action_space
      sizes = [space.shape[0] for space in spaces]
      self.assertEqual(env._num_sub_steps, other._num_sub_steps)
    spaces = env.observation_space, env.action_space
    self.assertEqual([space.shape[0] for space in spaces], sizes)
    self.assertEqual(set(env.action_space.high), {1.0})
    self.assertEqual(set(env.action_space.low), {-1.0})
    features, _ = env.reset(seed=3)
    np.testing.assert_array_equal(features, env.reset(seed=3)[0])
    self.assertEqual(env._max_steps, 1000)
    action = np.full(env.action_space.shape, 0.5)
    for _ in range(20):
      _, reward, *ends, _ = env.step(action)
      self.assertBetween(reward, 0.0, 1.0)
      self.assertEqual(ends, [False, False])


class ReacherTest(parameterized.TestCase):
  @parameterized.parameters(('three_easy', 0.05), ('three_hard', 0.015))
  def test_three_links(self, name, radius):
    env = ControlEnv(f'reacher/{name}', PROTOCOL)
    self.addCleanup(env.close)
    env.reset(seed=0)
    physics = env._physics
    named = physics.named
    joints = ['shoulder0', 'shoulder1', 'wrist']
    self.assertEqual(named.data.qpos.axes.row.names, joints)
    self.assertEqual(named.data.ctrl.axes.row.names, joints)
    self.assertEqual(named.model.jnt_limited.tolist(), [0, 1, 1])
    limit = math.radians(80)
    np.testing.assert_allclose(
      named.model.jnt_range[['shoulder1', 'wrist']], [[-limit, limit]] * 2
    )
    self.assertEqual(named.model.geom_size['target', 0], radius)
    for angles, finger in (
      ((0, 0, 0), (0.27, 0.0)),
      ((math.pi / 2, 0, 0), (0.0, 0.27)),
      ((0, math.pi / 3, 0), (0.18, 0.09 * math.sqrt(3))),
      ((0, 0, math.pi / 3), (0.225, 0.045 * math.sqrt(3))),
    ):
      for place, expected in ((radius, 1.0), (radius + 0.02, 0.0)):
        with physics.reset_context():
          physics.data.qpos[:] = angles
          named.model.geom_pos['target', 'x'] = finger[0] + place
          named.model.geom_pos['target', 'y'] = finger[1]
        np.testing.assert_allclose(
          named.data.geom_xpos['finger', :2], finger, atol=1e-12
        )
        self.assertEqual(env._task.get_reward(physics), expected)


class BallTest(absltest.TestCase):
  def test_it_begins_in_the_cup_but_for_a_tenth(self):
    env = ControlEnv('ball_in_cup/spin', PROTOCOL)
    self.addCleanup(env.close)
    env.reset(seed=0)
    outside = []
    for _ in range(120):
      env.reset()
      physics = env._physics
      x, z = physics.named.data.qpos[['ball_x', 'ball_z']]
      self.assertBetween(x, -0.2, 0.2)
      self.assertBetween(z, 0.2, 0.5)
      self.assertEqual(physics.data.ncon, 0)
      outside.append(not physics.in_target())
      reward = env._task.get_reward(physics)
      self.assertAlmostEqual(reward, spin(physics.named.data), places=9)
      self.assertEqual(reward > 0.0, outside[-1])
    # Of those that may begin anywhere, about nine in ten begin outside.
    self.assertBetween(sum(outside), 4, 20)


class GroundTest(parameterized.TestCase):
  @parameterized.parameters(
    ('walker/run_backwards', 'floor', 500.0), ('cheetah/jump', 'ground', 200.0)
  )
  def test_is_drawn_farther_than_dm_controls(self, task, name, size):
    env = ControlEnv(task, PROTOCOL)
    self.addCleanup(env.close)
    env.reset(seed=0)
    self.assertEqual(env._physics.named.model.geom_size[name, 'x'], size)


if __name__ == '__main__':
  absltest.main()
