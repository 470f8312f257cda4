"""Tests of core/losses.py."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from core import losses

REWARDS = [-10.0, -5.0, -1.0, -0.5, 0.0, 0.5, 1.0, 5.0, 10.0]


def random_logits(*shape):
  return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def softmax(logits):
  exp = np.exp(logits - logits.max(axis=-1, keepdims=True))
  return exp / exp.sum(axis=-1, keepdims=True)


class BaselineLossTest(absltest.TestCase):
  def test_half_the_sum_of_squares(self):
    # 0.5 sum_{t,b} (v_t - V(x_t))^2
    errors = np.array([[1.0, -2.0], [3.0, 0.5]], np.float32)
    loss = losses.compute_baseline_loss(tf.constant(errors))
    self.assertEqual(loss.shape, ())
    self.assertAlmostEqual(float(loss), 0.5 * (1 + 4 + 9 + 0.25), places=5)

  def test_gradient_is_the_error(self):
    errors = tf.constant(random_logits(5, 3))
    with tf.GradientTape() as tape:
      tape.watch(errors)
      loss = losses.compute_baseline_loss(errors)
    np.testing.assert_allclose(tape.gradient(loss, errors), errors, rtol=1e-6)


class EntropyLossTest(absltest.TestCase):
  def test_sum_of_p_log_p(self):
    logits = random_logits(4, 3, 5)
    # sum_{t,b} sum_a p(a) log p(a)
    expected = 0.0
    for policy in softmax(logits.astype(np.float64)).reshape(-1, 5):
      expected += sum(p * np.log(p) for p in policy)
    loss = losses.compute_entropy_loss(tf.constant(logits))
    self.assertEqual(loss.shape, ())
    np.testing.assert_allclose(loss, expected, rtol=1e-5)

  def test_nine_equal_actions(self):
    loss = losses.compute_entropy_loss(tf.zeros([2, 3, 9]))
    np.testing.assert_allclose(loss, 6 * -2.1972, rtol=1e-4)

  def test_analytic_gradient(self):
    logits = tf.constant(random_logits(4, 3, 5))
    with tf.GradientTape() as tape:
      tape.watch(logits)
      loss = losses.compute_entropy_loss(logits)
    # d(sum p log p)/dl_a = p_a (log p_a - sum_i p_i log p_i)
    policy = softmax(logits.numpy())
    sums = np.sum(policy * np.log(policy), axis=2, keepdims=True)
    expected = policy * (np.log(policy) - sums)
    np.testing.assert_allclose(
      tape.gradient(loss, logits), expected, rtol=1e-4, atol=1e-6
    )


class PolicyGradientLossTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(1)
    self.logits = tf.constant(random_logits(4, 3, 5))
    self.actions = rng.integers(5, size=(4, 3), dtype=np.int32)
    self.advantages = tf.constant(rng.normal(size=(4, 3)).astype(np.float32))

  def compute(self):
    return losses.compute_policy_gradient_loss(
      self.logits, self.actions, self.advantages
    )

  def test_sum_of_cross_entropy_times_advantage(self):
    policy = softmax(self.logits.numpy())
    expected = 0.0
    for t, b in np.ndindex(4, 3):  # -log pi(a_t) x advantage_t
      taken = policy[t, b, self.actions[t, b]]
      expected -= np.log(taken) * self.advantages[t, b]
    loss = self.compute()
    self.assertEqual(loss.shape, ())
    np.testing.assert_allclose(loss, expected, rtol=1e-5)

  def test_gradient_reaches_logits_but_not_advantages(self):
    with tf.GradientTape() as tape:
      tape.watch([self.logits, self.advantages])
      loss = self.compute()
    of_logits, of_advantages = tape.gradient(
      loss, [self.logits, self.advantages]
    )
    self.assertIsNone(of_advantages)
    # (p_i - 1[i = a]) x advantage
    expected = softmax(self.logits.numpy()) - np.eye(5)[self.actions]
    expected *= self.advantages[:, :, None]
    np.testing.assert_allclose(of_logits, expected, rtol=1e-4, atol=1e-6)


class ClipRewardsTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('abs_one', 'abs_one', [-1, -1, -1, -0.5, 0, 0.5, 1, 1, 1]),
    (
      'soft_asymmetric',
      'soft_asymmetric',
      [
        *(-1.4460, -1.1424, -0.2961, -0.1495, 0),
        *(0.4983, 0.9869, 3.8080, 4.8201),
      ],
    ),
    (
      'soft_asymmetric_paper',
      'soft_asymmetric_paper',
      [
        *(-0.3000, -0.3000, -0.2285, -0.1386, 0),
        *(2.3106, 3.8080, 4.9995, 5.0000),
      ],
    ),
    ('none', 'none', REWARDS),
  )
  def test_table(self, mode, expected):
    found = losses.clip_rewards(tf.constant(REWARDS), mode)
    np.testing.assert_allclose(found, expected, atol=6e-5)

  def test_unknown_mode(self):
    with self.assertRaisesRegex(ValueError, "unknown reward clipping 'abs'"):
      losses.clip_rewards(tf.constant(REWARDS), 'abs')


if __name__ == '__main__':
  absltest.main()
