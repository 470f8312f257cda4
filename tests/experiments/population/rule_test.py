"""The rule of population based training against the papers' words."""

import math

import numpy as np
from absl.testing import absltest, parameterized

from core.errors import UserError
from experiments.population import rule, settings

# Table 9 of Hessel et al. 2018.
PUBLISHED = {
  'entropy_cost': ('log_uniform', 5e-5, 1e-2),
  'learning_rate': ('log_uniform', 5e-6, 5e-3),
  'epsilon': ('categorical', 1e-1, 1e-3, 1e-5, 1e-7),
  'max_gradient_norm': ('uniform', 10, 100),
}
RANGES = {n: rule.parse_range(n, r, 0, None) for n, r in PUBLISHED.items()}
RULE = rule.Rule(RANGES, burn_in_frames=20_000_000)
VALUES = {
  'entropy_cost': 1e-3,
  'learning_rate': 1e-4,
  'epsilon': 1e-3,
  'max_gradient_norm': 40.0,
}


class RangesTest(parameterized.TestCase):
  def drawn(self, name, count=4000):
    rng = np.random.default_rng(0)
    return np.array([rule.draw(rng, RANGES[name]) for _ in range(count)])

  @parameterized.parameters('entropy_cost', 'learning_rate')
  def test_log_uniform(self, name):
    _, low, high = PUBLISHED[name]
    values = self.drawn(name)
    self.assertBetween(values.min(), low, low * 1.01)
    self.assertBetween(values.max(), high / 1.01, high)
    # Each of ten parts of the logarithm gets a tenth; 4 standard deviations.
    share = np.log(values / low) / np.log(high / low)
    counts = np.histogram(share, 10, (0, 1))[0]
    self.assertLess(np.abs(counts - 400).max(), 4 * math.sqrt(400 * 0.9))

  def test_uniform(self):
    values = self.drawn('max_gradient_norm')
    counts = np.histogram(values, 10, (10, 100))[0]
    self.assertEqual(counts.sum(), 4000)
    self.assertLess(np.abs(counts - 400).max(), 4 * math.sqrt(400 * 0.9))

  def test_categorical(self):
    values, counts = np.unique(self.drawn('epsilon'), return_counts=True)
    np.testing.assert_array_equal(values, sorted(PUBLISHED['epsilon'][1:]))
    self.assertLess(np.abs(counts - 1000).max(), 4 * math.sqrt(1000 * 0.75))

  @parameterized.named_parameters(
    ('above', ('uniform', 2, 1), 'the lower bound 2 is above the upper, 1'),
    ('zero', ('log_uniform', 0, 1), 'must be above 0'),
    ('one', ('uniform', 1), 'a lower and an upper bound'),
    ('three', ('log_uniform', 1, 2, 3), 'a lower and an upper bound'),
    ('no_category', ('categorical',), 'each of them once'),
    ('twice', ('categorical', 1, 1), 'each of them once'),
    ('kind', ('normal', 1, 2), 'not .*log_uniform'),
    ('number', 3, '3, not'),
    ('text', 'uniform', 'not .*log_uniform'),
    ('word', ('uniform', 1, 'x'), 'no finite number'),
    ('infinite', ('uniform', 1, math.inf), 'no finite number'),
    ('flag', ('uniform', -1, 1), 'x: -1 is not within what --x takes, 0 to'),
  )
  def test_refused(self, written, pattern):
    with self.assertRaisesRegex(UserError, pattern) as caught:
      rule.parse_range('x', written, 0, None)
    self.assertNotIn('\n', str(caught.exception))


class RuleTest(parameterized.TestCase):
  def test_opponents_are_all_others_alike(self):
    rng = np.random.default_rng(1)
    for member in (0, 3, 7):
      found = [rule.choose_opponent(rng, member, 8) for _ in range(7000)]
      counts = np.bincount(found, minlength=8)
      self.assertEqual(counts[member], 0)
      others = np.delete(counts, member)
      self.assertLess(np.abs(others - 1000).max(), 4 * math.sqrt(1000 * 6 / 7))

  @parameterized.named_parameters(
    ('better', 15.1, 10.0, True),
    ('by_the_margin', 15.0, 10.0, False),
    ('a_bit', 12.0, 10.0, False),
    ('worse', 1.0, 10.0, False),
    ('below_zero', -1.0, -10.0, True),
    ('unknown', None, 10.0, False),
    ('own_unknown', 90.0, None, False),
  )
  def test_copied_if_more_than_five_points_better(self, other, own, expected):
    self.assertEqual(rule.is_better(other, own, 5.0), expected)

  def test_a_third_is_perturbed_up_as_often_as_down(self):
    rng = np.random.default_rng(2)
    factors = {name: [] for name in VALUES}
    for _ in range(6000):
      values, perturbed = rule.perturb(rng, VALUES, RULE)
      for name, value in values.items():
        factor = value / VALUES[name]
        self.assertEqual(name in perturbed, factor != 1)
        factors[name].append(factor)
    for found in factors.values():
      found = np.array(found)
      self.assertLess(abs((found != 1).mean() - 0.33), 4 * 0.0061)
      up, down = np.isclose(found, 1.2), np.isclose(found, 1 / 1.2)
      self.assertTrue((up | down | (found == 1)).all())
      self.assertLess(abs(up.mean() - 0.165), 4 * 0.0048)
    # Independent of one another: both of two in 0.33^2 of the cases.
    both = [np.array(f) != 1 for f in list(factors.values())[:2]]
    self.assertLess(abs((both[0] & both[1]).mean() - 0.1089), 4 * 0.004)

  def test_leaves_the_range_but_not_what_the_flag_takes(self):
    rng = np.random.default_rng(3)
    of = rule.parse_range('x', ('uniform', 1, 2), 0, 2.3)
    always = rule.Rule({'x': of}, 0, probability=1.0)
    values = {'x': 2.0}
    found = []
    for _ in range(200):
      values, _ = rule.perturb(rng, values, always)
      found.append(values['x'])
    self.assertGreater(max(found), 2.0)
    self.assertLessEqual(max(found), 2.3)
    self.assertLess(min(found), 1.0)

  def test_a_copy_is_explored_from_the_values_of_the_copied(self):
    rng = np.random.default_rng(4)
    never = rule.Rule(RANGES, 0, probability=0.0)
    other = {name: 2 * value for name, value in VALUES.items()}
    for fitness, expected in ((20.0, other), (12.0, VALUES)):
      found = rule.evolve(rng, 0, [10.0, fitness], [VALUES, other], never)
      self.assertEqual(found.is_copied, fitness == 20.0)
      self.assertEqual((found.opponent, found.values), (1, expected))
    always = rule.Rule(RANGES, 0, probability=1.0)
    found = rule.evolve(rng, 0, [10.0, 12.0], [VALUES, other], always)
    self.assertFalse(found.is_copied)  # It explores all the same.
    self.assertEqual(set(found.perturbed), set(VALUES))

  def test_one_that_failed_copies_whatever_it_meets(self):
    rng = np.random.default_rng(5)
    other = {name: 2 * value for name, value in VALUES.items()}
    found = rule.evolve(
      rng, 0, [90.0, 1.0], [VALUES, other], RULE, must_copy=True
    )
    self.assertTrue(found.is_copied)

  @parameterized.parameters(
    ('table_1_atari57_population', 6, PUBLISHED, 11_400_000_000),
    ('table_1_dmlab30_population', 2, None, 10_000_000_000),
  )
  def test_published_populations(self, name, count, ranges, total_frames):
    file = settings.read(f'experiments/popart/{name}.py')
    self.assertLen(file.populations, count)
    if ranges is None:  # The gradient norm is tuned on Atari alone.
      ranges = {n: r for n, r in PUBLISHED.items() if n != 'max_gradient_norm'}
    for population in file.populations:
      self.assertEqual(population.num_members, 24)
      self.assertEqual(population.total_frames, total_frames)
      own = population.rule
      self.assertEqual(own.ranges, {n: RANGES[n] for n in ranges})
      self.assertEqual(
        (own.burn_in_frames, own.margin, own.probability, own.factor),
        (20_000_000, 5.0, 0.33, 1.2),
      )
      self.assertEqual(population.fitness_episodes, 5000)
      self.assertEqual(population.config.final_learning_rate_fraction, 1.0)


if __name__ == '__main__':
  absltest.main()
