"""Tests of stacx/leaky_vtrace.py."""

import itertools

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from impala import vtrace
from stacx import leaky_vtrace
from tests.stacx import reference

T, B, A = 7, 4, 3
NAMES = ('log_rhos', 'discounts', 'rewards', 'values', 'bootstrap_value')


def inputs(*heads, dtype=np.float64, on_policy=False, seed=0):
  """Returns random arguments whose weights lie on both sides of 1."""
  rng = np.random.default_rng(seed)
  shape = [T, B, *heads]
  log_rhos = np.zeros(shape) if on_policy else rng.normal(size=shape)
  arrays = dict(
    log_rhos=log_rhos,
    discounts=0.9 * (rng.random(shape) > 0.2),
    rewards=rng.normal(size=shape),
    values=rng.normal(size=shape),
    bootstrap_value=rng.normal(size=shape[1:]),
  )
  return {name: array.astype(dtype) for name, array in arrays.items()}


def call(arrays, *coefficients, **options):
  """Returns what is under test as arrays."""
  found = leaky_vtrace.from_importance_weights(
    *(tf.constant(arrays[name]) for name in NAMES), *coefficients, **options
  )
  return tf.nest.map_structure(lambda x: x.numpy(), found)


class ValuesTest(parameterized.TestCase):
  @parameterized.product(
    lambda_=(1.0, 0.7), alpha_rho=(1.0, 0.6, 0.0), alpha_c=(0.6, 0.0)
  )
  def test_equals_the_double_sum(self, lambda_, alpha_rho, alpha_c):
    arrays = inputs()
    self.assertTrue(np.any(arrays['log_rhos'] > 0))
    self.assertTrue(np.any(arrays['discounts'] == 0))
    coefficients = (lambda_, alpha_rho, alpha_c)
    found = call(
      arrays, *coefficients, clip_rho_threshold=0.8, clip_c_threshold=0.8
    )
    expected = reference.leaky_vtrace(*arrays.values(), *coefficients, 0.8)
    np.testing.assert_allclose(found.vs, expected[0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.pg_advantages, expected[1], 1e-12, 1e-12)

  def test_alpha_1_is_vtrace(self):
    arrays = inputs(dtype=np.float32)
    expected = vtrace.from_importance_weights(**arrays)
    for one in (1.0, tf.constant(1.0)):
      found = call(arrays, 1.0, one, one)
      np.testing.assert_allclose(found.vs, expected.vs, rtol=0, atol=1e-6)
      np.testing.assert_allclose(
        found.pg_advantages, expected.pg_advantages, rtol=0, atol=1e-6
      )

  def test_alpha_1_takes_infinite_weights(self):
    arrays = inputs()
    arrays['log_rhos'][0] = 1e4
    self.assertTrue(np.all(np.isfinite(call(arrays, 1.0, 1.0, 1.0).vs)))

  def test_alpha_0_is_importance_sampling_per_decision(self):
    arrays = inputs()
    weights = np.exp(arrays['log_rhos'])
    values = arrays['values']
    # v = V + w (r + gamma (v' - V') + gamma V' - V), without any truncation.
    v = arrays['bootstrap_value']
    next_value = v
    for t in reversed(range(T)):
      target = arrays['rewards'][t] + arrays['discounts'][t] * next_value
      trace = arrays['discounts'][t] * weights[t] * (v - next_value)
      v = values[t] + weights[t] * (target - values[t]) + trace
      next_value = values[t]
      found = call(arrays, 1.0, 0.0, 0.0)
      np.testing.assert_allclose(found.vs[t], v, rtol=1e-12)

  def test_weights_are_affine_in_alpha(self):
    weights = tf.constant(np.exp(inputs()['log_rhos']))
    at = [leaky_vtrace.leak(weights, alpha, 1.0) for alpha in (0.0, 0.3, 1.0)]
    np.testing.assert_allclose(at[1], 0.7 * at[0] + 0.3 * at[2], rtol=1e-12)
    np.testing.assert_array_equal(at[0], weights)
    np.testing.assert_array_equal(at[2], np.minimum(1.0, weights))

  def test_alphas_are_independent(self):
    arrays = inputs()
    found = {
      alphas: call(arrays, 1.0, *alphas).vs
      for alphas in itertools.product((1.0, 0.5), repeat=2)
    }
    for a, b in itertools.combinations(found.values(), 2):
      self.assertFalse(np.allclose(a, b))
    # The last step has no trace.
    np.testing.assert_array_equal(found[1.0, 1.0][-1], found[1.0, 0.5][-1])

  def test_on_policy_is_the_lambda_return_whatever_alpha(self):
    arrays = inputs(on_policy=True)
    g = next_value = arrays['bootstrap_value']
    expected = np.zeros([T, B])
    for t in reversed(range(T)):
      mixed = 0.7 * g + 0.3 * next_value
      g = arrays['rewards'][t] + arrays['discounts'][t] * mixed
      expected[t], next_value = g, arrays['values'][t]
    for alpha in (1.0, 0.4, 0.0):
      found = call(arrays, 0.7, alpha, alpha)
      np.testing.assert_allclose(found.vs, expected, rtol=1e-12, atol=1e-12)

  def test_lambda_0_looks_one_step_ahead(self):
    arrays = inputs()
    next_values = np.append(
      arrays['values'][1:], arrays['bootstrap_value'][None], axis=0
    )
    rhos = np.minimum(1.0, np.exp(arrays['log_rhos']))
    delta = arrays['rewards'] + arrays['discounts'] * next_values
    delta -= arrays['values']
    found = call(arrays, 0.0, 1.0, 1.0).vs
    np.testing.assert_allclose(found, arrays['values'] + rhos * delta)

  def test_rlax_form_mixes_by_lambda(self):
    arrays = inputs()
    paper, rlax = (
      call(arrays, 0.7, 0.5, 0.5, advantage=form) for form in ('paper', 'rlax')
    )
    np.testing.assert_array_equal(paper.vs, rlax.vs)
    rhos, _ = reference.leaky_weights(arrays['log_rhos'], 0.7, 0.5, 0.5)
    bootstrap = arrays['bootstrap_value'][None]
    next_vs = np.append(paper.vs[1:], bootstrap, axis=0)
    next_values = np.append(arrays['values'][1:], bootstrap, axis=0)
    q = 0.7 * next_vs + 0.3 * next_values
    q = arrays['rewards'] + arrays['discounts'] * q
    np.testing.assert_allclose(
      rlax.pg_advantages, rhos * (q - arrays['values']), rtol=1e-12
    )
    same = [
      call(arrays, 1.0, 0.5, 0.5, advantage=form).pg_advantages
      for form in ('paper', 'rlax')
    ]
    np.testing.assert_allclose(*same, rtol=1e-12)

  @parameterized.named_parameters(
    ('leaky', (0.8, 0.7), (0.6900064, -0.4876, 0.44)),
    ('vtrace', (1.0, 1.0), (0.5725, -0.475, 0.5)),
    ('importance_sampling', (1.0, 0.0), (0.783, -0.565, 0.3)),
  )
  def test_by_hand(self, coefficients, expected):
    lambda_, alpha = coefficients
    arrays = dict(
      log_rhos=np.log([[2.0], [0.5], [3.0]]),
      discounts=np.array([[0.9], [0.9], [0.0]]),
      rewards=np.array([[1.0], [-1.0], [0.5]]),
      values=np.array([[0.2], [-0.4], [0.6]]),
      bootstrap_value=np.array([1.0]),
    )
    found = call(arrays, lambda_, alpha, alpha)
    np.testing.assert_allclose(found.vs[:, 0], expected, rtol=1e-12)
    if alpha == 0.7:
      advantages = np.array([0.36116, -0.204, -0.1])
      np.testing.assert_allclose(
        found.pg_advantages[:, 0], [1.3, 0.5, 1.6] * advantages, rtol=1e-12
      )


class HeadsTest(absltest.TestCase):
  COEFFICIENTS = np.array([[1.0, 0.9], [0.7, 0.5], [0.4, 0.2]])  # Of 2 heads.

  def test_ride_along(self):
    arrays = inputs(2)
    found = call(arrays, *self.COEFFICIENTS)
    for head in range(2):
      one = {name: array[..., head] for name, array in arrays.items()}
      expected = call(one, *self.COEFFICIENTS[:, head])
      for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a[..., head], b, rtol=1e-12)

  def test_from_logits(self):
    rng = np.random.default_rng(1)
    arrays = inputs(2)
    behaviour, target = (
      rng.normal(size=[T, B, A]),
      rng.normal(size=[T, B, 2, A]),
    )
    actions = rng.integers(A, size=[T, B], dtype=np.int32)
    log_mu, log_pi = map(reference.log_softmax, (behaviour, target))
    for t, b, head in np.ndindex(T, B, 2):
      action = actions[t, b]
      arrays['log_rhos'][t, b, head] = (
        log_pi[t, b, head, action] - log_mu[t, b, action]
      )
    found = leaky_vtrace.from_logits(
      behaviour,
      target,
      actions,
      *(tf.constant(arrays[name]) for name in NAMES[1:]),
      *self.COEFFICIENTS,
      clip_rho_threshold=0.9,
    )
    expected = call(arrays, *self.COEFFICIENTS, clip_rho_threshold=0.9)
    for a, b in zip(found, expected, strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


class GradientTest(parameterized.TestCase):
  def test_every_argument_gets_the_right_one(self):
    arrays = {n: tf.constant(a) for n, a in inputs().items()}
    coefficients = [tf.constant(x, tf.float64) for x in (0.8, 0.7, 0.4)]
    levels = [tf.constant(x, tf.float64) for x in (1.1, 0.9)]

    def total(*arguments):
      found = leaky_vtrace.from_importance_weights(*arguments)
      return tf.reduce_sum(found.vs**2) + tf.reduce_sum(
        found.pg_advantages * tf.sin(found.vs)
      )

    arguments = [*arrays.values(), *coefficients, *levels]
    rng = np.random.default_rng(2)
    with tf.GradientTape() as tape:
      tape.watch(arguments)
      value = total(*arguments)
    gradients = tape.gradient(value, arguments)
    for i, gradient in enumerate(gradients):
      direction = rng.normal(size=arguments[i].shape)
      moved = [
        total(*arguments[:i], arguments[i] + h * direction, *arguments[i + 1 :])
        for h in (1e-6, -1e-6)
      ]
      expected = (moved[0] - moved[1]) / 2e-6
      found = tf.reduce_sum(gradient * direction)
      np.testing.assert_allclose(found, expected, rtol=1e-6, err_msg=str(i))
      self.assertNotEqual(float(found), 0.0)

  @parameterized.parameters(1, 2, 3, 5, 8)
  def test_discounted_sum_of_any_length(self, num_steps):
    rng = np.random.default_rng(num_steps)
    deltas, factors = rng.normal(size=[2, num_steps, 3])
    expected, x = np.zeros([num_steps, 3]), 0.0
    for t in reversed(range(num_steps)):
      expected[t] = x = deltas[t] + factors[t] * x
    found = leaky_vtrace.discounted_sum(*map(tf.constant, (deltas, factors)))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


class OperatorTest(parameterized.TestCase):
  """Theorem 1 on a random MDP, by exact expectations."""

  S, GAMMA = 5, 0.8

  def mdp(self):
    rng = np.random.default_rng(3)
    transitions = rng.dirichlet(np.ones(self.S), [self.S, A])
    rewards = rng.normal(size=[self.S, A])
    target, behaviour = rng.dirichlet(np.ones(A), [2, self.S])
    return transitions, rewards, target, behaviour

  def operator(self, values, alpha, num_steps=120):
    """Applies the expected operator, with the weights that the code leaks.

    E[v] - V is e = delta + gamma C e' of that many steps, where C leads to the
    next states and holds the expected traces.
    """
    transitions, rewards, target, behaviour = self.mdp()
    weights = tf.constant(target / behaviour)
    leaky = leaky_vtrace.leak(weights, alpha, 1.0).numpy() * behaviour  # [S, A]
    next_values = np.einsum('xay,y->xa', transitions, values)
    td = rewards + self.GAMMA * next_values - values[:, None]
    delta = np.sum(leaky * td, axis=1)
    trace = self.GAMMA * np.einsum('xa,xay->xy', leaky, transitions)
    e = np.zeros(self.S)
    for _ in range(num_steps):
      e = delta + trace @ e
    return values + e

  def leaky_policy(self, alpha):
    _, _, target, behaviour = self.mdp()
    mixed = alpha * np.minimum(behaviour, target) + (1 - alpha) * target
    return mixed / mixed.sum(axis=1, keepdims=True)

  @parameterized.parameters(1.0, 0.5, 0.0)
  def test_fixed_point_is_the_value_of_the_leaky_policy(self, alpha):
    transitions, rewards, _, _ = self.mdp()
    policy = self.leaky_policy(alpha)
    chain = np.einsum('xa,xay->xy', policy, transitions)
    expected = np.linalg.solve(
      np.eye(self.S) - self.GAMMA * chain, np.sum(policy * rewards, axis=1)
    )
    np.testing.assert_allclose(
      self.operator(expected, alpha), expected, rtol=0, atol=1e-10
    )
    other = expected + 1.0
    self.assertGreater(np.max(np.abs(self.operator(other, alpha) - other)), 0.1)

  @parameterized.parameters(1.0, 0.5, 0.0)
  def test_contracts_within_the_bound(self, alpha):
    _, _, target, behaviour = self.mdp()
    beta = np.min(np.sum(np.minimum(behaviour, target), axis=1))
    bound = 1.0 - (1.0 - self.GAMMA) * (alpha * beta + 1.0 - alpha)
    rng = np.random.default_rng(4)
    ratios = []
    for _ in range(20):
      a, b = rng.normal(size=[2, self.S])
      moved = self.operator(a, alpha) - self.operator(b, alpha)
      ratios.append(np.max(np.abs(moved)) / np.max(np.abs(a - b)))
    self.assertLess(max(ratios), bound)
    if alpha == 0.0:  # Importance sampling sees to the end.
      self.assertLess(max(ratios), 1e-8)

  def test_sampled_targets_average_to_the_operator(self):
    transitions, rewards, target, behaviour = self.mdp()
    rng = np.random.default_rng(5)
    n, horizon, alpha = 200_000, 4, 0.5
    values = rng.normal(size=self.S)
    states = np.zeros([horizon + 1, n], int)
    actions = np.zeros([horizon, n], int)
    for t in range(horizon):
      actions[t] = _draw(rng, behaviour[states[t]])
      states[t + 1] = _draw(rng, transitions[states[t], actions[t]])
    weights = (target / behaviour)[states[:-1], actions]
    found = leaky_vtrace.from_importance_weights(
      np.log(weights),
      np.full([horizon, n], self.GAMMA),
      rewards[states[:-1], actions],
      values[states[:-1]],
      values[states[-1]],
      *(1.0, alpha, alpha),
    ).vs[0]
    expected = self.operator(values, alpha, num_steps=horizon)[0]
    error = np.std(found) / np.sqrt(n)
    self.assertLess(abs(np.mean(found) - expected), 4 * error)
    # Fine enough to tell one alpha from another.
    for other in (0.0, 1.0):
      distance = self.operator(values, other, num_steps=horizon)[0] - expected
      self.assertGreater(abs(distance), 6 * error)


def _draw(rng, probabilities):
  """Draws an index of each row [N, K]."""
  uniform = rng.random([len(probabilities), 1])
  return np.sum(np.cumsum(probabilities, axis=1) < uniform, axis=1)


class WrongInputTest(parameterized.TestCase):
  @parameterized.parameters(*NAMES)
  def test_rank(self, name):
    arrays = inputs()
    arrays[name] = arrays[name][0]
    with self.assertRaisesRegex(ValueError, 'must have rank'):
      call(arrays, 1.0, 1.0, 1.0)

  def test_form(self):
    with self.assertRaisesRegex(ValueError, "form of the advantage 'mean'"):
      call(inputs(), 1.0, 1.0, 1.0, advantage='mean')


if __name__ == '__main__':
  absltest.main()
