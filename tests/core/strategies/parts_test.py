"""Tests of core/strategies/parts.py; Device's tests have several replicas."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from core.strategies.parts import ReplicaParts, sum_replicas
from tests.unrolls import learner_input, random_unroll

ALONE = tf.distribute.get_strategy()


class PartsTest(parameterized.TestCase):
  @parameterized.parameters(1, 2, 3)
  def test_the_batch_is_of_all_workers(self, num_workers):
    unroll = learner_input(random_unroll(2, 4))
    parts = ReplicaParts(ALONE, unroll, num_workers)
    self.assertEqual(parts.batch_size, 4 * num_workers)

  def test_sums_keep_shapes_and_dtypes(self):
    values = dict(
      a=[np.float32(3.0), None, np.arange(6.0).reshape(2, 3)],
      b=(np.arange(4, dtype=np.int32), np.ones([2, 1], np.float32)),
    )
    tensors = tf.nest.map_structure(
      lambda x: None if x is None else tf.constant(x), values
    )
    found = tf.function(lambda: sum_replicas(ALONE, tensors))()
    self.assertIsNone(found['a'].pop(1))
    del values['a'][1]
    tf.nest.map_structure(
      lambda x, y: np.testing.assert_array_equal(x.numpy(), y, strict=True),
      found,
      values,
    )


if __name__ == '__main__':
  absltest.main()
