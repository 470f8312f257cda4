"""Tests of stacx/pooling.py."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from core.networks import torsos
from stacx import pooling


def frames(side, dtype=tf.float32):
  """Returns [2, side, side + 1, 3] with many equal neighbours, and cotangents.

  Atari's frames have large areas of one colour, over which a convolution is
  constant.
  """
  rng = np.random.default_rng(side)
  x = rng.integers(0, 3, [2, side, side + 1, 3])
  shape = [2, -(-side // 2), -(-(side + 1) // 2), 3]
  upstream, directions = rng.normal(size=shape), rng.normal(size=x.shape)
  return [tf.cast(array, dtype) for array in (x, upstream, directions)]


class MaxPoolTest(parameterized.TestCase):
  @parameterized.product(side=(4, 5, 8), compiled=(False, True))
  def test_value_and_gradient_are_tensorflows(self, side, compiled):
    x, upstream, _ = frames(side)
    results = []
    for pool in (torsos.max_pool, pooling.make_max_pool(compiled)):
      with tf.GradientTape() as tape:
        tape.watch(x)
        y = pool(x)
      results.append((y, tape.gradient(y, x, output_gradients=upstream)))
    for a, b in zip(*results, strict=True):
      np.testing.assert_array_equal(a, b)

  @parameterized.product(
    side=(4, 5, 8), dtype=(tf.float32, tf.float64, tf.bfloat16)
  )
  def test_second_gradient_is_the_transpose_of_the_first(self, side, dtype):
    x, upstream, directions = frames(side, dtype)

    # XLA has no kernel of TensorFlow's own for two of these dtypes.
    @tf.function(autograph=False, jit_compile=True)
    def second(x, upstream, directions):
      pool = pooling.make_max_pool(False)
      with tf.GradientTape() as outer:
        outer.watch(upstream)
        with tf.GradientTape() as tape:
          tape.watch(x)
          y = pool(x)
        gradient = tape.gradient(y, x, output_gradients=upstream)
      return outer.gradient(gradient, upstream, output_gradients=directions)

    # Column k of the first gradient, <d, G e_k>, without any second one.
    found = second(x, upstream, directions).numpy()
    x, directions = x.numpy(), directions.numpy()
    for index in np.ndindex(*found.shape):
      b, row, column, c = index
      window, values = [], []
      for i, j in np.ndindex(3, 3):
        y_index = 2 * row + i - pad(x.shape[1])
        x_index = 2 * column + j - pad(x.shape[2])
        if 0 <= y_index < x.shape[1] and 0 <= x_index < x.shape[2]:
          window.append(x[b, y_index, x_index, c])
          values.append(directions[b, y_index, x_index, c])
      self.assertEqual(found[index], values[np.argmax(window)])

  def test_is_tensorflows_where_that_is_right(self):
    rng = np.random.default_rng(0)
    x, directions = map(tf.constant, rng.normal(size=[2, 2, 7, 8, 3]))
    upstream = tf.constant(rng.normal(size=[2, 4, 4, 3]))
    results = []
    for pool in (torsos.max_pool, pooling.make_max_pool(False)):
      with tf.GradientTape() as outer:
        outer.watch(upstream)
        with tf.GradientTape() as tape:
          tape.watch(x)
          y = pool(x)
        gradient = tape.gradient(y, x, output_gradients=upstream)
      results.append(outer.gradient(gradient, upstream, directions))
    np.testing.assert_array_equal(*results)


def pad(size):
  """Returns how many rows of padding SAME puts before."""
  return max(0, 2 * (-(-size // 2) - 1) + 3 - size) // 2


if __name__ == '__main__':
  absltest.main()
