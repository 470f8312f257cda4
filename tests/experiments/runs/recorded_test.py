"""The schema of what is recorded."""

import os
import pathlib

from absl.testing import absltest, parameterized

from core.errors import UserError
from experiments.runs import recorded
from tests.experiments import fake_runs, folders

ROOT = pathlib.Path(__file__).resolve().parents[3]


class SchemaTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.results = self.create_tempdir().full_path
    self.folder = fake_runs.write_recorded(
      self.results, 'impala/a', {'pong': [1.0, 3.0]}
    )
    recorded.check(self.folder)

  def edit(self, name, old, new):
    path = os.path.join(self.folder, name)
    text = fake_runs.read_text(path)
    self.assertIn(old, text)
    fake_runs.write_text(path, text.replace(old, new, 1))

  @parameterized.parameters(
    'run.json', 'updates.csv.gz', 'episodes.csv.gz', 'evaluation.csv'
  )
  def test_every_file_is_needed(self, name):
    os.remove(os.path.join(self.folder, name))
    with self.assertRaisesRegex(UserError, f'seed_1: missing: {name}'):
      recorded.check(self.folder)

  def test_no_other_file_is_welcome(self):
    fake_runs.write_text(os.path.join(self.folder, 'checkpoint'), 'x')
    with self.assertRaisesRegex(UserError, 'not of the schema: checkpoint'):
      recorded.check(self.folder)

  @parameterized.parameters(
    ('run.json', '"command"', '"order"', 'run.json has no command'),
    ('run.json', '"cpu_cores"', '"cores"', 'run.json has no cpu_cores'),
    ('run.json', '"seed": 1', '"seed": 2', 'run.json has another seed'),
    ('run.json', '{', '[', 'cannot read .*seed_1/run.json: .*line 1'),
    (
      'updates.csv.gz',
      'wall_secs',
      'secs',
      'updates.csv.gz has no column wall',
    ),
    ('updates.csv.gz', '\n20,', '\n10,', 'updates.csv.gz: rows are missing'),
    ('updates.csv.gz', ',51200,', ',9999999,', 'updates.csv.gz: env_frames f'),
    ('episodes.csv.gz', 'pong', '', 'episodes.csv.gz, line 2: task is nan'),
    (
      'evaluation.csv',
      '3.0',
      'x',
      'seed_1/evaluation.csv, line 3: return is x',
    ),
    ('evaluation.csv', '3.0', '3.0,1,1,1', 'seed_1/evaluation.csv: .*line 3'),
  )
  def test_malformed_files_are_named(self, name, old, new, message):
    self.edit(name, old, new)
    with self.assertRaisesRegex(UserError, message):
      recorded.check(self.folder)

  def test_tables_name_file_and_line_too(self):
    self.edit('evaluation.csv', '1.0', 'nan')
    with self.assertRaisesRegex(UserError, 'evaluation.csv, line 2: return is'):
      _ = recorded.read('impala/a', self.results)[0].problem

  def test_other_shapes_are_listed_apart(self):
    folder = os.path.join(self.results, 'distral', 'figure_3')
    os.makedirs(folder)
    path = os.path.join(folder, 'info.json')
    fake_runs.write_text(path, '{"command": "a", "wall_secs": 1}')
    self.assertEqual(recorded.names(self.results), ['impala/a'])
    self.assertEqual(
      recorded.table_experiments(self.results), ['distral/figure_3']
    )
    with self.assertRaisesRegex(UserError, 'info.json has no hardware'):
      recorded.read_table_experiment('distral/figure_3', self.results)
    with self.assertRaisesRegex(UserError, 'figure_3 has no recorded run'):
      recorded.read('distral/figure_3', self.results)

  def test_folders_of_seeds_have_a_number(self):
    os.rename(self.folder, self.folder.replace('seed_1', 'seed_one'))
    with self.assertRaisesRegex(UserError, 'seed_one is not named seed_<n>'):
      recorded.read('impala/a', self.results)


class CommittedTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.enter_context(folders.working_in(ROOT))

  def test_every_recorded_run_is_of_the_schema(self):
    self.assertNotEmpty(recorded.names())
    for name in recorded.names():
      for run in recorded.read(name):
        with self.subTest(run.folder):
          recorded.check(run.folder)

  def test_every_table_experiment_names_its_command(self):
    for name in recorded.table_experiments():
      info = recorded.read_table_experiment(name)
      self.assertStartsWith(info['command'], 'python -m experiments.')


if __name__ == '__main__':
  absltest.main()
