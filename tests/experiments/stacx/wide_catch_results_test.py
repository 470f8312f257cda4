"""Tests of experiments/stacx/wide_catch_results.py."""

import json
import os
from unittest import mock

import numpy as np
import pandas as pd
from absl.testing import absltest, parameterized

from core.errors import UserError
from experiments.launch import sweeps
from experiments.plots import drawing
from experiments.stacx import wide_catch_results as results

FRAMES = 1000


def write_run(run, end):
  """Writes a logdir whose returns rise in a line to `end`."""
  os.makedirs(run.logdir)
  with open(os.path.join(run.logdir, 'run.json'), 'w') as file:
    config = dict(total_environment_frames=FRAMES, level_name='catch')
    hardware = dict(cpu='a', cores=2)
    json.dump(dict(config=config, hardware=hardware), file)
  with open(os.path.join(run.logdir, 'episodes.csv'), 'w') as file:
    file.write('env_frames,task,episode_return,episode_length,wall_secs\n')
    for frame in range(0, FRAMES + 1, 10):
      file.write(f'{frame},catch,{end * frame / FRAMES},10,1.0\n')


class WideCatchResultsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = self.create_tempdir().full_path
    self.enter_context(
      mock.patch.object(results, 'RESULTS', os.path.join(folder, 'stacx'))
    )
    self.runs = [
      sweeps.PlannedRun(
        name=f'{agent},learning_rate={rate}/seed_{seed}',
        setting={},
        logdir=os.path.join(folder, 'runs', agent, str(rate), str(seed)),
        stages=(),
        modes=(),
      )
      for agent in ('impala', 'stacx')
      for rate in (0.001, 0.01)
      for seed in (1, 2)
    ]
    self.sweep = sweeps.Sweep(folder, {}, tuple(self.runs))

  def test_tables_hold_means_of_the_tenths(self):
    for i, run in enumerate(self.runs):
      write_run(run, end=i)
    results.record('learning_rates', self.sweep, 2)
    runs = results.read('learning_rates')
    self.assertLen(runs, 8)
    row = runs[(runs.agent == 'stacx') & (runs.value == 0.01)]
    self.assertEqual(row.seed.tolist(), [1, 2])
    # Frames 910, 920, ... 1000 are the last tenth.
    for end, found in zip((6, 7), row.end, strict=True):
      self.assertAlmostEqual(found, end * 0.955, places=4)
    lines = results.make_table(runs, 'learning_rates', 'end').splitlines()
    self.assertIn('learning rate | 0.001 | 0.01', lines[0])
    self.assertStartsWith(lines[-1], '| STACX | 4.30 [3.82, 4.78] | 6.21 [')
    folder = os.path.join(results.RESULTS, 'wide_catch_learning_rates')
    with open(os.path.join(folder, 'info.json')) as file:
      info = json.load(file)
    self.assertIn('--run=learning_rates', info['command'])

  def test_share_of_settings(self):
    # At .9 STACX is better with every seed, at .99 worse, between it depends.
    ends = {
      (0.9, 'impala'): (0.1, 0.2),
      (0.9, 'stacx'): (0.3, 0.3),
      (0.95, 'impala'): (0.0, 1.0),
      (0.95, 'stacx'): (0.5, 0.5),
      (0.99, 'impala'): (1.0, 1.0),
      (0.99, 'stacx'): (0.9, 0.8),
    }
    runs = pd.DataFrame(
      [
        dict(agent=agent, value=value, seed=seed, curve=0.0, end=end)
        for (value, agent), pair in ends.items()
        for seed, end in enumerate(pair)
      ]
    )
    np.testing.assert_allclose(
      results.share_at_least(runs, 'stacx', 'end'), [2 / 3, 1 / 3, 2 / 3]
    )
    np.testing.assert_allclose(
      results.share_at_least(runs, 'stacx', 'curve'), 1.0
    )
    self.assertIn(
      'STACX is at least as good as IMPALA in 67% of these settings [33%, 67%]',
      results.make_text(runs, 'robustness_gamma'),
    )
    self.assertNotIn(
      'at least', results.make_text(runs, 'delayed_off_policyness')
    )

  def test_the_figure_has_a_line_per_agent(self):
    for i, run in enumerate(self.runs):
      write_run(run, end=i)
    results.record('learning_rates', self.sweep, 2)
    pyplot = drawing.open_pyplot()
    figure = results.draw(pyplot, results.read_all())
    self.addCleanup(pyplot.close, figure)
    (ax,) = figure.axes
    heights = [line.lines[0].get_ydata() for line in ax.containers]
    # Tenths of a line from 0 to `end` have the mean end / 2, but for its ends.
    np.testing.assert_allclose(heights, [[0.25, 1.25], [2.25, 3.25]], rtol=0.02)
    self.assertEqual(
      [text.get_text() for text in ax.get_xticklabels()], ['0.001', '0.01']
    )

  def test_each_task_has_a_figure(self):
    for run in self.runs:
      write_run(run, end=1)
    saved = self.enter_context(mock.patch.object(drawing, 'save'))
    results.record('learning_rates', self.sweep, 2)
    results.draw_all()
    results.record('delayed_rates', self.sweep, 2)
    results.draw_all()
    shown = [
      (path, len(figure.axes)) for (figure, path), _ in saved.call_args_list
    ]
    wide, delayed = 'stacx/wide_catch.png', 'stacx/delayed_catch.png'
    self.assertEqual(shown, [(wide, 1), (wide, 1), (delayed, 1)])

  def test_an_unfinished_run_is_refused(self):
    for run in self.runs:
      write_run(run, end=1)
    path = os.path.join(self.runs[3].logdir, 'episodes.csv')
    rows = pd.read_csv(path)
    rows[rows.env_frames < 800].to_csv(path, index=False)
    with self.assertRaisesRegex(UserError, 'is incomplete: --run goes on'):
      results.record('learning_rates', self.sweep, 2)

  def test_what_is_not_recorded(self):
    self.assertIsNone(results.read('delayed_off_policyness'))
    self.assertEqual(results.make_texts(), [])

  @parameterized.parameters(*results.EXPERIMENTS)
  def test_sweeps_name_agents_that_tables_know(self, name):
    sweep = sweeps.read(f'experiments/stacx/{name}_sweep.py')
    for run in sweep.runs:
      agent, setting = run.name.partition('/')[0].rsplit(',', 1)
      self.assertIn(agent, results.NAMES)
      self.assertStartsWith(setting, f'{results.EXPERIMENTS[name]}=')


if __name__ == '__main__':
  absltest.main()
