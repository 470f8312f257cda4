"""Tests of core/suites/dmlab.py and its tables."""

import importlib
import pathlib
import sys

import numpy as np
from absl.testing import absltest, parameterized

from core.environments.dmlab import DmLabProtocol
from core.errors import UserError
from core.suites.dmlab import (
  ALL_LEVELS,
  HUMAN_SCORES,
  LEVEL_MAPPING,
  RANDOM_SCORES,
  DmLab,
  compute_human_normalized_score,
)
from core.types import Episode

FAKE = str(pathlib.Path(__file__).parents[2] / 'fake_deepmind_lab')
SUITE = DmLab()


def setUpModule():
  sys.path.insert(0, FAKE)
  importlib.invalidate_caches()


def tearDownModule():
  sys.path.remove(FAKE)


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
      'Experts': 45.74,
      'IMPALA': 50.06,
      'IMPALA, shallow (rerun)': 73.62,
      'IMPALA, deep (rerun)': 85.14,
    }
    published = SUITE.published()
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
    score = SUITE.training_score(list(LEVEL_MAPPING))
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
    self.assertIsNone(SUITE.training_score(list(LEVEL_MAPPING)[1:]))
    more = [*LEVEL_MAPPING, 'lab:seekavoid_arena_01']
    self.assertIsNotNone(SUITE.training_score(more))


class OwnsTest(parameterized.TestCase):
  @parameterized.parameters(
    *('rooms_watermaze', 'rooms_collect_good_objects_test'),
    *('tests/empty_room_test', 'lab:seekavoid_arena_01'),
  )
  def test_levels(self, name):
    self.assertTrue(SUITE.owns(name))

  @parameterized.parameters('pong', 'catch', 'a.b:make', 'ALE/Pong-v5')
  def test_others(self, name):
    self.assertFalse(SUITE.owns(name))


class EvaluationLineTest(absltest.TestCase):
  def test_says_how_levels_are_played(self):
    line = SUITE.evaluation_line(DmLabProtocol(action_set='popart'))
    for part in ('test levels', 'sampled', 'repeat 4', 'popart', '96x72'):
      self.assertIn(part, line)


class MakeTest(parameterized.TestCase):
  def make(self, *levels, **protocol):
    """Returns the one environment of these rows."""
    protocol = DmLabProtocol(**protocol)
    (env,) = SUITE.make(levels, protocol, is_training=True, num_threads=1)
    self.addCleanup(env.close)
    return env

  def test_levels_are_found_by_their_names(self):
    # The engine knows them by their folders and refuses other names.
    env = self.make(
      'language_select_located_object',
      'tests/empty_room_test',
      'lab:seekavoid_arena_01',
    )
    observations, _ = env.reset(seed=1)
    has_words = observations['instruction'].any(axis=1)
    self.assertEqual(has_words.tolist(), [True, False, False])

  @parameterized.named_parameters(
    ('none', ''), ('no_folder', '/no/such/folder'), ('empty_folder', None)
  )
  def test_missing_pictures(self, path):
    if path is None:
      path = self.create_tempdir().full_path
    for level in (
      'psychlab_arbitrary_visuomotor_mapping',
      'psychlab_continuous_recognition',
    ):
      with self.assertRaisesRegex(
        UserError, f'{level} .*--dataset_path={path} lacks 0001.png'
      ):
        self.make('rooms_watermaze', level, dataset_path=path)

  def test_coloured_squares(self):
    self.make('psychlab_continuous_recognition', dataset_path='dummy')

  def test_pictures_are_all_there(self):
    folder = pathlib.Path(self.create_tempdir().full_path)
    for number in range(1, 2401):
      (folder / f'{number:04d}.png').touch()
    level = 'psychlab_arbitrary_visuomotor_mapping'
    self.make(level, dataset_path=str(folder))
    (folder / '2400.png').unlink()
    with self.assertRaisesRegex(UserError, f'={folder} lacks 2400.png: '):
      self.make(level, dataset_path=str(folder))

  def test_readme_says_how_many_levels_compile_maps(self):
    # As in runs of the real engine: of 15, and the 4 of language.
    from deepmind_lab import COMPILED

    compiling = [level for level in LEVEL_MAPPING if level.startswith(COMPILED)]
    self.assertLen(compiling, 19)
    readme = (pathlib.Path(__file__).parents[3] / 'README.md').read_text()
    self.assertIn('19 of the 30 levels compile', ' '.join(readme.split()))


if __name__ == '__main__':
  absltest.main()
