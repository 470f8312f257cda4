"""Tests of core/score_table.py."""

import io
import pathlib
import tempfile
import warnings

import numpy as np
import rich.console
from absl.testing import absltest, parameterized

from core import atari57, dmlab30, score_table
from core.errors import UserError

PUBLISHED = str(
  pathlib.Path(__file__).parents[2]
  / 'experiments/reference/atari57_published.csv'
)


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
  def test_line_of_a_task(self):
    rows = episodes('pong', -20.7, 14.6, 14.6)
    table = cells(score_table.score_markdown(rows, PUBLISHED))
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
        '8.6',
        '20.4',
        '21.0',
        '20.7',
      ],
    )

  def test_one_episode_has_no_standard_error(self):
    with warnings.catch_warnings():
      warnings.simplefilter('error')
      table = cells(score_table.score_markdown(episodes('pong', 14.6)))
    self.assertEqual(table['pong'], ['1', '14.6 ± -', '-20.7', '14.6', '100.0'])

  def test_aggregates_of_the_suite(self):
    random, human = atari57.RANDOM_SCORES, atari57.HUMAN_SCORES
    wanted = {'pong': 0.0, 'breakout': 1.0, 'alien': 0.2, 'qbert': 0.6}
    rows = []
    for task, part in wanted.items():
      rows += episodes(task, random[task] + part * (human[task] - random[task]))
    table = cells(score_table.score_markdown(rows))
    self.assertEqual(table['mean of 4'][-1], '45.0')
    self.assertEqual(table['median of 4'][-1], '40.0')
    self.assertEqual(table['iqm of 4'][-1], '40.0')

  def test_published_aggregates_of_all_games(self):
    rows = [e for game in atari57.GAMES for e in episodes(game, 0.0)]
    table = cells(score_table.score_markdown(rows, PUBLISHED))
    self.assertEqual(
      table['median of 57'][-4:], ['59.7', '93.2', '191.8', '186.8']
    )

  def test_levels_of_dmlab30(self):
    random, human = dmlab30.RANDOM_SCORES, dmlab30.HUMAN_SCORES
    parts = [-0.1] + 28 * [0.5] + [2.0]
    rows = []
    for level, part in zip(random, parts, strict=True):
      value = random[level] + part * (human[level] - random[level])
      rows += episodes(level, value)
    published = PUBLISHED.replace('atari57', 'dmlab30')
    text = score_table.score_markdown(rows, published)
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
    table = cells(score_table.score_markdown(rows, PUBLISHED))
    self.assertEqual(table['catch'], ['2', '1.0 ± 0.0', *['-'] * 7])
    self.assertEqual(table['mean of 1'][4], '100.0')

  def test_only_tasks_without_references(self):
    table = cells(score_table.score_markdown(episodes('catch', 1.0)))
    self.assertEqual(table['mean of 0'][-1], '-')

  def test_human_starts_have_their_own_references(self):
    rows = episodes('pong', 15.5, protocol='start states')
    text = score_table.score_markdown(rows, PUBLISHED, human_starts=True)
    self.assertEqual(
      cells(text)['pong'], ['1', '15.5 ± -', '-18.0', '15.5', '100.0']
    )
    self.assertIn('human starts', text)
    self.assertNotIn('reactor', text)

  def test_terminal_table_shows_the_same_and_the_protocol(self):
    rows = episodes('pong', 14.6, protocol='30 minutes') + episodes(
      'breakout', 1.7, protocol='30 minutes'
    )
    console = rich.console.Console(file=io.StringIO(), width=200)
    console.print(score_table.score_table(rows, PUBLISHED))
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

  @parameterized.named_parameters(
    ('no_task_column', 'game,a\npong,1\n'),
    ('no_number', 'task,a\npong,high\n'),
    ('empty', ''),
  )
  def test_malformed_published_file(self, text):
    path = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()), 'p')
    path.write_text(text)
    with self.assertRaisesRegex(UserError, 'is no table of published scores'):
      score_table.read_published(str(path))

  def test_value_that_was_not_published(self):
    path = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()), 'p')
    path.write_text('# Where from.\ntask,a,b\npong,1,\nqbert,2,3\n')
    self.assertEqual(
      score_table.read_published(str(path)),
      {'a': {'pong': 1.0, 'qbert': 2.0}, 'b': {'qbert': 3.0}},
    )

  def test_missing_published_file(self):
    with self.assertRaisesRegex(UserError, 'cannot read .*none.csv'):
      score_table.score_table(episodes('pong', 1.0), '/none.csv')

  def test_scores_are_numbers(self):
    (pong,) = score_table.score_tasks(episodes('pong', 0.0, 2.0))
    self.assertAlmostEqual(pong.mean, 1.0)
    self.assertAlmostEqual(pong.standard_error, np.sqrt(2.0) / np.sqrt(2))
    self.assertAlmostEqual(pong.normalized, 100 * 21.7 / 35.3)


if __name__ == '__main__':
  absltest.main()
