"""Tests of core/suites/suite.py, and that every suite keeps its interface."""

import importlib
import importlib.metadata
import math
import pathlib
import sys

import numpy as np
from absl.testing import absltest, parameterized
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from core.errors import UserError
from core.suites import suite as suites
from core.suites import tasks
from core.suites.suite import spec_of_spaces
from core.suites.task_environments import as_observation
from core.suites.tasks import SUITES
from core.types import ActionBox, EnvSpec
from tests.tasks import tasks_of

FAKES = [
  str(pathlib.Path(__file__).parents[2] / name)
  for name in ('fake_deepmind_lab', 'fake_robots')
]

EXAMPLES = {
  'catch': 'catch',
  'two_rooms': 'two_rooms/1/12',
  'point_mass': 'point_mass/2',
  'atari57': 'ms_pacman',
  'gymnasium': 'gym:CartPole-v1',
  'control': 'control:cartpole/swingup',
  'rwrl': 'rwrl:cartpole/swingup/easy',
  'metaworld': 'metaworld:door-open',
  'humanoidbench': 'humanoidbench:h1-walk',
  'shadow_hand': 'shadow_hand:rubber_duck',
  'doom': 'doom:nav_goal',
  'dmlab30': 'rooms_watermaze',
  'user': 'tests.user_environments:make_everything',
}
# Methods of published tables and how many tasks each has.
PUBLISHED = {
  'atari57': {
    'IMPALA (deep)': 57,
    'IMPALA (shallow)': 57,
    'IMPALA (deep, multi-task)': 57,
    'The Reactor': 57,
  },
  'dmlab30': {
    'Experts': 30,
    'IMPALA': 30,
    'IMPALA, shallow (rerun)': 30,
    'IMPALA, deep (rerun)': 30,
  },
}
FRAME = spaces.Box(0, 255, (6, 5, 3), np.uint8)
VECTOR = spaces.Box(-np.inf, np.inf, (7,), np.float32)
WORDS = spaces.Box(0, 1000, (4,), np.int32)
ACTION = spaces.Discrete(3)
FORCE = spaces.Box(-1.0, 2.0, (2,), np.float32)

every_suite = parameterized.named_parameters(
  *(
    (suite.name, suite)
    for suite in SUITES
    if sys.version_info < (3, 13)
    or {'mujoco', 'labmaze'}.isdisjoint(suite.packages)
  )
)


def setUpModule():
  sys.path[:0] = FAKES
  importlib.invalidate_caches()


def tearDownModule():
  for folder in FAKES:
    sys.path.remove(folder)


class InterfaceTest(parameterized.TestCase):
  def test_every_suite_has_an_example_and_a_name_of_its_own(self):
    self.assertEqual([suite.name for suite in SUITES], list(EXAMPLES))
    self.assertLen({suite.title for suite in SUITES}, len(SUITES))

  @every_suite
  def test_names_are_its_own_and_stand_for_themselves(self, suite):
    for name in (*suite.names, EXAMPLES[suite.name]):
      self.assertTrue(suite.owns(name), name)
      self.assertEqual(suite.expand(name), (name,))
      self.assertEqual(tasks.expand(name), (name,))
    self.assertLen(set(suite.names), len(suite.names))

  @every_suite
  def test_a_name_belongs_to_the_first_suite_that_knows_it(self, suite):
    first = SUITES[: SUITES.index(suite)]
    for name in (*suite.names, EXAMPLES[suite.name]):
      self.assertIs(tasks.suite_of(name), suite)
      self.assertEqual(
        [(s.owns(name), s.expand(name)) for s in first],
        [(False, None)] * len(first),
      )

  @every_suite
  def test_names_of_nobody(self, suite):
    for name in ('', 'nothing_like_it', 'ALE/Pong-v5'):
      self.assertFalse(suite.owns(name), name)
      self.assertIsNone(suite.expand(name))
      with self.assertRaisesRegex(UserError, f"unknown task '{name}'"):
        tasks.suite_of(name)

  @parameterized.parameters(
    *('catch', 'atari57', 'control', 'rwrl', 'metaworld', 'doom', 'dmlab30')
  )
  def test_the_suites_name_stands_for_its_tasks(self, name):
    (suite,) = (suite for suite in SUITES if suite.name == name)
    training = tasks.expand(name)
    self.assertEqual(tasks_of(*training).for_test().names, suite.names)

  @every_suite
  def test_sets_stand_for_tasks_of_the_suite(self, suite):
    for name in suite.lists:
      found = tasks.expand(name)
      self.assertNotEmpty(found)
      self.assertTrue(all(map(suite.owns, found)), name)
      self.assertIn(name, suite.suggest(f'{name[:-2]}{name[-1]}'))
      with self.assertRaisesRegex(UserError, 'names a task twice'):
        tasks.expand(f'{name},{found[0]}')

  @every_suite
  def test_suggests_what_was_misspelt(self, suite):
    for name in suite.names:
      self.assertIn(name, suite.suggest(f'{name[:-2]}{name[-1]}'))
    self.assertEqual(suite.suggest('0' * 50), [])

  @every_suite
  def test_reference(self, suite):
    for name in suite.names:
      reference = suite.reference(name)
      self.assertEqual(tasks.reference(name), reference)
      self.assertLess(reference.low, reference.high)
      is_human = suite.name in ('atari57', 'dmlab30')
      self.assertEqual(reference.is_human, is_human)
    self.assertIsNone(tasks.reference('nothing_like_it'))

  @every_suite
  def test_published_numbers(self, suite):
    published = suite.published()
    counts = {method: len(column) for method, column in published.items()}
    self.assertEqual(counts, PUBLISHED.get(suite.name, {}))
    for column in published.values():
      self.assertContainsSubset(column, suite.names)
      self.assertTrue(all(map(math.isfinite, column.values())))
    self.assertLen(suite.published_rows(), sum(counts.values()))

  @every_suite
  def test_what_captions_and_records_need(self, suite):
    self.assertNotEmpty(suite.examples)
    self.assertIn(suite.aggregate, ('median', 'mean', 'iqm', 'capped mean'))
    self.assertGreater(suite.max_test_rows, 0)
    for package in suite.packages:
      self.assertTrue(importlib.metadata.version(package))
    task = EXAMPLES[suite.name]
    protocol = tasks_of(task).protocol(task)
    line = suite.evaluation_line(protocol)
    self.assertIn('sampled policy; raw rewards', line)
    self.assertNotIn('\n', line)
    self.assertEqual(suite.requires_noops(protocol), suite.name == 'atari57')
    self.assertIsNone(suite.training_score([task]))

  @every_suite
  def test_environments_are_as_the_spec_says(self, suite):
    task = EXAMPLES[suite.name]
    run = tasks_of(task)
    spec = run.env_spec
    self.assertEqual(spec.task_names, (task,))
    envs = run.make([task] * 3, is_training=True, num_threads=1)
    self.assertEqual(sum(env.num_envs for env in envs), 3)
    for env in envs:
      self.addCleanup(env.close)
      self.assertEqual(env.metadata['autoreset_mode'], AutoresetMode.SAME_STEP)
      self.assertEqual(spec.has_success, suite.has_success)
      observations = [as_observation(env.reset(seed=0)[0])]
      actions = spec.zero_actions(env.num_envs)
      observation, rewards, terminated, truncated, infos = env.step(actions)
      self.assertEqual('success' in infos, suite.has_success)
      observations.append(as_observation(observation))
      for array in (rewards, terminated, truncated):
        self.assertEqual(array.shape, (env.num_envs,))
      for frame, instruction, features in observations:
        for array, shape, dtype in (
          (frame, spec.frame_shape, np.uint8),
          (instruction, (spec.instruction_length,), np.int32),
          (features, (spec.num_features,), np.float32),
        ):
          if 0 in shape or shape == ():
            self.assertEqual(array, ())
          else:
            self.assertEqual(array.shape, (env.num_envs, *shape))
            self.assertEqual(array.dtype, dtype)

  @every_suite
  def test_games_to_film_or_a_refusal(self, suite):
    task = EXAMPLES[suite.name]
    run = tasks_of(task)
    if suite.name == 'doom':
      self.assertEqual(run.make_game(task).metadata['render_fps'], 35 / 4)
      with self.assertRaisesRegex(UserError, f'^{task} has no saved states'):
        suite.check_start_states(task, {'a': b''})
      return
    if suite.name != 'atari57':
      with self.assertRaisesRegex(UserError, f'^{task} can neither be filmed'):
        run.make_game(task)
      with self.assertRaisesRegex(UserError, f'^{task} has no saved states'):
        suite.check_start_states(task, {'a': b''})
      return
    game = run.make_game(task)
    game.reset(seed=0)
    self.assertEqual(game.metadata['render_fps'], 15)
    self.assertEqual(game.render().shape, (210, 160, 3))
    suite.check_start_states(task, {'a': game.save_state()})
    with self.assertRaisesRegex(UserError, '^b: truncated'):
      suite.check_start_states(task, {'b': b''})


class ReadTableTest(absltest.TestCase):
  def test_comments_come_before_the_header(self):
    path = pathlib.Path(self.create_tempdir().full_path, 'table.csv')
    path.write_text('# Where from.\n# Which.\ntask,low\na,"1,5"\nb,2\n')
    self.assertEqual(
      suites.read_table(path),
      [{'task': 'a', 'low': '1,5'}, {'task': 'b', 'low': '2'}],
    )


class SpecOfSpacesTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('frame', FRAME, dict(frame_shape=(6, 5, 3))),
    ('features', VECTOR, dict(num_features=7)),
    ('dict_of_a_frame', spaces.Dict(frame=FRAME), dict(frame_shape=(6, 5, 3))),
    (
      'frame_and_features',
      spaces.Dict(frame=FRAME, features=VECTOR),
      dict(frame_shape=(6, 5, 3), num_features=7),
    ),
    (
      'all',
      spaces.Dict(features=VECTOR, frame=FRAME, instruction=WORDS),
      dict(frame_shape=(6, 5, 3), num_features=7, instruction_length=4),
    ),
  )
  def test_observations(self, observations, expected):
    self.assertEqual(
      spec_of_spaces('a', observations, ACTION),
      EnvSpec(task_names=('a',), num_actions=3, **expected),
    )

  @parameterized.named_parameters(
    ('discrete', ACTION, dict(num_actions=3)),
    ('box', FORCE, dict(action_box=ActionBox((-1.0, -1.0), (2.0, 2.0)))),
    (
      'box_of_different_bounds',
      spaces.Box(np.array([-1.0, 0.5]), np.array([0.0, 4.0]), dtype=np.float64),
      dict(action_box=ActionBox((-1.0, 0.5), (0.0, 4.0))),
    ),
  )
  def test_actions(self, actions, expected):
    spec = spec_of_spaces('a', VECTOR, actions)
    self.assertEqual(
      spec, EnvSpec(task_names=('a',), num_features=7, **expected)
    )
    hash(spec)  # Tuples through and through.

  @parameterized.named_parameters(
    ('grey_frame', spaces.Box(0, 255, (6, 5), np.uint8), ACTION),
    ('frame_of_floats', spaces.Box(0, 1, (6, 5, 3), np.float32), ACTION),
    ('frame_of_ints', spaces.Box(0, 255, (6, 5, 3), np.int32), ACTION),
    ('doubles', spaces.Box(-1, 1, (7,), np.float64), ACTION),
    ('matrix', spaces.Box(-1, 1, (7, 2), np.float32), ACTION),
    ('number', spaces.Box(-1, 1, (), np.float32), ACTION),
    ('bytes', spaces.Box(0, 255, (7,), np.uint8), ACTION),
    ('state', spaces.Discrete(5), ACTION),
    ('bits', spaces.MultiBinary(5), ACTION),
    ('tuple', spaces.Tuple([FRAME, VECTOR]), ACTION),
    ('text', spaces.Text(5), ACTION),
    ('no_part', spaces.Dict(), ACTION),
    ('unknown_part', spaces.Dict(frame=FRAME, sound=VECTOR), ACTION),
    ('nested', spaces.Dict(frame=spaces.Dict(features=VECTOR)), ACTION),
    ('swapped', spaces.Dict(frame=VECTOR), ACTION),
    ('words_of_bytes', spaces.Dict(instruction=spaces.Text(9)), ACTION),
    ('from_one', VECTOR, spaces.Discrete(3, start=1)),
    ('several', VECTOR, spaces.MultiDiscrete([3, 2])),
    ('unbounded', VECTOR, spaces.Box(-np.inf, np.inf, (2,), np.float32)),
    ('half_bounded', VECTOR, spaces.Box(0.0, np.inf, (2,), np.float32)),
    ('action_matrix', VECTOR, spaces.Box(-1, 1, (2, 2), np.float32)),
    ('action_number', VECTOR, spaces.Box(-1, 1, (), np.float32)),
    ('whole_numbers', VECTOR, spaces.Box(-1, 1, (2,), np.int32)),
  )
  def test_refuses(self, observations, actions):
    with self.assertRaises(UserError) as caught:
      spec_of_spaces('a.b:make', observations, actions)
    message = str(caught.exception)
    self.assertStartsWith(message, 'a.b:make: observations must be uint8 [H,')
    self.assertEndsWith(message, f'not {observations} and {actions}')


class EnvSpecTest(absltest.TestCase):
  def test_zero_actions(self):
    spec = spec_of_spaces('a', VECTOR, ACTION)
    self.assertEqual(spec.zero_actions(4).tolist(), [0] * 4)
    self.assertEqual(spec.zero_actions(4).dtype, np.int32)
    spec = spec_of_spaces('a', VECTOR, FORCE)
    self.assertEqual(spec.zero_actions(4).tolist(), [[0.0, 0.0]] * 4)
    self.assertEqual(spec.zero_actions(4).dtype, np.float32)


if __name__ == '__main__':
  absltest.main()
