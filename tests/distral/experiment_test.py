"""Whole runs in the grid world: stopped, resumed, recorded and tested."""

import csv
import os
import pathlib
import signal
import tempfile
from unittest import mock

import numpy as np
from absl.flags import FlagValues
from absl.testing import absltest, parameterized

from core import flags
from core.errors import UserError
from distral import experiment
from distral.config import ALGORITHMS, DEBUG, PRESETS, Config
from tests import runs

# An update is 20 frames.
NUM_UPDATES = 40
TASKS = ('two_rooms/1/12', 'two_rooms/5/4')
LEVELS = f'--level_name={",".join(TASKS)}'


def config_of(logdir, preset=DEBUG, **changes):
  changes = {
    'level_name': ','.join(TASKS),
    'total_environment_frames': 20 * NUM_UPDATES,
    'torso': 'mlp',
    'num_action_repeats': 1,
    'xla': 'off',
    **changes,
  }
  return runs.tiny_config(preset, logdir=logdir, **changes)


def main(*arguments):
  """Runs the experiment in this process, with flags of its own."""
  values = FlagValues()
  flags.define(Config, PRESETS, values)
  argv = ['experiment', *arguments]
  values(argv)
  resolve, announce = flags.resolve, flags.announce
  with (
    mock.patch.object(
      flags, 'resolve', lambda *args: resolve(*args, values, argv)
    ),
    mock.patch.object(
      flags, 'announce', lambda *args: announce(*args, values, argv)
    ),
  ):
    experiment.main([])


class RunTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = cls.enter_context(tempfile.TemporaryDirectory())
    cls.reference = config_of(folder, use_lstm=True)
    runs.train(cls.reference)

  def logdir(self):
    return self.enter_context(tempfile.TemporaryDirectory())

  def test_killed_run_ends_as_the_whole_one(self):
    config = config_of(self.logdir(), use_lstm=True)
    run = runs.Run(config)
    run.wait_for_updates(23)  # The last checkpoint is of update 21.
    run.signal(signal.SIGKILL)
    finished = run.finish()
    self.assertEqual(finished.status, -signal.SIGKILL, finished)
    runs.train(config)
    # To the bit: weights, slots, states of cores and environments, records.
    runs.assert_same_run(config, self.reference)
    found, expected = (
      pathlib.Path(c.logdir, 'tasks.csv').read_text()
      for c in (config, self.reference)
    )
    self.assertEqual(found, expected)
    arrays, _ = runs.restore(config)
    states = [name for name in arrays if 'core_state' in name]
    self.assertLen(states, 2 * 2 * 2)  # Groups, columns, cell and hidden.
    for name in states:
      self.assertTrue(np.any(arrays[name]), name)

  def test_every_task_once_per_update(self):
    rows = runs.rows(self.reference, 'tasks.csv')
    self.assertEqual(
      list(rows[0]), ['env_frames', 'task', 'entropy', 'kl_to_distilled']
    )
    self.assertEqual(
      [(row['env_frames'], row['task']) for row in rows],
      [(f'{20 * n}', t) for n in range(1, NUM_UPDATES + 1) for t in TASKS],
    )
    for row in rows:
      self.assertBetween(float(row['entropy']), 0.0, np.log(5) + 1e-5)
      self.assertGreater(float(row['kl_to_distilled']), 0.0)

  def test_learning_rate_goes_down_to_a_sixth(self):
    rates = [
      float(row['learning_rate'])
      for row in runs.rows(self.reference, 'updates.csv')
    ]
    spent = np.arange(NUM_UPDATES) / NUM_UPDATES
    np.testing.assert_allclose(rates, 4e-4 * (1 - 5 / 6 * spent), rtol=1e-5)

  def test_values_are_pulled_to_shared_ones_but_for_the_baselines(self):
    # Distral's README, D3; the weight is appendix B.2's.
    for name, preset in {'default': Config(), **ALGORITHMS}.items():
      kind = 'none' if name.startswith('a3c') else 'shared'
      self.assertEqual(preset.value_regularization, kind, name)
      self.assertEqual(preset.value_regularization_cost, 0.005, name)

  def test_both_tasks_finish_episodes(self):
    rows = runs.rows(self.reference, 'episodes.csv')
    self.assertEqual({row['task'] for row in rows}, set(TASKS))
    for row in rows:
      self.assertBetween(int(row['episode_length']), 1, 100)

  @parameterized.parameters(*ALGORITHMS)
  def test_every_preset_trains(self, name):
    config = config_of(
      self.logdir(), ALGORITHMS[name], use_lstm=False, stop_frames=40
    )
    self.assertEqual(runs.train(config), 40)
    rows = runs.rows(config, 'tasks.csv')
    self.assertLen(rows, 2 * 2)
    has_two_policies = name not in ('a3c', 'a3c_multitask')
    self.assertEqual('kl_to_distilled' in rows[0], has_two_policies)

  def test_asynchronous_with_v_trace(self):
    config = config_of(
      self.logdir(),
      actor_mode='async',
      num_actors=2,
      use_vtrace=True,
      stop_frames=200,
    )
    self.assertEqual(runs.train(config), 200)

  def test_test_mode_plays_either_policy(self):
    played = []
    for policy in ('task', 'distilled'):
      main(
        *('--preset=debug', f'--logdir={self.reference.logdir}', LEVELS),
        *('--use_lstm', '--mode=test', '--test_num_episodes=4'),
        f'--test_policy={policy}',
      )
      path = os.path.join(self.reference.logdir, 'evaluation.csv')
      with open(path) as file:
        rows = list(csv.DictReader(file))
      self.assertEqual(
        [row['task'] for row in rows], [TASKS[0]] * 4 + [TASKS[1]] * 4
      )
      line = 'whole episodes; sampled policy; raw rewards'
      line += '; test_policy distilled' * (policy == 'distilled')
      self.assertEqual({row['protocol'] for row in rows}, {line})
      played.append([(row['return'], row['length']) for row in rows])
    self.assertNotEqual(*played)


A3C = ('--preset=a3c', '--num_action_repeats=1', '--nouse_lstm')
WRONG_INPUT = (
  ('alpha_above', ['--alpha_loss=1.5'], 'alpha_loss must be at most 1, not 1.'),
  ('alpha_below', ['--alpha_loss=-.1'], 'alpha_loss must be at least 0, not '),
  ('alpha_nan', ['--alpha_loss=nan'], 'alpha_loss must be a finite '),
  ('alpha_arch', ['--alpha_arch=2'], 'alpha_arch must be at most 1, not 2'),
  ('beta_zero', ['--beta=0'], 'beta must be at least .*, not 0'),
  ('beta_negative', ['--beta=-1'], 'beta must be at least .*, not -1'),
  ('wall', ['--level_name=two_rooms/0/3'], 'two_rooms/0/3: .* in a wall'),
  ('outside', ['--level_name=two_rooms/9/9'], 'two_rooms/9/9: .* outside of'),
  (
    'grid_and_catch',
    ['--level_name=two_rooms/1/2,catch'],
    'catch has frames .* 3 actions, two_rooms/1/2 .* 5 actions: one agent',
  ),
  (
    'games',
    ['--level_name=pong,breakout'],
    'breakout has .* 4 actions, pong .* 6 actions: .*--full_action_space',
  ),
  ('batch', ['--batch_size=7', LEVELS], '--batch_size=7: .* 2 tasks'),
  (
    'environments',
    ['--num_environments=6', LEVELS],
    '--num_environments=6 in 2 groups .*: each group needs .* 2 tasks',
  ),
  (
    'no_policy_to_test',
    [*A3C, '--mode=test', '--test_policy=distilled', LEVELS],
    '--test_policy=distilled: .* has no distilled policy',
  ),
  (
    'nothing_to_test',
    ['--test_policy=distilled', LEVELS],
    '--test_policy does nothing with --mode=train',
  ),
  (
    'nothing_to_pull_to',
    [*A3C, '--torso=mlp', '--value_regularization=shared', LEVELS],
    '--value_regularization=shared',
  ),
  ('entropy_twice', ['--entropy=bonus', LEVELS], '--entropy=bonus .* not 0.5'),
  ('convolutions_on_a_grid', ['--torso=conv', LEVELS], '--torso=conv'),
)


class WrongInputTest(parameterized.TestCase):
  @parameterized.named_parameters(*WRONG_INPUT)
  def test_one_line(self, arguments, message):
    logdir = self.create_tempdir().full_path
    with self.assertRaisesRegex(UserError, message) as context:
      main('--preset=debug', '--xla=off', f'--logdir={logdir}', *arguments)
    self.assertLen(str(context.exception).splitlines(), 1)

  def test_unknown_algorithm(self):
    process = runs.command('distral.experiment', '--preset=kl_3col')
    self.assertEqual(process.status, 1, process.stderr)
    self.assertNotIn('Traceback', process.stderr)
    lines = [x for x in process.stderr.splitlines() if x.startswith('error: ')]
    self.assertLen(lines, 1)
    self.assertRegex(lines[0], 'preset.*kl_ent_2col')


if __name__ == '__main__':
  absltest.main()
