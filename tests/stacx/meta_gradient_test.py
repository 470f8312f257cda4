"""Tests of stacx/meta_gradient.py."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from core import optimizers
from core.types import EnvSpec
from stacx import losses, meta_gradient
from stacx.policies import Softmax
from tests.stacx.small_problem import (
  DECAY,
  EPSILON,
  MOMENTUM,
  OUTER,
  RATE,
  SmallProblem,
)

APART = ('gamma', 'lambda', 'alpha_rho', 'alpha_c', 'truncation', 'g_v')


class ExactnessTest(parameterized.TestCase):
  """Against central differences of the outer surrogate, in float64."""

  @parameterized.named_parameters(
    ('stac', dict(num_heads=1)),
    ('stacx', dict(num_heads=3)),
    ('apart_and_truncation', dict(tuned=APART, seed=1)),
    ('clipped', dict(max_norm=0.5)),
    ('not_clipped', dict(max_norm=1e3)),
    ('average_logits', dict(behaviour='average_logits', has_extra_values=True)),
    ('random_head', dict(behaviour='random_head')),
    ('outer_value_head', dict(has_extra_values=True)),
    ('rlax', dict(advantage='rlax')),
    ('leaky_outer', dict(outer=OUTER._replace(alpha_rho=0.6, alpha_c=0.3))),
  )
  def test_equals_central_differences(self, settings):
    problem = SmallProblem(**settings)
    found = problem.update().eta_gradient
    expected = problem.differences()
    self.assertTrue(np.all(np.abs(expected) > 1e-8))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)

  def test_without_frozen_targets_differences_are_something_else(self):
    problem = SmallProblem()
    found = problem.update().eta_gradient
    error = np.abs(problem.differences(is_frozen=False) - found)
    self.assertGreater(np.max(error), 0.05 * np.max(np.abs(found)))

  def test_equals_differentiating_twice(self):
    problem = SmallProblem(num_heads=3)
    found = problem.update()
    with tf.GradientTape() as meta_tape:
      meta_tape.watch(problem.eta)
      with tf.GradientTape() as tape:
        loss, _ = losses.inner_loss(
          *(problem.objective, problem.outputs()),
          *(problem.experience, problem.eta),
        )
      gradients = tape.gradient(loss, problem.variables)
      steps, _ = problem.steps(gradients)
      weights = [
        v - step.moment
        for v, step in zip(problem.variables, steps, strict=True)
      ]
    old_outputs = problem.outputs()
    for variable, weight in zip(problem.variables, weights, strict=True):
      variable.assign(weight)
    with tf.GradientTape() as tape:
      loss, _ = losses.outer_loss(
        *(problem.objective, problem.outputs(), old_outputs),
        *(problem.experience, 1.0),
      )
    v = tape.gradient(loss, problem.variables)
    expected = meta_tape.gradient(weights, problem.eta, output_gradients=v)
    np.testing.assert_allclose(found.eta_gradient, expected, rtol=1e-10)
    for a, b in zip(found.gradients, gradients, strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)

  def test_by_hand(self):
    # One linear layer, two steps of one column; every number is written down.
    names = ('gamma', 'lambda', 'alpha', 'g_v', 'g_p', 'g_e')
    x = tf.constant([[1.0, 0.5], [-0.5, 1.0], [0.25, -1.0]], tf.float64)
    variables = [
      tf.Variable([[0.5, -0.5], [0.2, 0.1]], dtype=tf.float64),
      tf.Variable([0.3, -0.2], dtype=tf.float64),
    ]
    policy = Softmax(EnvSpec(('task',), num_actions=2))
    objective = losses.Objective(policy, names, OUTER)
    mu = np.array([[-0.4, 0.4], [0.5, -0.5]])
    log_mu = mu - np.log(np.sum(np.exp(mu), axis=1, keepdims=True))
    experience = losses.Experience(
      actions=tf.constant([[0], [1]]),
      behaviour_log_probs=tf.constant([[log_mu[0, 0]], [log_mu[1, 1]]]),
      rewards=tf.constant([[1.0], [-0.5]], tf.float64),
      goes_on=tf.ones([2, 1], tf.float64),
      task_id=tf.zeros([1], tf.int32),
    )
    eta = tf.ones([6, 1], tf.float64)

    def outputs():
      policy, values = x @ variables[0], tf.linalg.matvec(x, variables[1])
      return losses.Outputs(policy[:, None, None], values[:, None, None])

    with tf.GradientTape() as tape:
      y = outputs()
    with tf.GradientTape() as loss_tape:
      loss_tape.watch(y)
      loss, _ = losses.inner_loss(objective, y, experience, eta)
    gradients, tangents = meta_gradient.transposable_gradients(
      tape, y, variables, loss_tape.gradient(loss, y)
    )
    steps = [
      meta_gradient.rms_prop_step(g, 0.0 * g, 0.0, 0.1, 0.99, 0.0, 0.1)
      for g in gradients
    ]
    for variable, step in zip(variables, steps, strict=True):
      variable.assign_sub(step.moment)
    with tf.GradientTape() as tape:
      loss, _ = losses.outer_loss(objective, outputs(), y, experience, 1.0)
    v = tape.gradient(loss, variables)
    found = meta_gradient.eta_gradient(
      lambda y, x: losses.inner_loss(objective, y, experience, x)[0],
      *(y, eta),
      tangents([v * step.slope for v, step in zip(v, steps, strict=True)]),
    )
    np.testing.assert_allclose(
      found[:, 0],
      [
        *(2.0487072e-5, -4.1076488e-4, 7.3073872e-3),
        *(-6.6816461e-3, -2.6532686e-3, 2.8339667e-5),
      ],
      rtol=1e-6,
    )


class ZeroTest(parameterized.TestCase):
  """Where the gradient must vanish, and where it must not."""

  def gradient(self, **settings):
    problem = SmallProblem(**settings)
    rows = problem.update().eta_gradient
    return dict(zip(problem.objective.tuned, rows, strict=True))

  def test_on_policy_data_say_nothing_of_alpha(self):
    found = self.gradient(num_heads=1, on_policy=True)
    for name, row in found.items():
      if name == 'alpha':  # Weights are 1 but for rounding.
        np.testing.assert_allclose(row, 0.0, atol=1e-12)
      else:
        self.assertGreater(np.abs(row), 1e-7, name)

  def test_weights_below_1_say_nothing_of_alpha(self):
    problem = SmallProblem(num_heads=1)
    problem.experience = problem.experience._replace(
      behaviour_log_probs=tf.zeros([4, 3], tf.float64)  # mu = 1 >= pi.
    )
    found = problem.update().eta_gradient
    np.testing.assert_array_equal(found[2], 0.0)
    self.assertTrue(np.all(found[[0, 1, 3, 4, 5]] != 0.0))

  def test_without_targets_they_have_none(self):
    zeros = OUTER._replace(g_v=0.0, g_p=0.0, g_e=1.0)
    found = self.gradient(outer=zeros)
    for name in ('gamma', 'lambda', 'alpha'):
      np.testing.assert_array_equal(found[name], 0.0)
    self.assertTrue(np.all(found['g_e'] != 0.0))

  @parameterized.named_parameters(
    ('value_alone', dict(g_p=0.0, g_e=0.0)),
    ('policy_alone', dict(g_v=0.0, g_e=0.0)),
  )
  def test_targets_carry_it(self, changes):
    # Guards against a stopped target, and against a stopped advantage.
    found = self.gradient(outer=OUTER._replace(**changes))
    for name in ('gamma', 'lambda', 'alpha'):
      self.assertTrue(np.all(found[name] != 0.0), name)

  def test_no_step_no_gradient(self):
    problem = SmallProblem(rate=0.0)
    problem._moments = [0.0 * m for m in problem._moments]
    found = problem.update()
    np.testing.assert_array_equal(found.eta_gradient, 0.0)
    self.assertEqual(found.kl, 0.0)

  def test_kl_divergence_of_a_step_is_positive(self):
    for seed in range(5):
      self.assertGreater(SmallProblem(seed=seed).update().kl, 1e-6)

  def test_auxiliary_heads_matter_through_the_torso_alone(self):
    problem = SmallProblem(num_heads=2)
    before = problem.update().eta_gradient
    self.assertTrue(np.all(before != 0.0))

    def frozen_torso(gradients):
      steps, norm = SmallProblem.steps(problem, gradients)
      still = [
        step._replace(moment=0.0 * step.moment, slope=0.0 * step.slope)
        for step in steps[:2]
      ]
      return still + steps[2:], norm

    problem.steps = frozen_torso
    after = problem.update().eta_gradient
    self.assertTrue(np.all(after[:, 0] != 0.0))
    np.testing.assert_array_equal(after[:, 1], 0.0)


class RMSPropTest(parameterized.TestCase):
  @parameterized.parameters(0.0, 1.0)
  def test_equals_the_repositorys(self, initial_mean_square):
    rng = np.random.default_rng(0)
    variable = tf.Variable(rng.normal(size=[4, 3]).astype(np.float32))
    optimizer = optimizers.RMSProp(
      [variable], DECAY, MOMENTUM, EPSILON, initial_mean_square
    )
    theta, moment = tf.convert_to_tensor(variable), tf.zeros([4, 3])
    mean_square = tf.fill([4, 3], initial_mean_square)
    for _ in range(5):
      gradient = tf.constant(rng.normal(size=[4, 3]), tf.float32)
      optimizer.apply([gradient], [None], tf.constant(RATE))
      step = meta_gradient.rms_prop_step(
        gradient, mean_square, moment, RATE, DECAY, MOMENTUM, EPSILON
      )
      theta, (mean_square, moment, _) = theta - step.moment, step
      np.testing.assert_allclose(theta, variable, rtol=1e-6, atol=1e-7)
      np.testing.assert_allclose(
        mean_square, optimizer.mean_squares[0], rtol=1e-6
      )

  def test_slope_is_the_derivative_of_the_step(self):
    rng = np.random.default_rng(1)
    gradient, moment = map(tf.constant, rng.normal(size=[2, 50]))
    mean_square = tf.constant(rng.random(50))
    arguments = (mean_square, moment, RATE, 0.6, MOMENTUM, EPSILON)
    with tf.GradientTape() as tape:
      tape.watch(gradient)
      step = meta_gradient.rms_prop_step(gradient, *arguments)
    expected = -tape.gradient(step.moment, gradient)
    np.testing.assert_allclose(step.slope, expected, rtol=1e-12)

  @parameterized.parameters(0.0, 1.0, 100.0)
  def test_clip_transposed_is_that_of_clipping(self, max_norm):
    rng = np.random.default_rng(2)
    gradients = [tf.constant(rng.normal(size=n)) for n in (5, 7)]
    w = [tf.constant(rng.normal(size=n)) for n in (5, 7)]
    with tf.GradientTape() as tape:
      tape.watch(gradients)
      clipped, norm = optimizers.clip_by_global_norm(gradients, max_norm)
    expected = tape.gradient(clipped, gradients, output_gradients=w)
    found = meta_gradient.clip_transposed(w, gradients, norm, max_norm)
    for a, b in zip(found, expected, strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-12)


class AdamTest(absltest.TestCase):
  def test_by_hand(self):
    rng = np.random.default_rng(3)
    variable = tf.Variable(rng.normal(size=[2, 3]))
    expected = variable.numpy()
    adam = meta_gradient.Adam(variable, 0.01, 0.9, 0.999, 1e-4)
    m = v = np.zeros([2, 3])
    for step in range(1, 5):
      gradient = rng.normal(size=[2, 3])
      adam.apply(tf.constant(gradient))
      m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
      spread = np.sqrt(v / (1 - 0.999**step))
      expected -= 0.01 * m / (1 - 0.9**step) / (spread + 1e-4)
      np.testing.assert_allclose(variable, expected, rtol=1e-12)
    self.assertLen(adam.named_variables(), 3)


if __name__ == '__main__':
  absltest.main()
