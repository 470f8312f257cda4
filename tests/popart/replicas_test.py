"""Two replicas equal one, statistics included."""

import numpy as np
from absl.testing import absltest

from tests import two_devices
from tests.popart import replicas


class ReplicasTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.result = two_devices.result_of('tests.popart.replicas')

  def test_variables_and_statistics(self):
    self.assertEqual(self.result['num_replicas'], 2)
    differences = self.result['differences']
    self.assertContainsSubset(
      ['popart/shift', 'popart/second_moment'], differences
    )
    for name, difference in differences.items():
      # Relative to the largest: moments are sums of many gradients.
      bound = 1e-5 * max(1.0, self.result['largest'][name])
      self.assertLess(difference, bound, name)

  def test_metrics(self):
    for found, expected in zip(
      self.result['found'], self.result['expected'], strict=True
    ):
      self.assertEqual(found.keys(), expected.keys())
      for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, err_msg=name)

  def test_statistics_moved(self):
    first, *_, last = self.result['expected']
    for name in ('shift', 'scale'):
      self.assertTrue(np.all(np.not_equal(first[name], last[name])), name)

  def test_columns_come_in_the_order_of_the_batch(self):
    columns = self.result['columns']
    np.testing.assert_array_equal(columns['task_id'], replicas.TASK_ID)
    reward = replicas.batch(0).env_outputs.reward.numpy()
    np.testing.assert_array_equal(
      np.float32(columns['reward']), reward.transpose()
    )

  def test_trains_and_resumes(self):
    self.assertEqual(self.result['trained_frames'], [60, 100])


if __name__ == '__main__':
  absltest.main()
