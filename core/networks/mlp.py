"""Layers for feature vectors."""

from collections.abc import Sequence

import sonnet as snt
import tensorflow as tf


class MLP(snt.Module):
  """Linear layers, each followed by a ReLU."""

  def __init__(self, sizes: Sequence[int], name: str):
    """Declares the layers; the variables appear with the first call."""
    super().__init__(name=name)
    self._layers = [
      snt.Linear(size, name=f'layer_{i}') for i, size in enumerate(sizes)
    ]

  def __call__(self, x: tf.Tensor) -> tf.Tensor:
    """Maps float32 [B, F] to float32 [B, size of the last layer]."""
    for layer in self._layers:
      x = tf.nn.relu(layer(x))
    return x
