"""Tests of stacx/policies.py."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from core.types import ActionBox, AgentOutput, EnvSpec
from stacx.policies import Softmax, TanhGaussian
from tests.stacx import reference

LOW, HIGH = (-2.0, 0.0), (2.0, 5.0)
TASKS = ('a', 'b')


def gaussian(sizes=()):
  """Returns a policy of two numbers."""
  spec = EnvSpec(TASKS, action_box=ActionBox(LOW, HIGH, sizes))
  return TanhGaussian(spec, -5.0, 0.5)


class TanhGaussianTest(parameterized.TestCase):
  def test_density_integrates_to_one(self):
    # Of actions, in one dimension, by the midpoint rule over (low, high).
    spec = EnvSpec(('a',), action_box=ActionBox((-2.0,), (3.0,)))
    policy = TanhGaussian(spec, -5.0, 0.5)
    n = 200_000
    step = 5.0 / n
    actions = -2.0 + step * (np.arange(n) + 0.5)
    before = np.arctanh((actions + 2.0) / 2.5 - 1.0)
    for mean, log_sigma in ((0.0, 0.0), (0.8, 0.5), (-0.9, -2.0)):
      parameters = np.broadcast_to([mean, log_sigma], [n, 1, 1, 2])
      log_probs = policy.log_probs(
        tf.constant(parameters),
        tf.constant(before[:, None, None]),
        tf.zeros([1], tf.int32),
      )
      total = np.sum(np.exp(log_probs)) * step
      np.testing.assert_allclose(total, 1.0, rtol=1e-4)

  def test_density_of_far_actions_is_finite(self):
    policy = gaussian()
    actions = tf.constant([[[30.0, -30.0]]])
    log_probs = policy.log_probs(tf.zeros([1, 1, 1, 4]), actions, [0])
    # log N(30) twice, and log (1 - tanh^2) = 2 (log 2 - 30) twice.
    expected = -(30.0**2) - math.log(2 * math.pi)
    expected -= 4.0 * (math.log(2.0) - 30.0) + math.log(2.0 * 2.5)
    np.testing.assert_allclose(log_probs[0, 0, 0], expected, rtol=1e-5)

  def test_parameters_are_bounded(self):
    outputs = tf.constant([[-50.0, 50.0, -50.0, 50.0], [0.5, 0.0, 0.0, 1.0]])
    found = gaussian().parameters(outputs).numpy()
    np.testing.assert_allclose(found[0], [-1.0, 1.0, -5.0, 0.5], rtol=1e-6)
    # exp(min + (max - min) / 2 (tanh(y) + 1)).
    log_sigma = -5.0 + 2.75 * (math.tanh(1.0) + 1.0)
    np.testing.assert_allclose(
      found[1], [math.tanh(0.5), 0.0, -2.25, log_sigma], rtol=1e-5
    )

  def test_samples_follow_the_parameters(self):
    n = 100_000
    parameters = tf.tile([[0.5, -0.3, -1.0, 0.0]], [n, 1])
    action, recorded = gaussian().sample(parameters, tf.constant([3, 4]))
    np.testing.assert_array_equal(recorded[:, :4], parameters)
    before = recorded[:, 4:].numpy()
    np.testing.assert_allclose(before.mean(0), [0.5, -0.3], atol=0.02)
    np.testing.assert_allclose(before.std(0), np.exp([-1.0, 0.0]), rtol=0.02)
    share = (np.tanh(before) + 1.0) / 2.0
    np.testing.assert_allclose(
      action, LOW + share * np.subtract(HIGH, LOW), rtol=1e-5, atol=1e-6
    )
    self.assertTrue(np.all((action >= LOW) & (action <= HIGH)))

  def test_what_was_taken_is_read_back(self):
    policy = gaussian()
    parameters = tf.constant(
      np.random.default_rng(0).normal(size=[6, 4]), tf.float32
    )
    action, recorded = policy.sample(parameters, tf.constant([1, 2]))
    outputs = AgentOutput(action, recorded)
    by_time = tf.nest.map_structure(lambda x: x[:, None], outputs)
    taken = policy.taken(by_time, tf.zeros([1], tf.int32))
    np.testing.assert_array_equal(taken.actions[:, 0], recorded[:, 4:])
    expected = policy.log_probs(
      parameters[:, None, None], taken.actions, tf.zeros([1], tf.int32)
    )
    np.testing.assert_array_equal(taken.log_probs, expected[:, :, 0])

  @parameterized.named_parameters(('regularizer', True), ('between', False))
  def test_divergences_are_averages_of_log_ratios(self, is_standard):
    policy = gaussian()
    rng = np.random.default_rng(1)
    parameters, others = rng.normal(scale=0.5, size=[2, 1, 1, 1, 4])
    if is_standard:
      others = np.zeros([1, 1, 1, 4])
    n = 400_000
    noise = rng.normal(size=[n, 1, 2])
    mean, log_sigma = np.split(parameters[0, 0, 0], 2)
    actions = tf.constant(mean + np.exp(log_sigma) * noise)
    task_id = tf.zeros([1], tf.int32)
    ratio = [
      policy.log_probs(tf.constant(p), actions, task_id)
      for p in (parameters, others)
    ]
    expected = np.mean(ratio[0] - ratio[1])
    if is_standard:
      found = policy.regularizer(tf.constant(parameters), task_id)
    else:
      found = policy.kl_divergence(
        *map(tf.constant, (parameters, others)), task_id
      )
    np.testing.assert_allclose(found[0, 0, 0], expected, rtol=0.02)
    same = policy.kl_divergence(
      *map(tf.constant, (parameters, parameters)), task_id
    )
    np.testing.assert_allclose(same, 0.0, atol=1e-15)

  def test_reads_no_padding(self):
    policy = gaussian(sizes=(1, 2))
    rng = np.random.default_rng(2)
    parameters, others = rng.normal(size=[2, 1, 2, 3, 4])
    actions = rng.normal(size=[1, 2, 2])
    task_id = tf.constant([0, 1])
    changed = parameters.copy()
    changed[..., [1, 3]] += 1.0

    def values(parameters, actions):
      parameters, actions = map(tf.constant, (parameters, actions))
      return (
        policy.log_probs(parameters, actions, task_id),
        policy.regularizer(parameters, task_id),
        policy.kl_divergence(parameters, tf.constant(others), task_id),
      )

    for a, b in zip(
      values(parameters, actions), values(changed, actions), strict=True
    ):
      self.assertEqual(a.shape, (1, 2, 3))
      np.testing.assert_array_equal(a[:, 0], b[:, 0])
      self.assertTrue(np.all(a[:, 1] != b[:, 1]))


class SoftmaxTest(absltest.TestCase):
  def test_equals_numpy(self):
    policy = Softmax(EnvSpec(('task',), num_actions=3))
    rng = np.random.default_rng(3)
    logits, others = rng.normal(size=[2, 4, 2, 5, 3])
    actions = rng.integers(3, size=[4, 2], dtype=np.int32)
    task_id = tf.zeros([2], tf.int32)
    log_pi, log_other = map(reference.log_softmax, (logits, others))
    logits, others = map(tf.constant, (logits, others))
    found = policy.log_probs(logits, tf.constant(actions), task_id)
    for t, b in np.ndindex(4, 2):
      np.testing.assert_allclose(
        found[t, b], log_pi[t, b, :, actions[t, b]], rtol=1e-10
      )
    pi = np.exp(log_pi)
    np.testing.assert_allclose(
      policy.regularizer(logits, task_id), np.sum(pi * log_pi, axis=-1)
    )
    np.testing.assert_allclose(
      policy.kl_divergence(logits, others, task_id),
      np.sum(pi * (log_pi - log_other), axis=-1),
    )
    taken = policy.taken(AgentOutput(actions, logits[:, :, 0]), task_id)
    np.testing.assert_allclose(taken.log_probs, found[:, :, 0])
    np.testing.assert_array_equal(taken.actions, actions)
    np.testing.assert_array_equal(policy.parameters(logits), logits)


if __name__ == '__main__':
  absltest.main()
