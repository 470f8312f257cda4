"""Tests of the small experiments under experiments/brc: environment, tables."""

import dataclasses
import json
import os
import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from core.environments import point_mass
from core.errors import UserError
from core.suites import tasks as suites
from experiments.brc import (
  control_figures,
  control_results,
  control_settings,
  loss_results,
  scaled_point_mass,
  small_records,
  small_results,
)
from experiments.launch import sweeps
from experiments.plots import drawing
from experiments.tables import markdown
from tests import runs
from tests.experiments import fake_runs, folders

CONTROL_TASKS = ','.join(f'control:{t}' for t in control_settings.TASKS)
EVALUATIONS = (1, 2, 3, 4)  # In thousands of steps of each task.


def read_sweep(name, folder):
  """Returns a sweep of experiments/brc whose logdirs are elsewhere."""
  sweep = sweeps.read(f'experiments/brc/{name}_sweep.py')
  moved = [
    dataclasses.replace(run, logdir=os.path.join(folder, name, run.name))
    for run in sweep.runs
  ]
  return dataclasses.replace(sweep, runs=tuple(moved))


def write_run(run, default_tasks, return_of, measures):
  """Writes a logdir with evaluations whose returns are known."""
  level_name = run.setting.get('level_name', default_tasks)
  tasks = level_name.split(',')
  os.makedirs(run.logdir)
  total = 1000 * EVALUATIONS[-1] * len(tasks)
  config = dict(
    level_name=level_name,
    total_environment_frames=total,
    num_action_repeats=1,
    warm_up_steps=1001,
    updates_per_step=2,
  )
  with open(os.path.join(run.logdir, 'run.json'), 'w') as file:
    json.dump(fake_runs.INFO | dict(config=config), file)
  fake_runs.write_csv(
    os.path.join(run.logdir, 'updates.csv'),
    ['num_updates', 'env_frames', 'frames_per_sec', 'wall_secs'],
    [[1, total, 1.0, 1.0]],
  )
  fake_runs.write_csv(
    os.path.join(run.logdir, 'tasks.csv'),
    ['env_frames', 'task', 'evaluation_return', *measures],
    [
      [1000 * e * len(tasks), task, return_of(run, task, e), *measures.values()]
      for e in EVALUATIONS
      for task in tasks
    ],
  )


class ScaledPointMassTest(parameterized.TestCase):
  @parameterized.parameters(*range(5))
  def test_reward_is_scaled_and_force_is_turned(self, copy):
    env = scaled_point_mass.ScaledPointMass(copy)
    plain = point_mass.PointMass(2)
    env.reset(seed=4)
    plain.reset(seed=4)
    angle = 2 * np.pi * copy / 5
    features, reward, *_ = env.step(np.array([0.6, 0.0]))
    turned = 0.6 * np.array([np.cos(angle), np.sin(angle)])
    expected, plain_reward, *_ = plain.step(turned)
    np.testing.assert_allclose(features, expected, atol=1e-6)
    scale = 10.0 ** (copy - 2)
    self.assertAlmostEqual(reward / (scale * plain_reward), 1.0)

  def test_task_names(self):
    names = tuple(scaled_point_mass.SCALE_OF_TASK)
    sweep = sweeps.read('experiments/brc/loss_sweep.py')
    with open(sweep.runs[0].stages[0][2].partition('=')[2]) as file:
      self.assertIn(f'--level_name={",".join(names)}\n', file.read())
    self.assertEqual(suites.expand(','.join(names)), names)
    self.assertLen(names, 5)


def record(name, folder, return_of, measures=(), tasks=CONTROL_TASKS):
  """Writes all runs of a sweep and records them; returns the sweep."""
  sweep = read_sweep(name, folder)
  for run in sweep.runs:
    write_run(run, tasks, return_of, dict(measures))
  small_records.record(name, sweep, 2)
  return sweep


def control_return(run, task, e):
  """Returns a control run's return at an evaluation; seeds lie around it."""
  agent = run.name.split(',')[0]
  value = dict(multi=100, heads=60, single=78)[agent.removesuffix('_mse')]
  value = value // 2 if agent.endswith('_mse') else value
  value += 40 * ('width=256' in run.name) + 80 * ('width=512' in run.name)
  seed = int(run.name[-1])
  return e * value + 10 * (seed - 2) + 20 * ('walker' in task)


class SmallResultsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.enter_context(folders.working_in(runs.ROOT))
    self.folder = self.create_tempdir().full_path
    results = os.path.join(self.folder, 'results')
    self.enter_context(mock.patch.object(small_records, 'RESULTS', results))

  def test_loss_tables(self):
    scales = scaled_point_mass.SCALE_OF_TASK
    measures = dict.fromkeys(loss_results.MEASURES, 0.5)

    def return_of(run, task, e):
      seed = int(run.name[-1])
      return scales[task] * (10 * e + seed) * (task[-1] != '0')

    record('loss', self.folder, return_of, measures, ','.join(scales))
    lines = loss_results.make_text(small_records.read('loss')).splitlines()
    self.assertEqual(lines[2], '| MSE | 5 |' + ' 0.500 [0.500, 0.500] |' * 3)
    last = lines[-1]
    self.assertStartsWith(last, '| cross-entropy, rewards normalised | 43.0 [')
    self.assertIn('| 0.0 [0.0, 0.0] |', last)  # The scale of 1.
    self.assertIn('| 34.4 [', last)  # The mean.
    with open(f'{small_records.RESULTS}/loss/info.json') as file:
      self.assertIn('--run=loss', json.load(file)['command'])

  def test_incomplete_runs_are_refused(self):
    sweep = record('transfer', self.folder, lambda run, task, e: e)
    os.remove(os.path.join(sweep.runs[-1].logdir, 'tasks.csv'))
    with self.assertRaisesRegex(UserError, 'is incomplete: --run goes on'):
      small_records.record('transfer', sweep, 2)

  def test_transfer_table(self):
    def return_of(run, task, e):
      self.assertEqual(task, 'control:walker/walk')
      return 100 * e * (1 + ('pretrained' in run.name))

    record('transfer', self.folder, return_of)
    lines = small_results.make_texts()['transfer'].splitlines()[2:]
    same = '| from scratch | 3 | {0} [{0}, {0}] | {1} [{1}, {1}] |'
    self.assertStartsWith(lines[0], same.format('15.0', '35.0'))
    self.assertIn('| 30.0 [30.0, 30.0] | 70.0 [', lines[1])

  def test_nothing_recorded(self):
    with (
      mock.patch('sys.argv', ['small_results', '--write']),
      self.assertRaisesRegex(SystemExit, 'nothing is recorded: --run first'),
    ):
      small_results.main()


class ControlResultsTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    temporary = tempfile.TemporaryDirectory()
    cls.addClassCleanup(temporary.cleanup)
    results = os.path.join(temporary.name, 'results')
    patch = mock.patch.object(small_records, 'RESULTS', results)
    patch.start()
    cls.addClassCleanup(patch.stop)
    measures = {'gradient_conflicts': 0.25}
    with folders.working_in(runs.ROOT):
      for name in control_results.SWEEPS:
        record(name, temporary.name, control_return, measures)
    cls.table = control_results.read_all()

  def test_control_tables(self):
    texts = small_results.make_texts()
    end, whole, figure = texts['widths'].split('\n\n')
    self.assertEndsWith(figure, '](widths.png)')
    # Of evaluations 3 and 4, and of all four.
    rows = [line.split(' | ') for line in end.splitlines()[2:]]
    self.assertEqual(
      [[cell.split(' ')[0] for cell in row[1:]] for row in rows],
      [
        ['35.5', '49.5', '63.5'],
        ['21.5', '35.5', '49.5'],
        ['27.8', '41.8', '55.8'],
      ],
    )
    self.assertStartsWith(
      whole.splitlines()[2], '| multi-task, embeddings | 25.5 [24.5, 26.5] |'
    )
    self.assertIn('| 25.0 [25.0, 25.0] |', texts['conflicts'])
    self.assertNotIn('single', texts['conflicts'])
    # Width 256: multi has 140 e + 5 > 418 from e = 3 on, after 2 (3000 - 1000)
    # gradient steps; four tasks apart have 4 * 6000.
    self.assertIn('| 256 | 41.8 | 24,000 | 4,000 | 6.0 |', texts['updates'])

  def test_ablation(self):
    scores = control_results.ablation(self.table)
    everything = frozenset(control_results.CHOICES)
    self.assertLen(scores, 8)
    np.testing.assert_allclose(scores[everything], [48.5, 49.5, 50.5])
    np.testing.assert_allclose(scores[frozenset()].mean(), 11.0)
    # The scale adds 40 to each evaluation's return, whatever else is chosen.
    gains = control_results.shapley_per_seed(scores)
    np.testing.assert_allclose(gains['scale'], [14.0] * 3)
    self.assertAlmostEqual(
      sum(gain.mean() for gain in gains.values()), 49.5 - 11.0
    )

  def test_shapley_values_of_a_game(self):
    # Two left gloves and a right one make one pair.
    values = {
      frozenset(s): float('r' in s and len(s) > 1)
      for s in ('', 'a', 'b', 'r', 'ab', 'ar', 'br', 'abr')
    }
    found = control_results.shapley_values(values)
    self.assertAlmostEqual(found['r'], 2 / 3)
    self.assertAlmostEqual(found['a'], 1 / 6)

  def test_figures(self):
    pyplot = drawing.open_pyplot()
    self.addCleanup(pyplot.close, 'all')
    figure = control_figures.draw_curves(pyplot, self.table, 256)
    self.assertLen(figure.axes, 5)  # The mean and four tasks.
    self.assertLen(figure.axes[0].lines, 3)
    figure = control_figures.draw_widths(pyplot, self.table)
    self.assertLen(figure.axes, 4)
    self.assertLen(figure.axes[3].patches, 3)


class SweepsTest(parameterized.TestCase):
  def test_transfer_begins_where_the_tasks_ended(self):
    ends = {r.logdir for r in sweeps.read(sweep_path('multi_task')).runs}
    found = [
      word.removeprefix('--init_from=')
      for run in sweeps.read(sweep_path('transfer')).runs
      for word in run.stages[0]
      if word.startswith('--init_from=')
    ]
    self.assertLen(found, 6)
    self.assertContainsSubset(found, ends)

  @parameterized.parameters(*small_results.EXPERIMENTS)
  def test_tasks_exist(self, name):
    for run in sweeps.read(sweep_path(name)).runs:
      if 'level_name' in run.setting:
        suites.expand(run.setting['level_name'])
      self.assertEqual(run.modes, ('train',))


class CommittedTest(absltest.TestCase):
  def test_tables_in_the_readme_are_those_of_the_records(self):
    self.enter_context(folders.working_in(runs.ROOT))
    try:
      texts = small_results.make_texts()
    except UserError:
      texts = {}  # Nothing is recorded yet.
    for name, text in texts.items():
      self.assertEqual(markdown.read(small_results.README, name), text, name)
    for name in small_results.MARKS:
      markdown.read(small_results.README, name)


def sweep_path(name):
  return os.path.join(runs.ROOT, 'experiments', 'brc', f'{name}_sweep.py')


if __name__ == '__main__':
  absltest.main()
