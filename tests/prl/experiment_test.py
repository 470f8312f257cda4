"""The command of PRL: flag files, schedules, test mode, films, wrong input."""

import dataclasses
import pathlib
from unittest import mock

import gymnasium
import numpy as np
import tensorflow as tf
from absl.flags import FlagValues
from absl.testing import absltest, parameterized

from core import flags
from core.errors import UserError
from core.evaluation import evaluate
from core.suites.tasks import Tasks
from prl import config as configs
from prl import evaluation, iterations
from prl.collection import block_spec
from prl.evaluation import PlayedTasks
from prl.planner import Plan
from tests import runs
from tests.experiments import flags_test
from tests.prl import small

FILES = sorted((runs.ROOT / 'experiments' / 'prl').glob('*.flags'))
NAMES = [path.name for path in FILES]


def parse(name):
  return flags_test.parse(f'prl/{name}')


class FlagFilesTest(parameterized.TestCase):
  def test_all_tables_and_figures_are_there(self):
    self.assertContainsSubset(
      ['table_3_iteration_2.flags', 'table_3_best.flags'], NAMES
    )
    for game in ('pong', 'breakout', 'demon_attack'):
      self.assertIn(f'figure_6_single_task_{game}.flags', NAMES)
    self.assertIn('figure_5_multi_task.flags', NAMES)

  @parameterized.parameters(*NAMES)
  def test_builds_and_makes_an_update_on_the_real_games(self, name):
    # Weights do not depend on the horizon, but time does.
    config = dataclasses.replace(parse(name), xla='off', horizon=3)
    tasks = Tasks.of(config)
    agent = small.make_agent(config)
    # What a game shows; the labels are drawn.
    (env,) = tasks.make(tasks.names[:1] * 2, True, 1)
    self.addCleanup(env.close)
    env.reset(seed=1)
    rng = np.random.default_rng(0)
    num_actions = agent.env_spec.num_actions
    for _ in range(30):
      frames, *_ = env.step(rng.integers(0, num_actions, 2, np.int32))
    before = [v.numpy() for v in agent.network.trainable_variables]
    # Once is enough: without a trace, which would take longer.
    with mock.patch.object(agent, 'update', agent._update):
      metrics = agent.update(
        tf.constant(frames),
        tf.constant(rng.integers(0, num_actions, (2, 3), np.int32)),
        tf.constant(rng.random((2, 3, 2)) < 0.3),
        tf.constant(1e-3),
      )
    self.assertTrue(np.isfinite(metrics['total_loss']))
    for old, new in zip(before, agent.network.trainable_variables, strict=True):
      self.assertTrue(np.all(np.isfinite(new)), new.name)
      self.assertFalse(np.array_equal(old, new), new.name)

  def test_full_scale_is_the_papers(self):
    config = parse('figure_5_multi_task.flags')
    published = dict(
      num_iterations=19,
      random_cases=400_000,
      cases=200_000,
      horizon=25,
      state_size=100,
      hidden_size=500,
      num_action_repeats=4,
      weight_factor=3.0,
      weight_iterations=3,
      full_action_space=True,
      batch_norm=True,
      prediction='rrnn',
    )
    for name, value in published.items():
      self.assertEqual(getattr(config, name), value, name)
    self.assertEqual(configs.num_candidates(config, 2), 25)
    self.assertEqual(configs.num_candidates(config, 19), 200)
    spec = block_spec(config, Tasks.of(config), 1)
    self.assertEqual(spec.rules, ['rewards', 'lives', 'lives'])

  def test_single_task_has_a_third_of_the_updates(self):
    multi = parse('figure_5_multi_task.flags')
    single = parse('figure_6_single_task_pong.flags')
    counts = [
      iterations.updates_per_iteration(c, len(Tasks.of(c).names))
      for c in (multi, single)
    ]
    self.assertEqual(counts[0], 3 * counts[1])
    same = ('random_cases', 'cases', 'num_iterations', 'learning_rate')
    for name in same:
      self.assertEqual(getattr(multi, name), getattr(single, name))

  def test_lstm_differs_in_the_recurrence_alone(self):
    ours, theirs = (
      dataclasses.asdict(parse(f'small_{name}.flags'))
      for name in ('rrnn', 'lstm')
    )
    differing = {name for name in ours if ours[name] != theirs[name]}
    self.assertEqual(differing, {'prediction', 'state_size'})


class ScheduleTest(absltest.TestCase):
  def test_stages(self):
    found = [
      configs.at_iteration('x', '2:25/8:100/14:200', i)
      for i in (1, 2, 7, 8, 13, 14, 19)
    ]
    self.assertEqual(found, [25, 25, 25, 100, 100, 200, 200])
    self.assertEqual(configs.at_iteration('x', '0.5', 9), 0.5)

  def test_games_without_threshold_play_the_safest(self):
    config = configs.MULTI_TASK
    values = [
      configs.survival_threshold(config, 'demon_attack', i)
      for i in (2, 4, 5, 8, 12, 13, 19)
    ]
    self.assertEqual(values, [0.9, 0.9, 0.8, 0.7, 0.7, 0.6, 0.6])
    self.assertEqual(configs.survival_threshold(config, 'pong', 9), 1.0)


class TestModeTest(absltest.TestCase):
  def test_plays_writes_and_films_breakout(self):
    logdir = self.create_tempdir().full_path
    config = small.config(
      logdir=logdir,
      level_name='breakout',
      full_action_space=True,
      num_action_repeats=4,
      perception='plain',
      random_cases=40,
      cases=40,
      held_out_cases=0,
      num_iterations=1,
      updates_per_game=1,
      num_candidates='3',
    )
    agent = small.make_agent(config)
    iterations.train(config, agent, Tasks.of(config))
    config = dataclasses.replace(
      config, mode='test', test_num_episodes=2, record_video=True
    )
    tasks = PlayedTasks(('breakout',), config, agent)
    rows = evaluate.test(config, agent, tasks)
    self.assertLen(rows, 2)
    # Without fire a game would not end before its 108,000 frames.
    self.assertLess(max(row['length'] for row in rows), 20_000)
    for row in rows:
      self.assertIn('planner, best of 3 sequences', row['protocol'])
      self.assertIn('fire pressed after deaths', row['protocol'])
      self.assertNotIn('sampled policy', row['protocol'])
    film = pathlib.Path(logdir, 'breakout.mp4')
    self.assertGreater(film.stat().st_size, 10_000)
    game = tasks.make_game('breakout')
    game.reset(seed=1)
    self.assertEqual(game.render().shape, (210, 320, 3))


class FakeGame(gymnasium.Env):
  """Loses a life at the actions that are told."""

  def __init__(self, deaths):
    self._deaths, self.actions, self._lives = deaths, [], 5

  def reset(self, **unused):
    return 0, {'lives': 5}

  def step(self, action):
    self._lives -= len(self.actions) in self._deaths
    self.actions.append(action)
    return 0, 0.0, False, False, {'lives': self._lives}

  def render(self):
    return np.full([210, 160, 3], 7, np.uint8)


class WatchedGameTest(absltest.TestCase):
  def _play(self, fire):
    game = FakeGame({2, 3})
    agent = mock.Mock(latest_plan=None)
    watched = evaluation.WatchedGame(game, fire, agent)
    watched.reset()
    for _ in range(7):
      watched.step(9)
    return game.actions, watched, agent

  def test_fire_at_the_start_and_after_deaths(self):
    self.assertEqual(self._play(1)[0], [1, 9, 9, 1, 1, 9, 9])
    self.assertEqual(self._play(None)[0], [9] * 7)

  def test_draws_death_above_and_point_below(self):
    _, watched, agent = self._play(1)
    probabilities = np.zeros([1, 4, 2], np.float32)
    probabilities[0, 3, 0], probabilities[0, :, 1] = 1.0, 0.5
    agent.latest_plan = Plan(None, tf.constant(probabilities))
    picture = watched.render()
    np.testing.assert_array_equal(picture[:, :160], 7)
    view = picture[:, 160:].astype(int)
    red = (view[..., 0] > 200).sum(axis=0)
    green = (view[..., 1] > 190).sum(axis=0)
    # The last quarter alone is as high as a bar can be; green are half as high.
    self.assertEqual(red[:110].max(), 0)
    self.assertEqual(red[120:150].max(), 105 - 16)
    self.assertBetween(green[20:140].max(), 40, 48)
    self.assertEqual((view[:105, :, 1] > 190).sum(), 0)


class MeasureTest(absltest.TestCase):
  def test_cross_entropy_and_entropy(self):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(50, 3)) * 4
    labels = rng.random((50, 3)) < 0.4
    y = 1 / (1 + np.exp(-logits))
    expected = -np.where(labels, np.log(y), np.log(1 - y))
    np.testing.assert_allclose(
      evaluation.cross_entropy(logits, labels), expected
    )
    # Always saying the frequency has its entropy as loss.
    p = labels.mean(axis=0)
    constant = np.broadcast_to(np.log(p / (1 - p)), logits.shape)
    np.testing.assert_allclose(
      evaluation._entropy(p),
      evaluation.cross_entropy(constant, labels).mean(axis=0),
    )
    np.testing.assert_array_equal(evaluation._entropy(np.array([0.0, 1.0])), 0)


class WrongInputTest(absltest.TestCase):
  def test_horizon_0(self):
    values = FlagValues()
    flags.define(configs.Config, configs.PRESETS, values)
    argv = ['experiment', '--preset=debug', '--horizon=0']
    values(argv)
    with self.assertRaisesRegex(UserError, 'horizon must be at least 1'):
      flags.resolve(configs.Config, configs.PRESETS, values, argv)

  def test_a_rule_that_does_not_fit(self):
    logdir = self.create_tempdir().full_path
    process = runs.command(
      'prl.experiment',
      '--preset=debug',
      f'--logdir={logdir}',
      '--label_rules=pong=lives',
    )
    self.assertEqual(process.status, 1, process.stderr)
    self.assertNotIn('Traceback', process.stderr)
    line = process.stderr.strip().splitlines()[-1]
    self.assertIn('pong counts no lives; with pong=rewards', line)
    self.assertEmpty(list(pathlib.Path(logdir).iterdir()))


if __name__ == '__main__':
  absltest.main()
