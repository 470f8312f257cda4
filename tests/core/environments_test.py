"""Tests of core/environments.py, but for Atari (atari_test.py)."""

import json

import numpy as np
from absl.testing import absltest, parameterized

from core import atari57, catch, dmlab30, environments
from core.atari import AtariProtocol
from core.dmlab import DmLabProtocol
from core.environments import TaskEnvironments
from core.errors import UserError
from core.types import EnvSpec, Observation
from impala.config import Config
from tests.user_environments import LoggingEnv

PROTOCOL = AtariProtocol()
FIRST, SECOND = (
  f'tests.user_environments:make_{name}' for name in ('first', 'second')
)


def spec_of(*tasks, protocol=PROTOCOL):
  return environments.env_spec(tasks, protocol)


class TaskNamesTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('game', 'pong', ('pong',)),
    ('two_games', 'pong, breakout', ('pong', 'breakout')),
    ('catch', 'catch', ('catch',)),
    ('users', FIRST, (FIRST,)),
    (
      'two_rooms',
      'two_rooms/1/12, two_rooms_b/4/3',
      ('two_rooms/1/12', 'two_rooms_b/4/3'),
    ),
    ('atari57', 'atari57', tuple(atari57.GAMES)),
    ('dmlab30', 'dmlab30', tuple(dmlab30.LEVEL_MAPPING)),
    ('level', 'rooms_watermaze', ('rooms_watermaze',)),
    (
      'levels',
      'tests/empty_room_test,lab:seekavoid_arena_01',
      ('tests/empty_room_test', 'lab:seekavoid_arena_01'),
    ),
    (
      'path_of_a_level',
      'contributed/dmlab30/rooms_watermaze',
      ('rooms_watermaze',),
    ),
  )
  def test_names(self, level_name, expected):
    self.assertEqual(environments.task_names(level_name), expected)

  @parameterized.named_parameters(
    ('misspelt', 'brekout', 'brekout.*did you mean breakout'),
    ('one_of_two', 'pong,qbrt', 'qbrt.*did you mean qbert'),
    ('empty', 'pong,', 'unknown Atari game'),
    (
      'misspelt_level',
      'room_watermaze',
      "unknown level 'room_watermaze'.*did you mean rooms_watermaze",
    ),
    (
      'half_a_level',
      'rooms_collect_good_objects',
      'did you mean rooms_collect_good_objects_test or .*_train',
    ),
    ('neither', 'qwertyuiop', 'unknown Atari game.*dmlab30, .* lab:NAME'),
    ('gymnasium', 'ALE/MsPacman-v5', 'did you mean ms_pacman'),
    ('goal_in_a_wall', 'catch,two_rooms/0/3', 'two_rooms/0/3: .* in a wall'),
    ('no_goal', 'two_rooms', "'two_rooms' is no task of two rooms"),
    ('no_layout', 'two_rooms_c/1/1', 'two_rooms_c/1/1: unknown layout'),
    ('twice', 'pong,breakout,pong', 'pong,breakout,pong names a task twice'),
    ('no_module', 'nowhere.at_all:make', "No module named 'nowhere'"),
    ('no_function', 'core.catch:nothing', "no attribute 'nothing'"),
  )
  def test_user_errors(self, level_name, message):
    with self.assertRaisesRegex(UserError, message):
      environments.task_names(level_name)


class ProtocolTest(parameterized.TestCase):
  def test_games(self):
    config = Config(num_action_repeats=3, full_action_space=True)
    for task in ('pong', 'catch', 'two_rooms/1/2'):
      self.assertEqual(
        environments.make_protocol(config, [task]),
        AtariProtocol(num_action_repeats=3, full_action_space=True),
      )
      self.assertEqual(environments.suite([task]), 'atari57')

  def test_levels(self):
    values = dict(
      width=80,
      height=60,
      num_action_repeats=3,
      action_set='popart',
      dataset_path='a',
      level_cache_dir='b',
    )
    tasks = ['lab:seekavoid_arena_01', 'rooms_watermaze']
    protocol = environments.make_protocol(Config(**values), tasks)
    self.assertEqual(protocol, DmLabProtocol(**values))
    self.assertEqual(environments.suite(tasks), 'dmlab30')

  def test_defaults_are_the_configs(self):
    protocol = environments.make_protocol(Config(), ['rooms_watermaze'])
    self.assertEqual(protocol, DmLabProtocol())

  @parameterized.parameters('pong', 'catch', 'two_rooms/1/2', FIRST)
  def test_not_both(self, task):
    with self.assertRaisesRegex(UserError, f'{task} is no level of DeepMind'):
      environments.make_protocol(Config(), ['rooms_watermaze', task])


class AsObservationTest(absltest.TestCase):
  def test_frames_and_dicts(self):
    frame, words = np.zeros(2), np.zeros(3)
    self.assertIs(environments.as_observation(frame).frame, frame)
    self.assertEqual(environments.as_observation(frame).instruction, ())
    found = environments.as_observation(dict(instruction=words, frame=frame))
    self.assertIsInstance(found, Observation)
    self.assertIs(found.frame, frame)
    self.assertIs(found.instruction, words)


class EnvSpecTest(parameterized.TestCase):
  @parameterized.parameters(('impala', 9), ('popart', 15))
  def test_levels(self, action_set, num_actions):
    protocol = DmLabProtocol(action_set=action_set)
    tasks = ('rooms_watermaze', 'tests/empty_room_test')
    expected = EnvSpec((72, 96, 3), False, num_actions, 16, tasks)
    self.assertEqual(spec_of(*tasks, protocol=protocol), expected)

  def test_catch(self):
    expected = EnvSpec((20, 20, 1), False, 3, 0, ('catch',))
    self.assertEqual(spec_of('catch'), expected)

  def test_two_rooms(self):
    tasks = ('two_rooms/1/2', 'two_rooms/5/14')
    # 55 cells, 6 previous actions, 2 previous rewards.
    expected = EnvSpec((1, 1, 63), False, 5, 0, tasks)
    self.assertEqual(spec_of(*tasks), expected)

  @parameterized.named_parameters(
    ('minimal', False, 'breakout', 4), ('full', True, 'breakout', 18)
  )
  def test_atari(self, full_action_space, game, num_actions):
    protocol = AtariProtocol(full_action_space=full_action_space)
    expected = EnvSpec((4, 84, 84), True, num_actions, 0, (game,))
    self.assertEqual(spec_of(game, protocol=protocol), expected)

  def test_two_games_share_the_full_set(self):
    protocol = AtariProtocol(full_action_space=True)
    spec = spec_of('pong', 'skiing', protocol=protocol)
    self.assertEqual(spec.num_actions, 18)
    self.assertEqual(spec.task_names, ('pong', 'skiing'))

  @parameterized.named_parameters(
    ('actions', ('pong', 'breakout'), 'breakout .*4 actions, pong .* 6.*full_'),
    ('frames', ('pong', 'catch'), r'catch has frames \(20, 20, 1\)'),
    (
      'grid_and_catch',
      ('two_rooms/1/2', 'catch'),
      r'catch .* 3 actions, two_rooms/1/2 \(1, 1, 63\) and 5:',
    ),
    ('layouts', ('two_rooms/1/2', 'two_rooms_b/1/2'), 'two_rooms_b/1/2 has f'),
    (
      'continuous',
      ('tests.user_environments:make_continuous',),
      'actions discrete, not .*Box',
    ),
    (
      'other_autoreset',
      ('tests.user_environments:make_next_step',),
      'make_next_step: build .*AutoresetMode.SAME_STEP',
    ),
  )
  def test_user_errors(self, tasks, message):
    with self.assertRaisesRegex(UserError, message):
      spec_of(*tasks)


class AssignTasksTest(absltest.TestCase):
  def test_in_turn(self):
    found = environments.assign_tasks(7, 3)
    self.assertEqual(found.tolist(), [0, 1, 2, 0, 1, 2, 0])
    self.assertEqual(found.dtype, np.int32)

  def test_more_tasks_than_environments(self):
    with self.assertRaisesRegex(
      UserError, '57 tasks .* not 32: raise --num_environments'
    ):
      environments.assign_tasks(32, 57)


class TaskEnvironmentsTest(parameterized.TestCase):
  def make(self, tasks, task_id, is_training=True):
    LoggingEnv.calls.clear()
    envs = TaskEnvironments(
      tasks, np.array(task_id, np.int32), PROTOCOL, is_training
    )
    self.addCleanup(envs.close)
    return envs

  def test_rows_of_two_tasks_stay_apart(self):
    envs = self.make((FIRST, SECOND), [1, 0, 1])
    self.assertEqual(envs.task_id.tolist(), [0, 1, 1])
    frames, _ = envs.reset(seed=50)
    self.assertEqual(frames[:, 0, 0, 0].tolist(), [100, 200, 210])
    self.assertEqual(LoggingEnv.calls, [('reset', 1, 50), ('reset', 2, 51)])
    for k in (1, 2, 3):
      frames, rewards, terminated, truncated, infos = envs.step(
        np.array([0, 1, 2], np.int32)
      )
      expected = [100 + k, 200 + k, 210 + k]
      self.assertEqual(frames[:, 0, 0, 0].tolist(), expected)
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

  def test_synchronous_environments_step_when_received(self):
    envs = self.make(('catch',), [0, 0])
    plain = catch.make_vector_env(2, True)
    found, _ = envs.reset(seed=4)
    expected, _ = plain.reset(seed=4)
    rng = np.random.default_rng(0)
    for _ in range(20):
      np.testing.assert_array_equal(found, expected)
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
  def test_state_there_and_back(self, tasks, task_id):
    envs, others = (self.make(tasks, task_id) for _ in range(2))
    envs.reset(seed=1)
    others.reset(seed=2)
    for _ in range(5):
      envs.step(np.array([0, 1, 2]))
    others.set_state(json.loads(json.dumps(envs.get_state())))
    for _ in range(120):
      for a, b in zip(
        envs.step(np.array([2, 0, 1]))[:4],
        others.step(np.array([2, 0, 1]))[:4],
        strict=True,
      ):
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
  def test_no_state_where_one_cannot_say_it(self, tasks, task_id):
    envs = self.make(tasks, task_id)
    envs.reset(seed=0)
    self.assertIsNone(envs.get_state())


if __name__ == '__main__':
  absltest.main()
