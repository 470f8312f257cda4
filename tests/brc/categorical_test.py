"""Support, projection, mixture and losses against slow loops."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from brc import categorical

SUPPORT = categorical.make_support(101, 10.0)


def slow_projection(probs, reward, discount, entropy_cost, support):
  """Moves each atom, and deals its mass to the bins left and right of it."""
  v_min, v_max = support[0], support[-1]
  delta = (v_max - v_min) / (len(support) - 1)
  projected = np.zeros(len(support))
  for z, p in zip(support, probs, strict=True):
    moved = min(max(reward + discount * (z - entropy_cost), v_min), v_max)
    b = (moved - v_min) / delta
    lower, upper = int(np.floor(b)), int(np.ceil(b))
    if lower == upper:
      projected[lower] += p
    else:
      projected[lower] += p * (upper - b)
      projected[upper] += p * (b - lower)
  return projected


def triangle_projection(probs, atoms, support):
  """Rlax's way: each bin takes 1 - distance / delta of an atom's mass."""
  delta = support[1] - support[0]
  clipped = np.clip(atoms, support[0], support[-1])
  distance = np.abs(clipped[None] - support[:, None]) / delta
  return np.clip(1.0 - distance, 0.0, 1.0) @ probs


def project(probs, reward, discount, entropy_cost, support=SUPPORT):
  """Projects rows with `categorical.project`; takes lists."""
  inputs = (np.atleast_1d(np.float32(x)) for x in (reward, discount))
  cost = np.atleast_1d(np.float32(entropy_cost))
  rows = np.atleast_2d(np.float32(probs))
  return categorical.project(rows, *inputs, cost, support).numpy()


def random_probs(rng, num_rows, num_atoms=101):
  """Returns distributions [num_rows, num_atoms]."""
  return np.float32(rng.dirichlet(np.full(num_atoms, 0.3), num_rows))


class SupportTest(absltest.TestCase):
  def test_is_symmetric_with_an_exact_zero(self):
    self.assertEqual(SUPPORT.dtype, np.float32)
    np.testing.assert_allclose(SUPPORT, -10.0 + 0.2 * np.arange(101), atol=1e-6)
    np.testing.assert_array_equal(SUPPORT, -SUPPORT[::-1])
    self.assertEqual(SUPPORT[50], 0.0)


class ProjectionTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('official', 101, 10.0, 12.0),
    ('small', 2, 1.0, 1.0),
    ('wide', 51, 3.0, 9.0),
  )
  def test_equals_slow_loops(self, num_atoms, v_max, spread):
    rng = np.random.default_rng(0)
    support = categorical.make_support(num_atoms, v_max)
    probs = random_probs(rng, 60, num_atoms)
    rewards = rng.uniform(-spread, spread, 60)
    rewards[:6] = [0.0, v_max, -v_max, 2.0 * v_max, -99.0, support[1]]
    discounts = rng.choice([0.0, 0.99, 1.0], 60)
    costs = rng.normal(size=60)
    found = project(probs, rewards, discounts, costs, support)
    num_clipped = 0
    for i in range(60):
      slow = slow_projection(
        *(probs[i], rewards[i], discounts[i], costs[i]), np.float64(support)
      )
      np.testing.assert_allclose(found[i], slow, atol=2e-5)
      atoms = rewards[i] + discounts[i] * (support - costs[i])
      triangle = triangle_projection(probs[i], atoms, np.float64(support))
      np.testing.assert_allclose(found[i], triangle, atol=2e-5)
      is_inside = np.all(np.abs(atoms) <= v_max)
      num_clipped += not is_inside
      if is_inside:  # The mean is kept.
        np.testing.assert_allclose(
          found[i] @ support, probs[i] @ atoms, atol=1e-4
        )
    self.assertBetween(num_clipped, 10, 59)
    self.assertTrue(np.all(found >= 0.0))
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-5)

  def test_nothing_moves_without_reward_and_discount(self):
    probs = random_probs(np.random.default_rng(1), 3)
    found = project(probs, np.zeros(3), np.ones(3), np.zeros(3))
    np.testing.assert_allclose(found, probs, atol=2e-6)

  def test_terminal_states_have_the_reward_alone(self):
    probs = random_probs(np.random.default_rng(2), 1)
    (found,) = project(probs, 0.05, 0.0, 123.0)
    np.testing.assert_allclose(found[50:52], [0.75, 0.25], atol=1e-5)
    np.testing.assert_allclose(found.sum(), 1.0, atol=1e-5)
    for reward, atom in ((0.0, 50), (10.0, 100), (99.0, 100), (-10.5, 0)):
      (found,) = project(probs, reward, 0.0, 0.0)
      np.testing.assert_allclose(found[atom], 1.0, atol=1e-5)

  def test_entropy_costs_are_discounted(self):
    probs = np.eye(101)[60]  # All mass at 2.
    (found,) = project(probs, 1.0, 0.5, 0.8)
    np.testing.assert_allclose(found @ SUPPORT, 1.0 + 0.5 * (2.0 - 0.8), 1e-5)

  def test_carries_no_gradient(self):
    probs = tf.constant(random_probs(np.random.default_rng(0), 2))
    ones = tf.ones(2)
    with tf.GradientTape() as tape:
      tape.watch(probs)
      projected = categorical.project(probs, ones, ones, ones, SUPPORT)
    self.assertIsNone(tape.gradient(projected, probs))


class MixtureTest(absltest.TestCase):
  def test_is_the_mean_of_probabilities_not_of_logits(self):
    logits = np.zeros([2, 1, 3], np.float32)
    logits[0, 0, 0] = logits[1, 0, 2] = 5.0
    share = np.exp(5.0) / (np.exp(5.0) + 2.0)
    other = (1.0 - share) / 2.0
    mean = [(share + other) / 2.0, other, (share + other) / 2.0]
    found = categorical.mixture(logits).numpy()
    np.testing.assert_allclose(found, [mean], rtol=1e-5)
    of_logits = tf.nn.softmax(tf.reduce_mean(logits, axis=0)).numpy()
    self.assertGreater(np.abs(found - of_logits).max(), 0.02)
    values = categorical.expectation(found, np.float32([-1.0, 0.0, 1.0]))
    np.testing.assert_allclose(values, [0.0], atol=1e-6)


class LossTest(absltest.TestCase):
  def test_cross_entropy_and_its_gradient(self):
    rng = np.random.default_rng(0)
    logits = tf.constant(rng.normal(size=[2, 5, 7]), tf.float32)
    target = random_probs(rng, 5, 7)
    with tf.GradientTape() as tape:
      tape.watch(logits)
      losses = categorical.cross_entropy_loss(logits, target)
      loss = tf.reduce_mean(losses)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    slow = [
      -sum((target[b] * np.log(softmax[e, b])).sum() for e in range(2))
      for b in range(5)
    ]
    np.testing.assert_allclose(losses, slow, rtol=1e-5)
    gradient = tape.gradient(loss, logits)
    np.testing.assert_allclose(gradient, (softmax - target) / 5, atol=1e-6)

  def test_squared_error(self):
    values = np.float32([[1.0, 2.0], [3.0, 4.0]])
    found = categorical.squared_error_loss(values, np.float32([1.0, 0.0]))
    np.testing.assert_allclose(found, [0.0 + 4.0, 4.0 + 16.0])


if __name__ == '__main__':
  absltest.main()
