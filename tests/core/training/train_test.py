"""Tests of core/training/train.py: whole runs, to their end or a stop."""

import dataclasses
import os
import pathlib
import resource
import signal
import time

import numpy as np
from absl.testing import absltest, parameterized

from tests import runs
from tests.core.training.reference_runs import (
  NUM_UPDATES,
  VARIANTS,
  RunsTest,
  config_of,
  reference,
)

MODULE_NAME = 'tests.user_environments'


class SyncTest(RunsTest):
  @parameterized.named_parameters(*((name, name) for name in VARIANTS))
  def test_same_seed_twice_is_equal_to_the_bit(self, variant):
    config = config_of(self.logdir(), variant)
    runs.train(config)
    runs.assert_same_run(config, reference(variant))

  def test_atari_twice_is_equal_to_the_bit(self):
    configs = [
      config_of(
        self.logdir(),
        level_name='pong',
        num_action_repeats=4,
        total_environment_frames=2 * 80,
      )
      for _ in range(2)
    ]
    for config in configs:
      runs.train(config)
    arrays, others = (runs.restore(config)[0] for config in configs)
    for name, array in arrays.items():
      np.testing.assert_array_equal(array, others[name], name)
    first, second = (
      [runs.timeless(row) for row in runs.rows(config, 'updates.csv')]
      for config in configs
    )
    self.assertLen(first, 2)
    self.assertEqual(first, second)

  def test_another_seed_is_another_run(self):
    config = config_of(self.logdir(), seed=2, stop_frames=40)
    runs.train(config)
    for ours, theirs in zip(
      runs.rows(config, 'updates.csv'),
      runs.rows(reference('plain'), 'updates.csv'),
      strict=False,
    ):
      self.assertNotEqual(ours['total_loss'], theirs['total_loss'])

  def test_records(self):
    config = reference('plain')
    updates = runs.rows(config, 'updates.csv')
    for n, row in enumerate(updates, start=1):
      self.assertEqual(int(row['num_updates']), n)
      self.assertEqual(int(row['env_frames']), 20 * n)
      # Linear in the frames before the update.
      np.testing.assert_allclose(
        float(row['learning_rate']), 0.0006 * (1 - (n - 1) / NUM_UPDATES)
      )
      self.assertEqual(row['policy_lag_max'], '0')
    self.assertLen(updates, NUM_UPDATES)
    episodes = runs.rows(config, 'episodes.csv')
    # 300 steps of 4 environments, 9 steps an episode.
    self.assertLen(episodes, 4 * (300 // 9))
    for row in episodes:
      self.assertEqual(row['task'], 'catch')
      self.assertIn(float(row['episode_return']), (-1.0, 1.0))
      self.assertEqual(row['episode_length'], '9')
    # After the update that they ended in, as scalable_agent's.
    ends = [20 * -(-9 * k // 5) for k in range(1, 34)]
    self.assertEqual(
      [int(row['env_frames']) for row in episodes], np.repeat(ends, 4).tolist()
    )


class StopTest(RunsTest):
  @parameterized.named_parameters(
    ('interrupt', signal.SIGINT), ('terminate', signal.SIGTERM)
  )
  def test_first_signal_ends_after_a_checkpoint(self, number):
    config = config_of(self.logdir(), checkpoint_updates=10**6)
    run = runs.Run(config)
    run.wait_for_updates(17)
    run.signal(number)
    finished = run.finish()
    self.assertEqual(finished.status, 0, finished)
    self.assertIn('stopping after a checkpoint', finished.stdout)
    self.assertNotIn('Traceback', finished.stderr)
    num_updates = len(runs.rows(config, 'updates.csv'))
    self.assertBetween(num_updates, 17, NUM_UPDATES - 1)
    self.assertEqual(runs.restore(config)[1]['num_updates'], num_updates)
    runs.train(dataclasses.replace(config, checkpoint_updates=7))
    runs.assert_same_run(config, reference('plain'))

  @parameterized.named_parameters(('sync', 'sync'), ('async', 'async'))
  def test_second_interrupt_ends_at_once(self, actor_mode):
    config = config_of(
      self.logdir(),
      level_name=f'{MODULE_NAME}:make_sleeping',
      actor_mode=actor_mode,
    )
    run = runs.Run(config)
    run.wait_for_stderr('sleeping at')
    run.signal(signal.SIGINT)
    if actor_mode == 'sync':  # It waits for the environment.
      time.sleep(1.0)
      self.assertIsNone(run.wait(0))
      run.signal(signal.SIGINT)
    start = time.time()
    finished = run.finish(timeout=30)
    self.assertLess(finished.time - start, 10.0)
    self.assertEqual(finished.status, 130 if actor_mode == 'sync' else 0)

  def test_interrupt_reaches_environments_in_processes(self):
    config = config_of(
      self.logdir(), level_name=f'{MODULE_NAME}:make_processes'
    )
    run = runs.Run(config)
    run.wait_for_updates(10)
    run.signal(signal.SIGINT)  # To the children too, as Ctrl-C does.
    finished = run.finish()
    self.assertEqual(finished.status, 0, finished)
    self.assertNotIn('Traceback', finished.stderr)
    self.assertFalse(finished.left_children)
    self.assertEqual(
      runs.restore(config)[1]['num_updates'],
      len(runs.rows(config, 'updates.csv')),
    )

  def test_loss_that_is_not_finite(self):
    config = config_of(self.logdir(), learning_rate=1e30, checkpoint_updates=1)
    finished = runs.Run(config).finish()
    self.assertEqual(finished.status, 1, finished)
    updates = runs.rows(config, 'updates.csv')
    n = len(updates)
    self.assertRegex(
      finished.stderr,
      rf'error: update {n + 1} at frame {20 * n}: (total_loss|gradient_norm) '
      r'is (nan|-?inf); stopped, the last good checkpoint is kept in ',
    )
    self.assertNotIn('Traceback', finished.stderr)
    arrays, metadata = runs.restore(config)
    self.assertEqual(metadata['num_updates'], n)
    self.assertGreaterEqual(n, 1)
    for name, array in arrays.items():
      self.assertTrue(np.all(np.isfinite(array)), name)

  def test_full_disk(self):
    config = config_of(self.logdir())
    runs.train(dataclasses.replace(config, stop_frames=20 * 4))
    good = runs.restore(config)[0]
    limit = 150_000  # Bytes; a checkpoint has 250,000.

    run = runs.Run(config)
    resource.prlimit(run.pid, resource.RLIMIT_FSIZE, (limit, limit))
    finished = run.finish()
    self.assertEqual(finished.status, 1, finished)
    self.assertRegex(
      finished.stderr, r'error: cannot write \S+checkpoint_\S+: File too large'
    )
    self.assertNotIn('Traceback', finished.stderr)
    arrays, metadata = runs.restore(config)
    self.assertEqual(metadata['num_updates'], 4)
    for name, array in arrays.items():
      np.testing.assert_array_equal(array, good[name], name)
    runs.train(config)
    runs.assert_same_run(config, reference('plain'))

  def test_logdir_that_cannot_be_written(self):
    file = os.path.join(self.logdir(), 'file')
    pathlib.Path(file).touch()
    finished = runs.Run(config_of(f'{file}/run')).finish()
    self.assertEqual(finished.status, 1, finished)
    self.assertRegex(finished.stderr, 'error: cannot write .*: Not a directory')
    self.assertNotIn('Traceback', finished.stderr)


if __name__ == '__main__':
  absltest.main()
