"""Tests of core/suites/task_environments.py; of Atari: atari_test.py."""

import json
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from core.environments import catch, point_mass
from core.suites.catch import Catch
from core.suites.task_environments import TaskEnvironments, as_observation
from core.types import Observation
from tests import user_environments
from tests.tasks import tasks_of
from tests.user_environments import LoggingEnv

USER = 'tests.user_environments'
FIRST, SECOND = f'{USER}:make_first', f'{USER}:make_second'


class AsObservationTest(absltest.TestCase):
  def test_frames_and_dicts(self):
    frame, words = np.zeros(2), np.zeros(3)
    self.assertIs(as_observation(frame).frame, frame)
    self.assertEqual(as_observation(frame).instruction, ())
    found = as_observation(dict(instruction=words, frame=frame))
    self.assertIsInstance(found, Observation)
    self.assertIs(found.frame, frame)
    self.assertIs(found.instruction, words)

  def test_a_vector_of_floats_is_features(self):
    vector = np.zeros(2, np.float32)
    self.assertIs(as_observation(vector).features, vector)
    self.assertEqual(as_observation(vector).frame, ())

  def test_an_observation_is_itself(self):
    observation = Observation(features=np.zeros(2))
    self.assertIs(as_observation(observation), observation)


class TaskEnvironmentsTest(parameterized.TestCase):
  def make(self, names, task_id, is_training=True):
    LoggingEnv.calls.clear()
    tasks = tasks_of(*names)
    _ = tasks.env_spec  # Builds an environment to ask it.
    LoggingEnv.calls.clear()
    envs = TaskEnvironments(tasks, np.array(task_id, np.int32), is_training)
    self.addCleanup(envs.close)
    return envs

  def test_rows_of_two_tasks_stay_apart(self):
    envs = self.make((FIRST, SECOND), [1, 0, 1])
    self.assertEqual(envs.task_id.tolist(), [0, 1, 1])
    observation, _ = envs.reset(seed=50)
    self.assertEqual(observation.frame[:, 0, 0, 0].tolist(), [100, 200, 210])
    self.assertEqual(LoggingEnv.calls, [('reset', 1, 50), ('reset', 2, 51)])
    for k in (1, 2, 3):
      observation, rewards, terminated, truncated, infos = envs.step(
        np.array([0, 1, 2], np.int32)
      )
      expected = [100 + k, 200 + k, 210 + k]
      self.assertEqual(observation.frame[:, 0, 0, 0].tolist(), expected)
      self.assertEqual(rewards.tolist(), expected)
      self.assertEqual(rewards.dtype, np.float32)
      self.assertEqual(terminated.tolist(), [k == 2, k == 2, k == 3])
      self.assertEqual(truncated.tolist(), [False] * 3)
      # Without a word about it, an end is the end of the whole episode.
      self.assertEqual(infos['episode_done'].tolist(), terminated.tolist())

  def test_sends_to_all_before_it_receives(self):
    envs = self.make((FIRST, SECOND), [0, 0, 1])
    envs.reset(seed=0)
    LoggingEnv.calls.clear()
    envs.step_async(np.array([2, 1, 0], np.int32))
    sent = [('send', 1, [2, 1]), ('send', 2, [0])]
    self.assertEqual(LoggingEnv.calls, sent)
    envs.step_wait()
    received = [('receive', 1), ('receive', 2)]
    self.assertEqual(LoggingEnv.calls, sent + received)

  def test_closes_all(self):
    self.make((FIRST, SECOND), [0, 1]).close()
    self.assertEqual(LoggingEnv.calls, [('close', 1), ('close', 2)])

  def test_closes_what_was_built_before_a_task_that_fails(self):
    tasks, built = tasks_of(f'{USER}:make_catch', 'catch'), []
    _ = tasks.env_spec

    def make_and_keep(num_envs, is_training):
      built.append(catch.make_vector_env(num_envs, is_training))
      return built[-1]

    with (
      mock.patch.object(user_environments, 'make_catch', make_and_keep),
      mock.patch.object(Catch, 'make', side_effect=KeyboardInterrupt),
      self.assertRaises(KeyboardInterrupt),
    ):
      TaskEnvironments(tasks, np.array([0, 1], np.int32), is_training=True)
    (env,) = built
    self.assertTrue(env.closed)

  def test_synchronous_environments_step_when_received(self):
    envs = self.make(('catch',), [0, 0])
    plain = catch.make_vector_env(2, True)
    found, _ = envs.reset(seed=4)
    expected, _ = plain.reset(seed=4)
    rng = np.random.default_rng(0)
    for _ in range(20):
      np.testing.assert_array_equal(found.frame, expected)
      actions = rng.integers(3, size=2)
      envs.step_async(actions)
      found, rewards, terminated, _, infos = envs.step_wait()
      expected, plain_rewards, plain_terminated, _, _ = plain.step(actions)
      np.testing.assert_array_equal(rewards, plain_rewards)
      np.testing.assert_array_equal(terminated, plain_terminated)
      np.testing.assert_array_equal(infos['episode_done'], terminated)

  @parameterized.named_parameters(
    ('rows', ('catch',), [0, 0, 0]),
    # Vector environments that say it as a whole.
    ('whole', ('two_rooms/1/12', 'two_rooms/5/4'), [0, 1, 1]),
    ('both', ('catch', 'tests.user_environments:make_catch'), [0, 0, 1]),
  )
  def test_state_there_and_back(self, names, task_id):
    envs, others = (self.make(names, task_id) for _ in range(2))
    envs.reset(seed=1)
    others.reset(seed=2)
    for _ in range(5):
      envs.step(np.array([0, 1, 2]))
    others.set_state(json.loads(json.dumps(envs.get_state())))
    for _ in range(120):
      outputs, other_outputs = (
        tf.nest.flatten(e.step(np.array([2, 0, 1]))[:4]) for e in (envs, others)
      )
      for a, b in zip(outputs, other_outputs, strict=True):
        np.testing.assert_array_equal(a, b)

  @parameterized.named_parameters(
    ('vector', (FIRST,), [0]),
    # Catch could, but not out of another process.
    ('processes', ('tests.user_environments:make_processes',), [0]),
    (
      'one_of_two',
      ('catch', 'tests.user_environments:make_processes'),
      [0, 1],
    ),
  )
  def test_no_state_where_one_cannot_say_it(self, names, task_id):
    envs = self.make(names, task_id)
    envs.reset(seed=0)
    self.assertIsNone(envs.get_state())


class PaddingTest(absltest.TestCase):
  NAMES = ('point_mass/2', 'point_mass/1', 'point_mass/3')
  TASK_ID = (0, 1, 1, 2)

  def make(self, keeps_last=True):
    envs = TaskEnvironments(
      tasks_of(*self.NAMES), np.array(self.TASK_ID, np.int32), True, keeps_last
    )
    self.addCleanup(envs.close)
    return envs

  def test_last_observations_are_told_to_whoever_asks(self):
    for keeps_last in (False, True):
      envs = self.make(keeps_last)
      envs.reset(seed=0)
      told = [
        'last_observation' in envs.step(np.zeros([4, 3], np.float32))[4]
        for _ in range(110)
      ]
      self.assertEqual(any(told), keeps_last)

  def assertPadded(self, features, row, expected):
    size = len(expected)
    np.testing.assert_array_equal(features[row, :size], expected)
    np.testing.assert_array_equal(features[row, size:], np.zeros(9 - size))

  def test_side_by_side_equal_the_single_ones(self):
    envs = self.make()
    singles = [
      point_mass.make_vector_env(int(self.NAMES[task][-1]), 1)
      for task in self.TASK_ID
    ]
    observation, _ = envs.reset(seed=7)
    self.assertEqual((observation.frame, observation.instruction), ((), ()))
    features = observation.features
    self.assertEqual((features.shape, features.dtype), ((4, 9), np.float32))
    for row, single in enumerate(singles):
      expected, _ = single.reset(seed=7 + row)
      self.assertPadded(features, row, expected[0])
    rng = np.random.default_rng(0)
    num_ends = 0
    for _ in range(150):
      actions = rng.uniform(-1.5, 1.5, [4, 3]).astype(np.float32)
      observation, rewards, terminated, truncated, infos = envs.step(actions)
      for row, single in enumerate(singles):
        size = single.single_action_space.shape[0]
        expected, *outputs, info = single.step(actions[row : row + 1, :size])
        self.assertEqual('last_observation' in infos, truncated.any())
        if 'final_obs' in info:
          last = infos['last_observation'].features
          self.assertPadded(last, row, info['final_obs'][0])
        self.assertPadded(observation.features, row, expected[0])
        np.testing.assert_array_equal(rewards[row], np.float32(outputs[0][0]))
        self.assertEqual(terminated[row], outputs[1][0])
        self.assertEqual(truncated[row], outputs[2][0])
        self.assertEqual(infos['episode_done'][row], outputs[2][0])
        num_ends += outputs[2][0]
    self.assertEqual(num_ends, 4)

  def test_state_there_and_back(self):
    envs, others = self.make(), self.make()
    envs.reset(seed=1)
    others.reset(seed=2)
    rng = np.random.default_rng(0)
    for _ in range(30):
      envs.step(rng.uniform(-1, 1, [4, 3]).astype(np.float32))
    others.set_state(json.loads(json.dumps(envs.get_state())))
    for _ in range(150):
      actions = rng.uniform(-1, 1, [4, 3]).astype(np.float32)
      a, b = envs.step(actions), others.step(actions)
      np.testing.assert_array_equal(a[0].features, b[0].features)
      np.testing.assert_array_equal(a[1], b[1])

  def test_tasks_of_one_length_are_left_alone(self):
    names = ('point_mass/2', f'{USER}:make_point_masses')
    envs = TaskEnvironments(
      tasks_of(*names), np.array([0, 1], np.int32), is_training=True
    )
    self.addCleanup(envs.close)
    observation, _ = envs.reset(seed=3)
    self.assertEqual(observation.features.shape, (2, 6))
    observation = envs.step(np.ones([2, 2], np.float32))[0]
    self.assertEqual(observation.features.shape, (2, 6))


class EverythingTest(absltest.TestCase):
  def test_parts_of_a_dict_keep_their_names(self):
    name = f'{USER}:make_everything'
    tasks = tasks_of(name, f'{USER}:make_everything_longer')
    spec = tasks.env_spec
    self.assertEqual(spec.frame_shape, (4, 4, 1))
    self.assertEqual(spec.instruction_length, 3)
    self.assertEqual((spec.num_features, spec.task_num_features), (5, (2, 5)))
    envs = TaskEnvironments(tasks, np.array([0, 1, 0]), is_training=True)
    self.addCleanup(envs.close)
    reset, _ = envs.reset(seed=0)
    step, *_ = envs.step(np.array([0, 1, 2]))
    for k, observation in enumerate((reset, step)):
      frame, instruction, features = observation
      self.assertEqual((frame.shape, frame.dtype), ((3, 4, 4, 1), np.uint8))
      self.assertEqual(frame[:, 0, 0, 0].tolist(), [k] * 3)
      self.assertEqual(instruction.tolist(), [[k, k, k]] * 3)
      expected = [[k, k, 0, 0, 0]] * 2 + [[k] * 5]
      self.assertEqual(features.tolist(), expected)


if __name__ == '__main__':
  absltest.main()
