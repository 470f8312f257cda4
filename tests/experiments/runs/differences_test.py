"""Comparisons of runs: differences, intervals, refusals."""

import numpy as np
from absl.testing import absltest

from core.errors import UserError
from experiments import compare
from experiments.runs import differences
from tests.experiments.comparison_case import (
  BREAKOUT,
  PONG,
  ComparisonTestCase,
  returns_of,
)
from tests.experiments.fake_runs import write_run


class DifferencesTest(ComparisonTestCase):
  def test_differences_per_task_and_aggregate(self):
    a = self.write('a', [(0, 40), (10, 60), (20, 80)])
    b = self.write('b', [(50, 50), (70, 70)])
    result, rows = self.compare(a, b)
    self.assertEqual(
      list(rows),
      ['pong', 'breakout', 'median of 2, %', 'mean of 2, %', 'iqm of 2, %'],
    )
    self.assertEqual(result.unit, 'runs')
    self.assertAlmostEqual(rows['pong'].a, returns_of(10, PONG))
    self.assertAlmostEqual(rows['pong'].b, returns_of(60, PONG))
    self.assertAlmostEqual(rows['mean of 2, %'].a, 35)
    self.assertAlmostEqual(rows['mean of 2, %'].b, 60)
    # The middle half of all six scores of A: without one at either end.
    self.assertAlmostEqual(rows['iqm of 2, %'].a, (10 + 20 + 40 + 60) / 4)
    # B's worst pong is 30 points above A's best.
    self.assertGreater(rows['pong'].low, 0)
    self.assertTrue(rows['pong'].is_told_apart)
    self.assertFalse(rows['breakout'].is_told_apart)

  def test_interval_is_the_bootstrap_over_runs(self):
    random = np.random.default_rng(0)
    scores_a = random.normal(50, 10, [8, 2])
    scores_b = random.normal(60, 20, [6, 2])
    a, b = self.write('a', scores_a), self.write('b', scores_b)
    _, rows = self.compare(a, b)
    drawn = [
      scores_b[random.integers(0, 6, 6)].mean()
      - scores_a[random.integers(0, 8, 8)].mean()
      for _ in range(5000)
    ]
    row = rows['mean of 2, %']
    found = [row.low, row.high]
    np.testing.assert_allclose(found, np.percentile(drawn, [2.5, 97.5]), atol=1)

  def test_tasks_of_a_run_are_drawn_together(self):
    # What a run gains in one task it loses in the other: the mean is certain.
    a = self.write('a', [(0, 100), (100, 0), (50, 50), (20, 80)])
    b = self.write('b', [(10, 110), (110, 10), (60, 60), (30, 90)])
    _, rows = self.compare(a, b)
    row = rows['mean of 2, %']
    np.testing.assert_allclose([row.low, row.high], 10)
    self.assertFalse(rows['pong'].is_told_apart)

  def test_the_same_runs_are_not_told_apart(self):
    scores = [(0, 40), (10, 60), (20, 80)]
    a, b = self.write('a', scores), self.write('b', scores)
    for row in self.compare(a, b)[0].rows:
      self.assertEqual(row.a, row.b)
      self.assertFalse(row.is_told_apart, row.name)
      self.assertLess(row.low, 0)

  def test_single_runs_are_compared_by_episodes(self):
    a = self.write('a', [(10, 10)])
    b = self.write('b', [(10, 60)])
    result, rows = self.compare(a, b)
    self.assertEqual(result.unit, 'episodes')
    # Returns are the mean ± 1 of four episodes on either side.
    self.assertBetween(rows['pong'].low, -2, -0.9)
    self.assertBetween(rows['pong'].high, 0.9, 2)
    self.assertTrue(rows['breakout'].is_told_apart)
    notes = ' '.join(compare.notes(result))
    self.assertIn('over episodes, because a task has one run', notes)
    self.assertIn('nothing about other seeds', notes)

  def test_sets_of_single_task_runs_compare(self):
    sides = []
    for side, shift in (('a', 0), ('b', 50)):
      folders = []
      for task, reference in (('pong', PONG), ('breakout', BREAKOUT)):
        for seed in (1, 2, 3):
          mean = returns_of(shift + seed, reference)
          folder = f'{self.root}/{side}_{task}/seed_{seed}'
          folders.append(write_run(folder, {task: mean}, seed))
      sides.append(folders)
    result = differences.compare(*sides)
    self.assertEqual(result.unit, 'runs')
    mean = [row for row in result.rows if row.name.startswith('mean')][0]
    self.assertAlmostEqual(mean.b - mean.a, 50)
    self.assertBetween(mean.low, 48, 50)

  def test_incomplete_runs_are_left_out_and_named(self):
    a = self.write('a', [(0, 40), (10, 60)])
    b = self.write('b', [(0, 40), (10, 60)])
    means = {'pong': 9e9, 'breakout': 9e9}
    write_run(f'{b}/seed_3', means, 3, env_frames=100_000)
    result, rows = self.compare(a, b)
    self.assertEqual(rows['pong'].a, rows['pong'].b)
    notes = ' '.join(compare.notes(result))
    self.assertIn('B: 2 runs, seeds 1, 2; 358k frames', notes)
    self.assertIn('Left out: ' + b + '/seed_3 (incomplete: 51.2k of', notes)
    self.assertIn('of fewer than 5 runs they are too narrow', notes)
    for seed in (1, 2):
      write_run(f'{a}/seed_{seed}', {'pong': 1.0}, seed, env_frames=51_200)
    with self.assertRaisesRegex(UserError, 'A has no complete run: .*seed_1'):
      self.compare(a, b)

  def test_without_evaluation_the_last_episodes_count_on_both_sides(self):
    a = self.write('a', [(10, 10), (20, 20)], num_tests=0)
    b = self.write('b', [(10, 10), (20, 20)])
    result, rows = self.compare(a, b)
    self.assertIn('last 100 training episodes per task: 2 of 4', result.source)
    self.assertEqual(rows['pong'].a, rows['pong'].b)
    # 40 episodes that rise in a line to twice the mean.
    mean = returns_of(15, PONG) * 41 / 40
    self.assertAlmostEqual(rows['pong'].a, mean)

  def test_other_protocols_are_refused_with_the_fields(self):
    a = self.write('a', [(10, 10)])
    changed = dict(num_action_repeats=4, full_action_space=True)
    b = self.write('b', [(10, 10)], protocol=changed)
    message = (
      r'the protocols differ: full_action_space: false \(A\), true \(B\)'
    )
    with self.assertRaisesRegex(UserError, f'{message}$'):
      self.compare(a, b)
    b = self.write('b', [(10, 10)], evaluation_protocol='sticky')
    with self.assertRaisesRegex(
      UserError, "differ in protocol: 'whole games; .*A"
    ):
      self.compare(a, b)

  def test_other_tasks_are_refused_with_their_names(self):
    a = self.write('a', [(10, 10)])
    b = write_run(f'{self.root}/b', {'pong': 1.0, 'qbert': 2.0})
    with self.assertRaisesRegex(
      UserError, 'the tasks differ: only A has breakout; only B has qbert'
    ):
      self.compare(a, b)

  def test_tasks_without_reference_have_no_aggregate(self):
    sides = [
      write_run(f'{self.root}/{side}', {'x.y:z': 1.0, 'x.y:w': 2.0})
      for side in 'ab'
    ]
    result, rows = self.compare(*sides)
    self.assertEqual(list(rows), ['z', 'w'])
    self.assertIn('No aggregates: no 0 and 100 %', compare.notes(result)[-1])


if __name__ == '__main__':
  absltest.main()
