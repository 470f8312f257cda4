"""Tests of experiments/stacx/side_by_side.py."""

import os
from unittest import mock

from absl.testing import absltest, parameterized

from experiments.launch import sweeps
from experiments.runs import recorded
from experiments.stacx import side_by_side
from tests.experiments import fake_runs


class SideBySideTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.results = self.create_tempdir().full_path
    self.enter_context(mock.patch.object(recorded, 'RESULTS', self.results))
    for function in (recorded.names, recorded.read):
      defaults = (self.results,)
      self.enter_context(mock.patch.object(function, '__defaults__', defaults))

  def record(self, setting, seed, returns):
    fake_runs.write_recorded(
      self.results, f'stacx/atari_{setting}', {'pong': returns}, seed=seed
    )

  def test_agents_stand_in_order_and_means_are_over_seeds(self):
    for setting, first in (
      ('learning_rate=0.1,stacx', 10.0),
      ('learning_rate=0.1,impala', 20.0),
      ('learning_rate=0.01,stacx', 30.0),
    ):
      for seed in (1, 2):
        self.record(setting, seed, [first, first + 2 * seed])
    self.assertEqual(
      side_by_side.settings('atari'),
      [
        'learning_rate=0.01,stacx',
        'learning_rate=0.1,impala',
        'learning_rate=0.1,stacx',
      ],
    )
    lines = side_by_side.make_table('atari').splitlines()[2:]
    self.assertStartsWith(
      lines[0], '| pong | STACX, learning rate 0.01 | 2 | 31.50 | [31.00, 32'
    )
    self.assertStartsWith(
      lines[1], '| pong | IMPALA, learning rate 0.1 | 2 | 2'
    )
    self.assertStartsWith(lines[2], '| pong | STACX, learning rate 0.1 | 2 | ')

  def test_a_single_seed_has_no_interval(self):
    self.record('x,stacx', 1, [1.0, 2.0])
    (line,) = side_by_side.make_table('atari').splitlines()[2:]
    self.assertStartsWith(line, '| pong | STACX | 1 | 1.50 | - |')

  @parameterized.parameters(False, True)
  def test_mean_of_all_training_counts_episodes(self, is_binned):
    self.record('x,stacx', 1, [1.0])
    folder = os.path.join(self.results, 'stacx', 'atari_x,stacx', 'seed_1')
    header = ['env_frames', 'task', 'episode_return']
    rows = [[1, 'pong', 2.0], [2, 'pong', 4.0], [3, 'pong', 9.0]]
    table = 'episodes'
    if is_binned:
      header = ['env_frames', 'task', 'num_episodes', 'mean_return']
      rows = [[2, 'pong', 2, 3.0], [4, 'pong', 1, 9.0]]
      table = 'returns'
    else:
      header += ['episode_length', 'wall_secs']
      rows = [[*row, 10, 1.0] for row in rows]
    os.remove(f'{folder}/episodes.csv.gz')
    path = f'{folder}/{table}.csv'
    fake_runs.write_csv(path, header, rows)
    (line,) = side_by_side.make_table('atari').splitlines()[2:]
    self.assertStartsWith(line, '| pong | STACX | 1 | 1.00 | - | 5.00 |')

  @parameterized.parameters(*side_by_side.EXPERIMENTS)
  def test_sweeps_fit(self, name):
    sweep = sweeps.read(f'experiments/stacx/{name}_sweep.py')
    found = {run.name.split('/')[0] for run in sweep.runs}
    self.assertIn(side_by_side.EXPERIMENTS[name].eta_of, found)
    for setting in found:
      self.assertIn(side_by_side.agent(setting), side_by_side.AGENTS)
    for run in sweep.runs:
      self.assertEqual(run.modes[-1], 'test')

  def test_nothing_recorded(self):
    self.assertEqual(side_by_side.settings('mechanism'), [])
    with (
      mock.patch('sys.argv', ['side_by_side', '--write']),
      self.assertRaisesRegex(SystemExit, 'nothing is recorded: --run first'),
    ):
      side_by_side.main()


if __name__ == '__main__':
  absltest.main()
