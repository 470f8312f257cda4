"""The command: records, resuming, transfer, offline, and wrong input."""

import csv
import dataclasses
import json
import pathlib
import signal
import tempfile
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from brc.config import DEBUG, Config
from core.experience.player import Player
from core.suites.tasks import Tasks
from core.training import replay_benchmark
from core.training.replay_train import ReplayLearner
from tests import runs

NUM_STEPS, FIRST = 190, 101
TASKS = ('point_mass/1', 'point_mass/2')


def config_of(logdir, **changes):
  """Returns a run whose replay of 120 transitions a task wraps around."""
  settings = dict(
    logdir=logdir,
    total_environment_frames=2 * NUM_STEPS,
    replay_capacity=120,
    checkpoint_updates=30,
    evaluation_steps=95,
    critic_width=8,
    critic_depth=1,
    actor_width=8,
    batch_size=8,
    updates_per_step=1,
    xla='off',
  )
  return dataclasses.replace(DEBUG, **{**settings, **changes})


def rows_of(config, name):
  """Returns the rows of a CSV file without what the clock says."""
  return [runs.timeless(row) for row in runs.rows(config, name)]


class RunTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = cls.enter_context(tempfile.TemporaryDirectory())
    cls.reference = config_of(folder, measure_tasks=True)
    runs.train(cls.reference)

  def logdir(self):
    return self.enter_context(tempfile.TemporaryDirectory())

  def run_eagerly(self):
    """Runs the rest of a test without tracing, which takes longer."""
    tf.config.run_functions_eagerly(True)
    self.addCleanup(tf.config.run_functions_eagerly, False)

  def test_learning_begins_on_its_step_and_goes_on_with_every_step(self):
    rows = runs.rows(self.reference, 'updates.csv')
    self.assertLen(rows, NUM_STEPS - (FIRST - 1))
    for i, row in enumerate(rows):
      self.assertEqual(int(row['num_updates']), i + 1)
      self.assertEqual(int(row['env_frames']), 2 * (FIRST + i))
    self.run_eagerly()
    # Two gradient steps per step of all tasks: 2 (K - 100) after K steps.
    config = config_of(
      self.logdir(), updates_per_step=2, total_environment_frames=2 * 104
    )
    runs.train(config)
    numbers = [r['num_updates'] for r in runs.rows(config, 'updates.csv')]
    self.assertEqual(numbers, ['2', '4', '6', '8'])

  def test_records(self):
    episodes = runs.rows(self.reference, 'episodes.csv')
    self.assertEqual(
      [(row['task'], row['env_frames']) for row in episodes],
      [(task, '200') for task in TASKS],
    )
    self.assertEqual({row['episode_length'] for row in episodes}, {'100'})
    tasks = runs.rows(self.reference, 'tasks.csv')
    self.assertEqual(
      [(row['task'], row['env_frames']) for row in tasks],
      [(task, frames) for frames in ('190', '380') for task in TASKS],
    )
    # No episode had ended at the first evaluation.
    self.assertEqual({row['greatest_return'] for row in tasks[:2]}, {'inf'})
    for row in tasks[2:]:
      self.assertGreater(float(row['greatest_return']), 0.0)
      self.assertGreater(float(row['gradient_norm']), 0.0)
      self.assertIn(float(row['gradient_conflicts']), (0.0, 1.0))
    evaluation = runs.rows(self.reference, 'evaluation.csv')
    self.assertEqual([row['task'] for row in evaluation], list(TASKS))
    for row, of_task in zip(evaluation, tasks[2:], strict=True):
      self.assertEqual(row['return'], of_task['evaluation_return'])
      self.assertIn('greedy policy', row['protocol'])

  @parameterized.named_parameters(('memory', 2.0), ('files', 0.0))
  def test_killed_run_ends_as_the_whole_one(self, replay_memory_gb):
    config = config_of(
      self.logdir(), measure_tasks=True, replay_memory_gb=replay_memory_gb
    )
    run = runs.Run(config)
    # The replay has wrapped around, and a checkpoint is behind.
    run.wait_for_updates(45)
    run.signal(signal.SIGKILL)
    finished = run.finish()
    self.assertEqual(finished.status, -signal.SIGKILL, finished)
    arrays, metadata = runs.restore(config)
    self.assertBetween(metadata['env_frames'], 2 * 130, 2 * NUM_STEPS - 1)
    is_mapped = replay_memory_gb == 0.0
    self.assertEqual('source/replay/reward' not in arrays, is_mapped)
    runs.train(config)
    for name in ('updates.csv', 'episodes.csv', 'tasks.csv', 'evaluation.csv'):
      ours, theirs = rows_of(config, name), rows_of(self.reference, name)
      self.assertEqual(ours, theirs, name)
    (arrays, metadata), (others, other) = map(
      runs.restore, (config, self.reference)
    )
    for name, array in arrays.items():
      np.testing.assert_array_equal(array, others[name], name, strict=True)
    self.assertEqual(metadata['source'], other['source'])
    if not is_mapped:
      self.assertEqual(arrays.keys(), others.keys())

  def test_without_its_replay_a_run_plays_on_before_it_learns_on(self):
    self.run_eagerly()
    config = config_of(self.logdir(), save_replay=False, stop_frames=2 * 105)
    config = dataclasses.replace(config, total_environment_frames=2 * 400)
    runs.train(config)
    config = dataclasses.replace(config, stop_frames=2 * 208)
    runs.train(config)
    rows = runs.rows(config, 'updates.csv')
    frames = [int(row['env_frames']) // 2 for row in rows]
    self.assertEqual(frames, [101, 102, 103, 104, 105, 206, 207, 208])

  def test_offline_learns_from_a_recorded_replay(self):
    self.run_eagerly()
    config = config_of(
      self.logdir(),
      offline_replay=self.reference.logdir,
      total_environment_frames=2 * 10,
      evaluation_steps=10,
    )
    runs.train(config)
    self.assertLen(runs.rows(config, 'updates.csv'), 10)
    self.assertEmpty(runs.rows(config, 'episodes.csv'))
    (first, _) = runs.rows(config, 'tasks.csv')
    theirs = runs.rows(self.reference, 'tasks.csv')[2]
    self.assertEqual(first['greatest_return'], theirs['greatest_return'])
    arrays, _ = runs.restore(config)
    self.assertEqual(arrays['agent/critic_adamw/num_steps'], 10)

  def test_begins_with_the_networks_of_another_run(self):
    arrays, _ = runs.restore(self.reference)
    for choice in ('reset', 'nearest', 'fitted'):
      config = config_of(
        self.logdir(),
        level_name='point_mass/2',
        init_from=self.reference.logdir,
        embedding_transfer=choice,
        transfer_transitions=20,
        # Nothing is learned: what is saved is what it began with.
        total_environment_frames=20,
      )
      runs.train(config)
      found, metadata = runs.restore(config)
      self.assertEqual(metadata['num_updates'], 0)
      for name in ('critic/input/w', 'target_critic/head/b', 'actor/mean/w'):
        name = f'agent/{name}'
        np.testing.assert_array_equal(found[name], arrays[name])
      self.assertTrue(
        np.all(found['agent/critic_adamw_mean/critic/head/w'] == 0)
      )
      (embedding,) = found['agent/embedding']
      is_old = np.all(embedding == arrays['agent/embedding'], axis=1)
      self.assertEqual(is_old.any(), choice == 'nearest')

  def test_test_mode_plays_the_greedy_policy(self):
    finished = runs.command(
      *('brc.experiment', '--preset=debug', '--mode=test'),
      *(f'--logdir={self.reference.logdir}', '--test_num_episodes=1'),
      *('--critic_width=8', '--critic_depth=1', '--actor_width=8'),
      '--xla=off',
    )
    self.assertEqual(finished.status, 0, finished)
    path = pathlib.Path(self.reference.logdir, 'evaluation.csv')
    with open(path, newline='', encoding='utf-8') as file:
      rows = list(csv.DictReader(file))
    self.assertEqual([row['task'] for row in rows], list(TASKS))
    self.assertIn('greedy policy', rows[0]['protocol'])

  def test_benchmark(self):
    self.run_eagerly()
    config = config_of(self.logdir(), mode='benchmark')
    agent, tasks = runs.make_agent(config), Tasks.of(config)
    now = 0.0

    def lasting(secs, method):
      def call(*args):
        nonlocal now
        now += secs
        return method(*args)

      return call

    with (
      mock.patch.object(Player, 'step', lasting(1.0, Player.step)),
      mock.patch.object(
        ReplayLearner, 'step', lasting(2.0, ReplayLearner.step)
      ),
      mock.patch.object(replay_benchmark, 'time', mock.Mock()) as clock,
    ):
      clock.monotonic = lambda: now
      rates = replay_benchmark.benchmark(config, agent, tasks, secs=9.0)
    path = pathlib.Path(config.logdir, 'benchmark.json')
    found = json.loads(path.read_text())
    self.assertEqual(found['frames_per_sec'], rates)
    per_step = len(TASKS) * config.num_action_repeats
    for of_rounds, secs in zip(rates.values(), (1.0, 3.0, 2.0), strict=True):
      np.testing.assert_allclose(of_rounds, 3 * [per_step / secs])
    self.assertGreater(found['peak_memory_gb'], 0.1)


class ConfigTest(absltest.TestCase):
  def test_defaults_are_the_papers_and_the_official_codes(self):
    config = Config()
    expected = dict(
      updates_per_step=2,
      num_action_repeats=1,
      embedding_size=32,
      discounting=0.99,
      num_atoms=101,
      v_max=10.0,
      polyak=0.005,
      weight_decay=1e-4,
      batch_size=1024,
      replay_capacity=1_000_000,
      actor_learning_rate=3e-4,
      critic_learning_rate=3e-4,
      temperature_learning_rate=3e-4,
      temperature_beta_1=0.5,
      initial_temperature=0.1,
      target_entropy_scale=0.5,
      actor_depth=1,
      actor_width=256,
      critic_depth=2,
      critic_width=4096,
      num_critics=2,
      warm_up_steps=5000,
      embedding_norm='l2',
      return_bootstrap='mean_reward',
      entropy_correction='target',
      evaluation_episodes=10,
    )
    for name, value in expected.items():
      self.assertEqual(getattr(config, name), value, name)
    for field in dataclasses.fields(Config):
      self.assertTrue(field.metadata['doc'].endswith('.'), field.name)


class WrongInputTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('pixels', ['--level_name=catch'], 'this agent sees feature vectors'),
    (
      'kinds',
      ['--level_name=point_mass/1,catch'],
      'one agent needs the same',
    ),
    ('task', ['--level_name=point_mass'], 'write point_mass/D'),
    (
      'alone',
      ['--level_name=point_mass/1', '--task_conditioning=embedding'],
      '--task_conditioning=embedding needs several tasks',
    ),
    ('batch', ['--batch_size=301'], 'more than the replay holds, 300'),
    (
      'memory',
      ['--replay_capacity=1e15', '--replay_memory_gb=1e12'],
      'bytes, the memory has room for',
    ),
    ('disk', ['--replay_capacity=1e15'], 'bytes, the disk of'),
    ('mode', ['--mode=save_start_states'], 'should be one of'),
    ('init_from', ['--init_from=nowhere'], 'no checkpoint in nowhere'),
    ('offline', ['--offline_replay=nowhere'], 'no checkpoint in nowhere'),
  )
  def test_is_one_line(self, flags, message):
    logdir = self.create_tempdir().full_path
    finished = runs.command(
      'brc.experiment', '--preset=debug', f'--logdir={logdir}', *flags
    )
    self.assertEqual(finished.status, 1, finished)
    self.assertNotIn('Traceback', finished.stderr)
    (line,) = (
      x for x in finished.stderr.splitlines() if x.startswith('error: ')
    )
    self.assertIn(message, line)
    left = {path.name for path in pathlib.Path(logdir).iterdir()}
    self.assertEmpty(left - {'lock'})


if __name__ == '__main__':
  absltest.main()
