"""Torsos for frames: the residual network and the two convolutions of IMPALA.

Espeholt et al. 2018, figure 3 (arXiv:1802.01561), with scalable_agent's
initialisers: truncated normals of deviation 1/sqrt(fan in).
"""

import math
from collections.abc import Callable, Sequence

import sonnet as snt
import tensorflow as tf


def scale_frames(frames: tf.Tensor, channels_first: bool) -> tf.Tensor:
  """Turns uint8 frames into float32 [..., H, W, C] between 0 and 1.

  Args:
    frames: uint8 [B, H, W, C], or [B, C, H, W] if `channels_first`.
    channels_first: see `frames`.

  Returns:
    float32 [B, H, W, C].
  """
  if channels_first:
    frames = tf.transpose(frames, [0, 2, 3, 1])
  return tf.cast(frames, tf.float32) / 255.0


def max_pool(x: tf.Tensor) -> tf.Tensor:
  """Takes the maxima of 3x3 windows, 2 apart, [B, H, W, C] to half the size."""
  return tf.nn.max_pool2d(x, 3, 2, 'SAME')


class DeepTorso(snt.Module):
  """The convolutions of the 15-layer residual network."""

  def __init__(
    self,
    dtype: tf.DType,
    pool: Callable[[tf.Tensor], tf.Tensor] = max_pool,
    channels: Sequence[int] = (16, 32, 32),
    name: str = 'deep_torso',
  ):
    """Declares a section per number of channels, computed in `dtype`.

    Args:
      dtype: of the convolutions.
      pool: what stands for `max_pool`, with the same values.
      channels: of the sections' convolutions.
      name: name of the module.
    """
    super().__init__(name=name)
    self._dtype = dtype
    self._pool = pool
    self._sections = []
    for section, num_channels in enumerate(channels):
      convolutions = [
        Conv2D(num_channels, 3, 1, 'SAME', name=f'section{section}_conv{i}')
        for i in range(5)
      ]
      self._sections.append(convolutions)

  def __call__(self, frames: tf.Tensor) -> tf.Tensor:
    """Maps float32 [B, H, W, C] to `dtype` [B, H / 8, W / 8, channels]."""
    x = tf.cast(frames, self._dtype)
    for first, *blocks in self._sections:
      x = self._pool(first(x))
      for conv_a, conv_b in (blocks[:2], blocks[2:]):
        residual = conv_a(tf.nn.relu(x))
        residual = conv_b(tf.nn.relu(residual))
        # TensorFlow's remapper fails on x + residual and then fuses nothing.
        x -= -residual
    return x


class ShallowTorso(snt.Module):
  """The two convolutions of Mnih et al. 2016 (arXiv:1602.01783); D1."""

  def __init__(self, dtype: tf.DType, name: str = 'shallow_torso'):
    """Declares 8x8/4 x 16 and 4x4/2 x 32, VALID, computed in `dtype`."""
    super().__init__(name=name)
    self._dtype = dtype
    self._conv1 = Conv2D(16, 8, 4, 'VALID', name='conv1')
    self._conv2 = Conv2D(32, 4, 2, 'VALID', name='conv2')

  def __call__(self, frames: tf.Tensor) -> tf.Tensor:
    """Maps float32 [B, H, W, C] to `dtype` [B, H', W', 32]."""
    x = tf.cast(frames, self._dtype)
    return self._conv2(tf.nn.relu(self._conv1(x)))


class Conv2D(snt.Module):
  """A convolution with float32 weights, computed in its input's dtype."""

  def __init__(
    self, num_channels: int, size: int, stride: int, padding: str, name: str
  ):
    """Declares a square kernel; the weights appear with the first call."""
    super().__init__(name=name)
    self._num_channels = num_channels
    self._size = size
    self._stride = stride
    self._padding = padding

  @snt.once
  def _create(self, in_channels):
    shape = [self._size, self._size, in_channels, self._num_channels]
    stddev = 1.0 / math.sqrt(self._size * self._size * in_channels)
    initializer = snt.initializers.TruncatedNormal(stddev=stddev)
    self.w = tf.Variable(initializer(shape, tf.float32), name='w')
    self.b = tf.Variable(tf.zeros([self._num_channels]), name='b')

  def __call__(self, x: tf.Tensor) -> tf.Tensor:
    """Convolves [B, H, W, C]; the result has the dtype of `x`."""
    self._create(x.shape[-1])
    w = tf.cast(self.w, x.dtype)
    x = tf.nn.conv2d(x, w, self._stride, self._padding)
    # As a tensor: a custom gradient takes no mirrored variable.
    return add_bias(x, tf.convert_to_tensor(self.b))


@tf.custom_gradient
def add_bias(x: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
  """Adds a float32 bias [C] to [B, H, W, C] of any dtype.

  TensorFlow's own gradient accumulates bfloat16 in bfloat16 and loses most of a
  sum over 10^6 positions. Image by image is faster than one sum.
  """

  def gradient(upstream):
    per_image = tf.reduce_sum(upstream, axis=[1, 2])
    return upstream, tf.reduce_sum(tf.cast(per_image, b.dtype), axis=0)

  return tf.nn.bias_add(x, tf.cast(b, x.dtype)), gradient
