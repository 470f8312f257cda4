"""Tests of prl/iterations.py: the outer loop, killed and whole."""

import json
import os
import pathlib
import shutil
import signal
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from core.errors import UserError
from core.suites.tasks import Tasks
from experiments.launch import schedule
from experiments.runs import reader
from prl import iterations
from prl.collection import block_spec
from tests import runs
from tests.prl import small

DATA_FILES = ('frames.bin', 'steps.bin', 'block.json')


def train(config):
  """Trains in this process."""
  return iterations.train(config, small.make_agent(config), Tasks.of(config))


def steps_of(config, iteration):
  """Returns the steps of a block that are safe on the disk."""
  path = pathlib.Path(config.logdir, f'data/block_{iteration:03d}/block.json')
  return json.loads(path.read_text())['steps'] if path.exists() else 0


def updates_of(config):
  path = pathlib.Path(config.logdir, 'updates.csv')
  return path.read_text().count('\n') - 1 if path.exists() else 0


class KillTest(absltest.TestCase):
  def test_killed_run_ends_as_a_whole_one(self):
    # Every step is committed at once: there is time to kill it between two.
    changes = dict(
      num_iterations=2, random_cases=400, cases=240, collection_memory_mb=0.001
    )
    whole = small.config(logdir=self.create_tempdir().full_path, **changes)
    train(whole)
    killed = small.config(logdir=self.create_tempdir().full_path, **changes)
    rng = np.random.default_rng()  # Points of its own each time.
    num_steps = block_spec(killed, Tasks.of(killed), 1).num_steps
    first = (
      lambda: steps_of(killed, 1) > rng.integers(5, 60),
      lambda: steps_of(killed, 1) == num_steps,  # Between the phases.
    )
    second = (
      lambda: updates_of(killed) > rng.integers(1, 8),
      lambda: steps_of(killed, 2) > rng.integers(5, 40),
    )
    conditions = (
      first[rng.integers(2)],
      second[rng.integers(2)],
      lambda: updates_of(killed) > rng.integers(13, 20),
    )
    for condition in conditions:
      process = runs.Run(killed)
      process.wait_for(condition)
      process.signal(signal.SIGKILL)
      process.finish()
    finished = runs.Run(killed).finish()
    self.assertEqual(finished.status, 0, finished.stderr)
    self.assertIn('resuming', finished.stdout)
    runs.assert_same_run(killed, whole)
    self.assertEqual(
      runs.rows(killed, 'tasks.csv'), runs.rows(whole, 'tasks.csv')
    )
    for iteration in (1, 2):
      for name in (*DATA_FILES,):
        path = f'data/block_{iteration:03d}/{name}'
        found, expected = (
          pathlib.Path(config.logdir, path).read_bytes()
          for config in (killed, whole)
        )
        self.assertEqual(found, expected, path)


class TrainTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.config = small.config(logdir=tempfile.mkdtemp(), num_iterations=3)
    cls.addClassCleanup(shutil.rmtree, cls.config.logdir)
    cls.frames = train(cls.config)

  def test_records_of_both_phases(self):
    updates = runs.rows(self.config, 'updates.csv')
    self.assertEqual(
      [int(row['num_updates']) for row in updates], list(range(1, 37))
    )
    self.assertEqual([row['iteration'] for row in updates[::12]], list('123'))
    frames = [int(row['env_frames']) for row in updates]
    self.assertEqual(len(set(frames)), 3)
    self.assertEqual(frames[-1], self.frames)
    episodes = runs.rows(self.config, 'episodes.csv')
    self.assertEqual({row['episode_length'] for row in episodes}, {'9'})
    self.assertLessEqual(int(episodes[-1]['env_frames']), self.frames)
    # All steps of 4 games of 9 steps, but for what was not ended.
    blocks = [len(f) // (2 * 4) for f in self._steps()]
    self.assertLen(episodes, sum(4 * (n // 9) for n in blocks))
    self.assertEqual(sum(blocks) * 4, self.frames)

  def _steps(self):
    data = pathlib.Path(self.config.logdir, 'data')
    return [
      path.read_bytes() for path in sorted(data.glob('block_*/steps.bin'))
    ]

  def test_rows_of_iterations(self):
    rows = runs.rows(self.config, 'tasks.csv')
    self.assertEqual([row['iteration'] for row in rows], list('123'))
    episodes = runs.rows(self.config, 'episodes.csv')
    first = int(runs.rows(self.config, 'updates.csv')[0]['env_frames'])
    returns = [
      float(row['episode_return'])
      for row in episodes
      if int(row['env_frames']) <= first
    ]
    self.assertEqual(int(rows[0]['games']), len(returns))
    self.assertAlmostEqual(
      float(rows[0]['episode_return']), np.mean(returns), places=9
    )
    error = np.std(returns, ddof=1) / np.sqrt(len(returns))
    self.assertAlmostEqual(
      float(rows[0]['episode_return_error']), error, places=9
    )

  def test_held_out_curves(self):
    rows = runs.rows(self.config, 'held_out.csv')
    iterations = [row['iteration'] for row in rows]
    self.assertEqual(iterations, ['1'] * 8 + ['2'] * 8 + ['3'] * 8)
    last = runs.rows(self.config, 'tasks.csv')[-1]
    total = sum(float(row['loss']) for row in rows[-8:])
    self.assertAlmostEqual(total, float(last['held_out_loss']), places=9)

  def test_readers_of_runs_know_its_end(self):
    run = reader.read_run(self.config.logdir)
    self.assertEqual((run.frames, run.total), (self.frames, self.frames))
    self.assertTrue(run.is_complete)
    self.assertIsNone(schedule.missing_frames(self.config.logdir))
    self.assertAlmostEqual(
      run.frames_per_sec, run.frames / run.wall_secs, delta=1.0
    )
    for name in ('updates', 'episodes', 'tasks', 'held_out'):
      self.assertNotEmpty(run.table(name))

  def test_nothing_is_done_twice(self):
    before = {
      path: path.read_bytes()
      for name in ('*.csv', 'data/*/*')
      for path in pathlib.Path(self.config.logdir).glob(name)
    }
    self.assertEqual(train(self.config), self.frames)
    for path, content in before.items():
      self.assertEqual(path.read_bytes(), content, path)

  @parameterized.parameters(
    (dict(seed=2), 'seed was 1, is 2'),
    (dict(horizon=5), 'horizon was 4, is 5'),
  )
  def test_another_config_is_refused(self, changes, message):
    config = small.config(
      logdir=self.config.logdir, num_iterations=3, **changes
    )
    with self.assertRaisesRegex(UserError, message):
      train(config)

  @parameterized.parameters(
    (dict(seed=2), 'holds other data: seed was 1, is 2'),
    (dict(label_rules='catch=rewards', fire_games=''), 'protocol was'),
  )
  def test_data_of_another_run_are_refused(self, changes, message):
    logdir = self.create_tempdir().full_path
    config = small.config(
      logdir=logdir,
      data_dir=os.path.join(self.config.logdir, 'data'),
      **changes,
    )
    with self.assertRaisesRegex(UserError, message):
      train(config)
    self.assertEqual(os.listdir(logdir), ['lock'])

  def test_random_play_is_shared(self):
    config = small.config(
      logdir=self.create_tempdir().full_path,
      data_dir=os.path.join(self.config.logdir, 'data'),
      num_iterations=1,
      hidden_size=30,
    )
    path = os.path.join(config.data_dir, 'block_001', 'frames.bin')
    written = os.path.getmtime(path)
    train(config)
    self.assertEqual(os.path.getmtime(path), written)


class DamageTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.whole = small.config(
      logdir=tempfile.mkdtemp(), num_iterations=2, stop_frames=1
    )
    cls.addClassCleanup(shutil.rmtree, cls.whole.logdir)
    train(cls.whole)  # One iteration.

  def setUp(self):
    super().setUp()
    logdir = os.path.join(self.create_tempdir().full_path, 'run')
    shutil.copytree(self.whole.logdir, logdir)
    self.more = small.config(logdir=logdir, num_iterations=2)
    self.folder = pathlib.Path(logdir, 'data', 'block_001')

  def test_stops_at_its_frames(self):
    self.assertEqual(updates_of(self.whole), 12)

  def test_cut_frames_are_reported_and_played_again(self):
    expected = {p.name: p.read_bytes() for p in self.folder.iterdir()}
    os.truncate(self.folder / 'frames.bin', 1000)
    train(self.more)
    found = {p.name: p.read_bytes() for p in self.folder.iterdir()}
    self.assertEqual(found, expected)

  def test_cut_steps_are_refused(self):
    os.truncate(self.folder / 'steps.bin', 100)
    with self.assertRaisesRegex(UserError, 'cut short or damaged'):
      train(self.more)


class CountTest(parameterized.TestCase):
  def test_one_game_has_a_third_of_the_updates(self):
    # Three names of one game: Catch alone is cheap enough here.
    config = small.config(num_environments=6, updates_per_game=4)
    counts = [iterations.updates_per_iteration(config, n) for n in (1, 3)]
    self.assertEqual(counts, [4, 12])


if __name__ == '__main__':
  absltest.main()
