"""Tests of core/suites/tasks.py: names, protocols, specs."""

import dataclasses

import numpy as np
from absl.testing import absltest, parameterized

from core.environments.atari import AtariProtocol
from core.environments.dmlab import DmLabProtocol
from core.errors import UserError
from core.suites import atari, dmlab, tasks
from core.suites.tasks import Tasks, join_specs
from core.types import ActionBox, EnvSpec
from impala.config import Config
from tests.tasks import tasks_of

FIRST = 'tests.user_environments:make_first'


def spec_of(*names, **options):
  return tasks_of(*names, **options).env_spec


class ExpandTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('game', 'pong', ('pong',)),
    ('two_games', 'pong, breakout', ('pong', 'breakout')),
    ('catch', 'catch', ('catch',)),
    (
      'point_masses',
      'point_mass/1,point_mass/9',
      ('point_mass/1', 'point_mass/9'),
    ),
    ('users', FIRST, (FIRST,)),
    (
      'two_rooms',
      'two_rooms/1/12, two_rooms_b/4/3',
      ('two_rooms/1/12', 'two_rooms_b/4/3'),
    ),
    ('atari57', 'atari57', atari.GAMES),
    ('dmlab30', 'dmlab30', tuple(dmlab.LEVEL_MAPPING)),
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
    self.assertEqual(tasks.expand(level_name), expected)

  @parameterized.named_parameters(
    ('misspelt', 'brekout', 'brekout.*did you mean breakout'),
    ('one_of_two', 'pong,qbrt', 'qbrt.*did you mean qbert'),
    ('empty', 'pong,', "unknown task ''"),
    (
      'misspelt_level',
      'room_watermaze',
      "unknown task 'room_watermaze'.*did you mean rooms_watermaze",
    ),
    (
      'half_a_level',
      'rooms_collect_good_objects',
      'did you mean rooms_collect_good_objects_test or .*_train',
    ),
    (
      'neither',
      'zzz',
      r'unknown task .*pong.* lab:seekavoid\w+\) and dmlab30',
    ),
    ('gymnasium', 'ALE/MsPacman-v5', 'did you mean ms_pacman'),
    ('goal_in_a_wall', 'catch,two_rooms/0/3', 'two_rooms/0/3: .* in a wall'),
    ('no_goal', 'two_rooms', "'two_rooms' is no task of two rooms"),
    ('no_layout', 'two_rooms_c/1/1', 'two_rooms_c/1/1: unknown layout'),
    ('no_dimensions', 'point_mass', 'point_mass: write point_mass/D'),
    ('too_many', 'point_mass/10', 'point_mass/10: write point_mass/D'),
    ('twice', 'pong,breakout,pong', 'pong,breakout,pong names a task twice'),
    ('no_module', 'nowhere.at_all:make', "No module named 'nowhere'"),
    (
      'no_function',
      'core.environments.catch:nothing',
      "no attribute 'nothing'",
    ),
  )
  def test_user_errors(self, level_name, message):
    with self.assertRaisesRegex(UserError, message):
      tasks.expand(level_name)


class ProtocolTest(parameterized.TestCase):
  def test_games(self):
    found = tasks_of('pong', num_action_repeats=3, full_action_space=True)
    protocol = AtariProtocol(num_action_repeats=3, full_action_space=True)
    self.assertEqual(found.protocol('pong'), protocol)
    self.assertEqual(found.describe_protocol(), dataclasses.asdict(protocol))
    self.assertEqual([suite.name for suite in found.suites], ['atari57'])

  @parameterized.parameters('catch', 'two_rooms/1/2', 'point_mass/1', FIRST)
  def test_no_choice(self, task):
    found = tasks_of(task)
    self.assertIsNone(found.protocol(task))
    self.assertEqual(found.describe_protocol(), {})

  def test_levels(self):
    values = dict(
      width=80,
      height=60,
      num_action_repeats=3,
      action_set='popart',
      dataset_path='a',
      level_cache_dir='b',
    )
    levels = ['lab:seekavoid_arena_01', 'rooms_watermaze']
    found = tasks_of(*levels, **values)
    for level in levels:
      self.assertEqual(found.protocol(level), DmLabProtocol(**values))
    self.assertEqual([suite.name for suite in found.suites], ['dmlab30'] * 2)

  def test_defaults_are_the_configs(self):
    protocol = tasks_of('rooms_watermaze').protocol('rooms_watermaze')
    self.assertEqual(protocol, DmLabProtocol())

  @parameterized.parameters('pong', 'catch', 'two_rooms/1/2', FIRST)
  def test_not_both(self, task):
    both = Tasks.of(Config(level_name=f'rooms_watermaze,{task}'))
    with self.assertRaisesRegex(
      UserError, f'{task} has .*, rooms_watermaze .*, instructions and 9'
    ):
      _ = both.env_spec

  def test_tests_play_levels_that_are_held_out(self):
    level = 'rooms_collect_good_objects'
    found = tasks_of('rooms_watermaze', f'{level}_train', width=80).for_test()
    self.assertEqual(found.names, ('rooms_watermaze', f'{level}_test'))
    self.assertEqual(found.env_spec.task_names, found.names)
    self.assertEqual(found.protocol(f'{level}_test').width, 80)
    self.assertEqual(
      tasks_of('pong', 'catch').for_test().names, ('pong', 'catch')
    )


class EnvSpecTest(parameterized.TestCase):
  @parameterized.parameters(('impala', 9), ('popart', 15))
  def test_levels(self, action_set, num_actions):
    names = ('rooms_watermaze', 'tests/empty_room_test')
    expected = EnvSpec(
      task_names=names,
      num_actions=num_actions,
      frame_shape=(72, 96, 3),
      instruction_length=16,
    )
    self.assertEqual(spec_of(*names, action_set=action_set), expected)

  def test_catch(self):
    expected = EnvSpec(
      task_names=('catch',), num_actions=3, frame_shape=(20, 20, 1)
    )
    self.assertEqual(spec_of('catch'), expected)

  def test_two_rooms(self):
    names = ('two_rooms/1/2', 'two_rooms/5/14')
    # 55 cells, 6 previous actions, 2 previous rewards.
    expected = EnvSpec(task_names=names, num_actions=5, frame_shape=(1, 1, 63))
    self.assertEqual(spec_of(*names), expected)

  @parameterized.named_parameters(
    ('minimal', False, 'breakout', 4), ('full', True, 'breakout', 18)
  )
  def test_atari(self, full_action_space, game, num_actions):
    expected = EnvSpec(
      task_names=(game,),
      num_actions=num_actions,
      frame_shape=(4, 84, 84),
      channels_first=True,
    )
    found = spec_of(game, full_action_space=full_action_space)
    self.assertEqual(found, expected)

  def test_two_games_share_the_full_set(self):
    spec = spec_of('pong', 'skiing', full_action_space=True)
    self.assertEqual(spec.num_actions, 18)
    self.assertEqual(spec.task_names, ('pong', 'skiing'))

  @parameterized.named_parameters(
    ('actions', ('pong', 'breakout'), 'breakout .*4 actions, pong .* 6.*full_'),
    ('frames', ('pong', 'catch'), r'catch has frames \(20, 20, 1\)'),
    (
      'grid_and_catch',
      ('two_rooms/1/2', 'catch'),
      r'catch .* 3 actions, two_rooms/1/2 frames \(1, 1, 63\) and 5 actions:',
    ),
    ('layouts', ('two_rooms/1/2', 'two_rooms_b/1/2'), 'two_rooms_b/1/2 has f'),
    (
      'continuous',
      (FIRST, 'tests.user_environments:make_continuous'),
      'continuous actions, .*make_first frames .* and 3 actions: ',
    ),
    (
      'other_autoreset',
      ('tests.user_environments:make_next_step',),
      'make_next_step: build .*AutoresetMode.SAME_STEP',
    ),
  )
  def test_user_errors(self, names, message):
    with self.assertRaisesRegex(UserError, message):
      spec_of(*names)


def features_spec(name, num_features, low, high):
  """Returns the spec of a task of continuous control."""
  return EnvSpec(
    task_names=(name,),
    num_features=num_features,
    action_box=ActionBox(low, high),
  )


class JoinSpecsTest(parameterized.TestCase):
  def test_vectors_are_padded_to_the_longest(self):
    a = features_spec('a', 5, (-1.0, -2.0), (1.0, 2.0))
    b = features_spec('b', 3, (-1.0, -2.0, -3.0), (1.0, 2.0, 3.0))
    c = features_spec('c', 4, (-1.0,), (1.0,))
    box = ActionBox((-1.0, -2.0, -3.0), (1.0, 2.0, 3.0), (2, 3, 1))
    expected = EnvSpec(
      task_names=('a', 'b', 'c'),
      action_box=box,
      num_features=5,
      task_num_features=(5, 3, 4),
    )
    self.assertEqual(join_specs([a, b, c]), expected)
    expected = EnvSpec(
      task_names=('c', 'a', 'b'),
      action_box=box._replace(task_sizes=(1, 2, 3)),
      num_features=5,
      task_num_features=(4, 5, 3),
    )
    self.assertEqual(join_specs([c, a, b]), expected)

  def test_equal_lengths_need_no_padding(self):
    a = features_spec('a', 5, (-1.0,), (1.0,))
    expected = a._replace(task_names=('a', 'b'))
    b = a._replace(task_names=('b',))
    self.assertEqual(join_specs([a, b]), expected)

  def test_one_task_with_a_time_limit_is_enough(self):
    a = features_spec('a', 5, (-1.0,), (1.0,))
    b = a._replace(task_names=('b',), has_time_limit=True)
    for pair in ([a, b], [b, a]):
      self.assertTrue(join_specs(pair).has_time_limit)

  def test_frames_and_features_of_discrete_actions(self):
    a = EnvSpec(
      task_names=('a',), num_actions=3, frame_shape=(4, 4, 1), num_features=2
    )
    b = a._replace(task_names=('b',), num_features=7)
    expected = a._replace(
      task_names=('a', 'b'), num_features=7, task_num_features=(2, 7)
    )
    self.assertEqual(join_specs([a, b]), expected)

  @parameterized.named_parameters(
    ('low', (-2.0,), (1.0,)), ('high', (-1.0,), (2.0,))
  )
  def test_bounds_must_agree(self, low, high):
    a = features_spec('a', 5, (-1.0, -1.0), (1.0, 1.0))
    b = features_spec('b', 5, low, high)
    for pair in ([a, b], [b, a]):
      with self.assertRaisesRegex(UserError, 'the same bounds of actions'):
        join_specs(pair)

  @parameterized.named_parameters(
    ('discrete', dict(action_box=None, num_actions=3), '5 features and 3 act'),
    (
      'frames',
      dict(frame_shape=(4, 4, 1)),
      r'\(4, 4, 1\), 5 features and cont',
    ),
    ('no_features', dict(num_features=0, frame_shape=(4, 4, 1)), 'frames'),
    ('words', dict(instruction_length=4), '5 features, instructions and cont'),
  )
  def test_what_no_padding_makes_equal(self, changes, message):
    a = features_spec('a', 5, (-1.0,), (1.0,))
    b = a._replace(task_names=('b',), **changes)
    with self.assertRaisesRegex(
      UserError,
      f'b has .*{message}.*, a 5 features and continuous actions: one',
    ):
      join_specs([a, b])

  def test_order_of_axes(self):
    a = EnvSpec(task_names=('a',), num_actions=3, frame_shape=(4, 4, 4))
    b = a._replace(task_names=('b',), channels_first=True)
    with self.assertRaisesRegex(UserError, 'one agent needs the same'):
      join_specs([a, b])

  def test_point_masses(self):
    spec = spec_of('point_mass/1', 'point_mass/3', 'point_mass/2')
    self.assertEqual(spec.num_features, 9)
    self.assertEqual(spec.task_num_features, (3, 9, 6))
    box = ActionBox((-1.0,) * 3, (1.0,) * 3, (1, 3, 2))
    self.assertEqual(spec.action_box, box)
    self.assertEqual((spec.num_actions, spec.frame_shape), (0, ()))


class AssignTasksTest(absltest.TestCase):
  def test_in_turn(self):
    found = tasks.assign_tasks(7, 3)
    self.assertEqual(found.tolist(), [0, 1, 2, 0, 1, 2, 0])
    self.assertEqual(found.dtype, np.int32)

  def test_more_tasks_than_environments(self):
    with self.assertRaisesRegex(
      UserError, '57 tasks .* not 32: raise --num_environments'
    ):
      tasks.assign_tasks(32, 57)


if __name__ == '__main__':
  absltest.main()
