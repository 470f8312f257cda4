"""Two replicas equal one, and each gets rows of every task."""

import numpy as np
from absl.testing import absltest, parameterized

from tests import two_devices
from tests.distral import replicas


class ReplicasTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.result = two_devices.result_of('tests.distral.replicas')

  @parameterized.parameters(*replicas.SETTINGS)
  def test_variables(self, name):
    self.assertEqual(self.result['num_replicas'], 2)
    result = self.result[name]
    for column in ('task_0', 'task_1', 'shared'):
      self.assertTrue(any(column in n for n in result['differences']), column)
    for variable, difference in result['differences'].items():
      # Relative to the largest: moments are sums of many gradients.
      bound = 1e-5 * max(1.0, result['largest'][variable])
      self.assertLess(difference, bound, variable)

  @parameterized.parameters(*replicas.SETTINGS)
  def test_metrics(self, name):
    result = self.result[name]
    for found, expected in zip(
      result['found'], result['expected'], strict=True
    ):
      self.assertEqual(found.keys(), expected.keys())
      self.assertLen(found['kl_to_distilled'], 2)
      for metric, value in expected.items():
        np.testing.assert_allclose(
          found[metric], value, rtol=1e-4, err_msg=metric
        )

  def test_batches_that_would_mix_tasks_in_unequal_parts_are_refused(self):
    taken, *others, fits = self.result['refusals']
    self.assertEqual((taken, fits), ('', ''))
    for message in others:
      self.assertRegex(message, '^--batch_size=.* 2 tasks x 2 replicas$')

  def test_trains_and_resumes(self):
    self.assertEqual(self.result['trained_frames'], [60, 100])


if __name__ == '__main__':
  absltest.main()
