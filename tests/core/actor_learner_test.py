"""Tests of core/actor_learner.py: whole runs, stopped and resumed."""

import dataclasses
import functools
import os
import pathlib
import resource
import signal
import tempfile
import time

import numpy as np
import pytest
from absl.testing import absltest, parameterized

from core import actor_learner
from core.actor_learner import Learner
from core.errors import UserError
from core.timing import Timer
from tests import runs
from tests.unrolls import random_unroll

# An update is 20 frames, so a run has 60 of them.
NUM_UPDATES = 60
VARIANTS = dict(
  plain={},
  pending_unrolls=dict(num_environments=3),  # Batches are of 4.
  lstm=dict(use_lstm=True, xla='auto'),
)
MODULE_NAME = 'tests.user_environments'


def config_of(logdir, variant='plain', **changes):
  changes = {
    'total_environment_frames': 20 * NUM_UPDATES,
    **VARIANTS[variant],
    **changes,
  }
  return runs.tiny_config(logdir=logdir, **changes)


@functools.cache
def reference(variant):
  """Returns the config of a finished run that nothing interrupted."""
  config = config_of(_REFERENCES.name + '/' + variant, variant)
  assert runs.train(config) == config.total_environment_frames
  return config


_REFERENCES = tempfile.TemporaryDirectory()


class ActorLearnerTest(parameterized.TestCase):
  def logdir(self):
    return self.enter_context(tempfile.TemporaryDirectory())

  def kill(self, config, num_updates, delay=0.0):
    """Runs until so many updates, and kills it `delay` seconds later."""
    run = runs.Run(config)
    run.wait_for_updates(num_updates)
    time.sleep(delay)
    run.signal(signal.SIGKILL)
    finished = run.finish()
    self.assertEqual(finished.status, -signal.SIGKILL, finished)


class SyncTest(ActorLearnerTest):
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


class ResumeTest(ActorLearnerTest):
  @parameterized.named_parameters(
    ('plain', 'plain', 23),
    ('pending', 'pending_unrolls', 34),
    ('lstm', 'lstm', 45),
  )
  def test_killed_run_ends_as_the_whole_one(self, variant, num_updates):
    config = config_of(self.logdir(), variant)
    self.kill(config, num_updates)
    runs.train(config)
    runs.assert_same_run(config, reference(variant))

  @pytest.mark.slow
  def test_kills_at_20_random_updates(self):
    rng = np.random.default_rng(0)
    for i in range(20):
      variant = list(VARIANTS)[i % len(VARIANTS)]
      config = config_of(self.logdir(), variant)
      num_updates, delay = rng.integers(1, NUM_UPDATES - 20), rng.random() / 100
      with self.subTest(variant=variant, num_updates=num_updates):
        self.kill(config, num_updates, delay)
        finished = runs.Run(config).finish()
        self.assertEqual(finished.status, 0, finished)
        runs.assert_same_run(config, reference(variant))

  @parameterized.named_parameters(('sync', 'sync'), ('async', 'async'))
  def test_atari_goes_on_with_counters_and_records(self, actor_mode):
    config = config_of(
      self.logdir(),
      actor_mode=actor_mode,
      level_name='breakout',
      num_action_repeats=4,
      unroll_length=20,
      checkpoint_updates=4,
      total_environment_frames=10**6,
    )
    self.kill(config, 30)
    before = [runs.rows(config, f'{n}.csv') for n in ('updates', 'episodes')]
    first_frames = runs.restore(config)[1]['env_frames']
    self.assertBetween(first_frames, 320 * 4, 320 * len(before[0]))
    stop = first_frames + 320 * 25
    self.assertEqual(
      runs.train(dataclasses.replace(config, stop_frames=stop)), stop
    )
    updates, episodes = (
      runs.rows(config, f'{n}.csv') for n in ('updates', 'episodes')
    )
    self.assertLen(updates, stop // 320)
    for n, row in enumerate(updates):
      self.assertEqual(int(row['num_updates']), n + 1)
      self.assertEqual(int(row['env_frames']), 320 * (n + 1))
      np.testing.assert_allclose(
        float(row['learning_rate']), 0.0006 * (1 - 320 * n / 10**6), rtol=1e-6
      )
    # What the checkpoint had seen is as it was, the rest was played again.
    kept = first_frames // 320
    self.assertEqual(updates[:kept], before[0][:kept])
    old, again = (
      [row for row in rows if int(row['env_frames']) < first_frames]
      for rows in (before[1], episodes)
    )
    self.assertNotEmpty(old)
    self.assertEqual(again, old)
    frames = [int(row['env_frames']) for row in episodes]
    self.assertEqual(frames, sorted(frames))
    self.assertBetween(frames[-1], first_frames, stop)

  def test_finished_run_has_nothing_to_do(self):
    config = config_of(self.logdir(), stop_frames=40)
    runs.train(config)
    files = {
      path: path.read_bytes()
      for path in pathlib.Path(config.logdir).glob('*.csv')
    }
    self.assertEqual(runs.train(config), 40)
    for path, content in files.items():
      self.assertEqual(path.read_bytes(), content)

  def test_damaged_newest_checkpoint(self):
    config = config_of(self.logdir())
    runs.train(dataclasses.replace(config, stop_frames=20 * 30))
    newest = max(pathlib.Path(config.logdir, 'checkpoints').iterdir())
    newest.write_bytes(newest.read_bytes()[:-1000])
    runs.train(config)
    runs.assert_same_run(config, reference('plain'))

  def test_other_config_is_refused(self):
    config = config_of(self.logdir(), stop_frames=20)
    runs.train(config)
    other = dataclasses.replace(config, learning_rate=0.5, unroll_length=6)
    with self.assertRaisesRegex(
      UserError, 'unroll_length was 5, is 6, learning_rate was 0.0006, is 0.5'
    ):
      runs.train(other)
    allowed = dict(log_updates=2, checkpoint_updates=3, keep_checkpoints=1)
    self.assertEqual(
      runs.train(dataclasses.replace(config, stop_frames=80, **allowed)), 80
    )

  def test_other_network_is_refused(self):
    agent = runs.make_agent(config_of(''))
    name, variable = next(iter(agent.variables().items()))
    arrays = {f'agent/{n}': v.numpy() for n, v in agent.variables().items()}
    arrays[f'agent/{name}'] = np.zeros([*variable.shape, 2], np.float32)
    with self.assertRaisesRegex(UserError, f'{name} is of shape'):
      actor_learner.load_variables(agent, arrays)
    del arrays[f'agent/{name}']
    with self.assertRaisesRegex(UserError, f'{name} is missing'):
      actor_learner.load_variables(agent, arrays)


class StopTest(ActorLearnerTest):
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


class LearnerTest(absltest.TestCase):
  def test_episodes_are_read_once(self):
    config = config_of('', level_name='catch', num_action_repeats=4)
    unroll = random_unroll(6, 5, seed=1)
    agent = runs.make_agent(config)
    agent.env_spec = agent.env_spec._replace(task_names=('a', 'b'))
    learner = Learner(config, agent, Timer())
    learner.set_state(dict(env_frames=700, num_updates=5))
    info = unroll.env_outputs.info
    info.episode_done[0] = True  # These were read with the unroll before.
    expected = [
      (
        700,
        'ab'[unroll.task_id[column]],
        float(info.episode_return[t, column]),
        4 * info.episode_step[t, column],
      )
      for t in range(1, 7)
      for column in range(5)
      if info.episode_done[t, column]
    ]
    self.assertNotEmpty(expected)
    found = [tuple(e) for e in learner.finished_episodes(unroll)]
    self.assertEqual(found, expected)


if __name__ == '__main__':
  absltest.main()
