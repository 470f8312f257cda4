"""Intervals of means."""

import numpy as np
from absl.testing import absltest

from experiments.runs import bootstrap


class MeanTest(absltest.TestCase):
  def test_interval_is_that_of_the_mean_over_runs(self):
    values = np.random.default_rng(0).normal(size=[50, 2]) * [1.0, 3.0]
    low, high = bootstrap.mean_interval(values)
    error = values.std(axis=0) / np.sqrt(50)
    np.testing.assert_allclose(low, values.mean(0) - 1.96 * error, atol=0.1)
    np.testing.assert_allclose(high, values.mean(0) + 1.96 * error, atol=0.1)
    self.assertEmpty(bootstrap.mean_interval(values[:1])[0])

  def test_interval_covers_the_mean_of_normal_values(self):
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(100):
      low, high = bootstrap.mean_interval(rng.normal(3.0, 2.0, 30))
      hits += low < 3.0 < high
    self.assertBetween(hits, 85, 100)


if __name__ == '__main__':
  absltest.main()
