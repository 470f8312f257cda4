"""Tests of what core/experience/actor.py tells of episodes."""

import importlib
import pathlib
import sys

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from core.experience.actor import Actor
from core.experience.timing import Timer
from core.suites.task_environments import TaskEnvironments
from core.types import AgentOutput
from tests.tasks import tasks_of

FAKE = str(pathlib.Path(__file__).parents[2] / 'fake_robots')
T = 5


class TimeLimitTest(parameterized.TestCase):
  @parameterized.parameters(False, True)
  def test_what_ended_an_episode(self, terminates):
    # Ten calls for an episode of 1000 steps.
    tasks = tasks_of('control:cartpole/balance', num_action_repeats=100)
    spec = tasks.env_spec
    self.assertTrue(spec.has_time_limit)
    envs = TaskEnvironments(tasks, np.zeros(2, np.int32), is_training=True)

    def step_wait():
      observation, reward, _, truncated, infos = plain_step_wait()
      # Row 0 terminates with the step that time is up after.
      terminated = truncated & [terminates, False]
      return observation, reward, terminated, truncated, infos

    plain_step_wait, envs.step_wait = envs.step_wait, step_wait

    @tf.function(autograph=False)
    def act(task_id, last_action, env_output, core_state, seed):
      self.assertEqual((env_output.info, env_output.truncated), ((), ()))
      return AgentOutput(last_action, last_action), core_state

    actor = Actor(act, lambda n: (), [envs], spec, 12, 3, Timer())
    self.addCleanup(actor.close)
    first, second = (actor.collect(0)[0].env_outputs for _ in range(2))
    np.testing.assert_array_equal(np.argwhere(first.done[1:])[:, 0], [9, 9])
    expected = first.done.copy()
    expected[0] = False  # The start of all is no time limit.
    expected[:, 0] &= not terminates
    np.testing.assert_array_equal(first.truncated, expected)
    np.testing.assert_array_equal(second.truncated[0], first.truncated[-1])

  def test_nothing_of_tasks_without_one(self):
    tasks = tasks_of('catch')
    envs = TaskEnvironments(tasks, np.zeros(1, np.int32), is_training=True)

    @tf.function(autograph=False)
    def act(task_id, last_action, env_output, core_state, seed):
      return AgentOutput(last_action, tf.zeros([1, 3])), core_state

    actor = Actor(act, lambda n: (), [envs], tasks.env_spec, T, 3, Timer())
    self.addCleanup(actor.close)
    self.assertEqual(actor.collect(0)[0].env_outputs.truncated, ())


class SuccessTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    sys.path.insert(0, FAKE)
    self.addCleanup(sys.path.remove, FAKE)
    importlib.invalidate_caches()

  def test_a_success_lasts_until_the_episode_ends(self):
    tasks = tasks_of('shadow_hand:mug', 'point_mass/1', num_action_repeats=1)
    spec = tasks.env_spec

    @tf.function(autograph=False)
    def act(task_id, last_action, env_output, core_state, seed):
      del task_id, env_output
      # Actions 30 and 130, counted from 0.
      is_right = tf.reduce_any(seed[1] == 64 * np.array([30, 130]))
      action = tf.fill(last_action.shape, tf.where(is_right, 0.5, 0.0))
      return AgentOutput(action, action), core_state

    envs = TaskEnvironments(tasks, np.array([0, 1], np.int32), is_training=True)
    actor = Actor(act, lambda n: (), [envs], spec, 80, 3, Timer())
    self.addCleanup(actor.close)
    infos = [actor.collect(0)[0].env_outputs.info for _ in range(2)]
    success, done = (
      np.concatenate([getattr(info, name)[1:] for info in infos])
      for name in ('episode_success', 'episode_done')
    )
    self.assertEqual(success.dtype, np.float32)
    expected = np.zeros(160)
    expected[30:100] = expected[130:] = 1.0
    np.testing.assert_array_equal(success[:, 0], expected)
    self.assertTrue(np.isnan(success[:, 1]).all())
    np.testing.assert_array_equal(done.nonzero()[0], [99, 99])

  def test_nothing_where_no_task_can_succeed(self):
    tasks = tasks_of('point_mass/1')
    envs = TaskEnvironments(tasks, np.zeros(1, np.int32), is_training=True)

    @tf.function(autograph=False)
    def act(task_id, last_action, env_output, core_state, seed):
      return AgentOutput(last_action, last_action), core_state

    actor = Actor(act, lambda n: (), [envs], tasks.env_spec, T, 3, Timer())
    self.addCleanup(actor.close)
    (unroll,) = actor.collect(0)
    self.assertEqual(unroll.env_outputs.info.episode_success, ())


if __name__ == '__main__':
  absltest.main()
