"""Curves, recorded results and the README's table."""

import csv
import gzip
import json
import os

import numpy as np
import pandas as pd
from absl.testing import absltest

from core.errors import UserError
from experiments import curves, record, results_table
from tests import runs


def write_run(folder, task='pong', num_episodes=250):
  """Writes a run whose returns rise from -21 to 21."""
  os.makedirs(folder, exist_ok=True)
  with open(os.path.join(folder, 'episodes.csv'), 'w', newline='') as file:
    rows = csv.writer(file)
    rows.writerow(
      ['env_frames', 'task', 'episode_return', 'episode_length', 'wall_secs']
    )
    for i, value in enumerate(np.linspace(-21, 21, num_episodes)):
      rows.writerow([4000 * i, task, round(value, 3), 4000, i])
  with open(os.path.join(folder, 'updates.csv'), 'w') as file:
    file.write('num_updates,env_frames,wall_secs\n1,2560,3600.0\n')
  with open(os.path.join(folder, 'evaluation.csv'), 'w') as file:
    file.write('task,episode,return,length,protocol\n')
    file.write('pong,0,1.0,4,whole games\npong,1,3.0,4,whole games\n')
  with open(os.path.join(folder, 'evaluation.md'), 'w') as file:
    file.write('| pong |\n')
  hardware = dict(cpu='A CPU', cpu_cores=2, memory_gib=1, accelerators=[])
  with open(os.path.join(folder, 'run.json'), 'w') as file:
    json.dump(dict(hardware=hardware), file)


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
    os.makedirs('experiments')
    os.symlink(
      os.path.join(runs.ROOT, 'experiments/reference'), 'experiments/reference'
    )
    os.symlink(
      os.path.join(runs.ROOT, 'experiments/impala'), 'experiments/impala'
    )
    write_run('run')

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

  def test_an_untested_run_is_refused(self):
    os.remove('run/evaluation.csv')
    with self.assertRaisesRegex(UserError, 'evaluation.csv is missing'):
      record.record('run', 'impala/table_c1_shallow/seed_1')

  def test_table_sets_ours_beside_the_published(self):
    record.record('run', 'impala/table_c1_shallow/seed_1')
    table = results_table.make_table()
    self.assertIn('20.40 (200M)', table)
    self.assertIn('2.00 ± 1.00 (2 episodes, 1 seed)', table)
    self.assertIn('2 cores A CPU, 1.0 h', table)
    self.assertIn('--flagfile=experiments/impala/table_c1_shallow', table)

  def test_write_replaces_what_is_between_the_markers(self):
    with open('page.md', 'w') as file:
      file.write(f'a\n{results_table.BEGIN}\nold\n{results_table.END}\nz\n')
    results_table.write('page.md', '| new |')
    with open('page.md') as file:
      text = file.read()
    self.assertEqual(
      text,
      f'a\n{results_table.BEGIN}\n| new |\n{results_table.END}\nz\n',
    )


class PublishedResultsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.enter_context(_directory(runs.ROOT))

  def test_readme_is_up_to_date(self):
    with open('README.md', encoding='utf-8') as file:
      text = file.read()
    shown = text.split(results_table.BEGIN)[1].split(results_table.END)[0]
    self.assertEqual(
      shown.strip(),
      results_table.make_table(),
      'stale: python -m experiments.results_table --write',
    )

  def test_recorded_runs_are_whole(self):
    for folder, _, names in os.walk(results_table.RESULTS):
      if 'run.json' not in names:
        continue
      if 'returns.csv.gz' in names:
        episodes = pd.read_csv(os.path.join(folder, 'returns.csv.gz'))
      else:
        episodes = curves.read_episodes(folder)
      updates = pd.read_csv(os.path.join(folder, 'updates.csv.gz'))
      self.assertTrue(episodes.env_frames.is_monotonic_increasing, folder)
      steps = updates.num_updates.diff().dropna().unique()
      self.assertLen(steps, 1, f'{folder}: rows are missing or doubled')


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
