"""Tests of core/evaluation/score_table.py."""

import collections
import io
import warnings
from unittest import mock

import numpy as np
import rich.console
from absl.testing import absltest, parameterized

from core.evaluation import score_table
from core.suites import atari, dmlab
from core.suites.tasks import reference

PUBLISHED = [
  *('The Reactor', 'IMPALA (deep, multi-task)'),
  *('IMPALA (shallow)', 'IMPALA (deep)'),
]
PUBLISHED_LEVELS = [
  *('Experts', 'IMPALA', 'IMPALA, shallow (rerun)', 'IMPALA, deep (rerun)')
]


def episodes(task, *returns, protocol='whole games'):
  return [
    {
      'task': task,
      'episode': i,
      'return': value,
      'length': 4,
      'protocol': protocol,
    }
    for i, value in enumerate(returns)
  ]


def cells(markdown):
  """Maps the first cell of each line to the others."""
  lines = [line for line in markdown.splitlines() if line.startswith('|')]
  rows = [[c.strip() for c in line.strip('|').split('|')] for line in lines]
  return {row[0]: row[1:] for row in rows}


class ScoreTableTest(parameterized.TestCase):
  def test_success_where_a_task_can(self):
    rows = []
    for task, successes in (('reach', [1, 0, 1, 1]), ('hammer', [0, 0])):
      played = episodes(f'metaworld:{task}', *[500.0] * len(successes))
      for row, success in zip(played, successes, strict=True):
        row['success'] = success
      rows += played
    rows += episodes('control:pendulum/spin', 1.0, 3.0)
    text = score_table.score_markdown(rows)
    table = cells(text)
    self.assertEqual(table['task'][5:], ['success %'])
    self.assertEqual(
      [table[task][-1] for task in dict.fromkeys(r['task'] for r in rows)],
      ['75.0', '0.0', '-'],
    )
    self.assertIn('; mean success % of 2: 37.5.', text)
    self.assertNotIn('success', score_table.score_markdown(rows[-2:]))

  def test_line_of_a_task(self):
    rows = episodes('pong', -20.7, 14.6, 14.6)
    table = cells(score_table.score_markdown(rows))
    self.assertEqual(
      table['task'][:5],
      ['episodes', 'return', 'random', 'human', 'normalised %'],
    )
    # Mean 2.833; standard error 35.3 / sqrt(3) / sqrt(3) = 11.77.
    self.assertEqual(
      table['pong'],
      [
        '3',
        '2.8 ± 11.8',
        '-20.7',
        '14.6',
        '66.7',
        *('20.7', '8.6', '20.4', '21.0'),
      ],
    )
    self.assertEqual(table['task'][5:], PUBLISHED)

  def test_one_episode_has_no_standard_error(self):
    with warnings.catch_warnings():
      warnings.simplefilter('error')
      table = cells(score_table.score_markdown(episodes('pong', 14.6)))
    self.assertEqual(
      table['pong'][:5], ['1', '14.6 ± -', '-20.7', '14.6', '100.0']
    )

  def test_aggregates_of_the_suite(self):
    wanted = {'pong': 0.0, 'breakout': 1.0, 'alien': 0.2, 'qbert': 0.6}
    rows = []
    for task, part in wanted.items():
      low, high, _ = reference(task)
      rows += episodes(task, low + part * (high - low))
    table = cells(score_table.score_markdown(rows))
    self.assertEqual(table['mean of 4'][4], '45.0')
    self.assertEqual(table['median of 4'][4], '40.0')
    self.assertEqual(table['iqm of 4'][4], '40.0')

  def test_published_aggregates_of_all_games(self):
    rows = [e for game in atari.GAMES for e in episodes(game, 0.0)]
    table = cells(score_table.score_markdown(rows))
    self.assertEqual(
      table['median of 57'][5:], ['186.8', '59.7', '93.2', '191.8']
    )

  def test_levels_of_dmlab30(self):
    random, human = dmlab.RANDOM_SCORES, dmlab.HUMAN_SCORES
    parts = [-0.1] + 28 * [0.5] + [2.0]
    rows = []
    for level, part in zip(random, parts, strict=True):
      value = random[level] + part * (human[level] - random[level])
      rows += episodes(level, value)
    text = score_table.score_markdown(rows)
    table = cells(text)
    self.assertEqual(
      table['rooms_collect_good_objects_test'],
      ['1', '-0.9 ± -', '0.1', '10.0', '-10.0', '9.0', '5.8', '10.0', '10.0'],
    )
    self.assertEqual(table['mean of 30'][4], '53.0')  # (-10 + 28 50 + 200) / 30
    self.assertEqual(table['median of 30'][4], '50.0')
    self.assertEqual(
      table['capped mean of 30'][4:], ['49.7', '45.7', '50.1', '73.6', '85.1']
    )
    self.assertIn("reference scores: DMLab-30's", text)

  def test_only_dmlab30_is_capped(self):
    table = cells(score_table.score_markdown(episodes('pong', 14.6)))
    self.assertNotIn('capped mean of 1', table)

  def test_one_task_needs_no_iqm(self):
    table = cells(score_table.score_markdown(episodes('pong', 14.6)))
    self.assertIn('median of 1', table)
    self.assertNotIn('iqm of 1', table)

  def test_task_without_references(self):
    rows = episodes('catch', 1.0, 1.0) + episodes('pong', 14.6)
    table = cells(score_table.score_markdown(rows))
    self.assertEqual(table['catch'], ['2', '1.0 ± 0.0', *['-'] * 7])
    self.assertEqual(table['mean of 1'][4], '100.0')

  def test_only_tasks_without_references(self):
    table = cells(score_table.score_markdown(episodes('catch', 1.0)))
    self.assertEqual(list(table), ['task', '---', 'catch'])

  def test_human_starts_have_their_own_references(self):
    rows = episodes('pong', 15.5, protocol='start states')
    text = score_table.score_markdown(rows, human_starts=True)
    self.assertEqual(
      cells(text)['pong'], ['1', '15.5 ± -', '-18.0', '15.5', '100.0']
    )
    self.assertIn('human starts', text)
    self.assertNotIn('Reactor', text)

  def test_terminal_table_shows_the_same_and_the_protocol(self):
    rows = episodes('pong', 14.6, protocol='30 minutes') + episodes(
      'breakout', 1.7, protocol='30 minutes'
    )
    console = rich.console.Console(file=io.StringIO(), width=200)
    console.print(score_table.score_table(rows))
    text = console.file.getvalue()
    for part in (
      '30 minutes. Mean raw return',
      '1-30 no-ops',
      '100.0',
      '787.3',
      'iqm of 2',
    ):
      self.assertIn(part, text)
    self.assertEqual(text.count('30 minutes'), 1)

  @parameterized.product(
    width=(60, 80, 100, 140, 200),
    tasks=(
      ('pong',),
      ('crazy_climber', 'pong', 'montezuma_revenge'),
      ('rooms_collect_good_objects_test', 'rooms_watermaze'),
      ('video_pinball', 'rooms_collect_good_objects_test', 'catch'),
    ),
  )
  def test_every_number_stands_whole_in_a_terminal(self, width, tasks):
    rows = [row for task in tasks for row in episodes(task, 2.0, 123_456.7)]
    console = rich.console.Console(file=io.StringIO(), width=width)
    console.print(score_table.score_table(rows, width=width))
    lines = console.file.getvalue().splitlines()
    self.assertLessEqual(max(map(len, lines)), width)
    self.assertNotIn('…', console.file.getvalue())
    found = collections.Counter(word for line in lines for word in line.split())
    table = cells(score_table.score_markdown(rows))
    for name, numbers in table.items():
      for cell in numbers if name not in ('task', '---') else ():
        for word in cell.split():
          self.assertGreater(found[word], 0, (name, word))
          found[word] -= 1
    for word in ('task', 'episodes', 'return', 'random', 'normalised'):
      self.assertGreater(found[word], 0, word)

  def test_a_narrow_terminal_has_the_published_columns_below(self):
    rows = episodes('pong', 14.6)
    for width, num_tables in ((80, 2), (160, 1)):
      console = rich.console.Console(file=io.StringIO(), width=width)
      console.print(score_table.score_table(rows, width=width))
      text = console.file.getvalue()
      self.assertEqual(text.count('pong'), num_tables)
      self.assertEqual(text.count('whole games'), 1)

  def test_value_that_was_not_published(self):
    # An aggregate of the other games would not compare.
    rows = episodes('pong', 14.6) + episodes('venture', 1187.5)
    published = {'A': {'pong': 20.9}, 'B': {'pong': 20.7, 'venture': 1597.5}}
    with mock.patch.object(atari.Atari, 'published', return_value=published):
      table = cells(score_table.score_markdown(rows))
    self.assertEqual(table['task'][5:], ['A', 'B'])
    self.assertEqual(table['venture'][4:7], ['100.0', '-', '1,597.5'])
    self.assertEqual(table['mean of 2'][4:6], ['100.0', '-'])
    self.assertNotEqual(table['mean of 2'][6], '-')

  def test_columns_without_any_of_the_tasks_are_left_out(self):
    rows = episodes('catch', 1.0) + episodes('pong', 14.6)
    table = cells(score_table.score_markdown(rows))
    self.assertEqual(table['task'][5:], PUBLISHED)
    table = cells(score_table.score_markdown(episodes('catch', 1.0)))
    self.assertLen(table['task'], 5)

  def test_two_suites_side_by_side(self):
    rows = episodes('pong', 14.6) + episodes('rooms_watermaze', 54.0)
    text = score_table.score_markdown(rows)
    table = cells(text)
    self.assertEqual(table['task'][5:], [*PUBLISHED, *PUBLISHED_LEVELS])
    self.assertEqual(table['pong'][4:6], ['100.0', '20.7'])
    self.assertEqual(
      table['rooms_watermaze'][4:10], ['100.0', *['-'] * 4, '26.9']
    )
    self.assertEqual(table['mean of 2'][4:], ['100.0', *['-'] * 8])
    self.assertIn("reference scores: 1-30 no-ops, DMLab-30's;", text)

  def test_methods_of_one_name_in_two_suites_stay_apart(self):
    rows = episodes('pong', 14.6) + episodes('rooms_watermaze', 54.0)
    with (
      mock.patch.object(
        atari.Atari, 'published', return_value={'A': {'pong': 20.9}}
      ),
      mock.patch.object(
        dmlab.DmLab,
        'published',
        return_value={'A': {'rooms_watermaze': 26.9}, 'B': {'pong': 1.0}},
      ),
    ):
      table = cells(score_table.score_markdown(rows))
    suites = [f'A, {s.title}' for s in (atari.Atari, dmlab.DmLab)]
    self.assertEqual(table['task'][5:], [*suites, 'B'])
    self.assertEqual(table['pong'][5:], ['20.9', '-', '1.0'])
    self.assertEqual(table['rooms_watermaze'][5:], ['-', '26.9', '-'])
    self.assertEqual(table['mean of 2'][5:], ['-', '-', '-'])

  def test_scores_are_numbers(self):
    (pong,) = score_table.score_tasks(episodes('pong', 0.0, 2.0))
    self.assertAlmostEqual(pong.mean, 1.0)
    self.assertAlmostEqual(pong.standard_error, np.sqrt(2.0) / np.sqrt(2))
    self.assertAlmostEqual(pong.normalized, 100 * 21.7 / 35.3)


if __name__ == '__main__':
  absltest.main()
