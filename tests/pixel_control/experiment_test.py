"""The command: flag files, training and testing, real frames, wrong input."""

import dataclasses
import glob
import os

import numpy as np
import tensorflow as tf
from absl.flags import FlagValues
from absl.testing import absltest

from core import flags
from core.experience import sources
from core.experience.timing import Timer
from core.suites.tasks import Tasks
from pixel_control import pixel_control
from pixel_control.config import ATARI57, DEBUG, PRESETS, Config
from tests import runs, unrolls

FLAG_FILES = sorted(
  glob.glob(f'{runs.ROOT}/experiments/pixel_control/figure_*.flags')
)


def parse(*arguments: str) -> Config:
  """Returns the config of a command line."""
  values = FlagValues()
  flags.define(Config, PRESETS, values)
  argv = ['experiment', *arguments]
  values(argv)
  return flags.resolve(Config, PRESETS, values, argv)


class FlagFilesTest(absltest.TestCase):
  """That they build their agents is tests/experiments/flags_test.py's."""

  def test_there_are_flag_files(self):
    self.assertEqual(
      [os.path.basename(path) for path in FLAG_FILES],
      [
        'figure_5_pixel_popart_impala.flags',
        'figure_7_pixel_impala.flags',
      ],
    )

  def test_figures_differ_in_the_value_head_alone(self):
    five, seven = (
      dataclasses.asdict(parse(f'--flagfile={path}')) for path in FLAG_FILES
    )
    self.assertEqual({**five, 'value_head': 'single'}, seven)
    self.assertEqual(five['value_head'], 'popart')

  def test_flag_files_hold_the_papers_values(self):
    config = parse(f'--flagfile={FLAG_FILES[0]}')
    printed = dict(
      total_environment_frames=2_000_000_000,
      pixel_control_discount=0.9,
      pixel_control_cell_size=4,
      pixel_control_border=0,
      action_set='popart',
      statistics_step_size=0.0003,
      scale_lower_bound=0.0001,
      scale_upper_bound=1e6,
      height=72,
      width=96,
      num_action_repeats=4,
      unroll_length=100,
      discounting=0.99,
      baseline_cost=0.5,
      batch_size=32,
      momentum=0.0,
      torso='deep',
      use_lstm=True,
    )
    for name, value in printed.items():
      self.assertEqual(getattr(config, name), value, name)

  def test_weights_of_the_loss_are_those_of_the_readme(self):
    # D1: on DeepMind Lab, whose figures these are, and on Atari.
    for path in FLAG_FILES:
      self.assertEqual(parse(f'--flagfile={path}').pixel_control_cost, 0.01)
    self.assertEqual(parse('--preset=atari57').pixel_control_cost, 0.001)


class EndToEndTest(absltest.TestCase):
  def test_trains_and_tests(self):
    logdir = self.create_tempdir().full_path
    arguments = ('--preset=debug', f'--logdir={logdir}')
    config = dataclasses.replace(DEBUG, logdir=logdir)
    # An update is 160 frames.
    trained = runs.command(
      'pixel_control.experiment', *arguments, '--stop_frames=480'
    )
    self.assertEqual(trained.status, 0, trained.stderr)
    updates = runs.rows(config, 'updates.csv')
    self.assertLen(updates, 3)
    for row in updates:
      self.assertGreater(float(row['pixel_control_loss']), 0.0)
    tested = runs.command(
      'pixel_control.experiment',
      *arguments,
      '--mode=test',
      '--test_num_episodes=2',
    )
    self.assertEqual(tested.status, 0, tested.stderr)
    self.assertLen(runs.rows(config, 'evaluation.csv'), 2)


class AtariTest(absltest.TestCase):
  def test_learns_from_frames_of_a_game(self):
    config = runs.tiny_config(
      ATARI57,
      level_name='breakout',
      xla='off',
      torso='shallow',
      num_environments=2,
      num_groups=1,
      batch_size=2,
      unroll_length=12,
    )
    agent = runs.make_agent(config)
    actor = sources.make_actor(config, agent, Tasks.of(config), Timer())
    self.addCleanup(actor.close)
    (unroll,) = actor.collect(0)
    frames = unroll.env_outputs.observation.frame
    self.assertEqual(frames.shape, (13, 2, 4, 84, 84))
    # The newest frame of the stack is the last: the others move up.
    for t, b in np.argwhere(~unroll.env_outputs.done[1:]):
      np.testing.assert_array_equal(frames[t + 1, b, :3], frames[t, b, 1:])
    rewards = pixel_control.cell_pseudo_rewards(
      agent._visible_part(tf.constant(frames)), config.pixel_control_cell_size
    )
    self.assertEqual(rewards.shape, (12, 2, 20, 20))
    self.assertGreater(np.max(rewards), 0.0)
    metrics = agent.update(unrolls.learner_input(unroll), np.float32(0.001))
    self.assertGreater(metrics['pixel_control_loss'], 0.0)
    self.assertTrue(np.isfinite(metrics['total_loss']))


class WrongInputTest(absltest.TestCase):
  def test_frames_that_the_grid_does_not_divide(self):
    finished = runs.command(
      'pixel_control.experiment',
      *('--preset=atari57', '--level_name=pong', '--pixel_control_border=0'),
      f'--logdir={self.create_tempdir().full_path}',
    )
    self.assertEqual(finished.status, 1, finished.stderr)
    self.assertNotIn('Traceback', finished.stderr)
    self.assertRegex(
      finished.stderr.splitlines()[-1],
      '^error: .* 84x84 frames .*--pixel_control_border',
    )


if __name__ == '__main__':
  absltest.main()
