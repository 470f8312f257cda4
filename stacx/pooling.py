"""Max-pooling whose gradient has a right and cheap gradient."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf


def make_max_pool(compile_parts: bool) -> Callable[[tf.Tensor], tf.Tensor]:
  """Returns max-pooling whose gradient has a right and cheap gradient.

  The meta-gradient needs the gradient of the gradient in what flows back.
  TensorFlow's own, MaxPoolGradGrad, takes a tenth of an update on a CPU, is
  wrong under XLA where values of a window are nearly equal, and missing there
  for bfloat16 and float64.

  Args:
    compile_parts: whether XLA compiles it by itself.

  Returns:
    A function like `core.networks.torsos.max_pool`.
  """
  pick = tf.function(
    pick_first_maxima, autograph=False, jit_compile=compile_parts
  )

  @tf.custom_gradient
  def max_pool(x):
    pooled = tf.nn.max_pool2d(x, 3, 2, 'SAME')

    @tf.custom_gradient
    def spread(upstream):
      gradient = tf.raw_ops.MaxPoolGrad(
        orig_input=x,
        orig_output=pooled,
        grad=upstream,
        ksize=[1, 3, 3, 1],
        strides=[1, 2, 2, 1],
        padding='SAME',
      )
      return gradient, lambda directions: pick(x, directions)

    return pooled, spread

  return max_pool


def pick_first_maxima(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
  """Takes of each window of `y` the entry where `x` has its first maximum.

  The windows are max-pooling's, 3x3 and 2 apart, SAME; the first in the order
  of rows is the one to which its gradient goes. Linear in y, it is the
  transpose of that gradient.

  Args:
    x: [B, H, W, C].
    y: of the same shape.

  Returns:
    [B, ceil(H / 2), ceil(W / 2), C].
  """
  height, width = x.shape[1:3]
  rows, columns = -(-height // 2), -(-width // 2)
  paddings = [[0, 0]]
  for size, count in ((height, rows), (width, columns)):
    missing = max(0, 2 * (count - 1) + 3 - size)
    paddings.append([missing // 2, missing - missing // 2])
  paddings.append([0, 0])
  x = tf.pad(x, paddings, constant_values=x.dtype.min)
  y = tf.pad(y, paddings)

  def cut(array, row, column):
    return array[
      :, row : row + 2 * rows - 1 : 2, column : column + 2 * columns - 1 : 2
    ]

  maximum, picked = cut(x, 0, 0), cut(y, 0, 0)
  for row, column in list(np.ndindex(3, 3))[1:]:
    candidate = cut(x, row, column)
    picked = tf.where(candidate > maximum, cut(y, row, column), picked)
    maximum = tf.maximum(maximum, candidate)
  return picked
