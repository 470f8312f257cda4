"""Tests of experiments/doom_results.py, on invented runs."""

import os
from unittest import mock

import numpy as np
from absl.testing import absltest

from core.errors import UserError
from core.suites import tasks as suites
from experiments import doom_results
from experiments.launch import sweeps
from experiments.runs import recorded
from tests import runs
from tests.experiments import fake_runs, folders

TASKS = ('doom:mazes_0', 'doom:mazes_1')
HEADER = 'env_frames,task,episode_return,episode_length,wall_secs'


class RecordedTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.results = self.create_tempdir().full_path
    for function in (recorded.names, recorded.read):
      defaults = (self.results,)
      self.enter_context(mock.patch.object(function, '__defaults__', defaults))

  def record(self, row, seed, scores, tasks=TASKS, rising=None):
    """Writes a run whose scores are the same in every task, in percent.

    Args:
      row: '<paper>/<row>'.
      seed: of the run.
      scores: of the first nine tenths of training, the last, and the test.
      tasks: it has.
      rising: returns of training instead, an episode in each tenth.
    """
    early, late, test = scores
    tests, lines = {}, [HEADER]
    total = 100 * fake_runs.PERIOD
    for task in tasks:
      low, high, _ = suites.reference(task)
      of_score = lambda score: low + (high - low) * score / 100  # noqa: B023,E731
      tests[task] = [of_score(test) + x for x in (-1.0, 1.0)]
      returns = rising or [of_score(s) for s in [early] * 9 + [late]]
      for i, value in enumerate(returns):
        lines.append(f'{(i + 1) * total // 10},{task},{value},5400,1')
    folder = fake_runs.write_recorded(self.results, row, tests, seed)
    lines[1:] = sorted(lines[1:], key=lambda x: int(x.partition(',')[0]))
    fake_runs.write_text(f'{folder}/episodes.csv.gz', '\n'.join(lines) + '\n')

  def record_doom14(self):
    for seed, more in ((1, 0), (2, 10)):
      self.record('popart/doom14_popart', seed, (20 + more, 40, 50 + more))
      self.record('popart/doom14_single', seed, (10, 20 + more, 20))

  def test_scores_and_differences(self):
    self.record_doom14()
    agents = doom_results.read('doom14')
    self.assertEqual(list(agents), ['PopArt-IMPALA', 'IMPALA'])
    text = doom_results.make_text('doom14', agents)
    self.assertIn(
      '| PopArt-IMPALA | 2 | 26.5 (22.0, 31.0) | 40.0 (40.0, 40.0) | '
      '55.0 (50.0, 60.0) |',
      text,
    )
    self.assertIn('| IMPALA | 2 | 11.5 (11.0, 12.0) | 25.0 (20.0, 30.0)', text)
    self.assertIn(
      '| PopArt-IMPALA - IMPALA | 15.0 (11.0, 19.0) | 15.0 (10.0, 20.0) | '
      '35.0 (30.0, 40.0) |',
      text,
    )
    self.assertNotIn('MultiHead', text)
    low, high, _ = suites.reference('doom:mazes_0')
    cells = [f'{low + (high - low) * x:.1f}' for x in (0.55, 0.5, 0.6)]
    cell = '{} ({}, {})'.format(*cells)
    self.assertIn(f'| mazes_0 | {low} | {cell} | ', text)
    self.assertIn('(doom14_statistics.png)', text)

  def test_figures(self):
    self.record_doom14()
    agents = doom_results.read('doom14')
    folder = self.create_tempdir()
    os.mkdir(os.path.join(folder.full_path, 'popart'))
    with folders.working_in(folder.full_path):
      doom_results.draw('doom14', agents)
      for name in ('doom14', 'doom14_statistics'):
        self.assertGreater(os.path.getsize(f'popart/{name}.png'), 10_000)

  def test_frames_to_a_return(self):
    task = 'doom:nav_goal'
    for name, last in (('with', 90.0), ('without', 30.0)):
      for seed, early in ((1, 0.0), (2, 12.0)):
        # A mean of all episodes so far: at the end `last`.
        row = f'pixel_control/doom_sparse_nav_goal,{name}'
        returns = [early] * 9 + [10 * last - 9 * early]
        self.record(row, seed, (0, 0, 0), (task,), returns)
    agents = doom_results.read('doom_sparse')
    text = doom_results.make_text('doom_sparse', agents)
    cell = '| 5.12M (2 of 2) '
    for name, reached, missed in (('with', 4, 3), ('without', 2, 5)):
      cells = cell * reached + '| - (0 of 2) ' * missed
      self.assertIn(f'| nav_goal | {name} pixel control {cells}|', text)

  def test_unfinished_runs_are_refused(self):
    self.record('distral/doom_mazes_a3c', 1, (1, 2, 3))
    folder = f'{self.results}/distral/doom_mazes_a3c/seed_1'
    os.remove(f'{folder}/evaluation.csv')
    with self.assertRaisesRegex(UserError, 'seed_1: not tested$'):
      doom_results.make_text('doom_mazes', doom_results.read('doom_mazes'))


class SweepsTest(absltest.TestCase):
  def test_experiments_are_those_of_the_sweeps(self):
    with folders.working_in(runs.ROOT):
      for name, experiment in doom_results.EXPERIMENTS.items():
        path = f'experiments/{experiment.paper}/{name}_sweep.py'
        planned = sweeps.read(path).runs
        settings = {run.name.split('/')[0] for run in planned}
        expected = np.concatenate(list(experiment.agents.values()))
        self.assertEqual(settings, set(expected), path)
        for run in planned:  # Without a test nothing can be recorded.
          self.assertEqual(run.modes, ('train', 'test'), path)
        for pair in experiment.pairs:
          self.assertContainsSubset(pair, experiment.agents)


if __name__ == '__main__':
  absltest.main()
