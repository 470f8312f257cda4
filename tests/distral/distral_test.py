"""Tests of distral/distral.py against NumPy written from the paper.

The gradients of equations 9 and 10 are in gradient_test.py.
"""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from distral import distral

T, B, A = 6, 4, 5
ALPHA, BETA = 0.3, 7.0


def softmax(logits):
  exponentials = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
  return exponentials / exponentials.sum(axis=-1, keepdims=True)


def random_logits(seed, *shape):
  rng = np.random.default_rng(seed)
  return rng.normal(scale=2.0, size=shape or (T, B, A)).astype(np.float32)


def two_columns(seed=0):
  """Returns h and f, float32 [T, B, A]."""
  return random_logits(seed), random_logits(seed + 100)


class PoliciesTest(parameterized.TestCase):
  @parameterized.parameters(0.0, 0.3, 1.0)
  def test_logits_are_equation_12(self, alpha):
    h, f = two_columns()
    logits = distral.two_column_logits(tf.constant(h), tf.constant(f), alpha)
    product = softmax(h) ** alpha * np.exp(f)
    expected = product / product.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(tf.nn.softmax(logits), expected, rtol=1e-4)

  @parameterized.parameters(0.0, 0.3, 1.0)
  def test_advantages_are_equation_7_times_beta(self, alpha):
    h, f = (
      two_columns()
    )  # f is that of equation 7; the network puts out beta f.
    pi_0 = softmax(h)
    expected = np.zeros([T, B, A])
    for t, b in np.ndindex(T, B):
      total = sum(
        pi_0[t, b, a] ** alpha * np.exp(BETA * np.float64(f[t, b, a]))
        for a in range(A)
      )
      expected[t, b] = f[t, b] - np.log(total) / BETA
    found = distral.scaled_soft_advantages(
      tf.constant(h), tf.constant(BETA * f), alpha
    )
    np.testing.assert_allclose(found, BETA * expected, rtol=1e-4, atol=1e-4)

  @parameterized.parameters(0.0, 0.3, 1.0)
  def test_prior_times_exponential_advantage_is_the_policy(self, alpha):
    h, f = map(tf.constant, two_columns())
    advantages = distral.scaled_soft_advantages(h, f, alpha)
    product = tf.nn.softmax(h) ** alpha * tf.exp(advantages)
    policy = tf.nn.softmax(distral.two_column_logits(h, f, alpha))
    np.testing.assert_allclose(product, policy, rtol=1e-4, atol=1e-6)

  def test_constants_added_to_either_column_change_nothing(self):
    h, f = two_columns()
    rows = np.random.default_rng(9).normal(scale=5.0, size=[2, T, B, 1])
    shifted = h + rows[0].astype(np.float32), f + rows[1].astype(np.float32)
    for function in (
      lambda *x: tf.nn.softmax(distral.two_column_logits(*x, ALPHA)),
      lambda *x: distral.scaled_soft_advantages(*x, ALPHA),
      lambda *x: distral.kl_divergences(
        distral.two_column_logits(*x, ALPHA), x[0]
      ),
    ):
      np.testing.assert_allclose(
        function(*map(tf.constant, shifted)),
        function(tf.constant(h), tf.constant(f)),
        rtol=1e-4,
        atol=1e-4,
      )

  def test_alpha_0_does_not_depend_on_the_distilled_policy(self):
    h, f = map(tf.constant, two_columns())
    for function in (distral.two_column_logits, distral.scaled_soft_advantages):
      np.testing.assert_allclose(
        function(h, f, 0.0), function(-3.0 * h, f, 0.0), atol=1e-6
      )
    np.testing.assert_array_equal(distral.two_column_logits(h, f, 0.0), f)

  def test_zero_adjustment_with_alpha_1_is_the_distilled_policy(self):
    h = tf.constant(random_logits(0))
    logits = distral.two_column_logits(h, tf.zeros_like(h), 1.0)
    np.testing.assert_array_equal(logits, h)
    advantages = distral.scaled_soft_advantages(h, tf.zeros_like(h), 1.0)
    np.testing.assert_allclose(advantages, tf.zeros_like(h), atol=1e-6)

  def test_large_logits_stay_finite(self):
    h, f = (tf.constant(1e4 * x) for x in two_columns())
    found = distral.scaled_soft_advantages(h, f, 0.5)
    self.assertTrue(np.all(np.isfinite(found)))
    # Of the best action pi_0^alpha exp(beta A) is 1.
    scores = 0.5 * tf.nn.log_softmax(h) + found
    np.testing.assert_allclose(np.max(scores, axis=-1), 0.0, atol=1e-2)

  def test_gradients_flow_into_both_columns(self):
    h, f = map(tf.constant, two_columns())
    with tf.GradientTape() as tape:
      tape.watch([h, f])
      loss = tf.reduce_sum(distral.two_column_logits(h, f, ALPHA) * f)
    by_h, _ = tape.gradient(loss, [h, f])
    np.testing.assert_allclose(by_h, ALPHA * f, rtol=1e-5)

  def test_log_probabilities(self):
    logits = random_logits(0)
    actions = np.random.default_rng(1).integers(A, size=[T, B])
    found = distral.log_probabilities(
      tf.constant(logits), tf.constant(actions, tf.int32)
    )
    for t, b in np.ndindex(T, B):
      expected = np.log(softmax(logits)[t, b, actions[t, b]])
      np.testing.assert_allclose(found[t, b], expected, rtol=1e-4, atol=1e-6)

  def test_kl_divergences(self):
    task, distilled = two_columns()
    found = distral.kl_divergences(tf.constant(task), tf.constant(distilled))
    p, q = softmax(np.float64(task)), softmax(np.float64(distilled))
    for t, b in np.ndindex(T, B):
      expected = sum(
        p[t, b, a] * np.log(p[t, b, a] / q[t, b, a]) for a in range(A)
      )
      np.testing.assert_allclose(found[t, b], expected, rtol=1e-4)


class RegularizedRewardsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    self.rewards = rng.normal(size=[T, B]).astype(np.float32)
    self.log_task, self.log_distilled = np.log(
      rng.uniform(0.01, 1.0, [2, T, B])
    ).astype(np.float32)

  def regularize(self, alpha, log_distilled):
    return distral.regularized_rewards(
      *map(tf.constant, (self.rewards, self.log_task)),
      log_distilled,
      alpha,
      BETA,
    )

  def test_is_the_objective_of_equation_1(self):
    # There with c_KL = alpha / beta and c_Ent = (1 - alpha) / beta.
    c_kl, c_entropy = ALPHA / BETA, (1 - ALPHA) / BETA
    found = self.regularize(ALPHA, tf.constant(self.log_distilled))
    for t, b in np.ndindex(T, B):
      log_pi, log_pi_0 = self.log_task[t, b], self.log_distilled[t, b]
      expected = (
        self.rewards[t, b] - c_kl * (log_pi - log_pi_0) - c_entropy * log_pi
      )
      np.testing.assert_allclose(found[t, b], expected, rtol=1e-4, atol=1e-6)

  def test_alpha_0_does_not_depend_on_the_distilled_policy(self):
    found = self.regularize(0.0, tf.constant(self.log_distilled))
    np.testing.assert_array_equal(found, self.regularize(0.0, 0.0))
    expected = self.rewards - self.log_task / BETA
    np.testing.assert_allclose(found, expected, rtol=1e-5)

  def test_the_distilled_policy_itself_pays_no_kl(self):
    found = self.regularize(1.0, tf.constant(self.log_task))
    np.testing.assert_array_equal(found, self.rewards)

  def test_carries_no_gradient(self):
    inputs = list(map(tf.constant, (self.log_task, self.log_distilled)))
    with tf.GradientTape() as tape:
      tape.watch(inputs)
      found = distral.regularized_rewards(
        tf.constant(self.rewards), *inputs, ALPHA, BETA
      )
    self.assertEqual(tape.gradient(found, inputs), [None, None])


class NStepReturnsTest(parameterized.TestCase):
  def test_equals_the_sum(self):
    rng = np.random.default_rng(0)
    rewards = rng.normal(size=[T, B])
    discounts = rng.uniform(0.5, 1.0, [T, B])
    for t, b in ((2, 0), (0, 1), (3, 1), (T - 1, 2)):  # Episodes end.
      discounts[t, b] = 0.0
    value = rng.normal(size=B)
    found = distral.n_step_returns(
      *map(tf.constant, (rewards, discounts, value))
    )
    self.assertEqual(found.shape, (T, B))
    for t, b in np.ndindex(T, B):
      expected, factor = 0.0, 1.0
      for u in range(t, T):
        expected += factor * rewards[u, b]
        factor *= discounts[u, b]
      expected += factor * value[b]
      np.testing.assert_allclose(found[t, b], expected, rtol=1e-12)

  def test_nothing_comes_back_over_an_episodes_end(self):
    rewards = tf.constant([[1.0], [10.0], [100.0], [1000.0]])
    discounts = tf.constant([[0.5], [0.0], [0.5], [0.5]])
    found = distral.n_step_returns(rewards, discounts, tf.constant([8000.0]))
    np.testing.assert_array_equal(found[:, 0], [6.0, 10.0, 2600.0, 5000.0])

  def test_carries_no_gradient(self):
    inputs = [tf.ones([T, B]), tf.ones([T, B]), tf.ones([B])]
    with tf.GradientTape() as tape:
      tape.watch(inputs)
      found = distral.n_step_returns(*inputs)
    self.assertEqual(tape.gradient(found, inputs), [None] * 3)


class DistillationLossTest(parameterized.TestCase):
  def gradients(self, task, distilled, alpha, beta=BETA):
    inputs = tf.constant(task), tf.constant(distilled)
    with tf.GradientTape() as tape:
      tape.watch(inputs)
      loss = distral.distillation_loss(*inputs, alpha, beta)
    return loss, *tape.gradient(loss, inputs)

  def test_sums_cross_entropies(self):
    task, distilled = two_columns()
    loss, *_ = self.gradients(task, distilled, ALPHA)
    expected = 0.0
    for t, b, a in np.ndindex(T, B, A):
      expected -= softmax(task)[t, b, a] * np.log(softmax(distilled)[t, b, a])
    self.assertEqual(loss.shape, ())
    np.testing.assert_allclose(loss, ALPHA / BETA * expected, rtol=1e-4)

  @parameterized.parameters((0.3, 7.0), (1.0, 0.5), (0.0, 7.0))
  def test_gradient_is_the_second_line_of_equation_10(self, alpha, beta):
    task, distilled = two_columns()
    _, by_task, by_distilled = self.gradients(task, distilled, alpha, beta)
    expected = -alpha / beta * (softmax(task) - softmax(distilled))
    np.testing.assert_allclose(by_distilled, expected, rtol=1e-4, atol=1e-6)
    self.assertEqual(np.any(expected), alpha > 0)
    self.assertIsNone(by_task)

  def test_alpha_0_distils_nothing(self):
    loss, *_ = self.gradients(*two_columns(), 0.0)
    self.assertEqual(float(loss), 0.0)

  def test_no_gradient_at_the_mean_of_the_task_policies(self):
    # Where tasks are in the same states (the paper below equation 10).
    tasks = random_logits(0, 3, 1, A)  # T stands for three tasks.
    mean = np.log(softmax(tasks).mean(axis=0, keepdims=True))
    _, _, gradient = self.gradients(tasks, np.repeat(mean, 3, axis=0), 1.0)
    self.assertGreater(np.max(np.abs(gradient)), 1e-3)
    np.testing.assert_allclose(np.sum(gradient, axis=0), 0.0, atol=1e-7)


class ValueRegularizationTest(absltest.TestCase):
  def test_shared(self):
    task, shared = random_logits(0, T, B), random_logits(1, T, B)
    inputs = tf.constant(task), tf.constant(shared)
    with tf.GradientTape() as tape:
      tape.watch(inputs)
      loss = distral.value_regularization_loss(*inputs)
    expected = sum(
      0.5 * (task[t, b] - shared[t, b]) ** 2 for t, b in np.ndindex(T, B)
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    by_task, by_shared = tape.gradient(loss, inputs)
    np.testing.assert_allclose(by_task, task - shared, rtol=1e-5)
    np.testing.assert_allclose(by_shared, shared - task, rtol=1e-5)

  def test_zero(self):
    task = random_logits(0, T, B)
    loss = distral.value_regularization_loss(tf.constant(task), 0.0)
    np.testing.assert_allclose(loss, 0.5 * np.sum(task**2), rtol=1e-5)


class ShapesTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('two_columns', distral.two_column_logits, [(T, B, A), (T, B, 3)], (1.0,)),
    (
      'advantages',
      distral.scaled_soft_advantages,
      [(T, B, A), (T, B, 3)],
      (1.0,),
    ),
    ('actions', distral.log_probabilities, [(T, B, A), (B, T)], ()),
    (
      'rewards',
      distral.regularized_rewards,
      [(T, B), (T, 1), (T, B)],
      (ALPHA, BETA),
    ),
    (
      'distilled_rewards',
      distral.regularized_rewards,
      [(T, B), (T, B), (B,)],
      (ALPHA, BETA),
    ),
    ('divergences', distral.kl_divergences, [(T, B, A), (B, A)], ()),
    ('values', distral.value_regularization_loss, [(T, B), (B,)], ()),
    ('discounts', distral.n_step_returns, [(T, B), (T - 1, B), (B,)], ()),
    ('bootstrap', distral.n_step_returns, [(T, B), (T, B), (T, B)], ()),
    (
      'distillation',
      distral.distillation_loss,
      [(T, B, A), (T, B, 3)],
      (ALPHA, BETA),
    ),
  )
  def test_wrong_shapes_raise(self, function, shapes, settings):
    tensors = [tf.zeros(shape) for shape in shapes]
    if function is distral.log_probabilities:
      tensors[1] = tf.cast(tensors[1], tf.int32)
    with self.assertRaises((ValueError, tf.errors.InvalidArgumentError)):
      function(*tensors, *settings)


if __name__ == '__main__':
  absltest.main()
