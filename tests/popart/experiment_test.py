"""Whole runs on several tasks: stopped, resumed, recorded and tested."""

import csv
import dataclasses
import os
import pathlib
import signal
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from popart import popart
from popart.config import DEBUG
from tests import runs

# An update is 20 frames.
NUM_UPDATES = 50
TASKS = ('catch', 'tests.user_environments:make_catch')


def config_of(logdir, **changes):
  changes = {
    'level_name': ','.join(TASKS),
    'total_environment_frames': 20 * NUM_UPDATES,
    'statistics_step_size': 0.1,
    **changes,
  }
  return runs.tiny_config(DEBUG, logdir=logdir, **changes)


class RunTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = cls.enter_context(tempfile.TemporaryDirectory())
    cls.reference = config_of(folder)
    runs.train(cls.reference)

  def logdir(self):
    return self.enter_context(tempfile.TemporaryDirectory())

  def assert_equals_reference(self, config):
    """To the bit: weights, slots, statistics and every record."""
    runs.assert_same_run(config, self.reference)
    found, expected = (
      pathlib.Path(c.logdir, 'tasks.csv').read_text()
      for c in (config, self.reference)
    )
    self.assertEqual(found, expected)

  def test_killed_run_ends_as_the_whole_one(self):
    config = config_of(self.logdir())
    run = runs.Run(config)
    run.wait_for_updates(23)  # The last checkpoint is of update 21.
    run.signal(signal.SIGKILL)
    finished = run.finish()
    self.assertEqual(finished.status, -signal.SIGKILL, finished)
    runs.train(config)
    self.assert_equals_reference(config)

  def test_stopped_run_ends_as_the_whole_one(self):
    config = config_of(self.logdir())
    runs.train(dataclasses.replace(config, stop_frames=20 * 31))
    self.assertLen(runs.rows(config, 'tasks.csv'), 2 * 31)
    runs.train(config)
    self.assert_equals_reference(config)

  def test_every_task_once_per_update(self):
    rows = runs.rows(self.reference, 'tasks.csv')
    self.assertEqual(list(rows[0]), ['env_frames', 'task', 'shift', 'scale'])
    self.assertEqual(
      [(row['env_frames'], row['task']) for row in rows],
      [(f'{20 * n}', t) for n in range(1, NUM_UPDATES + 1) for t in TASKS],
    )
    updates = runs.rows(self.reference, 'updates.csv')
    self.assertNoCommonElements(updates[0], ('shift', 'scale'))

  def test_last_row_is_the_checkpoints_statistics(self):
    arrays, _ = runs.restore(self.reference)
    statistics = popart.Statistics(
      arrays['agent/popart/shift'], arrays['agent/popart/second_moment']
    )
    scale = popart.compute_scale(statistics, 1e-4, 1e6)
    rows = runs.rows(self.reference, 'tasks.csv')
    for row, expected_shift, expected_scale in zip(
      rows[-2:], statistics.shift, scale, strict=True
    ):
      self.assertNotIn(expected_shift, (0.0, 1.0))
      self.assertEqual(float(row['shift']), expected_shift)
      np.testing.assert_allclose(float(row['scale']), expected_scale)

  @parameterized.parameters('multi_head', 'single')
  def test_baselines_have_no_statistics_to_record(self, value_head):
    config = config_of(self.logdir(), value_head=value_head, stop_frames=40)
    runs.train(config)
    self.assertLen(runs.rows(config, 'updates.csv'), 2)
    self.assertFalse(os.path.exists(os.path.join(config.logdir, 'tasks.csv')))

  def test_log_updates_thins_the_statistics(self):
    config = config_of(self.logdir(), log_updates=3, stop_frames=20 * 7)
    runs.train(config)
    rows = runs.rows(config, 'tasks.csv')
    frames = [int(row['env_frames']) for row in rows]
    self.assertEqual(frames, [60, 60, 120, 120])

  def test_test_mode_prints_one_table_of_all_tasks(self):
    # Only what the mode reads; the network is the same.
    config = dataclasses.replace(
      DEBUG,
      logdir=self.reference.logdir,
      level_name=self.reference.level_name,
      mode='test',
      test_num_episodes=3,
    )
    finished = runs.Run(config).finish()
    self.assertEqual(finished.status, 0, finished)
    self.assertIn(f'policy after {20 * NUM_UPDATES:,} environ', finished.stdout)
    path = os.path.join(config.logdir, 'evaluation.md')
    lines = pathlib.Path(path).read_text().splitlines()
    self.assertLen([line for line in lines if '---' in line], 1)
    for task in TASKS:
      self.assertLen([line for line in lines if f'| {task} |' in line], 1)
    # The terminal shows one table, too.
    self.assertEqual(finished.stdout.count('normalised'), 1)
    with open(os.path.join(config.logdir, 'evaluation.csv')) as file:
      played = [row['task'] for row in csv.DictReader(file)]
    self.assertEqual(played, [TASKS[0]] * 3 + [TASKS[1]] * 3)


class WrongInputTest(parameterized.TestCase):
  """Each ends in one line on stderr, and in status 1."""

  @parameterized.named_parameters(
    (
      'action_spaces_differ',
      ['--level_name=pong,breakout', '--nofull_action_space'],
      'breakout has .* 4 actions, pong .* 6 actions: .*--full_action_space',
    ),
    (
      'more_tasks_than_environments',
      ['--level_name=pong,breakout', '--num_environments=1', '--num_groups=1'],
      '2 tasks need at least as many environments, not 1: .*--num_environments',
    ),
    (
      'other_reading',
      ['--second_moment=variance'],
      'second_moment.*square_of_mean|mean_of_squares',
    ),
  )
  def test_one_line(self, arguments, message):
    logdir = self.create_tempdir().full_path
    process = runs.command(
      *('popart.experiment', '--preset=debug', '--num_action_repeats=4'),
      *(f'--logdir={logdir}', *arguments),
    )
    self.assertEqual(process.status, 1, process.stderr)
    self.assertNotIn('Traceback', process.stderr)
    lines = [x for x in process.stderr.splitlines() if x.startswith('error: ')]
    self.assertLen(lines, 1)
    self.assertRegex(lines[0], message)


if __name__ == '__main__':
  absltest.main()
