"""Published numbers beside recorded runs: statistics, refusals, bad input."""

import os
import shutil

import numpy as np
from absl.testing import absltest, parameterized

from core.errors import UserError
from core.suites import dmlab as dmlab30
from experiments.runs import recorded
from experiments.tables import comparison, layout, published
from tests.experiments import fake_runs
from tests.published_rows import atari57

SHALLOW = ('impala', 'Table C.1', 'IMPALA (shallow)')
DEEP = ('impala', 'Table C.1', 'IMPALA (deep)')
POPART = ('popart', 'Table 1', 'PopArt-IMPALA')
BRC = ('brc', 'Figure 1', 'BRC (multi-task)')
HEADER = 'paper,item,row,task,results'


class ComparisonTestCase(parameterized.TestCase):
  """Has a folder of results and one of published numbers with a runs.csv."""

  def setUp(self):
    super().setUp()
    self.results = self.create_tempdir().full_path
    self.reference = self.create_tempdir().full_path
    for paper in published.PAPERS:
      shutil.copy(f'{published.FOLDER}/{paper}.csv', self.reference)
    self.connect()

  def connect(self, *lines: tuple[tuple[str, str, str], str, str]) -> None:
    """Writes runs.csv; a line is (published row, task, results)."""
    table = [[*row, task, name] for row, task, name in lines]
    path = os.path.join(self.reference, 'runs.csv')
    fake_runs.write_csv(path, HEADER.split(','), table)

  def record(self, name: str, returns: dict, **arguments) -> str:
    return fake_runs.write_recorded(self.results, name, returns, **arguments)

  def compare(self, paper: str, item: str, row: str | None = None):
    return comparison.compare(paper, item, row, self.reference, self.results)

  def ours(
    self, row: tuple[str, str, str], task: str, protocol: str = '1-30 no-ops'
  ):
    """Returns what stands beside one published number."""
    found = [
      line.ours
      for line in self.compare(*row)
      if (line.published.task, line.published.protocol) == (task, protocol)
    ]
    self.assertLen(found, 1)
    return found[0]


class StatisticTest(ComparisonTestCase):
  def test_without_a_run_nothing_is_said(self):
    lines = self.compare('impala', 'Table C.1')
    self.assertLen(lines, len(published.select('impala', 'Table C.1')))
    self.assertEqual({x.ours.status for x in lines}, {'not run at this scale'})
    self.assertTrue(all(np.isnan(line.ours.value) for line in lines))

  def test_interval_is_over_seeds_where_there_are_several(self):
    self.connect((SHALLOW, 'pong', 'impala/a'))
    self.record('impala/a', {'pong': [1.0, 3.0]}, seed=1)
    self.record('impala/a', {'pong': [4.0, 4.0]}, seed=2)
    self.record('impala/a', {'pong': [-6.0, 0.0]}, seed=10)
    ours = self.ours(SHALLOW, 'pong')
    self.assertEqual((ours.status, ours.name), ('run', 'impala/a'))
    self.assertAlmostEqual(ours.value, (2 + 4 - 3) / 3)
    self.assertEqual((ours.low, ours.high), (-3.0, 4.0))
    self.assertEqual(
      [result.seed_name for result in ours.whole],
      ['seed_1', 'seed_2', 'seed_10'],
    )

  def test_interval_is_over_episodes_of_a_single_seed(self):
    self.connect((SHALLOW, 'pong', 'impala/a'))
    self.record('impala/a', {'pong': list(range(100))})
    ours = self.ours(SHALLOW, 'pong')
    self.assertEqual(ours.value, 49.5)
    half = 1.96 * np.arange(100).std() / 10
    self.assertBetween(ours.low, 49.5 - 1.1 * half, 49.5 - 0.9 * half)
    self.assertBetween(ours.high, 49.5 + 0.9 * half, 49.5 + 1.1 * half)

  def test_one_episode_has_no_interval(self):
    self.connect((SHALLOW, 'pong', 'impala/a'))
    self.record('impala/a', {'pong': [5.0]})
    line = [x for x in self.compare(*SHALLOW) if x.ours.name][0]
    self.assertEqual(layout.format_ours(line, 2), '5.00')

  def test_a_median_over_fewer_tasks_says_how_many(self):
    self.connect((POPART, 'atari57_unclipped', 'popart/a'))
    percent = {'pong': 10.0, 'breakout': 50.0, 'qbert': -30.0}
    returns = {}
    for task, score in percent.items():
      low, high = atari57.RANDOM_SCORES[task], atari57.HUMAN_SCORES[task]
      mean = low + score / 100 * (high - low)
      returns[task] = [mean - 1, mean + 1]
    self.record('popart/a', returns)
    ours = self.ours(POPART, 'atari57_unclipped')
    self.assertAlmostEqual(ours.value, 10.0)
    self.assertCountEqual(ours.tasks, percent)
    self.assertEqual(ours.num_tasks, 57)
    line = [x for x in self.compare(*POPART) if x.ours.status == 'run'][0]
    self.assertEndsWith(layout.format_ours(line, 1), ', 3 of 57 tasks')

  def test_a_score_is_capped_per_task_and_seed(self):
    self.connect((POPART, 'dmlab30', 'popart/a'))
    random = dmlab30.RANDOM_SCORES['rooms_keys_doors_puzzle']
    returns = {
      'rooms_watermaze': [4.0, 154.0],
      'rooms_keys_doors_puzzle': 2 * [random],
    }
    self.record('popart/a', returns, line=fake_runs.LAB)
    ours = self.ours(POPART, 'dmlab30', 'test levels, capped at 100')
    self.assertAlmostEqual(ours.value, 50.0)
    self.assertTrue(np.isnan(ours.low))
    low = dmlab30.RANDOM_SCORES['rooms_watermaze']
    seed = {**returns, 'rooms_watermaze': [low, low]}
    self.record('popart/a', seed, line=fake_runs.LAB, seed=2)
    ours = self.ours(POPART, 'dmlab30', 'test levels, capped at 100')
    self.assertAlmostEqual(ours.value, 25.0)

  def test_a_set_of_tasks_by_its_own_scores(self):
    self.connect((BRC, 'humanoidbench:medium', 'brc/a'))
    # 5 % and 25 % of the way from random play to success.
    returns = {
      'humanoidbench:h1-walk': [2.377 + 0.05 * 697.623] * 2,
      'humanoidbench:h1-maze': [106.441, 106.441 + 0.5 * 1093.559],
      'humanoidbench:h1-reach': [1000.0, 1000.0],  # Not in the set.
    }
    self.record('brc/a', returns, line='whole episodes')
    ours = self.ours(BRC, 'humanoidbench:medium', 'final')
    self.assertAlmostEqual(ours.value, 0.15)
    self.assertBetween(ours.low, 0.0, 0.15)
    self.assertBetween(ours.high, 0.15, 0.3)
    self.assertEqual((len(ours.tasks), ours.num_tasks), (2, 9))

  def test_a_set_of_tasks_that_can_succeed(self):
    self.connect((BRC, 'metaworld', 'brc/a'))
    returns = {
      'metaworld:reach': [1000.0] * 4,
      'metaworld:hammer': [2000.0] * 4,
    }
    folder = self.record('brc/a', returns, line='whole episodes')
    ours = self.ours(BRC, 'metaworld', 'final')
    self.assertEqual(ours.status, 'not measured')
    path = os.path.join(folder, 'evaluation.csv')
    header, *rows = fake_runs.read_text(path).splitlines()
    successes = [1, 1, 0, 1, 0, 0, 0, 1]
    pairs = zip(rows, successes, strict=True)
    lines = [f'{header},success', *(f'{row},{done}' for row, done in pairs)]
    fake_runs.write_text(path, '\n'.join([*lines, '']))
    ours = self.ours(BRC, 'metaworld', 'final')
    self.assertAlmostEqual(ours.value, 0.5)
    self.assertEqual((len(ours.tasks), ours.num_tasks), (2, 50))

  @parameterized.parameters(
    ('atari57', 'human starts', fake_runs.ATARI),
    ('atari57', '1-30 no-ops', fake_runs.ATARI.replace('1-30', '1-3')),
    ('dmlab30', 'training levels, capped at 100', fake_runs.LAB),
  )
  def test_another_protocol_does_not_count(self, task, protocol, line):
    self.connect((POPART, task, 'popart/a'))
    tested = 'pong' if task == 'atari57' else 'rooms_watermaze'
    self.record('popart/a', {tested: [1.0, 2.0]}, line=line)
    ours = self.ours(POPART, task, protocol)
    self.assertEqual(ours.status, 'not run in this protocol')
    self.assertTrue(np.isnan(ours.value))

  def test_what_we_do_not_compute_is_not_measured(self):
    row = ('popart', 'Figure 3', 'PopArt-IMPALA')
    self.connect((row, 'crazy_climber', 'popart/a'))
    self.record('popart/a', {'crazy_climber': [1.0]})
    ours = [line.ours for line in self.compare(*row)]
    self.assertEqual(
      [x.status for x in ours], ['not measured', 'not run at this scale']
    )


class IncompleteTest(ComparisonTestCase):
  def setUp(self):
    super().setUp()
    self.connect((SHALLOW, 'pong', 'impala/a'))
    self.record('impala/a', {'pong': [1.0, 3.0]}, seed=1)

  def check(self, reason):
    """Checks that seed 2 is marked with a reason and not averaged."""
    lines = self.compare(*SHALLOW)
    line = [line for line in lines if line.ours.name][0]
    self.assertEqual(line.ours.value, 2.0)
    self.assertEqual(layout.format_seeds(line), '1 (seed_2 incomplete)')
    self.assertIn(
      f'impala/a/seed_2 is incomplete ({reason}) and not averaged.',
      layout.make_page(lines).texts,
    )
    row = layout.csv_rows([line])[0]
    self.assertEqual((row['num_seeds'], row['incomplete']), (1, 'seed_2'))

  def test_training_ended_early(self):
    returns = {'pong': [99.0, 99.0]}
    config = {'stop_frames': 51_200_000}
    self.record('impala/a', returns, seed=2, config=config)
    self.check('5.12M of 51.2M')

  @parameterized.parameters(
    ('run.json', 'no run.json'),
    ('updates.csv.gz', '0 of 5.12M'),
    ('evaluation.csv', 'not tested'),
  )
  def test_a_file_is_missing(self, name, reason):
    folder = self.record('impala/a', {'pong': [99.0, 99.0]}, seed=2)
    os.remove(os.path.join(folder, name))
    if name == 'updates.csv.gz':
      os.remove(os.path.join(folder, 'episodes.csv.gz'))
    self.check(reason)

  def test_a_task_was_not_tested(self):
    config = {'level_name': 'pong,breakout'}
    self.record('impala/a', {'pong': [99.0]}, seed=2, config=config)
    self.check('1 of 2 tasks tested')

  def test_a_test_was_broken_off(self):
    self.record('impala/a', {'pong': [9.0, 9.0], 'qbert': [9.0]}, seed=2)
    self.check('1 to 2 test episodes per task')

  def test_without_a_whole_run_there_is_no_number(self):
    shutil.rmtree(os.path.join(self.results, 'impala/a/seed_1'))
    config = {'stop_frames': 51_200_000}
    self.record('impala/a', {'pong': [9.0]}, seed=2, config=config)
    ours = self.ours(SHALLOW, 'pong')
    self.assertEqual(ours.status, 'incomplete')
    self.assertTrue(np.isnan(ours.value))


class RefusalTest(ComparisonTestCase):
  @parameterized.parameters(
    ('full_action_space: false', dict(protocol={'full_action_space': True})),
    ('ale-py: "0.12.1"', dict(versions={'ale-py': '0.13.0'})),
    ('test: ', {}),
  )
  def test_other_protocols_and_versions_do_not_share_a_table(
    self, field, changes
  ):
    self.connect((SHALLOW, 'pong', 'impala/a'), (DEEP, 'qbert', 'impala/b'))
    self.record('impala/a', {'pong': [1.0, 2.0]})
    line = fake_runs.ATARI.replace('sticky actions 0', 'sticky actions 1')
    line = fake_runs.ATARI if changes else line
    self.record('impala/b', {'qbert': [1.0, 2.0]}, line=line, **changes)
    with self.assertRaises(UserError) as caught:
      self.compare('impala', 'Table C.1')
    message = str(caught.exception)
    self.assertStartsWith(message, 'impala, Table C.1 (Atari, 1-30 no-ops): ')
    self.assertIn(field, message)
    self.assertIn('impala/a/seed_1', message)
    self.assertIn('impala/b/seed_1', message)
    self.assertEqual(message.count(': false') + message.count(': "'), 1)
    self.assertEqual(self.ours(SHALLOW, 'pong').value, 1.5)
    self.assertEqual(self.ours(DEEP, 'qbert').value, 1.5)

  def test_atari_and_lab_share_a_table(self):
    self.connect(
      (POPART, 'atari57', 'popart/a'), (POPART, 'dmlab30', 'popart/b')
    )
    self.record('popart/a', {'pong': [1.0, 2.0]})
    self.record(
      'popart/b',
      {'rooms_watermaze': [1.0, 2.0]},
      line=fake_runs.LAB,
      protocol={'action_set': 'popart'},
    )
    statuses = [line.ours.status for line in self.compare('popart', 'Table 1')]
    self.assertEqual(statuses.count('run'), 2)

  def test_seeds_that_learned_in_different_ways(self):
    self.connect((SHALLOW, 'pong', 'impala/a'))
    self.record('impala/a', {'pong': [1.0, 2.0]})
    config = {'learning_rate': 0.1, 'logdir': 'x', 'new': 1}
    self.record('impala/a', {'pong': [1.0, 2.0]}, seed=2, config=config)
    with self.assertRaisesRegex(
      UserError, r'differ in learning_rate: 0.0006 \(.*seed_1\), 0.1 \(.*seed_2'
    ):
      self.compare(*SHALLOW)

  def test_a_run_that_was_not_tested_on_the_task(self):
    self.connect((SHALLOW, 'pong', 'impala/a'))
    self.record('impala/a', {'qbert': [1.0, 2.0]})
    with self.assertRaisesRegex(UserError, 'impala/a was not tested on pong'):
      self.compare(*SHALLOW)


class ConnectionTest(ComparisonTestCase):
  @parameterized.parameters(
    ('paper,item,row,task,folder', 'runs.csv has no column results'),
    (HEADER + ',note', 'runs.csv, line 1: the columns must be'),
    (
      HEADER + '\nimpala,Table 9,a,b,c',
      'line 2: .*Table 9.* there are Table 1',
    ),
    (
      HEADER + '\nmuzero,Table 1,a,b,c',
      'line 2: unknown paper .*there are imp',
    ),
    (
      HEADER + '\nimpala,Table C.1,IMPALA (shallow),doom,x/y',
      "line 2: .*no row 'IMPALA .shallow.' with task 'doom'",
    ),
    (HEADER + '\nimpala,Table C.1,IMPALA (shallow),pong', 'runs.csv, line 2: '),
    (
      HEADER + 2 * '\nimpala,Table C.1,IMPALA (shallow),pong,x/y',
      'line 3: a line for the second time',
    ),
  )
  def test_malformed_connections(self, text, message):
    path = os.path.join(self.reference, 'runs.csv')
    fake_runs.write_text(path, text + '\n')
    with self.assertRaisesRegex(UserError, message):
      comparison.read_connections(self.reference)

  def test_results_that_do_not_exist(self):
    self.connect((SHALLOW, 'pong', 'impala/a'))
    with self.assertRaisesRegex(UserError, 'impala/a has no recorded run'):
      self.compare(*SHALLOW)

  def test_unknown_row(self):
    with self.assertRaisesRegex(UserError, 'no row .deep.; there are .*ACKTR'):
      self.compare('impala', 'Table C.1', 'deep')

  def test_committed_connections_lead_to_recorded_runs(self):
    root = os.path.dirname(os.path.dirname(published.FOLDER))
    names = recorded.names(os.path.join(root, recorded.RESULTS))
    connections = comparison.read_connections()
    self.assertNotEmpty(connections)
    for line in connections:
      self.assertIn(line.results, names)


if __name__ == '__main__':
  absltest.main()
