"""Tests of core/networks/mlp.py."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest

from core.networks.mlp import MLP


class MLPTest(absltest.TestCase):
  def test_every_layer_ends_in_a_relu(self):
    mlp = MLP([7, 4], name='mlp')
    x = np.random.default_rng(0).normal(size=[50, 3]).astype(np.float32)
    found = mlp(tf.constant(x))
    shapes = {v.name: tuple(v.shape) for v in mlp.trainable_variables}
    self.assertEqual(
      shapes,
      {
        'mlp/layer_0/b:0': (7,),
        'mlp/layer_0/w:0': (3, 7),
        'mlp/layer_1/b:0': (4,),
        'mlp/layer_1/w:0': (7, 4),
      },
    )
    b0, w0, b1, w1 = (v.numpy() for v in mlp.trainable_variables)
    hidden = np.maximum(x @ w0 + b0, 0.0)
    self.assertTrue(np.any(hidden == 0.0))
    np.testing.assert_allclose(
      found, np.maximum(hidden @ w1 + b1, 0.0), rtol=1e-5, atol=1e-6
    )
    self.assertTrue(np.any(found == 0.0))


if __name__ == '__main__':
  absltest.main()
