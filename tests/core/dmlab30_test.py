"""Tests of core/dmlab30.py."""

import pathlib

import numpy as np
from absl.testing import absltest, parameterized

from core import dmlab30, score_table
from core.dmlab30 import (
  ALL_LEVELS,
  HUMAN_SCORES,
  LEVEL_MAPPING,
  RANDOM_SCORES,
  compute_human_normalized_score,
)
from core.types import Episode

PUBLISHED = str(
  pathlib.Path(__file__).parents[2]
  / 'experiments/reference/dmlab30_published.csv'
)


def returns_at(part):
  """Returns of all test levels at a part of the way from random to human."""
  return {
    level: [RANDOM_SCORES[level] + part * (human - RANDOM_SCORES[level])]
    for level, human in HUMAN_SCORES.items()
  }


class LevelsTest(absltest.TestCase):
  def test_thirty_levels_of_which_two_have_a_test_version(self):
    self.assertLen(LEVEL_MAPPING, 30)
    self.assertLen(ALL_LEVELS, 32)
    differing = {a: b for a, b in LEVEL_MAPPING.items() if a != b}
    self.assertEqual(
      differing,
      {
        f'rooms_{name}_train': f'rooms_{name}_test'
        for name in ('collect_good_objects', 'exploit_deferred_effects')
      },
    )
    self.assertEqual(list(RANDOM_SCORES), list(LEVEL_MAPPING.values()))
    self.assertEqual(list(HUMAN_SCORES), list(LEVEL_MAPPING.values()))

  def test_order_is_that_of_the_task_ids(self):
    levels = list(LEVEL_MAPPING)
    self.assertEqual(levels[5], 'language_select_described_object')
    self.assertEqual(levels[18], 'psychlab_arbitrary_visuomotor_mapping')
    self.assertEqual(levels[-1], 'explore_object_rewards_many')

  def test_published_scores_follow_from_published_returns(self):
    # Kapturowski et al. 2019 print 45.8, 73.6 and 85.1 % (mean, capped).
    expected = {
      'impala_experts_deep': 45.74,
      'impala_multitask_pbt': 50.06,
      'shallow_single_task_10b': 73.62,
      'deep_single_task_10b': 85.14,
    }
    published = score_table.read_published(PUBLISHED)
    self.assertEqual(published.keys(), expected.keys())
    for name, column in published.items():
      returns = {level: [value] for level, value in column.items()}
      score = compute_human_normalized_score(returns, 100.0)
      self.assertAlmostEqual(score, expected[name], delta=0.006, msg=name)


class ScoreTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('human', 1.0, None, 100.0),
    ('human_capped', 1.0, 100.0, 100.0),
    ('random', 0.0, None, 0.0),
    ('twice_human', 2.0, None, 200.0),
    ('twice_human_capped', 2.0, 100.0, 100.0),
    ('below_random_is_not_capped', -0.5, 100.0, -50.0),
  )
  def test_score(self, part, cap, expected):
    score = compute_human_normalized_score(returns_at(part), cap)
    self.assertAlmostEqual(score, expected)

  def test_the_cap_is_per_level(self):
    returns = returns_at(0.5)
    level = 'rooms_watermaze'
    returns[level] = [RANDOM_SCORES[level] + 10.0 * (54.0 - 4.065)]
    self.assertAlmostEqual(
      compute_human_normalized_score(returns, 100.0), (29 * 50 + 100) / 30
    )
    self.assertAlmostEqual(
      compute_human_normalized_score(returns, None), (29 * 50 + 1000) / 30
    )

  def test_returns_of_training_levels_count_for_their_test_levels(self):
    returns = returns_at(1.0)
    for level, test_level in LEVEL_MAPPING.items():
      returns[level] = returns.pop(test_level)
    self.assertAlmostEqual(compute_human_normalized_score(returns, None), 100)

  def test_a_level_scores_its_mean_return(self):
    returns = returns_at(1.0)
    returns['rooms_watermaze'] = [4.065, 54.0]
    self.assertAlmostEqual(
      compute_human_normalized_score(returns, None), 100 - 50 / 30
    )

  def test_other_levels_are_ignored(self):
    returns = {**returns_at(1.0), 'seekavoid_arena_01': [1e6]}
    self.assertAlmostEqual(compute_human_normalized_score(returns, None), 100)

  @parameterized.named_parameters(('missing', None), ('empty', []))
  def test_every_level_is_needed(self, values):
    returns = returns_at(1.0)
    del returns['natlab_fixed_large_map']
    if values is not None:
      returns['natlab_fixed_large_map'] = values
    with self.assertRaisesRegex(ValueError, 'natlab_fixed_large_map'):
      compute_human_normalized_score(returns, None)


class TrainingScoreTest(absltest.TestCase):
  def _episodes(self, part):
    return [
      Episode(0, level, returns_at(part)[test_level][0], 4)
      for level, test_level in LEVEL_MAPPING.items()
    ]

  def test_due_when_every_level_has_an_episode_then_cleared(self):
    score = dmlab30.TrainingScore(list(LEVEL_MAPPING))
    human, random = self._episodes(2.0), self._episodes(0.0)
    self.assertEqual(score.add(human[:29]), {})
    self.assertEqual(score.add(random[:29]), {})
    due = score.add(human[29:])
    np.testing.assert_allclose(
      [due['dmlab30/training_no_cap'], due['dmlab30/training_cap_100']],
      [(29 * 100 + 200) / 30, 100.0],
    )
    self.assertLen(due, 2)
    self.assertEqual(score.add(human[29:]), {})
    due = score.add(random[:29])
    self.assertAlmostEqual(due['dmlab30/training_no_cap'], 200 / 30)

  def test_other_runs_have_none(self):
    score = dmlab30.TrainingScore(list(LEVEL_MAPPING)[1:])
    self.assertEqual(score.add(self._episodes(1.0)), {})


if __name__ == '__main__':
  absltest.main()
