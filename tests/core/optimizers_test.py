"""Tests of core/optimizers.py."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from core import optimizers

NUM_STEPS = 10


def tf1_rmsprop(initial, feeds, decay, momentum, epsilon, make_gradient):
  """Runs TensorFlow 1's own optimiser in a graph of its own.

  Args:
    initial: the variable's value.
    feeds: per step (learning rate, dict of gradient parts).
    decay: RMSProp's.
    momentum: RMSProp's.
    epsilon: RMSProp's.
    make_gradient: maps placeholders, as in the feeds, to a gradient.

  Returns:
    The variable, its mean square and its moment after each step.
  """
  v1 = tf.compat.v1
  with tf.Graph().as_default(), v1.Session() as session:
    variable = v1.get_variable(
      'w', initializer=tf.constant(initial), use_resource=True
    )
    rate = v1.placeholder(tf.float32, [])
    parts = {
      name: v1.placeholder(part.dtype, [None] * part.ndim)
      for name, part in feeds[0][1].items()
    }
    optimizer = v1.train.RMSPropOptimizer(rate, decay, momentum, epsilon)
    step = optimizer.apply_gradients([(make_gradient(parts), variable)])
    slots = [optimizer.get_slot(variable, n) for n in ('rms', 'momentum')]
    session.run(v1.global_variables_initializer())
    history = []
    for learning_rate, values in feeds:
      feed = {parts[name]: value for name, value in values.items()}
      session.run(step, {rate: learning_rate, **feed})
      history.append(session.run([variable, *slots]))
    return history


def random_feeds(make_parts):
  rng = np.random.default_rng(0)
  rates = np.linspace(0.01, 0.001, NUM_STEPS, dtype=np.float32)
  return [(rate, make_parts(rng)) for rate in rates]


def normal(rng, *shape):
  return rng.normal(scale=3.0, size=shape).astype(np.float32)


class RMSPropTest(parameterized.TestCase):
  def assert_equals_tf1(self, initial, feeds, make_gradient, **settings):
    expected = tf1_rmsprop(initial, feeds, **settings, **make_gradient)
    variable = tf.Variable(initial)
    optimizer = optimizers.RMSProp([variable], **settings)
    for (rate, parts), wanted in zip(feeds, expected, strict=True):
      gradient = make_gradient['make_gradient'](parts)
      gradients, touched = optimizers.dense_gradients([gradient])
      optimizer.apply(gradients, touched, tf.constant(rate))
      found = (variable, optimizer.mean_squares[0], optimizer.moments[0])
      for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=1e-7)

  @parameterized.named_parameters(
    ('as_released', 0.99, 0.0, 0.1),
    ('atari_expert', 0.99, 0.0, 0.01),
    ('momentum', 0.9, 0.7, 1e-3),
  )
  def test_equals_tf1(self, decay, momentum, epsilon):
    self.assert_equals_tf1(
      initial=normal(np.random.default_rng(1), 4, 3),
      feeds=random_feeds(lambda rng: dict(gradient=normal(rng, 4, 3))),
      make_gradient=dict(
        make_gradient=lambda p: tf.convert_to_tensor(p['gradient'])
      ),
      decay=decay,
      momentum=momentum,
      epsilon=epsilon,
    )

  @parameterized.named_parameters(('', 0.0), ('momentum', 0.7))
  def test_sparse_equals_tf1(self, momentum):
    def make_parts(rng):
      # Row 7 is never used, some rows twice in a step, all others at times.
      indices = rng.integers(0, 7, size=5).astype(np.int64)
      return dict(indices=indices, values=normal(rng, 5, 3))

    def make_gradient(parts):
      values, indices = (
        tf.convert_to_tensor(parts[name]) for name in ('values', 'indices')
      )
      return tf.IndexedSlices(values, indices, tf.constant([8, 3], tf.int64))

    feeds = random_feeds(make_parts)
    self.assertTrue(
      any(len(set(p['indices'])) < len(p['indices']) for _, p in feeds)
    )
    self.assert_equals_tf1(
      initial=normal(np.random.default_rng(1), 8, 3),
      feeds=feeds,
      make_gradient=dict(make_gradient=make_gradient),
      decay=0.9,
      momentum=momentum,
      epsilon=0.1,
    )

  def test_embedding_rows_that_nobody_used_stay(self):
    embedding = tf.Variable(tf.ones([5, 2]))
    optimizer = optimizers.RMSProp([embedding], 0.9, 0.5, 0.1)
    for rows in ([1, 1, 3], [0, 3, 3]):
      with tf.GradientTape() as tape:
        loss = 2.0 * tf.reduce_sum(tf.gather(embedding, rows))
      gradient = tape.gradient(loss, embedding)
      self.assertIsInstance(gradient, tf.IndexedSlices)
      before = embedding.numpy(), optimizer.mean_squares[0].numpy()
      optimizer.apply(*optimizers.dense_gradients([gradient]), tf.constant(0.1))
      after = embedding.numpy(), optimizer.mean_squares[0].numpy()
      for old, new in zip(before, after, strict=True):
        changed = np.any(old != new, axis=1)
        self.assertEqual(set(np.flatnonzero(changed)), set(rows))

  def test_named_variables(self):
    variables = [tf.Variable([1.0, 2.0], name='w'), tf.Variable(3.0, name='b')]
    optimizer = optimizers.RMSProp(variables, 0.9, 0.5, 0.1)
    named = optimizer.named_variables()
    expected = {}
    for name, weight, mean_square, moment in zip(
      'wb', variables, optimizer.mean_squares, optimizer.moments, strict=True
    ):
      expected[name] = weight
      expected[f'rmsprop_mean_square/{name}'] = mean_square
      expected[f'rmsprop_moment/{name}'] = moment
    self.assertEqual(list(named), list(expected))
    for name, variable in expected.items():
      self.assertIs(named[name], variable)

  def test_known_first_step(self):
    # 4.8e-4 x 2 / sqrt(0.99 x 1 + 0.01 x 2^2 + 0.1)
    variable = tf.Variable([0.0])
    optimizer = optimizers.RMSProp([variable], 0.99, 0.0, 0.1)
    optimizer.apply([tf.constant([2.0])], [None], tf.constant(4.8e-4))
    np.testing.assert_allclose(-variable.numpy(), [9.031e-4], rtol=1e-4)


class ClipByGlobalNormTest(parameterized.TestCase):
  GRADIENTS = ([3.0, 0.0], [[4.0], [12.0]])  # Global norm 13.

  @parameterized.named_parameters(
    ('above', 6.5, 0.5), ('below', 20.0, 1.0), ('off', 0.0, 1.0)
  )
  def test_scales_all_alike(self, max_norm, factor):
    gradients = [tf.constant(g) for g in self.GRADIENTS]
    clipped, norm = optimizers.clip_by_global_norm(gradients, max_norm)
    self.assertAlmostEqual(float(norm), 13.0, places=5)
    for found, gradient in zip(clipped, gradients, strict=True):
      np.testing.assert_allclose(found, factor * gradient, rtol=1e-6)


class AdamWTest(parameterized.TestCase):
  @parameterized.named_parameters(('adam', 0.0), ('decay', 0.5))
  def test_equals_a_slow_computation(self, weight_decay):
    # Of tests/brc, too: numbers of optax.adamw over two steps.
    rng = np.random.default_rng(0)
    w = normal(rng, 3)
    variables = [tf.Variable(w, name='a/b'), tf.Variable(0.0, name='c')]
    optimizer = optimizers.AdamW(
      variables, 0.01, 0.8, 0.9, 1e-2, weight_decay, name='slots'
    )
    w, mean, square = w.astype(np.float64), np.zeros(3), np.zeros(3)
    for t in range(1, NUM_STEPS + 1):
      g = normal(rng, 3)
      optimizer.apply([tf.constant(g), tf.constant(0.0)])
      mean = 0.8 * mean + 0.2 * g
      square = 0.9 * square + 0.1 * g**2
      spread = np.sqrt(square / (1 - 0.9**t)) + 1e-2
      w = w - 0.01 * (mean / (1 - 0.8**t) / spread + weight_decay * w)
      np.testing.assert_allclose(variables[0], w, rtol=2e-5)
    np.testing.assert_array_equal(variables[1], 0.0)
    named = optimizer.named_variables()
    self.assertEqual(named['slots/num_steps'], NUM_STEPS)
    np.testing.assert_allclose(named['slots_mean/a/b'], mean, rtol=1e-4)
    np.testing.assert_allclose(
      named['slots_mean_square/a/b'], square, rtol=1e-4
    )
    self.assertLen(named, 5)


class LinearDecayTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('start', 0, 0.5),
    ('quarter', 25, 0.375),
    ('end', 100, 0.0),
    ('past_the_end', 130, 0.0),
  )
  def test_linear_in_frames(self, env_frames, expected):
    self.assertEqual(optimizers.linear_decay(0.5, env_frames, 100), expected)

  @parameterized.parameters((0, 0.6), (50, 0.35), (100, 0.1), (130, 0.1))
  def test_down_to_a_sixth(self, env_frames, expected):
    found = optimizers.linear_decay(0.6, env_frames, 100, 1 / 6)
    self.assertAlmostEqual(found, expected)

  def test_constant(self):
    self.assertEqual(optimizers.linear_decay(0.5, 70, 100, 1.0), 0.5)


if __name__ == '__main__':
  absltest.main()
