"""Recording runs, their curves, and demo's summary of the last episodes."""

import gzip
import os
import sys
from unittest import mock

import numpy as np
import pandas as pd
from absl.testing import absltest, parameterized
from matplotlib import image

from core.errors import UserError
from experiments import curves, record
from experiments.runs import reader, recorded, scoring
from tests.experiments import fake_runs, folders


class CurvesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def test_draws_a_picture_of_every_task(self):
    fake_runs.write_run(self.folder, {'pong': 10.0, 'x.y:z': 1.0})
    out = os.path.join(self.folder, 'curve.png')
    curves.draw([self.folder], out)
    with open(out, 'rb') as file:
      self.assertEqual(file.read(8), b'\x89PNG\r\n\x1a\n')

  def test_last_returns_are_those_of_a_hundred_episodes(self):
    fake_runs.write_run(self.folder, {'pong': 10.0}, num_episodes=250)
    found = scoring.last_returns(reader.read_run(self.folder))['pong']
    np.testing.assert_allclose(found, 20 * np.arange(151, 251) / 250)
    error = np.std(found, ddof=1) / 10
    self.assertAlmostEqual(scoring.standard_error(found), error)

  @parameterized.parameters(40, 4000)
  def test_single_episodes_can_be_seen(self, num_episodes):
    fake_runs.write_run(self.folder, {'x.y:z': 0.0})
    rows = [[100 * i, 'x.y:z', -20.0, 9, 1] for i in range(num_episodes)]
    rows[3 * num_episodes // 4][2] = 0.0  # One alone, in the middle,
    rows[-1][2] = 20.0  # and one at the top, so that it is the middle.
    header = 'env_frames,task,episode_return,episode_length,wall_secs'
    path = f'{self.folder}/episodes.csv'
    fake_runs.write_csv(path, header.split(','), rows)
    out = f'{self.folder}/curve.png'
    curves.draw([self.folder], out)
    picture = image.imread(out)[..., :3].sum(axis=-1)  # White is 3.
    height, width = picture.shape
    middle = picture[3 * height // 10 : 6 * height // 10]
    lone = middle[:, 6 * width // 10 : 9 * width // 10]
    self.assertLess(lone.min(), 2.5)
    self.assertGreater((lone < 2.8).sum(), 8)  # Pixels.

  @parameterized.parameters('c.xyz', '', 'png', 'folder/.png')
  def test_an_unknown_ending_is_one_line(self, out):
    fake_runs.write_run(self.folder, {'pong': 10.0})
    arguments = ['curves', self.folder, f'--out={out}']
    message = f'^error: --out={out}: .* ends in .*, .png, .svg'
    with (
      folders.working_in(self.folder),
      mock.patch.object(sys, 'argv', arguments),
    ):
      before = os.listdir('.')
      with self.assertRaisesRegex(SystemExit, message):
        curves.main()
      self.assertEqual(os.listdir('.'), before)

  def test_missing_and_malformed_runs_are_named(self):
    out = os.path.join(self.folder, 'curve.png')
    message = f'no episodes.csv in {self.folder}'
    with self.assertRaisesRegex(UserError, message):
      curves.draw([self.folder], out)
    fake_runs.write_csv(f'{self.folder}/episodes.csv', ['a', 'b'], [[1, 2]])
    with self.assertRaisesRegex(UserError, 'env_frames|has no column'):
      curves.draw([self.folder], out)


class RecordTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.enter_context(folders.working_in(self.create_tempdir().full_path))
    fake_runs.write_run('run', {'pong': 2.0}, tests={'pong': [1.0, 3.0]})

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
      (run,) = recorded.read(row)
      self.assertEqual(run.problem, '')
      self.assertEqual(run.frames, 358_400)
      self.assertEqual(run.wall_secs, 358.4)
      self.assertEqual(run.evaluation['return'].tolist(), [1.0, 3.0])

  def test_an_untested_run_is_refused(self):
    os.remove('run/evaluation.csv')
    with self.assertRaisesRegex(UserError, 'evaluation.csv is missing'):
      record.record('run', 'impala/table_c1_shallow/seed_1')

  def test_a_refused_record_leaves_what_was_there(self):
    folder = record.record('run', 'impala/a/seed_1')
    before = self.contents('experiments')
    self.assertIn(f'{folder}/run.json', before)
    os.remove('run/updates.csv')
    for row in ('impala/a/seed_1', 'impala/b/seed_1'):
      with self.assertRaisesRegex(UserError, 'updates.csv is missing'):
        record.record('run', row)
      self.assertEqual(self.contents('experiments'), before)
    self.assertEqual(os.listdir('experiments/results/impala'), ['a'])

  def test_a_damaged_table_is_not_recorded(self):
    with open('run/updates.csv', 'ab') as file:
      file.write(b'\xff\xfe,1,2,3\n')
    with self.assertRaisesRegex(UserError, 'updates.csv, line 9: not text'):
      record.record('run', 'impala/a/seed_1')
    self.assertEqual(self.contents('experiments'), {})

  def test_recording_in_bins_replaces_the_episodes(self):
    record.record('run', 'impala/a/seed_1')
    recorded.check(record.record('run', 'impala/a/seed_1', 100_000))
    files = os.listdir('experiments/results/impala/a/seed_1')
    self.assertIn('returns.csv.gz', files)
    self.assertNotIn('episodes.csv.gz', files)

  def test_other_places_are_refused(self):
    for row in (
      '../../x',
      'impala/../seed_1',
      '/impala/a/seed_1',
      'impala/a',
      'impala/a/seed_1/..',
      'impala/a/seed_x',
      'impala/.a/seed_1',
      'impala/a/seed_1\n',
      '',
    ):
      with self.assertRaisesRegex(UserError, 'not <paper>/<row>/seed_<n>'):
        record.record('run', row)
    self.assertEqual(os.listdir('.'), ['run'])

  def contents(self, root):
    """Returns by path what all files hold."""
    found = {}
    for folder, _, names in os.walk(root):
      for name in names:
        path = os.path.join(folder, name)
        with open(path, 'rb') as file:
          found[path] = file.read()
    return found

  def test_averages_per_bin_and_task(self):
    episodes = pd.DataFrame(
      dict(
        env_frames=[0, 1, 100, 101, 150, 200],
        task=['a', 'a', 'a', 'a', 'b', 'b'],
        episode_return=[2.0, 1.0, 3.0, 5.0, 7.0, 10.0],
      )
    )
    rows = record.bin_returns(episodes, 100).to_dict('split')
    self.assertEqual(
      rows['columns'], ['env_frames', 'task', 'num_episodes', 'mean_return']
    )
    self.assertEqual(
      rows['data'], [[100, 'a', 3, 2.0], [200, 'a', 1, 5.0], [200, 'b', 2, 8.5]]
    )


if __name__ == '__main__':
  absltest.main()
