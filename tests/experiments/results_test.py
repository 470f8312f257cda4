"""Curves, recording of runs, and the schema of what is recorded."""

import csv
import gzip
import os

import numpy as np
from absl.testing import absltest, parameterized

from core.errors import UserError
from experiments import curves, record, recorded
from tests.experiments import recorded_runs

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))


def write_run(folder, task='pong', num_episodes=250):
  """Writes the episodes of a run whose returns rise from -21 to 21."""
  os.makedirs(folder, exist_ok=True)
  with open(os.path.join(folder, 'episodes.csv'), 'w', newline='') as file:
    rows = csv.writer(file)
    rows.writerow(
      ['env_frames', 'task', 'episode_return', 'episode_length', 'wall_secs']
    )
    for i, value in enumerate(np.linspace(-21, 21, num_episodes)):
      rows.writerow([4000 * i, task, round(value, 3), 4000, i])


def write_logdir():
  """Writes a logdir 'run' as training and testing leave it."""
  folder = recorded_runs.write('.', 'impala/a', {'pong': [1.0, 3.0]})
  os.rename(folder, 'run')
  for name in ('updates', 'episodes'):
    text = recorded_runs.read_text(f'run/{name}.csv.gz')
    recorded_runs.write_text(f'run/{name}.csv', text)
    os.remove(f'run/{name}.csv.gz')
  write_run('run')


class CurvesTest(absltest.TestCase):
  def test_draws_a_picture_of_every_task(self):
    folder = self.create_tempdir().full_path
    write_run(folder)
    out = os.path.join(folder, 'curve.png')
    curves.draw([folder], out)
    with open(out, 'rb') as file:
      self.assertEqual(file.read(8), b'\x89PNG\r\n\x1a\n')

  def test_last_episodes_are_the_last_hundred(self):
    folder = self.create_tempdir().full_path
    write_run(folder)
    mean, error, count = curves.last_episodes(
      curves.read_episodes(folder), 'pong'
    )
    returns = np.round(np.linspace(-21, 21, 250), 3)[-100:]
    self.assertEqual(count, 100)
    self.assertAlmostEqual(mean, returns.mean(), places=5)
    self.assertAlmostEqual(error, returns.std(ddof=1) / 10, places=5)

  def test_missing_and_malformed_runs_are_named(self):
    folder = self.create_tempdir().full_path
    with self.assertRaisesRegex(UserError, f'no episodes.csv in {folder}'):
      curves.read_episodes(folder)
    with open(os.path.join(folder, 'episodes.csv'), 'w') as file:
      file.write('a,b\n1,2\n')
    with self.assertRaisesRegex(UserError, 'has no column'):
      curves.read_episodes(folder)


class RecordTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.enter_context(_directory(self.create_tempdir().full_path))
    write_logdir()

  def test_records_the_same_rows_and_the_same_bytes(self):
    folder = record.record('run', 'impala/table_c1_shallow/seed_1')
    path = os.path.join(folder, 'episodes.csv.gz')
    with gzip.open(path, 'rt') as file, open('run/episodes.csv') as original:
      self.assertEqual(file.read(), original.read())
    with open(path, 'rb') as file:
      first = file.read()
    record.record('run', 'impala/table_c1_shallow/seed_1')
    with open(path, 'rb') as file:
      self.assertEqual(file.read(), first)
    self.assertTrue(os.path.exists(os.path.join(folder, 'curve.png')))

  def test_what_is_recorded_is_of_the_schema(self):
    for bin_frames in (0, 100_000):
      row = f'impala/bins_{bin_frames}'
      recorded.check(record.record('run', f'{row}/seed_1', bin_frames))
      (result,) = recorded.read(row)
      self.assertEqual(result.problem, '')
      self.assertEqual(result.run.frames, 5_120_000)
      self.assertEqual(result.wall_secs, 5120.0)
      self.assertEqual(result.evaluation['return'].tolist(), [1.0, 3.0])

  def test_an_untested_run_is_refused(self):
    os.remove('run/evaluation.csv')
    with self.assertRaisesRegex(UserError, 'evaluation.csv is missing'):
      record.record('run', 'impala/table_c1_shallow/seed_1')


class SchemaTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.results = self.create_tempdir().full_path
    self.folder = recorded_runs.write(
      self.results, 'impala/a', {'pong': [1.0, 3.0]}
    )
    recorded.check(self.folder)

  def edit(self, name, old, new):
    path = os.path.join(self.folder, name)
    text = recorded_runs.read_text(path)
    self.assertIn(old, text)
    recorded_runs.write_text(path, text.replace(old, new, 1))

  @parameterized.parameters(
    'run.json', 'updates.csv.gz', 'episodes.csv.gz', 'evaluation.csv'
  )
  def test_every_file_is_needed(self, name):
    os.remove(os.path.join(self.folder, name))
    with self.assertRaisesRegex(UserError, f'seed_1: missing: {name}'):
      recorded.check(self.folder)

  def test_no_other_file_is_welcome(self):
    recorded_runs.write_text(os.path.join(self.folder, 'checkpoint'), 'x')
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
      recorded.read('impala/a', self.results)

  def test_other_shapes_are_listed_apart(self):
    folder = os.path.join(self.results, 'distral', 'figure_3')
    os.makedirs(folder)
    path = os.path.join(folder, 'info.json')
    recorded_runs.write_text(path, '{"command": "a", "wall_secs": 1}')
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
    self.enter_context(_directory(ROOT))

  def test_every_recorded_run_is_of_the_schema(self):
    self.assertNotEmpty(recorded.names())
    for name in recorded.names():
      for result in recorded.read(name):
        with self.subTest(result.run.folder):
          recorded.check(result.run.folder)

  def test_every_table_experiment_names_its_command(self):
    for name in recorded.table_experiments():
      info = recorded.read_table_experiment(name)
      self.assertStartsWith(info['command'], 'python -m experiments.')


class _directory:  # noqa: N801 - contextlib.chdir comes with Python 3.11.
  """Changes the working directory for a while."""

  def __init__(self, path):
    self._path = path

  def __enter__(self):
    self._previous = os.getcwd()
    os.chdir(self._path)

  def __exit__(self, *unused):
    os.chdir(self._previous)


if __name__ == '__main__':
  absltest.main()
