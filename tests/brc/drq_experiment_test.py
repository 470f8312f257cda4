"""The command on frames: records, resuming, transfer, and wrong input."""

import csv
import dataclasses
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from brc import drq_config
from brc.drq_config import ATARI_100K, DEBUG, SINGLE, SMALL, Config
from core.errors import UserError
from core.types import ActionBox, EnvSpec
from tests import runs

NUM_STEPS, FIRST = 140, 101


def config_of(logdir, **changes):
  """Returns a run on Catch, whose replay of 60 transitions wraps around."""
  settings = dict(
    logdir=logdir,
    total_environment_frames=NUM_STEPS,
    replay_capacity=60,
    replay_memory_gb=0.0,
    evaluation_steps=70,
    encoder_channels='2',
    critic_width=8,
    batch_size=8,
    measure_tasks=True,
    xla='off',
  )
  return dataclasses.replace(DEBUG, **{**settings, **changes})


class RunTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = cls.enter_context(tempfile.TemporaryDirectory())
    cls.reference = config_of(f'{cls.folder}/reference')
    runs.train(cls.reference)

  def test_records(self):
    rows = runs.rows(self.reference, 'updates.csv')
    self.assertLen(rows, NUM_STEPS - (FIRST - 1))
    for i, row in enumerate(rows):
      self.assertEqual(int(row['num_updates']), 2 * i + 2)
      self.assertEqual(int(row['env_frames']), FIRST + i)
    episodes = runs.rows(self.reference, 'episodes.csv')
    self.assertLen(episodes, NUM_STEPS // 9)
    self.assertEqual({row['episode_length'] for row in episodes}, {'9'})
    first, last = runs.rows(self.reference, 'tasks.csv')
    self.assertEqual((first['env_frames'], last['env_frames']), ('70', '140'))
    self.assertEqual(float(last['greatest_return']), 1.0)
    self.assertAlmostEqual(float(last['reward_denominator']), 0.1)
    self.assertGreater(float(last['td_loss']), 0.0)
    (row,) = runs.rows(self.reference, 'evaluation.csv')
    self.assertIn('epsilon-greedy policy (0.001)', row['protocol'])

  def test_stopped_run_ends_as_the_whole_one(self):
    config = config_of(f'{self.folder}/stopped', stop_frames=121)
    runs.train(config)
    arrays, metadata = runs.restore(config)
    self.assertEqual(metadata['num_updates'], 42)
    # Frames lie in files; what is small is in the checkpoint.
    self.assertNotIn('source/replay/frame', arrays)
    self.assertIn('source/replay/last_frames', arrays)
    runs.train(dataclasses.replace(config, stop_frames=0))
    runs.assert_same_run(config, self.reference)
    for name in ('tasks.csv', 'evaluation.csv'):
      ours, theirs = (
        [runs.timeless(row) for row in runs.rows(c, name)]
        for c in (config, self.reference)
      )
      self.assertEqual(ours, theirs, name)

  def test_begins_with_the_networks_of_another_run(self):
    arrays, _ = runs.restore(self.reference)
    config = config_of(
      f'{self.folder}/transfer',
      init_from=self.reference.logdir,
      task_conditioning='none',
      total_environment_frames=20,
    )
    runs.train(config)
    found, metadata = runs.restore(config)
    self.assertEqual(metadata['num_updates'], 0)
    for name in ('head/w', 'target_dense_0/w', 'encoder/section0_conv0/w'):
      name = f'agent/{name}'
      np.testing.assert_array_equal(found[name], arrays[name], name)
    self.assertTrue(np.all(found['agent/adamw_mean/head/w'] == 0.0))
    self.assertTrue(np.any(arrays['agent/adamw_mean/head/w'] != 0.0))

  def test_test_mode(self):
    finished = runs.command(
      *('brc.drq_experiment', '--preset=debug', '--mode=test', '--xla=off'),
      *(f'--logdir={self.reference.logdir}', '--test_num_episodes=2'),
      *('--encoder_channels=2', '--critic_width=8'),
    )
    self.assertEqual(finished.status, 0, finished)
    path = pathlib.Path(self.reference.logdir, 'evaluation.csv')
    with open(path, newline='', encoding='utf-8') as file:
      rows = list(csv.DictReader(file))
    self.assertEqual([row['task'] for row in rows], ['catch'] * 2)
    self.assertIn('epsilon-greedy policy (0.001)', rows[0]['protocol'])


class ConfigTest(parameterized.TestCase):
  def test_defaults_are_the_papers_and_drqs(self):
    expected = dict(
      updates_per_step=2,
      embedding_size=32,
      discounting=0.99,
      num_atoms=101,
      polyak=0.005,
      weight_decay=1e-4,
      batch_size=256,
      replay_capacity=100_000,
      learning_rate=1e-4,
      encoder_channels='128,256,256',
      critic_depth=2,
      critic_width=512,
      augmentation=True,
      final_epsilon=0.01,
      epsilon_decay_steps=5000,
      n_step=3,
      full_action_space=True,
      num_action_repeats=4,
      v_max=10.0,
      adam_epsilon=1.5e-4,
      warm_up_steps=1600,
      evaluation_epsilon=0.001,
      test_num_episodes=100,
      shift_pixels=4,
      intensity_scale=0.05,
      double_q=True,
    )
    for name, value in expected.items():
      self.assertEqual(getattr(Config(), name), value, name)
    for field in dataclasses.fields(Config):
      self.assertTrue(field.metadata['doc'].endswith('.'), field.name)

  def test_presets_are_100k_steps_of_each_game(self):
    self.assertEqual(ATARI_100K.total_environment_frames, 26 * 400_000)
    for config in (SINGLE, SMALL):
      self.assertEqual(config.total_environment_frames, 400_000)


class WrongInputTest(parameterized.TestCase):
  @parameterized.named_parameters(
    (
      'vectors',
      dict(),
      dict(frame_shape=(), num_features=3),
      'sees frames alone',
    ),
    ('features_too', dict(), dict(num_features=3), 'sees frames alone'),
    ('words', dict(), dict(instruction_length=16), 'has instructions'),
    (
      'continuous',
      dict(),
      dict(num_actions=0, action_box=ActionBox((-1.0,), (1.0,))),
      'has continuous actions',
    ),
    (
      'steps',
      dict(warm_up_steps=3),
      dict(),
      '--warm_up_steps=3 must be more than --n_step=3',
    ),
    ('letters', dict(encoder_channels='16,x'), dict(), 'up to six numbers'),
    ('nothing', dict(encoder_channels=''), dict(), 'up to six numbers'),
    ('zero', dict(encoder_channels='4,0'), dict(), 'up to six numbers'),
    ('huge', dict(encoder_channels='99999'), dict(), 'at most 65536'),
  )
  def test_is_refused(self, changes, spec_changes, message):
    config = dataclasses.replace(DEBUG, **changes)
    spec = EnvSpec(('a',), num_actions=3, frame_shape=(20, 20, 1))
    drq_config.check(DEBUG, spec, 1)
    with self.assertRaisesRegex(UserError, message):
      drq_config.check(config, spec._replace(**spec_changes), 1)
    with self.assertRaisesRegex(UserError, '--strategy'):
      drq_config.check(DEBUG, spec, 2)

  @parameterized.named_parameters(
    ('vectors', ['--level_name=point_mass/1'], 'this agent sees frames alone'),
    (
      'kinds',
      ['--level_name=point_mass/1,catch'],
      'one agent needs the same',
    ),
    (
      'alone',
      ['--task_conditioning=embedding'],
      '--task_conditioning=embedding needs several tasks',
    ),
    ('batch', ['--batch_size=151'], 'more than the replay holds, 150'),
    ('disk', ['--replay_capacity=1e15'], 'bytes, the disk of'),
    ('init_from', ['--init_from=nowhere'], 'no checkpoint in nowhere'),
  )
  def test_is_one_line(self, flags, message):
    logdir = self.create_tempdir().full_path
    finished = runs.command(
      'brc.drq_experiment', '--preset=debug', f'--logdir={logdir}', *flags
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
