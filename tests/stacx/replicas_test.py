"""Two replicas equal one, meta-gradients included."""

import numpy as np
from absl.testing import absltest

from tests import two_devices


class ReplicasTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.result = two_devices.result_of('tests.stacx.replicas')

  def test_variables_and_eta(self):
    self.assertEqual(self.result['num_replicas'], 2)
    differences = self.result['differences']
    self.assertContainsSubset(['eta', 'eta_adam/mean'], differences)
    for name, difference in differences.items():
      bound = 1e-4 * max(1e-3, self.result['largest'][name])
      self.assertLess(difference, bound, name)

  def test_metrics(self):
    for found, expected in zip(
      self.result['found'], self.result['expected'], strict=True
    ):
      self.assertEqual(found.keys(), expected.keys())
      for name, value in expected.items():
        np.testing.assert_allclose(
          found[name], value, rtol=1e-3, atol=1e-7, err_msg=name
        )

  def test_gradients_of_eta_are_there(self):
    for metrics in self.result['expected']:
      self.assertGreater(abs(metrics['gamma_gradient_head_1']), 1e-5)
      self.assertGreater(metrics['gradient_norm'], 2.0)


if __name__ == '__main__':
  absltest.main()
