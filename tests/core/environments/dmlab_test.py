"""Tests of core/environments/dmlab.py, against a stand-in for the engine."""

import importlib
import os
import pathlib
import sys
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from core.environments import dmlab
from core.environments.dmlab import DmLabEnv, DmLabProtocol, LevelCache

FAKE = str(pathlib.Path(__file__).parents[2] / 'fake_deepmind_lab')
PROTOCOL = DmLabProtocol()
SUITE = 'contributed/dmlab30/'
LANGUAGE = SUITE + 'language_select_located_object'
EPISODE_STEPS = 13  # 50 frames, 4 a step.
LOOK_LEFT, LOOK_RIGHT = 4, 5


def setUpModule():
  sys.path.insert(0, FAKE)
  importlib.invalidate_caches()


def tearDownModule():
  sys.path.remove(FAKE)


def episode_seeds(seed, num_episodes):
  random_state = np.random.RandomState(seed)
  return [random_state.randint(0, 2**31 - 1) for _ in range(num_episodes)]


def vector(words):
  """Turns 'look-20 forward' into a native action."""
  dimensions = ('look', 'down', 'strafe', 'move', 'fire')
  short = dict(forward='move1', backward='move-1', fire='fire1')
  action = [0] * 7
  for word in words.split():
    word = short.get(word, word)
    name = word.rstrip('-0123456789')
    action[dimensions.index(name)] = int(word[len(name) :])
  return tuple(action)


class ActionSetsTest(parameterized.TestCase):
  @parameterized.named_parameters(
    (
      'impala',
      'impala',
      'forward,backward,strafe-1,strafe1,look-20,look20,look-20 forward,'
      'look20 forward,fire',
    ),
    (
      'popart',
      'popart',
      'forward,backward,strafe-1,strafe1,look-10,look10,look-60,look60,'
      'down10,down-10,look-10 forward,look10 forward,look-60 forward,'
      'look60 forward,fire',
    ),
  )
  def test_actions(self, name, expected):
    expected = tuple(vector(words) for words in expected.split(','))
    self.assertEqual(dmlab.ACTION_SETS[name], expected)


class DmLabEnvTest(parameterized.TestCase):
  """In this process."""

  def make(self, level=LANGUAGE, is_training=True, **protocol):
    env = DmLabEnv(level, DmLabProtocol(**protocol), is_training)
    self.assertEqual(env.connect(self.create_tempdir().full_path), '')
    self.addCleanup(env.close)
    return env, sys.modules['deepmind_lab'].labs[-1]

  def test_level(self):
    _, lab = self.make('seekavoid_arena_01')
    self.assertEqual(lab.level, 'seekavoid_arena_01')

  def test_settings_are_strings_and_hold_out_levels_are_for_tests(self):
    _, lab = self.make(dataset_path='here', width=80)
    training = dict(
      width='80', height='72', datasetPath='here', logLevel='WARN'
    )
    self.assertEqual(lab.config, training)
    _, lab = self.make(
      SUITE + 'rooms_collect_good_objects_test', is_training=False, width=80
    )
    self.assertEqual(
      lab.config,
      {
        **training,
        'datasetPath': '',
        'allowHoldOutLevels': 'true',
        'mixerSeed': '1611489005',
      },
    )

  def test_episode_seeds_are_scalable_agents(self):
    env, lab = self.make()
    env.reset(seed=7)
    env.reset()
    env.reset()
    self.assertEqual(lab.seeds, episode_seeds(7, 3))
    env.reset(seed=8)
    self.assertEqual(lab.seeds[3:], episode_seeds(8, 1))

  def test_rewards_of_repeated_frames_add_up(self):
    env, _ = self.make()
    observation, _ = env.reset(seed=1)
    is_right = observation['frame'][0, -1, 0] == 255
    for k in range(1, EPISODE_STEPS + 1):
      action = LOOK_RIGHT if is_right == (k % 3 > 0) else LOOK_LEFT
      previous = observation['frame'][0, 0, 1]
      observation, reward, terminated, truncated, _ = env.step(action)
      num_frames = 4 if k < EPISODE_STEPS else 2  # The last is cut short.
      self.assertEqual(reward, num_frames * (k % 3 > 0))
      self.assertEqual(terminated, k == EPISODE_STEPS)
      self.assertFalse(truncated)
      frames = 4 * k if k < EPISODE_STEPS else previous
      self.assertEqual(observation['frame'][0, 0, 1], frames)

  @parameterized.parameters(1, 2)
  def test_repeats_are_the_protocols(self, num_action_repeats):
    env, lab = self.make(num_action_repeats=num_action_repeats)
    env.reset(seed=1)
    env.step(0)
    self.assertEqual(lab.num_steps(), num_action_repeats)

  def test_engine_has_a_folder_of_its_own(self):
    folder = self.create_tempdir().full_path
    level = SUITE + 'explore_goal_locations_small'
    for _ in range(2):
      env = DmLabEnv(level, PROTOCOL, True)
      self.assertEqual(env.connect(folder), '')
      env.reset(seed=1)
      env.close()
    maps = [os.listdir(os.path.join(folder, f)) for f in os.listdir(folder)]
    self.assertEqual(maps, 2 * [maps[0]])
    self.assertLen(maps[0], 1)

  def test_observations(self):
    env, _ = self.make(width=32, height=24)
    observation, _ = env.reset(seed=1)
    self.assertTrue(env.observation_space.contains(observation))
    self.assertEqual(observation['frame'].shape, (24, 32, 3))
    text = observation['instruction'].tobytes().rstrip(b'\0').decode()
    self.assertRegex(text, 'Pick the (red|blue) object in the magenta room')

  def test_instruction_that_does_not_fit_is_an_error(self):
    env, _ = self.make('tests/long_instruction_test')
    with self.assertRaisesRegex(ValueError, 'long_instruction_test.*500 bytes'):
      env.reset(seed=1)

  def test_level_without_instructions(self):
    env, _ = self.make('tests/no_instruction_test')
    observation, _ = env.reset(seed=1)
    self.assertFalse(observation['instruction'].any())
    self.assertTrue(env.observation_space.contains(observation))
    self.assertTrue(observation['frame'].any())

  def test_failures_of_the_engine_are_its_own_words(self):
    env = DmLabEnv('tests/empty_room_test', DmLabProtocol(width=90), True)
    self.assertEqual(
      env.connect(self.create_tempdir().full_path),
      'Failed to apply setting \'width = 90\' - "not width"',
    )

  def test_failure_of_the_cache_in_the_constructor(self):
    folder = self.create_tempdir().full_path
    env = DmLabEnv(
      'tests/early_map_test', DmLabProtocol(level_cache_dir=folder), True
    )
    error = OSError(28, 'No space left')
    with mock.patch.object(LevelCache, 'write', side_effect=error):
      failure = env.connect(self.create_tempdir().full_path)
    self.assertEqual(failure, repr(error))

  def test_closed_engine_is_not_called(self):
    # The real one would end the process.
    env, lab = self.make()
    env.reset(seed=1)
    env.close()
    self.assertFalse(lab.close())
    with self.assertRaisesRegex(RuntimeError, f'^{LANGUAGE}: .* closed'):
      env.reset()
    env.close()

  @parameterized.parameters(('impala', 9), ('popart', 15))
  def test_number_of_actions(self, action_set, num_actions):
    env, _ = self.make(action_set=action_set, num_action_repeats=1)
    env.reset(seed=1)
    self.assertEqual(env.action_space.n, num_actions)
    for action in range(num_actions):
      env.step(np.int32(action))

  def test_maps_come_from_the_cache(self):
    directory = self.create_tempdir().full_path
    for expected in (2, 0):
      env, lab = self.make(
        SUITE + 'explore_goal_locations_small', level_cache_dir=directory
      )
      for seed in range(10):
        env.reset(seed=seed)
      self.assertEqual(lab.num_compiled, expected)
    self.assertCountEqual(os.listdir(directory), ['map_0', 'map_1'])
    env, lab = self.make(SUITE + 'explore_goal_locations_small')
    env.reset(seed=1)
    self.assertEqual(lab.num_compiled, 1)


class LevelCacheTest(absltest.TestCase):
  def test_fetches_what_was_written_first(self):
    folder = pathlib.Path(self.create_tempdir().full_path)
    (folder / 'maps').mkdir()
    cache = LevelCache(str(folder / 'maps'))
    pk3 = folder / 'map.pk3'
    self.assertFalse(cache.fetch('key', str(pk3)))
    self.assertFalse(pk3.exists())
    for content in (b'first', b'second'):
      pk3.write_bytes(content)
      cache.write('key', str(pk3))
    self.assertTrue(cache.fetch('key', str(pk3)))
    self.assertEqual(pk3.read_bytes(), b'first')
    self.assertEqual(os.listdir(folder / 'maps'), ['key'])

  def test_a_write_that_fails_leaves_no_map(self):
    directory = self.create_tempdir().full_path
    cache = LevelCache(directory)

    def fail(source, target):
      pathlib.Path(target).write_bytes(b'ha')
      raise OSError('disk full')

    with mock.patch('shutil.copyfile', fail), self.assertRaises(OSError):
      cache.write('key', 'map.pk3')
    self.assertFalse(os.path.exists(os.path.join(directory, 'key')))


class InstallationTest(absltest.TestCase):
  def test_engine_that_cannot_be_imported(self):
    env = DmLabEnv(LANGUAGE, PROTOCOL, True)
    with mock.patch.dict(sys.modules, {'deepmind_lab': None}):
      self.assertIn(
        'deepmind_lab', env.connect(self.create_tempdir().full_path)
      )


if __name__ == '__main__':
  absltest.main()
