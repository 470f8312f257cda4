"""Tests of experiments/prl/results.py and its two parts, on invented runs."""

from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from experiments.launch import sweeps
from experiments.plots import drawing
from experiments.prl import predictions, results, scores
from experiments.runs import recorded
from experiments.tables import markdown
from prl.config import Config
from tests.experiments import fake_runs, flags_test

TASK_COLUMNS = (
  'env_frames,task,iteration,games,episode_return,episode_return_error,'
  'death_spread,point_spread'
)
STEP_COLUMNS = 'iteration,task,step,output,loss,frequency_loss,frequency,auc'


class RecordedTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.results = self.create_tempdir().full_path
    for function in (recorded.names, recorded.read):
      defaults = (self.results,)
      self.enter_context(mock.patch.object(function, '__defaults__', defaults))

  def record(self, row, by_game, seed=1, losses=(0.5, 0.25)):
    """Writes a run: of each game returns of the blocks, then of the test."""
    tests = {game: returns[-1] for game, returns in by_game.items()}
    folder = fake_runs.write_recorded(
      self.results, f'prl/{row}', tests, seed=seed
    )
    lines = [TASK_COLUMNS]
    num_iterations = len(next(iter(by_game.values()))) - 1
    for i in range(num_iterations):
      for game, returns in by_game.items():
        mean = np.mean(returns[i])
        error = np.std(returns[i], ddof=1) / np.sqrt(len(returns[i]))
        lines.append(f'1,{game},{i + 1},9,{mean},{error},0.5,0.25')
    fake_runs.write_text(f'{folder}/tasks.csv.gz', '\n'.join(lines) + '\n')
    lines = [STEP_COLUMNS]
    for i in range(num_iterations):
      for game in by_game:
        for output, loss in zip(('death', 'point'), losses, strict=True):
          for step in (1, 2):
            # Only the last iteration counts.
            values = f'{loss * step + 9 * (i + 1 < num_iterations)},3,0.5'
            lines.append(f'{i + 1},{game},{step},{output},{values},0.{step}')
    fake_runs.write_text(f'{folder}/held_out.csv.gz', '\n'.join(lines) + '\n')
    recorded.check(folder)


class ScoresTest(RecordedTest):
  def test_one_seed_has_intervals_over_games(self):
    self.record('iterations_multi_task', {'pong': [[0, 2], [4, 6], [6, 10]]})
    self.record(
      'iterations_single_task_pong', {'pong': [[0, 2], [2, 4], [2, 4]]}
    )
    table = scores.make_iterations_table('iterations').splitlines()
    self.assertEqual(table[0].split(' | ')[3:-1], ['random play', '1', '2'])
    self.assertStartsWith(table[2], '| pong | single-task | 1 | 1.00 [-0.96, ')
    self.assertStartsWith(table[3], '| pong | multi-task | 1 | 1.00 [-0.96, ')
    self.assertIn('| 8.00 [4.08, 11.92] |', table[3])
    # Errors 1 and 2 together: 1.96 times the root of 5.
    self.assertEndsWith(table[3], '| 5.00 [0.62, 9.38] |')

  def test_seeds_have_intervals_over_seeds(self):
    for seed, value in ((1, 5), (2, 7), (3, 6)):
      self.record(
        'boards_multi_task', {'a.b:catch': [[0, 2], [value] * 2]}, seed
      )
      self.record(
        'boards_single_task_catch', {'a.b:catch': [[0, 2], [1, 1]]}, seed
      )
    *_, row = scores.make_iterations_table('boards').splitlines()
    cells = row.strip('| ').split(' | ')
    self.assertEqual(cells[:3], ['catch', 'multi-task', '3'])
    self.assertRegex(cells[4], r'^6.00 \[5\.\d+, [67]\.\d+\]$')
    self.assertRegex(cells[5], r'^5.00 \[4\.\d+, [56]\.\d+\]$')

  def test_a_block_without_a_finished_game_is_left_out(self):
    self.record('iterations_multi_task', {'pong': [[0, 2], [4, 6], [6, 10]]})
    path = f'{self.results}/prl/iterations_multi_task/seed_1/tasks.csv.gz'
    text = fake_runs.read_text(path).replace('2,9,5.0,1.0', '2,0,nan,nan')
    fake_runs.write_text(path, text)
    points = scores.read_points('iterations')
    self.assertEqual(points.iteration.tolist(), [0, 2])

  def test_random_play_beside_the_paper(self):
    returns = {'pong': [[-21, -19], [-10, -6]], 'breakout': [[1, 2], [7, 9]]}
    self.record('random_play_multi_task', returns)
    table = scores.make_random_play_table('random_play').splitlines()[2:]
    cells = table[0].strip('| ').split(' | ')
    # 12 of the errors 1 and 2 together.
    self.assertEqual(cells[3:], ['5.4', '-20.7', '-8.62'])
    self.assertEndsWith(table[1], '| 1.7 | 13.2 |')


class PredictionsTest(RecordedTest):
  def test_losses_are_sums_over_the_horizon(self):
    games = {'pong': [[0, 2], [1, 3]], 'breakout': [[0, 2], [1, 3]]}
    self.record('recurrence_rrnn', games, losses=(0.5, 0.25))
    self.record('recurrence_lstm', games, losses=(1.0, 0.25))
    table = predictions.make_table('recurrence').splitlines()[2:]
    self.assertLen(table, 6)
    self.assertStartsWith(table[0], '| pong | LSTM | 1 | 12.00 | 3.75 | 0.200')
    self.assertStartsWith(table[1], '| pong | RRNN | 1 | 12.00 | 2.25 | 0.200')
    self.assertStartsWith(table[5], '| mean of games | RRNN | 1 | 12.00 | 2.25')

  def test_the_last_iteration_counts_and_seeds_are_averaged(self):
    for seed, death in ((1, 0.5), (2, 1.5)):
      self.record('recurrence_rrnn', {'pong': [[0, 2]] * 4}, seed, (death, 0.0))
    table = predictions.make_table('recurrence').splitlines()[2:]
    self.assertStartsWith(table[0], '| pong | RRNN | 2 | 12.00 | 3.00 [1.50, ')

  def test_spreads(self):
    self.record('random_play_multi_task', {'pong': [[0, 2], [1, 3]]})
    *_, row = predictions.spreads('random_play').splitlines()
    self.assertEqual(row, '| pong | RRNN | 1 | 0.500 | 0.250 |')


class CommandTest(RecordedTest, parameterized.TestCase):
  def test_writes_tables_and_figures_of_what_is_recorded(self):
    self.record('random_play_multi_task', {'pong': [[0, 2], [1, 3]]})
    self.record('iterations_multi_task', {'pong': [[0, 2], [1, 3]]})
    written, saved = [], {}
    with (
      mock.patch('sys.argv', ['results', '--write']),
      mock.patch.object(markdown, 'write_all', written.extend),
      mock.patch.object(
        drawing, 'save', lambda figure, path: saved.update({path: figure})
      ),
    ):
      results.main()
    self.assertEqual(
      [name for _, name, _ in written], ['random_play', 'iterations']
    )
    self.assertEqual(list(saved), ['prl/random_play.png', 'prl/iterations.png'])
    loss, area = saved['prl/random_play.png'].axes
    np.testing.assert_allclose(loss.lines[1].get_ydata(), [0.5, 1.0])
    np.testing.assert_allclose(area.lines[0].get_ydata(), [0.1, 0.2])
    (panel,) = saved['prl/iterations.png'].axes
    np.testing.assert_allclose(panel.lines[0].get_ydata(), [1.0, 2.0])

  def test_nothing_recorded(self):
    with (
      mock.patch('sys.argv', ['results', '--write']),
      self.assertRaisesRegex(SystemExit, 'nothing is recorded: --run first'),
    ):
      results.main()

  @parameterized.parameters(*results.EXPERIMENTS)
  def test_sweeps_fit(self, name):
    sweep = sweeps.read(f'experiments/prl/{name}_sweep.py')
    for run in sweep.runs:
      self.assertEqual(run.modes, ('train', 'test'))
      setting = run.name.split('/')[0]
      if name in ('iterations', 'boards'):
        self.assertRegex(setting, '^(multi_task|single_task_.*)$')
      else:
        self.assertIn(setting, predictions.NAMES)

  @parameterized.parameters('iterations', 'boards')
  def test_networks_have_equal_updates_per_game(self, name):
    sweep = sweeps.read(f'experiments/prl/{name}_sweep.py')
    configs = []
    for run in sweep.runs:
      file, *arguments = run.stages[0][2:]
      file = file.removeprefix('--flagfile=experiments/')
      configs.append(flags_test.parse(file, *arguments))
    first = configs[0]
    self.assertLen(first.level_name.split(','), 3)
    differing = {
      field
      for config in configs
      for field in Config.__dataclass_fields__
      if getattr(config, field) != getattr(first, field)
    }
    self.assertEqual(
      differing - {'logdir', 'seed'}, {'level_name', 'num_environments'}
    )


if __name__ == '__main__':
  absltest.main()
