"""Tests of stacx/losses.py."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from core.types import EnvSpec
from stacx import losses
from stacx.policies import Softmax
from tests.stacx import reference

T, B, P, A = 4, 3, 2, 3
OUTER = losses.Hyperparameters(0.995, 1.0, 1.0, 0.9, 1.2, 0.25, 1.5, 0.01)
NAMES = ('gamma', 'lambda', 'alpha', 'truncation', 'g_v', 'g_p', 'g_e')


def sigmoid(x):
  return 1.0 / (1.0 + np.exp(-x))


class HyperparametersTest(absltest.TestCase):
  def test_sigmoids_scaled_by_outer_coefficients(self):
    eta = np.random.default_rng(0).normal(size=[7, P])
    zeta = losses.hyperparameters(tf.constant(eta), NAMES, OUTER)
    fraction = dict(zip(NAMES, sigmoid(eta), strict=True))
    expected = dict(
      gamma=fraction['gamma'],
      lambda_=fraction['lambda'],
      alpha_rho=fraction['alpha'],
      alpha_c=fraction['alpha'],
      truncation=1.2 * fraction['truncation'],
      g_v=0.25 * fraction['g_v'],
      g_p=1.5 * fraction['g_p'],
      g_e=0.01 * fraction['g_e'],
    )
    for name, value in expected.items():
      np.testing.assert_allclose(getattr(zeta, name), value, rtol=1e-12)

  def test_start_is_99_hundredths(self):
    zeta = losses.hyperparameters(tf.fill([7, 1], 4.6), NAMES, OUTER)
    np.testing.assert_allclose(zeta.gamma, 0.99, atol=1e-4)
    np.testing.assert_allclose(zeta.g_v, 0.25 * 0.99, atol=1e-4)

  def test_what_is_not_tuned_is_the_outer_value(self):
    zeta = losses.hyperparameters(tf.zeros([0, P]), (), OUTER)
    self.assertEqual(zeta, OUTER)
    zeta = losses.hyperparameters(tf.zeros([1, P]), ('alpha_c',), OUTER)
    np.testing.assert_array_equal(zeta.alpha_c, 0.5)
    self.assertEqual(zeta._replace(alpha_c=0.9), OUTER)


class LossesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(1)
    self.logits = rng.normal(size=[T + 1, B, P, A])
    self.values = rng.normal(size=[T + 1, B, P])
    self.actions = rng.integers(A, size=[T, B], dtype=np.int32)
    self.log_mu = -rng.random([T, B]) - 0.5
    self.rewards = rng.normal(size=[T, B])
    self.goes_on = np.float64(rng.random([T, B]) > 0.2)
    self.eta = rng.normal(size=[7, P])
    self.objective = losses.Objective(
      Softmax(EnvSpec(('task',), num_actions=A)), NAMES, OUTER
    )
    self.experience = losses.Experience(
      *(self.actions, self.log_mu, self.rewards, self.goes_on),
      tf.zeros([B], tf.int32),
    )
    self.outputs = losses.Outputs(*map(tf.constant, (self.logits, self.values)))

  def expected(self, head, zeta):
    """Computes one head's losses step by step, as algorithm 1."""
    log_pi = reference.log_softmax(self.logits[:-1, :, head])
    taken = np.take_along_axis(log_pi, self.actions[..., None], axis=2)[..., 0]
    values = self.values[:, :, head]
    log_rhos = taken - self.log_mu
    vs, advantages = reference.leaky_vtrace(
      log_rhos,
      zeta.gamma * self.goes_on,
      self.rewards,
      values[:-1],
      values[-1],
      *(zeta.lambda_, zeta.alpha_rho, zeta.alpha_c, zeta.truncation),
    )
    entropy = -np.sum(np.exp(log_pi) * log_pi)
    return dict(
      policy_gradient=-zeta.g_p * np.sum(taken * advantages),
      value=zeta.g_v * np.sum((vs - values[:-1]) ** 2),
      regularizer=-zeta.g_e * entropy,
      unweighted_regularizer=-entropy,
      num_truncated=np.sum(np.exp(log_rhos) > zeta.truncation),
    )

  def zeta_of(self, head):
    zeta = losses.hyperparameters(tf.constant(self.eta), NAMES, OUTER)
    return losses.Hyperparameters(
      *(float(x[head]) if tf.is_tensor(x) else x for x in zeta)
    )

  def test_inner_loss_is_the_heads_mean(self):
    heads = [self.expected(head, self.zeta_of(head)) for head in range(P)]
    loss, metrics = losses.inner_loss(
      self.objective, self.outputs, self.experience, tf.constant(self.eta)
    )
    expected = dict(
      policy_gradient_loss=np.mean([h['policy_gradient'] for h in heads]),
      baseline_loss=np.mean([h['value'] for h in heads]),
      entropy_loss=np.mean([h['regularizer'] for h in heads]),
      negative_entropy=heads[0]['unweighted_regularizer'],
      num_truncated=[h['num_truncated'] for h in heads],
    )
    expected['total_loss'] = sum(list(expected.values())[:3])
    self.assertEqual(metrics.keys(), expected.keys())
    for name, value in expected.items():
      np.testing.assert_allclose(metrics[name], value, rtol=1e-10)
    np.testing.assert_array_equal(loss, metrics['total_loss'])
    self.assertBetween(metrics['num_truncated'][0], 1, T * B - 1)

  @parameterized.parameters('main_head', 'random_head')
  def test_outer_loss(self, behaviour):
    objective = self.objective._replace(behaviour=behaviour)
    heads = [0] if behaviour == 'main_head' else [0, 1]
    losses_of = [self.expected(head, OUTER) for head in heads]
    expected = np.mean([sum(list(parts.values())[:3]) for parts in losses_of])
    others = np.random.default_rng(2).normal(size=self.logits.shape)
    kl = 0.0
    for head in heads:
      log_pi, log_old = (
        reference.log_softmax(x[:-1, :, head]) for x in (self.logits, others)
      )
      kl += np.sum(np.exp(log_pi) * (log_pi - log_old)) / len(heads)
    old_outputs = self.outputs._replace(parameters=tf.constant(others))
    loss, metrics = losses.outer_loss(
      objective, self.outputs, old_outputs, self.experience, 0.3
    )
    np.testing.assert_allclose(metrics['outer_loss'], expected, rtol=1e-10)
    np.testing.assert_allclose(metrics['kl'], kl, rtol=1e-10)
    np.testing.assert_allclose(loss, expected + 0.3 * kl, rtol=1e-10)

  def test_average_of_logits_acts(self):
    extra = np.random.default_rng(3).normal(size=[T + 1, B, 1])
    outputs = self.outputs._replace(extra_values=tf.constant(extra))
    objective = self.objective._replace(behaviour='average_logits')
    loss, _ = losses.outer_loss(
      objective, outputs, outputs, self.experience, 1.0
    )
    _, metrics = losses.inner_loss(
      objective, outputs, self.experience, tf.constant(self.eta)
    )
    self.logits = self.logits.mean(axis=2, keepdims=True)
    self.values = extra
    expected = self.expected(0, OUTER)
    total = sum(list(expected.values())[:3])
    np.testing.assert_allclose(loss, total, rtol=1e-10)
    np.testing.assert_allclose(
      metrics['extra_baseline_loss'], expected['value'] / P, rtol=1e-10
    )

  def test_a_time_limit_cuts_the_unroll_in_two(self):
    # The first part ends with the value of the state in which time was up.
    cut = 2
    self.goes_on[cut] = 0.0
    truncated = np.arange(T)[:, None] == [cut] * B
    parts = [
      self.losses_between(0, T, truncated=tf.constant(truncated)),
      self.losses_between(0, cut),
      self.losses_between(cut + 1, T),
    ]
    for name in ('policy_gradient', 'value'):
      whole, first, second = (getattr(part, name) for part in parts)
      np.testing.assert_allclose(whole, first + second, rtol=1e-10)
    terminated = self.losses_between(0, T)
    self.assertGreater(np.min(np.abs(terminated.value - parts[0].value)), 0.01)

  def losses_between(self, start, stop, **changes):
    """Returns the losses of a part of the unroll."""
    arrays = (self.actions, self.log_mu, self.rewards, self.goes_on)
    return losses.actor_critic_losses(
      self.objective,
      *(x[start : stop + 1] for x in self.outputs[:2]),
      losses.Experience(
        *(x[start:stop] for x in arrays), tf.zeros([B], tf.int32), **changes
      ),
      OUTER,
    )

  def test_more_entropy_is_less_loss(self):
    # The printed sign would minimise it.
    flat = self.outputs._replace(parameters=0.0 * self.outputs.parameters)
    zeta = OUTER._replace(g_v=0.0, g_p=0.0)
    objective = self.objective._replace(tuned=(), outer=zeta)
    eta = tf.zeros([0, P], tf.float64)
    found = [
      float(losses.inner_loss(objective, x, self.experience, eta)[0])
      for x in (flat, self.outputs)
    ]
    self.assertLess(*found)

  def test_gradients_in_the_network_stop_where_algorithm_1_says(self):
    # Targets, weights and advantages as constants give the same gradient.
    logits, values = map(tf.constant, (self.logits, self.values))
    with tf.GradientTape() as tape:
      tape.watch((logits, values))
      loss, _ = losses.inner_loss(
        self.objective,
        losses.Outputs(logits, values),
        self.experience,
        tf.constant(self.eta),
      )
    found = tape.gradient(loss, (logits, values))
    expected = [np.zeros_like(self.logits), np.zeros_like(self.values)]
    for head in range(P):
      zeta = self.zeta_of(head)
      log_pi = reference.log_softmax(self.logits[:-1, :, head])
      pi, one_hot = np.exp(log_pi), np.eye(A)[self.actions]
      log_rhos = np.sum(log_pi * one_hot, axis=2) - self.log_mu
      v = self.values[:, :, head]
      vs, advantages = reference.leaky_vtrace(
        log_rhos,
        zeta.gamma * self.goes_on,
        self.rewards,
        *(v[:-1], v[-1], zeta.lambda_, zeta.alpha_rho, zeta.alpha_c),
        zeta.truncation,
      )
      entropy = np.sum(pi * log_pi, axis=2, keepdims=True)
      expected[0][:-1, :, head] = (
        zeta.g_p * advantages[..., None] * (pi - one_hot)
        + zeta.g_e * pi * (log_pi - entropy)
      ) / P
      expected[1][:-1, :, head] = 2.0 * zeta.g_v * (v[:-1] - vs) / P
    for a, b in zip(found, expected, strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


if __name__ == '__main__':
  absltest.main()
