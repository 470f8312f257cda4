"""Whole runs of two learners in processes of their own."""

import dataclasses
import os
import pathlib
import signal
import tempfile
import time

import numpy as np
from absl.testing import absltest

from brc import config as brc_config
from core.device import Device
from core.errors import UserError
from core.strategies.gang import Gang
from core.training import train as actor_learner
from tests import runs, workers
from tests.core.training.reference_runs import config_of


def of_gang(logdir, **changes):
  """Returns the config of a worker of a short run."""
  changes = dict(collective_timeout=60.0) | changes
  return config_of(
    logdir,
    strategy='multi_worker',
    num_environments=4,  # Of each worker, in two groups.
    total_environment_frames=10**6,
    **changes,
  )


class RunTest(absltest.TestCase):
  """One run, stopped and resumed in every way, in the order of the alphabet."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    temporary = tempfile.TemporaryDirectory()
    cls.addClassCleanup(temporary.cleanup)
    cls.logdir = temporary.name

  def start(self, **changes):
    config = of_gang(self.logdir, **changes)
    return config, workers.start(config, config)

  def num_rows(self):
    path = pathlib.Path(self.logdir, 'updates.csv')
    return path.read_bytes().count(b'\n') - 1 if path.exists() else 0

  def assert_lost(self, finished, how):
    self.assertEqual(finished.status, os.EX_TEMPFAIL, finished)
    self.assertRegex(
      finished.stderr,
      f'error: worker 0 of 2 stops: another one {how}; start all of them '
      'again, and they go on from the last checkpoint\n\\Z',
    )
    self.assertNotIn('Traceback', finished.stderr)
    self.assertFalse(finished.left_children)

  def test_a_runs_to_its_end(self):
    config, started = self.start(stop_frames=300)
    chief, other = workers.finish(started)
    self.assertEqual((chief.status, other.status), (0, 0), (chief, other))
    updates = runs.rows(config, 'updates.csv')
    # An update of 4 unrolls, 2 of each worker, is 20 frames.
    self.assertEqual(
      [int(row['env_frames']) for row in updates], list(range(20, 301, 20))
    )
    np.testing.assert_allclose(
      [float(row['learning_rate']) for row in updates],
      [0.0006 * (1 - 20 * n / 10**6) for n in range(15)],
      rtol=1e-6,
    )
    # In both, 2 environments have made 8 unrolls of 5 steps, 2 others 7; an
    # episode has 9 steps.
    num_episodes = 2 * (2 * (8 * 5 // 9) + 2 * (7 * 5 // 9))
    self.assertLen(runs.rows(config, 'episodes.csv'), num_episodes)
    self.assertEqual(runs.restore(config)[1]['env_frames'], 300)
    found = {path.name for path in pathlib.Path(self.logdir).iterdir()}
    events = {name for name in found if name.startswith('events.')}
    self.assertLen(events, 1)
    self.assertEqual(
      found - events,
      {'checkpoints', 'episodes.csv', 'updates.csv', 'run.json', 'lock'},
    )
    self.assertNotIn('frames/s', other.stdout)

  def test_b_one_that_is_asked_to_stop_stops_both(self):
    config, started = self.start()
    started[0].wait_for_updates(15 + 5)
    started[1].signal(signal.SIGTERM)
    chief, other = workers.finish(started)
    self.assertEqual((chief.status, other.status), (0, 0), (chief, other))
    for finished in (chief, other):
      self.assertRegex(finished.stdout, r'resuming .* at frame 300\n')
    updates = runs.rows(config, 'updates.csv')
    frames = [int(row['env_frames']) for row in updates]
    self.assertEqual(frames, list(range(20, frames[-1] + 1, 20)))
    self.assertEqual(runs.restore(config)[1]['env_frames'], frames[-1])

  def test_c_killed(self):
    num_rows = self.num_rows()
    _, started = self.start(checkpoint_updates=1)
    started[0].wait_for_updates(num_rows + 5)
    started[1].signal(signal.SIGKILL)
    start = time.time()
    chief, _ = workers.finish(started)
    self.assert_lost(chief, 'is gone')
    self.assertLess(chief.time - start, 60.0)
    frames = runs.restore(of_gang(self.logdir))[1]['env_frames']
    self.assertGreaterEqual(frames, 20 * (num_rows + 4))

  def test_d_silent(self):
    num_rows = runs.restore(of_gang(self.logdir))[1]['num_updates']
    timeout = 10.0
    _, started = self.start(collective_timeout=timeout)
    started[0].wait_for(lambda: 'return catch' in started[0].stdout)
    started[1].signal(signal.SIGSTOP)
    start = time.time()
    chief = started[0].finish()
    started[1].signal(signal.SIGKILL)
    started[1].finish()
    self.assert_lost(chief, '.*')
    self.assertLess(chief.time - start, timeout + 5.0)
    self.assertGreaterEqual(self.num_rows(), num_rows)


class RefusedTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.logdir = self.create_tempdir().full_path

  def assert_refused(self, finished, line):
    self.assertEqual(finished.status, 1, finished)
    self.assertRegex(finished.stderr, rf'\Aerror: {line}.*\n\Z')
    self.assertEmpty(os.listdir(self.logdir))

  def test_without_tf_config(self):
    finished = runs.Run(of_gang(self.logdir)).finish()
    self.assert_refused(
      finished, '--strategy=multi_worker needs TF_CONFIG in the environment'
    )

  def test_testing(self):
    with self.assertRaisesRegex(UserError, 'does nothing with --mode=test: gi'):
      Device.from_config(of_gang(self.logdir, mode='test'))

  def test_agents_without_actors(self):
    for strategy in ('multi_worker', 'tpu'):
      config = dataclasses.replace(brc_config.DEBUG, strategy=strategy)
      with self.assertRaisesRegex(UserError, 'leave --strategy at one_device'):
        Device.from_config(config)

  def test_a_batch_that_cannot_be_shared(self):
    config = of_gang(self.logdir, batch_size=3)
    with self.assertRaisesRegex(UserError, 'needs a multiple of 2'):
      actor_learner.train(config, None, None, Gang(1, 2))

  def test_different_configs(self):
    config = of_gang(self.logdir)
    other = dataclasses.replace(config, entropy_cost=0.5, seed=2)
    for finished in workers.finish(workers.start(config, other)):
      self.assert_refused(
        finished,
        'worker 1 is not as worker 0: seed 2, not 1, entropy_cost 0.5, not '
        r'0\.01; start all workers with the same flags and the same commit',
      )


if __name__ == '__main__':
  absltest.main()
