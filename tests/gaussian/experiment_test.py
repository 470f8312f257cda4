"""Continuous actions and feature vectors, from environments to test mode."""

import dataclasses
import signal
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from core.experience import sources
from core.experience.timing import Timer
from core.suites.tasks import Tasks
from core.training import benchmark
from tests import runs
from tests.gaussian.config import DEBUG

NUM_UPDATES = 30
TASKS = ('point_mass/1', 'point_mass/3')  # The first one is padded.


def config_of(logdir, **changes):
  """Returns a small run; an update is 20 frames."""
  settings = {
    'level_name': ','.join(TASKS),
    'total_environment_frames': 20 * NUM_UPDATES,
    **changes,
  }
  return runs.tiny_config(DEBUG, logdir=logdir, **settings)


class RunTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = cls.enter_context(tempfile.TemporaryDirectory())
    cls.reference = config_of(folder)
    runs.train(cls.reference)

  def logdir(self):
    return self.enter_context(tempfile.TemporaryDirectory())

  def test_killed_run_ends_as_the_whole_one(self):
    config = config_of(self.logdir())
    run = runs.Run(config)
    run.wait_for_updates(23)  # The last checkpoint is of update 21.
    run.signal(signal.SIGKILL)
    finished = run.finish()
    self.assertEqual(finished.status, -signal.SIGKILL, finished)
    runs.train(config)
    runs.assert_same_run(config, self.reference)

  def test_stopped_within_an_episode_ends_as_the_whole_one(self):
    config = config_of(self.logdir())
    runs.train(dataclasses.replace(config, stop_frames=20 * 13))
    runs.train(config)
    runs.assert_same_run(config, self.reference)

  def test_test_mode_plays_both(self):
    config = dataclasses.replace(
      self.reference, mode='test', test_num_episodes=3
    )
    finished = runs.command(
      'tests.gaussian.experiment',
      '--preset=debug',
      '--mode=test',
      f'--level_name={config.level_name}',
      f'--logdir={config.logdir}',
      '--test_num_episodes=3',
    )
    self.assertEqual(finished.status, 0, finished)
    rows = runs.rows(config, 'evaluation.csv')
    played = [(row['task'], row['length']) for row in rows]
    self.assertEqual(played, [(t, '100') for t in TASKS for _ in range(3)])

  def test_benchmark(self):
    config = config_of(self.logdir(), mode='benchmark')
    agent = runs.make_agent(config)
    measured = benchmark.benchmark(config, agent, Tasks.of(config), secs=0.3)
    self.assertTrue(np.all(measured['training, sync'] > 0))


class UnrollTest(absltest.TestCase):
  def test_arrays(self):
    config = config_of('unused')
    agent, tasks = runs.make_agent(config), Tasks.of(config)
    actor = sources.make_actor(config, agent, tasks, Timer())
    self.addCleanup(actor.close)
    unrolls = [actor.collect(0)[0] for _ in range(2)]
    for unroll in unrolls:
      frame, instruction, features = unroll.env_outputs.observation
      self.assertEqual((frame, instruction), ((), ()))
      self.assertEqual(features.shape, (6, 2, 9))
      self.assertEqual(features.dtype, np.float32)
      self.assertEqual(unroll.task_id.tolist(), [0, 1])
      np.testing.assert_array_equal(features[:, 0, 3:], 0.0)
      self.assertTrue(np.all(features[:, 1, 6:] != 0.0))
      self.assertEqual(unroll.agent_outputs.action.shape, (6, 2, 3))
      self.assertEqual(unroll.agent_outputs.action.dtype, np.float32)
      self.assertEqual(unroll.agent_outputs.policy_logits.shape, (6, 2, 6))
    np.testing.assert_array_equal(unrolls[0].agent_outputs.action[0], 0.0)
    for a, b in zip(
      unrolls[0].agent_outputs, unrolls[1].agent_outputs, strict=True
    ):
      np.testing.assert_array_equal(a[-1], b[0])

  def test_update_reads_no_padding(self):
    config = config_of('unused')
    agent, tasks = runs.make_agent(config), Tasks.of(config)
    self.assertEqual(tasks.env_spec.action_box.task_sizes, (1, 3))
    parameters = np.random.default_rng(0).normal(size=[1, 2, 6])
    actions = np.random.default_rng(1).normal(size=[1, 2, 3])
    other = actions + [[[0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]]
    first, second = (
      agent._log_probabilities(
        np.float32(parameters), np.float32(x), agent._is_read
      ).numpy()
      for x in (actions, other)
    )
    self.assertEqual(first[0, 0], second[0, 0])
    self.assertNotEqual(first[0, 1], second[0, 1])


class LearningTest(absltest.TestCase):
  def test_brings_the_mass_to_its_goal(self):
    with tempfile.TemporaryDirectory() as logdir:
      config = dataclasses.replace(
        DEBUG,
        logdir=logdir,
        level_name='point_mass/1',
        actor_mode='sync',
        total_environment_frames=50_000,
        learning_rate=0.002,
        xla='off',
      )
      runs.train(config)
      rows = runs.rows(config, 'episodes.csv')
    returns = [float(row['episode_return']) for row in rows]
    self.assertLess(np.mean(returns[:50]), 45.0)
    self.assertGreater(np.mean(returns[-50:]), 60.0)


if __name__ == '__main__':
  absltest.main()
