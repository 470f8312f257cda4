"""Tests of core/environments/point_mass.py."""

import json
import math

import numpy as np
from absl.testing import absltest, parameterized
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from core.environments import point_mass
from core.environments.point_mass import PointMass


def slow_step(position, velocity, goal, action):
  """Moves a mass number by number; returns position, velocity, reward."""
  positions, velocities = [], []
  distance = cost = 0.0
  for x, v, g, a in zip(position, velocity, goal, action, strict=True):
    force = min(max(float(a), -1.0), 1.0)
    v = v + 0.1 * (force - 0.5 * v)
    x = x + 0.1 * v
    if x > 1.0 or x < -1.0:
      x, v = math.copysign(1.0, x), 0.0
    positions.append(x)
    velocities.append(v)
    distance += (x - g) ** 2
    cost += force**2
  return positions, velocities, math.exp(-10.0 * distance) - 0.01 * cost


class PointMassTest(parameterized.TestCase):
  @parameterized.parameters(1, 2, 9)
  def test_keeps_gymnasiums_interface(self, num_dimensions):
    check_env(PointMass(num_dimensions), skip_render_check=True)

  @parameterized.parameters(1, 2, 3)
  def test_equals_a_slow_computation(self, num_dimensions):
    env = PointMass(num_dimensions)
    rng = np.random.default_rng(0)
    num_hits = 0
    for episode in range(4):
      features, _ = env.reset(seed=episode)
      self.assertEqual(features.shape, (3 * num_dimensions,))
      position, velocity, goal = features.reshape(3, -1).tolist()
      state = env.get_state()  # What float32 rounds.
      np.testing.assert_allclose(position, state['position'], atol=1e-7)
      np.testing.assert_allclose(goal, state['goal'], atol=1e-7)
      self.assertEqual(velocity, [0.0] * num_dimensions)
      position, goal = state['position'], state['goal']
      drift = rng.uniform(-1.0, 1.0, num_dimensions)
      for step in range(1, 101):
        action = drift + rng.uniform(-1.0, 1.0, num_dimensions)
        action = action.astype(np.float32)
        position, velocity, reward = slow_step(position, velocity, goal, action)
        num_hits += sum(abs(x) == 1.0 for x in position)
        features, found, terminated, truncated, _ = env.step(action)
        np.testing.assert_allclose(
          features, [*position, *velocity, *goal], rtol=1e-6, atol=1e-7
        )
        self.assertEqual(features.dtype, np.float32)
        self.assertAlmostEqual(found, reward, places=12)
        self.assertFalse(terminated)
        self.assertEqual(truncated, step == 100)
    self.assertGreater(num_hits, 0)

  @parameterized.parameters(-1.0, 1.0)
  def test_walls_stop_what_hits_them_and_nothing_else(self, side):
    env = PointMass(2)
    env.reset(seed=0)
    for _ in range(60):
      features, *_ = env.step(np.array([side, 0.0]))
      self.assertTrue(np.all(np.abs(features[:2]) <= 1.0))
    self.assertEqual(features[0], side)
    self.assertEqual(features[2], 0.0)
    # It leaves the wall at once, and a mass beside one goes on.
    features, *_ = env.step(np.array([-side, 1.0]))
    np.testing.assert_allclose(features[2:4], [-0.1 * side, 0.1], rtol=1e-6)
    np.testing.assert_allclose(features[0], 0.99 * side, rtol=1e-6)

  def test_forces_beyond_one_are_one(self):
    outputs = []
    for force in (1.0, 7.0):
      env = PointMass(1)
      env.reset(seed=3)
      outputs.append(env.step(np.array([force]))[:2])
    np.testing.assert_array_equal(outputs[0][0], outputs[1][0])
    self.assertEqual(outputs[0][1], outputs[1][1])

  def test_a_mass_that_rests_at_its_goal_earns_one_a_step(self):
    env = PointMass(2)
    env.reset(seed=0)
    state = env.get_state()
    env.set_state({**state, 'position': state['goal']})
    rewards = [env.step(np.zeros(2))[1] for _ in range(100)]
    self.assertEqual(rewards, [1.0] * 100)
    env.reset(seed=0)
    env.set_state({**state, 'position': [-1.0, -1.0], 'goal': [1.0, 1.0]})
    self.assertBetween(env.step(np.zeros(2))[1], 0.0, 1e-30)
    # 0.6 a tenth further, and the price of the force.
    env.set_state({**state, 'position': [0.0, 0.0], 'goal': [0.3, 0.0]})
    self.assertAlmostEqual(
      env.step(np.array([0.0, 0.5]))[1],
      math.exp(-10.0 * (0.09 + 0.005**2)) - 0.01 * 0.25,
    )

  def test_starts_are_anywhere(self):
    env = PointMass(2)
    env.reset(seed=0)
    starts = np.stack([env.reset()[0] for _ in range(400)])
    self.assertTrue(np.all(starts[:, 2:4] == 0.0))
    places = starts[:, [0, 1, 4, 5]]
    self.assertLess(places.min(), -0.95)
    self.assertGreater(places.max(), 0.95)
    self.assertTrue(np.all(np.abs(places) <= 1.0))
    # Uniform on [-1, 1]: deviation 0.577, of the mean of 400 0.029.
    np.testing.assert_allclose(places.mean(axis=0), np.zeros(4), atol=0.12)
    np.testing.assert_allclose(places.std(axis=0), [0.577] * 4, atol=0.06)
    correlations = np.corrcoef(places.T) - np.eye(4)
    self.assertLess(np.abs(correlations).max(), 0.2)

  def test_state_there_and_back_is_exact(self):
    env, other = PointMass(3), PointMass(3)
    rng = np.random.default_rng(0)
    env.reset(seed=1)
    other.reset(seed=2)
    for _ in range(37):
      env.step(rng.uniform(-1.0, 1.0, 3))
    other.set_state(json.loads(json.dumps(env.get_state())))
    for _ in range(3):  # Over the ends of episodes, which draw anew.
      truncated = False
      while not truncated:
        action = rng.uniform(-1.0, 1.0, 3)
        features, reward, _, truncated, _ = env.step(action)
        others = other.step(action)
        np.testing.assert_array_equal(others[0], features)
        self.assertEqual(others[1], reward)
        self.assertEqual(others[3], truncated)
      np.testing.assert_array_equal(env.reset()[0], other.reset()[0])

  def test_a_saved_state_is_not_written_to(self):
    env = PointMass(2)
    env.reset(seed=0)
    state = env.get_state()
    text = json.dumps(state)
    env.set_state(state)
    env.step(np.ones(2))
    self.assertEqual(json.dumps(state), text)

  def test_vector_environment(self):
    env = point_mass.make_vector_env(2, 3)
    self.addCleanup(env.close)
    self.assertEqual(env.metadata['autoreset_mode'], AutoresetMode.SAME_STEP)
    alone = [PointMass(2) for _ in range(3)]
    features, _ = env.reset(seed=5)
    for row, single in enumerate(alone):
      np.testing.assert_array_equal(
        features[row], single.reset(seed=5 + row)[0]
      )
    for step in range(1, 121):
      actions = np.full([3, 2], np.float32(0.1 * (step % 7)))
      features, rewards, _, truncated, _ = env.step(actions)
      for row, single in enumerate(alone):
        expected, reward, _, is_last, _ = single.step(actions[row])
        if is_last:  # The frame is already the next episode's first.
          expected, _ = single.reset()
        np.testing.assert_array_equal(features[row], expected)
        self.assertEqual((rewards[row], truncated[row]), (reward, is_last))


if __name__ == '__main__':
  absltest.main()
