"""Tests of core/training/resume.py: runs that go on from a checkpoint."""

import dataclasses
import pathlib

import numpy as np
import pytest
from absl.testing import absltest, parameterized

from core import checkpointing
from core.errors import UserError
from core.training import resume
from tests import runs
from tests.core.training.reference_runs import (
  NUM_UPDATES,
  VARIANTS,
  RunsTest,
  config_of,
  reference,
)


def member_of(config, name='0/1'):
  """Returns the config of a slice of a population's member."""
  return dataclasses.replace(config, population_slice=name)


class ResumeTest(RunsTest):
  @parameterized.named_parameters(
    ('plain', 'plain', 23),
    ('pending', 'pending_unrolls', 34),
    ('groups_in_turn', 'groups_in_turn', 29),
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
      [row for row in rows if int(row['env_frames']) <= first_frames]
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
      resume.load_variables(agent, arrays)
    del arrays[f'agent/{name}']
    with self.assertRaisesRegex(UserError, f'{name} is missing'):
      resume.load_variables(agent, arrays)


class RestoreTest(RunsTest):
  def setUp(self):
    super().setUp()
    self.config = config_of(self.logdir(), stop_frames=20)

  def test_nothing_to_restore(self):
    self.assertEqual(resume.restore(self.config, None), {})

  def test_a_population_may_change_what_it_explores(self):
    runs.train(self.config)
    explored = dataclasses.replace(
      self.config, learning_rate=0.5, entropy_cost=0.1
    )
    agent = runs.make_agent(dataclasses.replace(explored, seed=7))
    with self.assertRaisesRegex(
      UserError,
      'config: entropy_cost was 0.01, is 0.1, learning_rate was 0.0006, is 0.5',
    ):
      resume.restore(explored, agent)
    state = resume.restore(member_of(explored), agent)
    self.assertEqual((state['env_frames'], state['num_updates']), (20, 1))
    for name, variable in agent.variables().items():
      np.testing.assert_array_equal(state['arrays'][f'agent/{name}'], variable)

  def test_a_population_may_change_nothing_else(self):
    runs.train(self.config)
    agent = runs.make_agent(self.config)
    other = dataclasses.replace(
      self.config, learning_rate=0.5, discounting=0.5, log_updates=7
    )
    with self.assertRaisesRegex(
      UserError, 'another config: discounting was 0.99, is 0.5; give the old'
    ):
      resume.restore(member_of(other), agent)

  def test_a_checkpoint_holds_the_slices_that_it_descends_from(self):
    first = member_of(self.config, '0/0')
    runs.train(first)
    rates = (0.0006, 0.5)
    second = dataclasses.replace(
      first, population_slice='1/1', learning_rate=rates[1], stop_frames=60
    )
    for stop_frames in (40, 60):  # Interrupted once: one slice all the same.
      runs.train(dataclasses.replace(second, stop_frames=stop_frames))
    lineage = runs.restore(second)[1]['lineage']
    found = [(entry['slice'], entry['first_frame']) for entry in lineage]
    self.assertEqual(found, [('0/0', 0), ('1/1', 20)])
    for entry, rate in zip(lineage, rates, strict=True):
      self.assertEqual(entry['explored']['learning_rate'], rate)
      self.assertLen(entry['explored'], 4)
    runs.train(dataclasses.replace(second, population_slice='', stop_frames=80))
    self.assertEqual(runs.restore(second)[1]['lineage'], lineage)

  def test_episodes_begin_anew_without_the_state_of_the_source(self):
    runs.train(self.config)
    arrays, metadata = runs.restore(self.config)
    agent = {n: a for n, a in arrays.items() if n.startswith('agent/')}
    directory = checkpointing.directory_of(self.config.logdir)
    checkpointing.save(directory, 20, agent, {**metadata, 'source': {}}, keep=1)
    longer = dataclasses.replace(self.config, stop_frames=40)
    self.assertEqual(runs.train(longer), 40)

  def test_a_field_that_is_younger_than_the_checkpoint(self):
    runs.train(self.config)
    arrays, metadata = runs.restore(self.config)
    del metadata['config']['momentum']  # 0 by default.
    directory = checkpointing.directory_of(self.config.logdir)
    checkpointing.save(directory, 20, arrays, metadata, keep=1)
    agent = runs.make_agent(self.config)
    self.assertEqual(resume.restore(self.config, agent)['num_updates'], 1)
    other = dataclasses.replace(self.config, momentum=0.5)
    with self.assertRaisesRegex(UserError, 'momentum was 0.0, is 0.5'):
      resume.restore(other, agent)


if __name__ == '__main__':
  absltest.main()
