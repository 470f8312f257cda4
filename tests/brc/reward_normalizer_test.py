"""Returns, G and denominators by hand."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from brc import reward_normalizer
from brc.reward_normalizer import RewardNormalizer, denominators

DISCOUNT = 0.5


def play(normalizer, rewards, ending, task=0, bootstrap=None):
  """Gives one task's episode to a normaliser; others go on with reward 0."""
  n = len(normalizer.greatest)
  for t, reward in enumerate(rewards):
    is_last = t == len(rewards) - 1
    flags = {name: np.zeros(n, bool) for name in ('terminated', 'truncated')}
    for name in flags:
      flags[name][task] = is_last and name in ending
    row = np.zeros(n)
    row[task] = reward
    bootstraps = None if bootstrap is None else np.full(n, bootstrap)
    normalizer.add(row, **flags, bootstraps=bootstraps)


class ReturnsTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('terminated', 'terminated', None, 1.0 + 0.5 * (2.0 + 0.5 * 4.0)),
    # The mean reward goes on for ever: 7/3 / (1 - 1/2). The greatest return is
    # then that of the last step.
    ('truncated', 'truncated', None, 4.0 + 0.5 * (7.0 / 3.0) * 2.0),
    ('both', 'terminated truncated', None, 4.0 + 0.5 * (7.0 / 3.0) * 2.0),
    ('critic', 'truncated', 100.0, 4.0 + 0.5 * 100.0),
    ('critic_unknown', 'truncated', np.nan, 4.0 + 0.5 * (7.0 / 3.0) * 2.0),
    ('critic_unused', 'terminated', 100.0, 4.0),
  )
  def test_greatest_return(self, ending, bootstrap, expected):
    normalizer = RewardNormalizer(1, DISCOUNT)
    play(normalizer, [1.0, 2.0, 4.0], ending, bootstrap=bootstrap)
    if ending == 'terminated':
      expected = max(expected, 2.0 + 0.5 * 4.0, 4.0)
    np.testing.assert_allclose(normalizer.greatest, [expected], rtol=1e-6)

  def test_every_return_of_an_episode(self):
    returns = reward_normalizer.monte_carlo_returns([1.0, -2.0, 4.0], 8.0, 0.5)
    np.testing.assert_array_equal(returns, [1.0 + 0.5 * 2.0, 2.0, 8.0])

  def test_sizes_count_not_signs(self):
    normalizer = RewardNormalizer(1, DISCOUNT)
    play(normalizer, [-8.0, 2.0], 'terminated')
    np.testing.assert_allclose(normalizer.greatest, [7.0])


class GreatestTest(absltest.TestCase):
  def test_only_grows_and_is_each_tasks_own(self):
    normalizer = RewardNormalizer(2, DISCOUNT)
    np.testing.assert_array_equal(normalizer.greatest, [np.inf, np.inf])
    seen = []
    for reward in (3.0, 1.0, 5.0, 2.0):
      play(normalizer, [reward], 'terminated', task=1)
      seen.append(normalizer.greatest[1])
    self.assertEqual(seen, [3.0, 3.0, 5.0, 5.0])
    self.assertEqual(normalizer.greatest[0], np.inf)

  def test_nothing_of_an_episode_reaches_the_next(self):
    normalizer = RewardNormalizer(1, DISCOUNT)
    play(normalizer, [0.0, 0.0, 4.0], 'terminated')
    play(normalizer, [6.0], 'terminated')
    self.assertEqual(normalizer.greatest[0], 6.0)
    normalizer.add([100.0], [False], [False])
    normalizer.begin_episodes()
    play(normalizer, [1.0], 'terminated')
    self.assertEqual(normalizer.greatest[0], 6.0)

  def test_goes_on_within_an_episode(self):
    whole, parted = RewardNormalizer(2, DISCOUNT), RewardNormalizer(2, DISCOUNT)
    rng = np.random.default_rng(0)
    for t in range(40):
      rewards, dones = rng.normal(size=2), rng.random([2, 2]) < 0.1
      for normalizer in (whole, parted):
        normalizer.add(rewards, *dones)
      np.testing.assert_array_equal(parted.greatest, whole.greatest)
      if t % 7 == 0:
        state = parted.get_state()
        parted = RewardNormalizer(2, DISCOUNT)
        parted.set_state(state)

  def test_normalised_returns_fit_the_support(self):
    rng = np.random.default_rng(0)
    rewards = np.exp(rng.normal(size=30)) * rng.choice([-1.0, 1.0], 30)
    of_scales = []
    for scale in (1.0, 1000.0):
      normalizer = RewardNormalizer(1, 0.9)
      play(normalizer, scale * rewards, 'truncated')
      divided_by = denominators(normalizer.greatest, 0.0, 1.0, 0.9, 10.0)
      normalised = scale * rewards / divided_by
      of_scales.append(normalised)
      bootstrap = np.mean(normalised) / 0.1
      returns = reward_normalizer.monte_carlo_returns(
        normalised, bootstrap, 0.9
      )
      self.assertAlmostEqual(np.abs(returns).max(), 10.0, places=5)
    # Without the entropy's part the unit of the reward does not count.
    np.testing.assert_allclose(*of_scales, rtol=1e-6)


class DenominatorTest(absltest.TestCase):
  def test_by_hand(self):
    # G = 50, tau = .1, |A| = 4, gamma = .99: (50 + .1 100 (4 / 2) / 2) / 10.
    found = denominators(np.float32([50.0, np.inf]), 0.1, 4 / 4, 0.99, 10.0)
    np.testing.assert_allclose(found, [6.0, np.inf], rtol=1e-6)

  def test_entropies_move_a_hundredth_of_the_way(self):
    log_probs = tf.constant([-1.0, -3.0, 5.0])
    found = reward_normalizer.moving_entropies(
      tf.constant([0.0, 7.0, 1.0]), log_probs, tf.constant([0, 0, 2])
    )
    np.testing.assert_allclose(found, [0.02, 7.0, 1.0 - 0.06], rtol=1e-5)


if __name__ == '__main__':
  absltest.main()
