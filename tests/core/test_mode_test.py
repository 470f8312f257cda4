"""Test mode: from a checkpoint to table, start states and video."""

import csv
import dataclasses
import os

import numpy as np
from absl.testing import absltest, parameterized

from core import actor_learner, checkpointing, test_mode
from core.errors import UserError
from impala.config import ATARI_EXPERT_SHALLOW
from tests import runs


def save_untrained(config, agent):
  """Writes the agent's variables as a checkpoint at frame 1000."""
  arrays = {f'agent/{n}': v.numpy() for n, v in agent.variables().items()}
  checkpointing.save(
    actor_learner.checkpoint_directory(config.logdir),
    1000,
    arrays,
    dict(config=dataclasses.asdict(config), env_frames=1000),
    1,
  )


class TestModeTest(parameterized.TestCase):
  def _pong(self, **changes):
    config = dataclasses.replace(
      ATARI_EXPERT_SHALLOW,
      logdir=self.create_tempdir().full_path,
      mode='test',
      level_name='pong',
      **changes,
    )
    agent = runs.make_agent(config)
    save_untrained(config, agent)
    return config, agent, runs.protocol_of(config)

  def test_catch_writes_every_episode_and_the_table(self):
    config = runs.tiny_config(
      logdir=self.create_tempdir().full_path, test_num_episodes=7, mode='test'
    )
    agent = runs.make_agent(config)
    save_untrained(config, agent)
    test_mode.test(config, agent, runs.protocol_of(config), ['catch'])
    with open(os.path.join(config.logdir, 'evaluation.csv')) as file:
      rows = list(csv.DictReader(file))
    self.assertLen(rows, 7)
    self.assertEqual({row['length'] for row in rows}, {'9'})
    self.assertContainsSubset({row['return'] for row in rows}, {'-1.0', '1.0'})
    with open(os.path.join(config.logdir, 'evaluation.md')) as file:
      self.assertIn('catch', file.read())

  def test_uses_the_checkpoint_not_the_fresh_weights(self):
    config = runs.tiny_config(
      logdir=self.create_tempdir().full_path, mode='test'
    )
    trained = runs.make_agent(config)
    for variable in trained.network.trainable_variables:
      variable.assign_add(0.25 * np.ones(variable.shape, np.float32))
    save_untrained(config, trained)
    fresh = runs.make_agent(config)
    self.assertEqual(test_mode.load_newest(config, fresh), 1000)
    for name, variable in trained.variables().items():
      np.testing.assert_array_equal(fresh.variables()[name], variable, name)

  def test_another_network_is_refused_by_name(self):
    config = runs.tiny_config(
      logdir=self.create_tempdir().full_path, mode='test'
    )
    save_untrained(config, runs.make_agent(config))
    deep = runs.make_agent(dataclasses.replace(config, torso='deep'))
    with self.assertRaisesRegex(UserError, 'torso_linear.*the network has'):
      test_mode.load_newest(config, deep)

  def test_start_states_are_written_and_played(self):
    folder = self.create_tempdir().full_path
    config, agent, protocol = self._pong(
      start_states=folder, num_start_states=3
    )
    test_mode.save_states(config, agent, protocol, ['pong'])
    self.assertLen(os.listdir(os.path.join(folder, 'pong')), 3)
    rows = test_mode.test(config, agent, protocol, ['pong'])
    self.assertLen(rows, 3)
    self.assertIn(os.path.basename(folder), rows[0]['protocol'])
    self.assertNotIn(folder, rows[0]['protocol'])

  def test_atari_flags_on_catch_are_refused(self):
    config = runs.tiny_config(
      logdir=self.create_tempdir().full_path,
      mode='test',
      record_video=True,
      test_num_episodes=1,
    )
    agent = runs.make_agent(config)
    save_untrained(config, agent)
    with self.assertRaisesRegex(UserError, '--record_video is for Atari'):
      test_mode.test(config, agent, runs.protocol_of(config), ['catch'])

  def test_video_of_a_game(self):
    config, agent, protocol = self._pong()
    test_mode.record_videos(config, agent, protocol, ['pong'])
    path = os.path.join(config.logdir, 'pong.mp4')
    self.assertGreater(os.path.getsize(path), 10_000)


if __name__ == '__main__':
  absltest.main()
