"""What BroNet is compared with in Figure 4: SimBa, and SAC's plain network.

Figure 4 of Nauman et al. 2025 (arXiv:2505.23150).
"""

from collections.abc import Sequence

import tensorflow as tf

from brc.bronet import Dense, LayerNorm, Shape

_GAIN = 2.0**0.5


class SimBa(tf.Module):
  """Dense; blocks x + Dense(ReLU(Dense(LN(x)))), 4 times as wide; LN.

  Lee et al. 2024 (arXiv:2410.09754). Its inputs are normalised by
  `RunningStatistics`.
  """

  def __init__(
    self, shape: Shape, num_inputs: int, ensemble: Sequence[int], name: str
  ):
    """Declares the layers."""
    super().__init__()
    width, precision = shape.width, shape.precision

    def dense(num_inputs, num_outputs, label, gain):
      full_name = f'{name}/{label}'
      return Dense(
        num_inputs, num_outputs, ensemble, full_name, gain, precision
      )

    self._first = dense(num_inputs, width, 'input', 1.0)
    self._blocks = [
      (
        LayerNorm(width, ensemble, f'{name}/block_{i}/norm'),
        dense(width, 4 * width, f'block_{i}/first', _GAIN),
        dense(4 * width, width, f'block_{i}/second', _GAIN),
      )
      for i in range(shape.depth)
    ]
    self._last_norm = LayerNorm(width, ensemble, f'{name}/norm')

  def __call__(self, *parts: tf.Tensor) -> tf.Tensor:
    """Maps parts of [..., B, num_inputs] to [..., B, width]."""
    x = self._first(*parts)
    for norm, first, second in self._blocks:
      x += second(tf.nn.relu(first(norm(x))))
    return self._last_norm(x)


class MLP(tf.Module):
  """Dense and ReLU, as often as the shape is deep: SAC's network."""

  def __init__(
    self, shape: Shape, num_inputs: int, ensemble: Sequence[int], name: str
  ):
    """Declares the layers."""
    super().__init__()
    sizes = [num_inputs, *[shape.width] * shape.depth]
    self._layers = [
      Dense(
        *(sizes[i], sizes[i + 1], ensemble, f'{name}/layer_{i}'),
        precision=shape.precision,
      )
      for i in range(shape.depth)
    ]

  def __call__(self, *parts: tf.Tensor) -> tf.Tensor:
    """Maps parts of [..., B, num_inputs] to [..., B, width]."""
    for layer in self._layers:
      parts = (tf.nn.relu(layer(*parts)),)
    return parts[0]


class RunningStatistics(tf.Module):
  """Mean and variance of all features seen, which SimBa's inputs are fed by."""

  def __init__(self, num_features: int, name: str = 'statistics'):
    """Starts at mean 0 and variance 1."""
    super().__init__()

    def variable(value, label):
      return tf.Variable(value, trainable=False, name=f'{name}/{label}')

    self.mean = variable(tf.zeros([num_features]), 'mean')
    self.variance = variable(tf.ones([num_features]), 'variance')
    self.count = variable(tf.constant(1e-4), 'count')

  def __call__(self, features: tf.Tensor) -> tf.Tensor:
    """Normalises float32 [B, F]."""
    return (features - self.mean) * tf.math.rsqrt(self.variance + 1e-8)

  def update(self, features: tf.Tensor) -> None:
    """Takes in float32 [B, F] (Chan et al.'s parallel variance)."""
    count = tf.cast(tf.shape(features)[0], tf.float32)
    mean, variance = tf.nn.moments(features, axes=[0])
    total = self.count + count
    delta = mean - self.mean
    squares = (
      self.variance * self.count
      + variance * count
      + tf.square(delta) * self.count * count / total
    )
    self.mean.assign_add(delta * count / total)
    self.variance.assign(squares / total)
    self.count.assign(total)
