"""Published aggregates follow from published scores, or are known not to."""

import numpy as np
from absl.testing import absltest, parameterized

from core.suites import dmlab as dmlab30
from core.suites import scores
from experiments.tables import published
from tests.published_rows import MEAN, MEDIAN, atari57, column

LEVELS = tuple(dmlab30.LEVEL_MAPPING.values())


def normalized(returns, suite, random=None):
  """Returns the scores of mean returns, percent, in the order of `returns`."""
  returns = {task: [value] for task, value in returns.items()}
  random = suite.RANDOM_SCORES if random is None else random
  return scores.task_scores(returns, list(returns), random, suite.HUMAN_SCORES)


class ImpalaTest(parameterized.TestCase):
  def table_4(self, row, statistic):
    (value,) = column('impala', 'Table 4', row, statistic).values()
    return value

  @parameterized.named_parameters(
    ('multi_task', 'IMPALA (deep, multi-task)', 'IMPALA, deep, multi-task', 1),
    ('shallow', 'IMPALA (shallow)', 'IMPALA, shallow, experts', 1),
    ('deep', 'IMPALA (deep)', 'IMPALA, deep, experts', 1),
    ('reactor', 'The Reactor', 'Reactor, experts', 0),
  )
  def test_medians_of_table_4_follow_from_table_c1(self, row, agent, digits):
    games = normalized(column('impala', 'Table C.1', row), atari57)
    self.assertEqual(
      round(np.median(games), digits), self.table_4(agent, MEDIAN)
    )

  @parameterized.named_parameters(
    (
      'multi_task',
      'IMPALA (deep, multi-task)',
      'IMPALA, deep, multi-task',
      179.4,
    ),
    ('shallow', 'IMPALA (shallow)', 'IMPALA, shallow, experts', 707.4),
    ('deep', 'IMPALA (deep)', 'IMPALA, deep, experts', 1592.5),
  )
  def test_means_of_table_4_do_not(self, row, agent, recomputed):
    returns = column('impala', 'Table C.1', row)
    printed = self.table_4(agent, MEAN)
    mean = normalized(returns, atari57).mean()
    self.assertEqual(round(mean, 1), recomputed)
    self.assertGreater(mean - printed, 2)
    # Nearly so with a random score of 0 for one game.
    random = atari57.RANDOM_SCORES | {'video_pinball': 0.0}
    mean = normalized(returns, atari57, random).mean()
    self.assertAlmostEqual(mean, printed, delta=0.4)

  @parameterized.named_parameters(
    ('experts', 'Experts', 'IMPALA-Experts, deep', 45.7),
    ('impala', 'IMPALA', 'IMPALA, deep, PBT', 50.1),
  )
  def test_table_b1_follows_from_its_own_lasertag_pairs(self, row, agent, code):
    returns = column('impala', 'Table B.1', row)
    human = column('impala', 'Table B.1', 'Human h')
    random = column('impala', 'Table B.1', 'Random r')
    (printed,) = column('impala', 'Table B.1', row, MEAN).values()
    of_table_3 = column('impala', 'Table 3', agent, MEAN)
    self.assertEqual(of_table_3, {'dmlab30': printed})
    own = scores.task_scores(
      {level: [value] for level, value in returns.items()},
      LEVELS,
      random,
      human,
    )
    # Returns and references are rounded to 0.1.
    self.assertAlmostEqual(np.minimum(own, 100).mean(), printed, delta=0.1)
    released = dmlab30.compute_human_normalized_score(
      {level: [value] for level, value in returns.items()}, 100
    )
    self.assertEqual(round(released, 1), code)
    self.assertGreater(released - printed, 0.5)

  def test_only_lasertag_is_permuted(self):
    human = column('impala', 'Table B.1', 'Human h')
    random = column('impala', 'Table B.1', 'Random r')
    lasertag = [level for level in LEVELS if level.startswith('lasertag')]
    self.assertLen(lasertag, 4)
    for level in set(LEVELS) - set(lasertag):
      self.assertAlmostEqual(
        human[level], dmlab30.HUMAN_SCORES[level], delta=0.051, msg=level
      )
      self.assertAlmostEqual(
        random[level], dmlab30.RANDOM_SCORES[level], delta=0.051, msg=level
      )
    np.testing.assert_allclose(
      sorted(human[level] for level in lasertag),
      sorted(dmlab30.HUMAN_SCORES[level] for level in lasertag),
      atol=0.051,
    )
    for level in lasertag:
      self.assertGreater(
        abs(random[level] - dmlab30.RANDOM_SCORES[level]), 0.051, level
      )

  @parameterized.named_parameters(
    ('experts', 'Table B.1', 'Experts', 'IMPALA, deep-experts', None),
    ('shallow', 'R2D2 Table 3', *['IMPALA, shallow (rerun)'] * 2, None),
    ('deep', 'R2D2 Table 3', *['IMPALA, deep (rerun)'] * 2, 102.1),
  )
  def test_r2d2_follows_from_the_codes_references(
    self, item, row, agent, recomputed
  ):
    levels = normalized(column('impala', item, row), dmlab30)
    (median,) = column('impala', 'R2D2 Table 1', agent, MEDIAN).values()
    (mean,) = column('impala', 'R2D2 Table 1', agent, MEAN).values()
    self.assertAlmostEqual(np.minimum(levels, 100).mean(), mean, delta=0.1)
    if recomputed is None:
      self.assertAlmostEqual(np.median(levels), median, delta=0.1)
    else:
      self.assertEqual(round(np.median(levels), 1), recomputed)
      self.assertGreater(median - recomputed, 5)


class OtherPapersTest(parameterized.TestCase):
  @parameterized.parameters('Human', 'SimPLe', 'DER', 'SPR', 'DrQ', 'Ours (MT)')
  def test_brc_mean_follows_from_the_games(self, row):
    games = normalized(column('brc', 'Atari 100k table', row), atari57)
    printed = column('brc', 'Atari 100k table', row, 'mean human-normalised')
    self.assertEqual({'atari26': round(games.mean() / 100, 3)}, printed)

  def test_brc_single_task_mean_does_not_for_a_duplicate_entry(self):
    returns = column('brc', 'Atari 100k table', 'Ours (ST)')
    printed = column(
      'brc', 'Atari 100k table', 'Ours (ST)', 'mean human-normalised'
    )
    self.assertEqual(printed, {'atari26': 0.667})
    self.assertEqual(returns['ms_pacman'], returns['kung_fu_master'])
    mean = normalized(returns, atari57).mean() / 100
    self.assertEqual(round(mean, 3), 0.694)
    mean = normalized(returns | {'ms_pacman': 1650.0}, atari57).mean() / 100
    self.assertEqual(round(mean, 3), 0.667)

  def test_brc_human_scores_are_ours_and_prls_are_not(self):
    human = column('brc', 'Atari 100k table', 'Human')
    for game, value in human.items():
      self.assertEqual(value, atari57.HUMAN_SCORES[game], game)
    for game, value in column('prl', 'Table 3', 'Human score').items():
      self.assertNotEqual(value, atari57.HUMAN_SCORES[game], game)

  @parameterized.parameters('BRC (multi-task)', 'BRC (single-task)')
  def test_brc_aggregates_follow_from_tasks_and_end_the_curves(self, row):
    final = column(
      'brc', 'Figure 1', row, 'mean normalised score', protocol='final'
    )
    returns = column('brc', 'Appendix G', row, protocol='final')
    hb = 'HumanoidBench normalisation table'
    low = column('brc', hb, 'Random Score')
    high = column('brc', hb, 'Optimal Score')
    humanoid = [
      (value - low[task]) / (high[task] - low[task])
      for task, value in returns.items()
      if task in low
    ]
    control = [v / 1000 for task, v in returns.items() if task not in low]
    self.assertEqual((len(control), len(humanoid)), (7, 9))
    self.assertAlmostEqual(np.mean(control), final['control:hard'], delta=1e-3)
    medium = final['humanoidbench:medium']
    self.assertAlmostEqual(np.mean(humanoid), medium, delta=1e-3)
    curves = published.select('brc', 'Appendix G')
    curves = curves[
      (curves['row'] == row) & (curves.protocol == 'training curve')
    ]
    for task, curve in curves.groupby('task'):
      self.assertTrue(curve.frames.is_monotonic_increasing)
      if len(curve) == 10:
        self.assertEqual(curve.value.iloc[-1], final[task])

  def test_popart_takes_impalas_score_of_57_games(self):
    row = column('popart', 'Table 1', 'IMPALA', MEDIAN, protocol='1-30 no-ops')
    table_4 = column('impala', 'Table 4', 'IMPALA, deep, multi-task', MEDIAN)
    self.assertEqual(row['atari57'], table_4['atari57'])

  def test_prl_beats_random_play_as_the_text_says(self):
    ours = column('prl', 'Table 3', 'PRL Iteration 2')
    random = column('prl', 'Table 3', 'Random')
    text = published.select('prl', 'Text')
    least = text[text.statistic.str.contains('at least')].value.item()
    for game in ('breakout', 'demon_attack'):
      self.assertGreater(ours[game] / random[game], least)

  def test_self_tuning_costs_what_the_text_says(self):
    text = published.select('stacx', 'Text')
    table = text[text.statistic.str.startswith('run time')].set_index('row')
    more = text[text.statistic.str.startswith('% more')].value.item()
    minutes = table.value
    ratios = [
      minutes['STAC'] / minutes['IMPALA'],
      minutes['STACX'] / minutes['IMPALA Aux'],
    ]
    np.testing.assert_allclose(ratios, 1 + more / 100, atol=0.03)


if __name__ == '__main__':
  absltest.main()
