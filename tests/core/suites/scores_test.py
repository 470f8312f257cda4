"""Tests of core/suites/scores.py."""

import numpy as np
import scipy.stats
from absl.testing import absltest, parameterized

from core.suites import scores

RANDOM = {'a': -20.0, 'b': 100.0, 'c': 0.0}
HUMAN = {'a': 10.0, 'b': 300.0, 'c': 1.0}


class HumanNormalizedScoreTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('human', [10.0], None, 100.0),
    ('random', [-20.0], None, 0.0),
    ('mean_of_episodes', [-20.0, 10.0], None, 50.0),
    ('below_random_is_not_capped', [-35.0], 100.0, -50.0),
    ('above_human', [25.0], None, 150.0),
    ('above_human_capped', [25.0], 100.0, 100.0),
    ('cap_of_the_mean_not_of_episodes', [-20.0, 40.0], 100.0, 100.0),
  )
  def test_score(self, returns, cap, expected):
    score = scores.human_normalized_score(returns, -20.0, 10.0, cap)
    self.assertAlmostEqual(score, expected)

  def test_better_is_more_where_random_play_beats_the_human(self):
    score = scores.human_normalized_score([20452.0 + 4810.9], 20452.0, 15641.1)
    self.assertAlmostEqual(score, 100.0)

  def test_no_returns_is_an_error(self):
    with self.assertRaisesRegex(ValueError, 'no returns'):
      scores.human_normalized_score([], 0.0, 1.0)


class TaskScoresTest(absltest.TestCase):
  def test_order_is_the_suites_and_others_are_ignored(self):
    returns = {'c': [0.5], 'b': [100.0, 300.0], 'a': [40.0], 'other': [1.0]}
    got = scores.task_scores(returns, ['a', 'b', 'c'], RANDOM, HUMAN, cap=100)
    np.testing.assert_allclose(got, [100.0, 50.0, 50.0])

  def test_missing_task_is_named(self):
    with self.assertRaisesRegex(ValueError, 'no returns for b$'):
      scores.task_scores({'a': [1], 'c': [1]}, ['a', 'b', 'c'], RANDOM, HUMAN)

  def test_empty_task_is_named(self):
    returns = {'a': [1], 'b': [1], 'c': []}
    with self.assertRaisesRegex(ValueError, 'no returns for c$'):
      scores.task_scores(returns, ['a', 'b', 'c'], RANDOM, HUMAN)


class AggregateTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.RandomState(0)
    self.matrix = rng.gamma(1.0, 100.0, [5, 8])

  def test_points(self):
    got = scores.aggregate(self.matrix, seed=0, num_bootstraps=50)
    task_means = self.matrix.mean(axis=0)
    self.assertAlmostEqual(got['mean'].point, task_means.mean())
    self.assertAlmostEqual(got['median'].point, np.median(task_means))
    trimmed = scipy.stats.trim_mean(self.matrix, 0.25, axis=None)
    self.assertAlmostEqual(got['iqm'].point, trimmed)
    self.assertNotAlmostEqual(got['iqm'].point, got['mean'].point, places=0)

  def test_interval_is_that_of_runs_resampled_within_tasks(self):
    got = scores.aggregate(self.matrix, seed=0, num_bootstraps=4000)
    rng = np.random.RandomState(1)
    runs, tasks = self.matrix.shape
    picks = rng.randint(runs, size=[4000, runs, tasks])
    samples = self.matrix[picks, np.arange(tasks)].mean(axis=(1, 2))
    expected = np.percentile(samples, [2.5, 97.5])
    width = expected[1] - expected[0]
    self.assertAlmostEqual(got['mean'].low, expected[0], delta=0.06 * width)
    self.assertAlmostEqual(got['mean'].high, expected[1], delta=0.06 * width)

  def test_seed_fixes_the_interval(self):
    first, same, other = (
      scores.aggregate(self.matrix, seed=seed, num_bootstraps=50)
      for seed in (3, 3, 4)
    )
    self.assertEqual(first, same)
    self.assertNotEqual(first['iqm'].low, other['iqm'].low)

  def test_global_random_numbers_are_left_alone(self):
    np.random.seed(7)
    expected = np.random.random()
    np.random.seed(7)
    scores.aggregate(self.matrix, seed=0, num_bootstraps=50)
    self.assertEqual(np.random.random(), expected)

  def test_one_run_has_no_interval(self):
    got = scores.aggregate(self.matrix[:1], seed=0)
    self.assertTrue(np.isnan(got['mean'].low) and np.isnan(got['mean'].high))
    self.assertAlmostEqual(got['mean'].point, self.matrix[0].mean())

  @parameterized.named_parameters(
    ('vector', np.ones(3)),
    ('empty', np.ones([0, 3])),
    ('missing_score', np.array([[1.0, np.nan]])),
  )
  def test_malformed_matrix(self, matrix):
    with self.assertRaisesRegex(ValueError, r'\[num_runs, num_tasks\]'):
      scores.aggregate(matrix, seed=0)


if __name__ == '__main__':
  absltest.main()
