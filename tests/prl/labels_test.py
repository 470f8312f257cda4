"""Tests of prl/labels.py."""

import numpy as np
from absl.testing import absltest, parameterized

from prl import labels


def flags(text):
  """'..x' is False, False, True."""
  return np.array([c == 'x' for c in text])


def by_loop(deaths, points, ends, horizon):
  """The definition, one case and one step after the other."""
  result = np.zeros([len(deaths), horizon, 2], bool)
  for t in range(len(deaths)):
    dead = scored = False
    for j in range(horizon):
      if t + j < len(deaths) and not any(ends[t : t + j]):
        dead = dead or bool(deaths[t + j])
        scored = scored or bool(points[t + j])
      result[t, j] = dead, scored and not dead
  return result


class HandMadeTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('death_at_3_point_at_2', '..x...', '.x....', '..xxxx', '.x....'),
    ('point_at_5_only', '......', '....x.', '......', '....xx'),
    ('nothing', '......', '......', '......', '......'),
    ('both_at_once', '...x..', '...x..', '...xxx', '......'),
    ('point_after_death', 'x.....', '..x...', 'xxxxxx', '......'),
  )
  def test_first_case(self, deaths, points, death, point):
    found = labels.compute_labels(flags(deaths), flags(points), 6)
    np.testing.assert_array_equal(found[0, :, 0], flags(death))
    np.testing.assert_array_equal(found[0, :, 1], flags(point))

  def test_index_t_is_what_control_t_led_to(self):
    found = labels.compute_labels(flags('..x..'), flags('.....'), 2)
    np.testing.assert_array_equal(found[:, 0, 0], flags('..x..'))
    np.testing.assert_array_equal(found[:, 1, 0], flags('.xx..'))

  def test_labels_stay_after_the_end_of_a_game(self):
    # A point, the end without a death, then a death of the next game.
    found = labels.compute_labels(
      flags('...x..'), flags('.x...x'), 6, flags('..x...')
    )
    np.testing.assert_array_equal(found[0, :, 0], flags('......'))
    np.testing.assert_array_equal(found[0, :, 1], flags('.xxxxx'))
    np.testing.assert_array_equal(found[3, :, 0], flags('xxxxxx'))

  def test_a_death_that_ends_the_game_counts(self):
    found = labels.compute_labels(
      flags('.x..'), flags('..x.'), 4, flags('.x..')
    )
    np.testing.assert_array_equal(found[0, :, 0], flags('.xxx'))
    np.testing.assert_array_equal(found[0, :, 1], flags('....'))

  def test_bad_input(self):
    with self.assertRaisesRegex(ValueError, 'horizon must be at least 1'):
      labels.compute_labels(flags('..'), flags('..'), 0)
    with self.assertRaisesRegex(ValueError, r'\[T\]'):
      labels.compute_labels(flags('..'), flags('...'), 1)


class RandomTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    shape = (3, 400)
    self.deaths, self.points = rng.random(shape) < 0.05, rng.random(shape) < 0.1
    self.ends = rng.random(shape) < 0.02

  def test_equals_the_definition(self):
    for traces in zip(self.deaths, self.points, self.ends, strict=True):
      deaths, points, ends = traces
      np.testing.assert_array_equal(
        labels.compute_labels(deaths, points, 25, ends),
        by_loop(deaths, points, ends, 25),
      )

  def test_death_is_cumulative_and_rules_a_point_out(self):
    found = labels.compute_labels(self.deaths[0], self.points[0], 25)
    death, point = found[..., 0], found[..., 1]
    self.assertTrue(np.all(death[:, 1:] >= death[:, :-1]))
    self.assertFalse(np.any(death & point))
    self.assertTrue(np.any(death) and np.any(point))


class EventsTest(absltest.TestCase):
  def test_lives_and_rewards(self):
    rewards = np.array([0.0, -1.0, 2.0, 0.0])
    terminations = np.array([True, False, False, False])
    deaths, points = labels.events_of('lives', rewards, terminations)
    np.testing.assert_array_equal(deaths, terminations)
    np.testing.assert_array_equal(points, flags('..x.'))
    deaths, points = labels.events_of('rewards', rewards, terminations)
    np.testing.assert_array_equal(deaths, flags('.x..'))
    np.testing.assert_array_equal(points, flags('..x.'))
    with self.assertRaisesRegex(ValueError, 'unknown rule'):
      labels.events_of('scores', rewards, terminations)


class AucTest(absltest.TestCase):
  def test_equals_counting_pairs(self):
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 12, 200) / 10  # With ties.
    truth = rng.random(200) < 0.3
    positive, negative = scores[truth][:, None], scores[~truth][None]
    pairs = (positive > negative) + 0.5 * (positive == negative)
    self.assertAlmostEqual(labels.auc(scores, truth), pairs.mean(), places=12)

  def test_of_one_class_it_is_not_a_number(self):
    self.assertTrue(np.isnan(labels.auc(np.ones(3), np.ones(3, bool))))


if __name__ == '__main__':
  absltest.main()
