"""Returns over several steps against loops, and the epsilon schedule."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest

from brc import n_step


class NStepTest(absltest.TestCase):
  def test_n_step_returns_against_a_loop(self):
    rng = np.random.default_rng(8)
    rewards = np.float32(rng.normal(size=[5, 4]))
    num_steps = np.int32([4, 1, 2, 3, 4])
    goes_on = np.float32([1, 1, 0, 1, 0])
    returns = n_step.returns(tf.constant(rewards), 0.9)
    discounts = n_step.discounts(num_steps, goes_on, 0.9)
    for b in range(5):
      expected, power = 0.0, 1.0
      for k in range(4):
        expected += power * rewards[b, k]
        power *= 0.9
      self.assertAlmostEqual(float(returns[b]), expected, places=5)
      power = 1.0
      for _ in range(num_steps[b]):
        power *= 0.9
      self.assertAlmostEqual(float(discounts[b]), power * goes_on[b], places=5)

  def test_epsilon_falls_linearly(self):
    expected = {1: 1.0, 100: 1.0, 150: 0.505, 200: 0.01, 9999: 0.01}
    for step, share in expected.items():
      self.assertAlmostEqual(n_step.epsilon(step, 100, 100, 0.01), share)


if __name__ == '__main__':
  absltest.main()
