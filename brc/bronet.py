"""The network of BRC: residual blocks with layer normalisation.

BroNet (Nauman et al. 2024, arXiv:2405.16158), as in Figure 13 of Nauman et al.
2025 (arXiv:2505.23150). Layers can have a leading axis E: as many networks of
one shape are then computed by one batched product per layer.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

_EPSILON = 1e-6  # Flax's; TensorFlow and Sonnet have others.
_GAIN = 2.0**0.5


class Shape(NamedTuple):
  """What a network is built from.

  Attributes:
    architecture: 'bronet', 'simba' or 'mlp'.
    width: units per layer.
    depth: residual blocks; of 'mlp', hidden layers.
    precision: 'float32' or 'bfloat16', of the matrix products.
  """

  architecture: str
  width: int
  depth: int
  precision: str = 'float32'


class Dense(tf.Module):
  """A linear layer, or E of them: [..., B, in] to [..., B, out]."""

  def __init__(
    self,
    num_inputs: int,
    num_outputs: int,
    ensemble: Sequence[int],
    name: str,
    gain: float = _GAIN,
    precision: str = 'float32',
  ):
    """Draws orthogonal weights.

    Args:
      num_inputs: length of the last axis.
      num_outputs: that of the result.
      ensemble: (E,), or () for a single layer.
      name: of the module, and of its variables.
      gain: of the orthogonal weights.
      precision: of the product.
    """
    super().__init__()
    shape = [num_inputs, num_outputs]
    layers = [gain * orthogonal(*shape) for _ in range(math.prod(ensemble))]
    self.w = tf.Variable(
      tf.reshape(tf.stack(layers), [*ensemble, *shape]), name=f'{name}/w'
    )
    bias_shape = [*ensemble, 1, num_outputs] if ensemble else [num_outputs]
    self.b = tf.Variable(tf.zeros(bias_shape), name=f'{name}/b')
    self._dtype = tf.dtypes.as_dtype(precision)

  def __call__(self, *parts: tf.Tensor) -> tf.Tensor:
    """Applies the layer to the concatenated parts; the result is float32.

    Each part is multiplied by its own rows of the weights: a part that needs
    no gradient costs none.
    """
    rows = tf.split(self.w, [part.shape[-1] for part in parts], axis=-2)
    products = [
      tf.matmul(tf.cast(part, self._dtype), tf.cast(w, self._dtype))
      for part, w in zip(parts, rows, strict=True)
    ]
    return tf.add_n([tf.cast(x, tf.float32) for x in products]) + self.b


class LayerNorm(tf.Module):
  """Normalises the last axis, then scales and shifts it."""

  def __init__(self, size: int, ensemble: Sequence[int], name: str):
    """Starts as the plain normalisation; arguments as of Dense."""
    super().__init__()
    shape = [*ensemble, 1, size] if ensemble else [size]
    self.scale = tf.Variable(tf.ones(shape), name=f'{name}/scale')
    self.offset = tf.Variable(tf.zeros(shape), name=f'{name}/offset')

  def __call__(self, x: tf.Tensor) -> tf.Tensor:
    """Maps [..., B, size] to the same shape."""
    centred = x - tf.reduce_mean(x, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
    return centred * tf.math.rsqrt(variance + _EPSILON) * self.scale + (
      self.offset
    )


class BroNet(tf.Module):
  """Dense, LayerNorm, ReLU; then blocks x + LN(Dense(ReLU(LN(Dense(x)))))."""

  def __init__(
    self, shape: Shape, num_inputs: int, ensemble: Sequence[int], name: str
  ):
    """Declares the layers."""
    super().__init__()
    width, precision = shape.width, shape.precision

    def layer(num_inputs, label):
      return (
        Dense(
          num_inputs, width, ensemble, f'{name}/{label}', precision=precision
        ),
        LayerNorm(width, ensemble, f'{name}/{label}/norm'),
      )

    self._first = layer(num_inputs, 'input')
    self._blocks = [
      (layer(width, f'block_{i}/first'), layer(width, f'block_{i}/second'))
      for i in range(shape.depth)
    ]

  def __call__(self, *parts: tf.Tensor) -> tf.Tensor:
    """Maps parts of [..., B, num_inputs] to [..., B, width]."""
    dense, norm = self._first
    x = tf.nn.relu(norm(dense(*parts)))
    for (dense_1, norm_1), (dense_2, norm_2) in self._blocks:
      x += norm_2(dense_2(tf.nn.relu(norm_1(dense_1(x)))))
    return x


def orthogonal(num_inputs: int, num_outputs: int) -> tf.Tensor:
  """Draws a matrix [in, out] whose shorter side's vectors are orthonormal."""
  sides = sorted([num_inputs, num_outputs], reverse=True)
  q, r = tf.linalg.qr(tf.random.normal(sides))
  q *= tf.sign(tf.linalg.diag_part(r))  # Else it would not be uniform.
  return q if num_inputs >= num_outputs else tf.transpose(q)
