"""Tests of core/evaluation/evaluate.py: from checkpoint to video."""

import csv
import dataclasses
import functools
import itertools
import os
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from core import checkpointing
from core.environments.atari import AtariProtocol
from core.errors import UserError
from core.evaluation import evaluate
from core.suites import atari
from core.suites.tasks import Tasks
from impala.config import ATARI_EXPERT_SHALLOW
from tests import runs
from tests.tasks import PlayedAs


def save_untrained(config, agent):
  """Writes the agent's variables as a checkpoint at frame 1000."""
  arrays = {f'agent/{n}': v.numpy() for n, v in agent.variables().items()}
  metadata = dict(
    config=dataclasses.asdict(config),
    env_frames=1000,
    num_updates=50,
    task_names=list(Tasks.of(config).names),
    records={},
    source={},
  )
  checkpointing.save(
    checkpointing.directory_of(config.logdir), 1000, arrays, metadata, 1
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
    return config, agent, Tasks.of(config)

  def test_catch_writes_every_episode_and_the_table(self):
    config = runs.tiny_config(
      logdir=self.create_tempdir().full_path, test_num_episodes=7, mode='test'
    )
    agent = runs.make_agent(config)
    save_untrained(dataclasses.replace(config, preset='debug'), agent)
    evaluate.test(config, agent, Tasks.of(config))
    with open(os.path.join(config.logdir, 'evaluation.csv')) as file:
      rows = list(csv.DictReader(file))
    self.assertLen(rows, 7)
    self.assertEqual({row['length'] for row in rows}, {'9'})
    self.assertContainsSubset({row['return'] for row in rows}, {'-1.0', '1.0'})
    name = 'checkpoint_000000000001000.npz'
    self.assertEqual({row['preset'] for row in rows}, {'debug'})
    self.assertEqual({row['checkpoint'] for row in rows}, {name})
    with open(os.path.join(config.logdir, 'evaluation.md')) as file:
      text = file.read()
    self.assertIn('catch', text)
    self.assertIn(f'{name}, preset debug', text)

  def test_uses_the_checkpoint_not_the_fresh_weights(self):
    config = runs.tiny_config(
      logdir=self.create_tempdir().full_path, mode='test'
    )
    trained = runs.make_agent(config)
    for variable in trained.network.trainable_variables:
      variable.assign_add(0.25 * np.ones(variable.shape, np.float32))
    save_untrained(config, trained)
    fresh = runs.make_agent(config)
    self.assertEqual(evaluate.load_newest(config, fresh).env_frames, 1000)
    for name, variable in trained.variables().items():
      np.testing.assert_array_equal(fresh.variables()[name], variable, name)

  def test_another_network_is_refused_by_name(self):
    config = runs.tiny_config(
      logdir=self.create_tempdir().full_path, mode='test'
    )
    save_untrained(config, runs.make_agent(config))
    deep = runs.make_agent(dataclasses.replace(config, torso='deep'))
    with self.assertRaisesRegex(UserError, 'torso_linear.*the network has'):
      evaluate.load_newest(config, deep)

  def test_what_would_be_played_otherwise_is_refused(self):
    config = runs.tiny_config(
      logdir=self.create_tempdir().full_path, mode='test', start_states='states'
    )
    agent = runs.make_agent(config)
    save_untrained(config, agent)
    # Trained with any of these, the network has the same shapes.
    for name, other, value in (
      ('level_name', 'tests.tasks:make', 'catch'),
      ('num_action_repeats', 4, 1),
      ('full_action_space', True, False),
      ('precision', 'bfloat16', 'float32'),
    ):
      changed = dataclasses.replace(config, **{name: other})
      message = f'^the checkpoint has another config: {name} was {value}, is '
      with self.assertRaisesRegex(UserError, f'{message}{other}; give'):
        evaluate.test(changed, agent, Tasks.of(config))
    changed = dataclasses.replace(config, num_action_repeats=4)
    with self.assertRaisesRegex(UserError, 'num_action_repeats was 1, is 4'):
      evaluate.save_states(changed, agent, PlayedAs([], None))
    self.assertEqual(os.listdir(config.logdir), ['checkpoints'])

  def test_what_only_training_reads_may_differ(self):
    config = runs.tiny_config(
      logdir=self.create_tempdir().full_path, mode='test'
    )
    agent = runs.make_agent(config)
    save_untrained(config, agent)
    changed = dataclasses.replace(
      config,
      seed=7,
      batch_size=8,
      learning_rate=0.5,
      total_environment_frames=10**9,
      preset='other',
    )
    self.assertEqual(evaluate.load_newest(changed, agent).env_frames, 1000)

  def test_start_states_are_written_and_played(self):
    folder = self.create_tempdir().full_path
    config, agent, tasks = self._pong(start_states=folder, num_start_states=3)
    evaluate.save_states(config, agent, tasks)
    self.assertLen(os.listdir(os.path.join(folder, 'pong')), 3)
    rows = evaluate.test(config, agent, tasks)
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
    with self.assertRaisesRegex(UserError, 'catch can neither be filmed'):
      evaluate.test(config, agent, Tasks.of(config))

  def test_video_of_a_game(self):
    config, agent, tasks = self._pong()
    evaluate.record_videos(config, agent, tasks)
    path = os.path.join(config.logdir, 'pong.mp4')
    self.assertGreater(os.path.getsize(path), 10_000)


class PlayedTest(parameterized.TestCase):
  """What the agent is asked while games of 40 frames, 10 steps, are played."""

  def _asked(self, play, noop_max, **changes):
    """Returns the task ids of every step."""
    short = functools.partial(
      AtariProtocol, max_frames_per_episode=40, noop_max=noop_max
    )
    self.enter_context(mock.patch.object(atari, 'AtariProtocol', short))
    config = dataclasses.replace(
      ATARI_EXPERT_SHALLOW,
      logdir=self.create_tempdir().full_path,
      mode='test',
      full_action_space=True,
      **changes,
    )
    agent = runs.make_agent(config)
    save_untrained(config, agent)
    asked, act = [], agent.act

    def record(task_ids, *inputs):
      asked.append(task_ids.numpy().tolist())
      self.assertLess(len(asked), 200)  # Games that none would count.
      return act(task_ids, *inputs)

    agent.act = record
    play(config, agent, Tasks.of(config))
    return asked

  @parameterized.named_parameters(
    ('games', [evaluate.test], dict(test_num_episodes=1)),
    ('videos', [evaluate.record_videos], {}),
    ('start_states', [evaluate.save_states, evaluate.test], None),
  )
  def test_tasks_in_turn(self, steps, changes):
    if changes is None:
      folder = self.create_tempdir().full_path
      changes = dict(start_states=folder, num_start_states=1)

    def play(*args):
      for step in steps:
        step(*args)

    asked = self._asked(play, 30, level_name='pong,breakout', **changes)
    in_turn = [task_ids for task_ids, _ in itertools.groupby(asked)]
    self.assertEqual(in_turn, [[0], [1]] * len(steps))

  @parameterized.named_parameters(('required', 1, True), ('unused', 0, False))
  def test_games_without_a_noop_are_played_again(self, noop_max, is_again):
    # Half of the 8 draw none of 0 to 1; one of 0 to 0 is none required.
    asked = self._asked(
      evaluate.test, noop_max, level_name='pong', test_num_episodes=8
    )
    self.assertEqual(asked[0], [0] * 8)
    self.assertEqual(len(asked) > 10, is_again)


if __name__ == '__main__':
  absltest.main()
