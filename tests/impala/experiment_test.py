"""The command: flag files, modes, and what it says to wrong input."""

import dataclasses
import glob
import os

from absl.flags import FlagValues
from absl.testing import absltest, parameterized

from core import flags
from impala import config as impala_config
from impala.config import PRESETS, Config
from tests import runs

FLAG_FILES = sorted(glob.glob(f'{runs.ROOT}/experiments/impala/*.flags'))


def parse(*arguments: str) -> Config:
  """Returns the config of a command line."""
  values = FlagValues()
  flags.define(Config, PRESETS, values)
  argv = ['experiment', *arguments]
  values(argv)
  return flags.resolve(Config, PRESETS, values, argv)


class FlagFilesTest(parameterized.TestCase):
  def test_there_are_flag_files(self):
    names = [os.path.basename(path) for path in FLAG_FILES]
    self.assertContainsSubset(
      ['table_c1_shallow.flags', 'table_c1_deep.flags', 'demo.flags'], names
    )
    self.assertContainsSubset(
      ['table_4_multitask.flags', 'dmlab_single_level.flags', 'dmlab30.flags'],
      names,
    )

  def test_expert_files_hold_table_g1(self):
    config = parse(
      f'--flagfile={runs.ROOT}/experiments/impala/table_c1_shallow.flags'
    )
    table_g1 = dict(
      total_environment_frames=200_000_000,
      unroll_length=20,
      batch_size=32,
      learning_rate=0.0006,
      epsilon=0.01,
      decay=0.99,
      momentum=0.0,
      entropy_cost=0.01,
      baseline_cost=0.5,
      max_gradient_norm=40.0,
      discounting=0.99,
      reward_clipping='abs_one',
      num_action_repeats=4,
    )
    for name, value in table_g1.items():
      self.assertEqual(getattr(config, name), value, name)

  def test_dmlab30_file_holds_scalable_agents_values(self):
    config = parse(f'--flagfile={runs.ROOT}/experiments/impala/dmlab30.flags')
    changes = dict(
      preset='dmlab30_multitask',
      level_name='dmlab30',
      num_environments=150,
      batch_size=32,
      entropy_cost=0.0033391318945337044,
      learning_rate=0.00031866995608948655,
      total_environment_frames=10_000_000_000,
      reward_clipping='soft_asymmetric',
      log_updates=4,
    )
    self.assertEqual(config, dataclasses.replace(Config(), **changes))

  def test_deep_expert_differs_from_shallow_in_the_torso_alone(self):
    shallow = dataclasses.asdict(impala_config.ATARI_EXPERT_SHALLOW)
    deep = dataclasses.asdict(impala_config.ATARI_EXPERT_DEEP)
    differing = [name for name in shallow if shallow[name] != deep[name]]
    self.assertEqual(differing, ['torso'])

  def test_defaults_are_scalable_agents(self):
    config = parse()
    released = dict(
      total_environment_frames=1_000_000_000,
      batch_size=2,
      unroll_length=100,
      num_action_repeats=4,
      seed=1,
      entropy_cost=0.00025,
      baseline_cost=0.5,
      discounting=0.99,
      reward_clipping='abs_one',
      level_name='explore_goal_locations_small',
      width=96,
      height=72,
      learning_rate=0.00048,
      decay=0.99,
      momentum=0.0,
      epsilon=0.1,
      test_num_episodes=10,
      max_gradient_norm=0.0,
    )
    preset = parse('--preset=scalable_agent_dmlab')
    for name, value in released.items():
      self.assertEqual(getattr(config, name), value, name)
      self.assertEqual(getattr(preset, name), value, name)
    # Its num_actors; the default is wider (README, D5).
    self.assertEqual((preset.num_actors, preset.num_environments), (1, 4))
    self.assertEqual(config.num_environments, 32)


class WrongInputTest(parameterized.TestCase):
  """Each ends in one line on stderr, and in status 1."""

  def _fail(self, *arguments):
    process = runs.command('impala.experiment', *arguments)
    self.assertEqual(process.status, 1, process.stderr)
    self.assertNotIn('Traceback', process.stderr)
    lines = [
      line for line in process.stderr.splitlines() if 'error' in line.lower()
    ]
    return lines[-1]

  def test_unknown_game_names_the_nearest(self):
    line = self._fail('--preset=atari_expert_shallow', '--level_name=breakuot')
    self.assertIn('breakout', line)

  def test_missing_flag_file(self):
    self.assertIn('no_such.flags', self._fail('--flagfile=no_such.flags'))

  def test_unwritable_logdir(self):
    line = self._fail('--preset=debug', '--logdir=/proc/no_such_folder')
    self.assertIn('/proc/no_such_folder', line)

  def test_testing_without_a_checkpoint(self):
    logdir = self.create_tempdir().full_path
    line = self._fail('--preset=debug', '--mode=test', f'--logdir={logdir}')
    self.assertIn('no checkpoint', line)


if __name__ == '__main__':
  absltest.main()
