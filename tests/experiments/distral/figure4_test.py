"""Tests of figure4_small: a run of it, and what is made of the runs."""

import dataclasses
import os
import pathlib
from unittest import mock

import numpy as np
import pandas as pd
from absl.testing import absltest, parameterized

from core.errors import UserError
from core.evaluation import evaluate
from core.training import train as actor_learner
from distral.config import ALGORITHMS
from experiments.distral import figure4_small, figure4_small_run
from experiments.launch import sweeps
from experiments.runs import bootstrap
from experiments.tables import markdown
from tests import runs

TASKS = ('two_rooms_b/1/1', 'two_rooms_b/7/7')
UPDATES = 3  # Between two points.
COLUMNS = 'task,mean_return,mean_length,point,env_frames,policy'


def tiny(algorithm, logdir):
  return runs.tiny_config(
    ALGORITHMS[algorithm],
    logdir=logdir,
    level_name=','.join(TASKS),
    num_action_repeats=1,
    torso='mlp',
    use_lstm=False,
    learning_rate=0.05,
    xla='off',
    total_environment_frames=20 * UPDATES * figure4_small_run.NUM_POINTS,
  )


class RunTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.enter_context(mock.patch.object(figure4_small_run, 'NUM_EPISODES', 2))

  def run_once(self, algorithm):
    config = tiny(algorithm, self.create_tempdir().full_path)
    figure4_small_run.run(config)
    return config, pd.read_csv(os.path.join(config.logdir, 'curve.csv'))

  def test_curve_of_both_policies(self):
    config, curve = self.run_once('kl_ent_1col')
    num_points = figure4_small_run.NUM_POINTS + 1
    self.assertLen(curve, num_points * 2 * len(TASKS))
    for (policy, task), rows in curve.groupby(['policy', 'task']):
      self.assertIn(policy, ('task', 'distilled'))
      self.assertIn(task, TASKS)
      self.assertEqual(
        rows.env_frames.tolist(),
        (20 * UPDATES * np.arange(num_points)).tolist(),
      )
    self.assertTrue(curve.mean_length.between(1, 100).all())
    self.assertTrue(curve.mean_return.between(-60, 0.9).all())
    # Two networks play differently.
    wide = curve.pivot(
      index=['point', 'task'], columns='policy', values='mean_return'
    )
    self.assertGreater((wide.task != wide.distilled).mean(), 0.5)
    self.assertLen(runs.rows(config, 'updates.csv'), 10 * UPDATES)

  def test_a_network_per_task_has_no_distilled_policy(self):
    _, curve = self.run_once('a3c')
    self.assertEqual(set(curve.policy), {'task'})

  def test_last_point_is_the_last_checkpoints(self):
    config, curve = self.run_once('kl_2col')
    test_config = dataclasses.replace(config, mode='test')
    player = runs.make_agent(test_config)
    fresh = figure4_small_run.play(config, player, figure4_small_run.NUM_POINTS)
    evaluate.load_newest(test_config, player)
    found = figure4_small_run.play(config, player, figure4_small_run.NUM_POINTS)
    last = curve[(curve.point == 10) & (curve.policy == 'task')]
    np.testing.assert_allclose(found.mean_return, last.mean_return, rtol=1e-5)
    self.assertNotEqual(fresh.mean_return.tolist(), found.mean_return.tolist())

  def test_stopped_run_ends_as_the_whole_one(self):
    _, expected = self.run_once('kl_2col')
    config = tiny('kl_2col', self.create_tempdir().full_path)
    train, calls = actor_learner.train, []

    def stop_in_the_fourth(stage, *rest):
      calls.append(stage)
      if len(calls) == 4:
        stage = dataclasses.replace(stage, stop_frames=stage.stop_frames - 20)
      return train(stage, *rest)

    with mock.patch.object(actor_learner, 'train', stop_in_the_fourth):
      figure4_small_run.run(config)
    path = os.path.join(config.logdir, 'curve.csv')
    self.assertEqual(pd.read_csv(path).point.max(), 3)
    figure4_small_run.run(config)
    pd.testing.assert_frame_equal(pd.read_csv(path), expected)

  @parameterized.named_parameters(
    ('not_a_table', 'x\n1\n', 'curve.csv has no column'),
    ('word', f'{COLUMNS}\na,x,1,0,0,task\n', 'line 2: mean_return is x'),
    ('not_text', b'\xff\n', 'curve.csv, line 1: not text'),
    ('pipe', None, 'curve.csv: it is not a file'),
  )
  def test_a_damaged_curve_is_refused_in_one_line(self, content, message):
    config = tiny('a3c', self.create_tempdir().full_path)
    path = pathlib.Path(config.logdir, 'curve.csv')
    if content is None:
      os.mkfifo(path)
    else:
      path.write_bytes(content if type(content) is bytes else content.encode())
    with self.assertRaisesRegex(UserError, message) as context:
      figure4_small_run.run(config)
    self.assertNotIn('\n', str(context.exception))
    self.assertEqual(os.listdir(config.logdir), ['curve.csv'])

  def test_points_that_were_lost_are_not_made_up(self):
    config, curve = self.run_once('a3c')
    path = pathlib.Path(config.logdir, 'curve.csv')
    curve[curve.point < 9].to_csv(path, index=False)
    with self.assertRaisesRegex(UserError, 'curve.csv has lost point 9'):
      figure4_small_run.run(config)
    curve[curve.point < 10].to_csv(path, index=False)
    figure4_small_run.run(config)
    pd.testing.assert_frame_equal(pd.read_csv(path), curve)


def curves_of(returns):
  """Makes a table: {(algorithm, cost, seed, policy): [returns]}."""
  rows = []
  for (algorithm, cost, seed, policy), values in returns.items():
    for i, value in enumerate(values):
      rows.append((algorithm, cost, 0.001, seed, policy, 100 * i, value, 9.0))
  columns = [*figure4_small.SETTING, 'seed', 'policy', 'env_frames']
  return pd.DataFrame(rows, columns=[*columns, 'mean_return', 'mean_length'])


class TableTest(absltest.TestCase):
  def test_best_setting_has_the_largest_area_of_the_task_policies(self):
    curves = curves_of(
      {
        # The second ends better, the first has the larger area; the distilled
        # policy's is not asked.
        ('kl_2col', 0.1, 1, 'task'): [-9, -1, -2],
        ('kl_2col', 0.1, 2, 'task'): [-9, -3, -2],
        ('kl_2col', 0.1, 1, 'distilled'): [-50, -50, -50],
        ('kl_2col', 0.2, 1, 'task'): [-9, -9, 0],
        ('kl_2col', 0.2, 2, 'task'): [-9, -9, 0],
        ('kl_2col', 0.2, 1, 'distilled'): [0, 0, 0],
      }
    )
    best = figure4_small.best_settings(curves)
    self.assertEqual(best.entropy_cost.to_dict(), {'kl_2col': 0.1})
    rows = figure4_small.of_best(curves, 'task')
    self.assertEqual(set(rows.entropy_cost), {0.1})
    self.assertLen(rows, 6)

  def test_line_of_the_table_by_hand(self):
    curves = curves_of(
      {
        ('a3c', 0.1, 1, 'task'): [-10, -2],
        ('a3c', 0.1, 2, 'task'): [-10, -0.5],
        ('a3c', 0.2, 1, 'task'): [-10, -10],
        ('a3c', 0.2, 2, 'task'): [-10, -10],
        ('kl_2col', 0.1, 1, 'task'): [-10, -4],
        ('kl_2col', 0.1, 1, 'distilled'): [-10, -6],
      }
    )
    _, _, a3c, kl = figure4_small.make_table(curves).splitlines()
    runs_of_a3c = np.array([-2, -0.5, -10, -10])
    low, high = bootstrap.mean_interval(
      runs_of_a3c, figure4_small.NUM_RESAMPLES
    )
    self.assertEqual(
      a3c,
      '| A3C | 0.1, 0.001 | -5.62 | -1.25 | '
      f'-5.62 [{low:.2f}, {high:.2f}] | 1 of 4 | none | none |',
    )
    self.assertEqual(
      kl,
      '| KL 2col | 0.1, 0.001 | -7.00 | -4.00 | -4.00 | 0 of 1 '
      '| -6.00 | -6.00 |',
    )

  def test_differences_pair_runs_by_setting_and_seed(self):
    values = {}
    for policy, shift in (('task', 0), ('distilled', 1)):
      for cost in (0.2, 0.1):
        for seed in (2, 1):
          base = -100 * cost - 10 * seed - shift
          values['kl_1col', cost, seed, policy] = [-50, base]
          values['kl_2col', cost, seed, policy] = [-46, base + 3 + shift]
    lines = figure4_small.make_differences(curves_of(values)).splitlines()
    self.assertIn(
      '| KL 2col - KL 1col | 3.50 [3.50, 3.50] | 3.00 [3.00, 3.00] '
      '| 4.00 [4.00, 4.00] |',
      lines,
    )
    self.assertIn('| A3C 2col - A3C | none | none | none |', lines)

  def test_learning_rates_are_means_of_all_runs_with_them(self):
    slow = curves_of(
      {
        ('kl_1col', 0.1, 1, 'task'): [-50, -4],
        ('kl_1col', 0.2, 1, 'task'): [-50, -5],
        ('kl_1col', 0.2, 1, 'distilled'): [-50, -90],
      }
    )
    fast = curves_of({('kl_1col', 0.1, 1, 'task'): [-50, -7]})
    curves = pd.concat([slow, fast.assign(learning_rate=0.002)])
    self.assertEqual(
      figure4_small.make_learning_rates(curves).splitlines(),
      [
        '| end, task policies | 0.001 | 0.002 |',
        '| --- | --- | --- |',
        '| KL 1col | -4.50 | -7.00 |',
      ],
    )


class RecordTest(absltest.TestCase):
  """What is committed."""

  def test_every_run_is_recorded(self):
    curves = figure4_small.read()
    sweep = sweeps.read(figure4_small.SWEEP)
    finals = figure4_small.final_returns(curves, 'task')
    self.assertLen(finals, len(sweep.runs))
    self.assertLen(sweep.runs, 7 * 12 * 2)
    points = curves.groupby([*figure4_small.SETTING, 'seed', 'policy']).size()
    self.assertEqual(set(points), {figure4_small_run.NUM_POINTS + 1})
    self.assertEqual(set(curves.algorithm), set(ALGORITHMS))

  def test_readme_is_up_to_date(self):
    tables = figure4_small.make_tables(figure4_small.read())
    path = str(runs.ROOT / figure4_small.README)
    written = markdown.read(path, figure4_small.NAME)
    self.assertEqual(written, tables)
    self.assertTrue(pathlib.Path(runs.ROOT, figure4_small.FIGURE).exists())


if __name__ == '__main__':
  absltest.main()
