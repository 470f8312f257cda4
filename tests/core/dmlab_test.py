"""Tests of core/dmlab.py, against a stand-in for the engine."""

import contextlib
import dataclasses
import importlib
import os
import pathlib
import sys
import time
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from core import dmlab
from core.dmlab import DmLabEnv, DmLabProtocol, DmLabVectorEnv, LevelCache
from core.errors import UserError
from core.networks import hash_words

FAKE = str(pathlib.Path(__file__).parents[1] / 'fake_deepmind_lab')
PROTOCOL = DmLabProtocol()
LANGUAGE = 'language_select_located_object'
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


def is_alive(pid):
  with contextlib.suppress(ProcessLookupError):
    os.kill(pid, 0)
    return True
  return False


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


class IsLevelTest(parameterized.TestCase):
  @parameterized.parameters(
    *('rooms_watermaze', 'rooms_collect_good_objects_test'),
    *('tests/empty_room_test', 'lab:seekavoid_arena_01'),
  )
  def test_levels(self, name):
    self.assertTrue(dmlab.is_level(name))

  @parameterized.parameters('pong', 'catch', 'a.b:make', 'ALE/Pong-v5')
  def test_others(self, name):
    self.assertFalse(dmlab.is_level(name))


class DmLabEnvTest(parameterized.TestCase):
  """In this process."""

  def make(self, level=LANGUAGE, is_training=True, **protocol):
    env = DmLabEnv(level, DmLabProtocol(**protocol), is_training)
    self.assertEqual(env.connect(), '')
    self.addCleanup(env.close)
    return env, sys.modules['deepmind_lab'].labs[-1]

  @parameterized.named_parameters(
    ('suite', LANGUAGE, f'contributed/dmlab30/{LANGUAGE}'),
    ('folder', 'tests/empty_room_test', 'tests/empty_room_test'),
    ('other', 'lab:seekavoid_arena_01', 'seekavoid_arena_01'),
  )
  def test_level(self, level, expected):
    _, lab = self.make(level)
    self.assertEqual(lab.level, expected)

  def test_settings_are_strings_and_hold_out_levels_are_for_tests(self):
    _, lab = self.make(dataset_path='here', width=80)
    training = dict(
      width='80', height='72', datasetPath='here', logLevel='WARN'
    )
    self.assertEqual(lab.config, training)
    _, lab = self.make(
      'rooms_collect_good_objects_test', is_training=False, width=80
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
        'explore_goal_locations_small', level_cache_dir=directory
      )
      for seed in range(10):
        env.reset(seed=seed)
      self.assertEqual(lab.num_compiled, expected)
    self.assertCountEqual(os.listdir(directory), ['map_0', 'map_1'])
    env, lab = self.make('explore_goal_locations_small')
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


class DmLabVectorEnvTest(parameterized.TestCase):
  """In processes."""

  def make(self, *levels, is_training=True, **protocol):
    env = DmLabVectorEnv(levels, DmLabProtocol(**protocol), is_training)
    self.addCleanup(env.close)
    return env

  def test_rows_play_their_levels_from_their_seeds(self):
    levels = (LANGUAGE, 'rooms_watermaze', 'language_execute_random_task')
    env = self.make(*levels)
    observations, _ = env.reset(seed=5)
    seeds = [episode_seeds(5 + i, 3) for i in range(3)]
    for k in range(1, 2 * EPISODE_STEPS + 2):
      is_right = self._check(observations, seeds, k - 1)
      actions = np.where(is_right, LOOK_RIGHT, LOOK_LEFT).astype(np.int32)
      observations, rewards, terminated, truncated, _ = env.step(actions)
      is_over = k % EPISODE_STEPS == 0
      self.assertEqual(rewards.tolist(), [2.0 if is_over else 4.0] * 3)
      self.assertEqual(terminated.tolist(), [is_over] * 3)
      self.assertFalse(truncated.any())

  def _check(self, observations, seeds, num_steps):
    """Checks frames and instructions; returns the bright sides."""
    frame, instruction = observations['frame'], observations['instruction']
    self.assertEqual((frame.shape, frame.dtype), ((3, 72, 96, 3), np.uint8))
    self.assertEqual(
      (instruction.shape, instruction.dtype), ((3, 16), np.int32)
    )
    # In the step that ends an episode they are the next one's first.
    episode, step = divmod(num_steps, EPISODE_STEPS)
    np.testing.assert_array_equal(frame[..., 1], 4 * step)
    expected = np.array([s[episode] % 256 for s in seeds], np.uint8)
    np.testing.assert_array_equal(frame[:, 0, 0, 2], expected)
    is_right = frame[:, 0, -1, 0] == 255
    color = ['blue' if right else 'red' for right in is_right]
    texts = (
      f'Pick the {color[0]} object in the magenta room',
      '',
      f'hat near {color[2]} object',
    )
    np.testing.assert_array_equal(
      instruction, [hash_words(text, 16) for text in texts]
    )
    return is_right

  def test_observations_are_not_written_to_again(self):
    env = self.make(LANGUAGE)
    first, _ = env.reset(seed=1)
    kept = {name: array.copy() for name, array in first.items()}
    for _ in range(EPISODE_STEPS + 2):
      env.step(np.array([0], np.int32))
    for name, array in first.items():
      np.testing.assert_array_equal(array, kept[name])

  def test_closes_its_processes(self):
    env = self.make(LANGUAGE, LANGUAGE)
    env.reset(seed=1)
    pids = [process.pid for process in env.processes]
    self.assertTrue(all(map(is_alive, pids)))
    env.close()
    self.assertFalse(any(map(is_alive, pids)))

  def test_closes_processes_that_are_busy(self):
    env = self.make('tests/sleeping_test', LANGUAGE)
    env.reset(seed=1)
    for _ in range(39):
      env.step(np.array([0, 0], np.int32))
    env.step_async(np.array([0, 0], np.int32))
    pids = [process.pid for process in env.processes]
    start = time.monotonic()
    env.close()
    self.assertLess(time.monotonic() - start, 5.0)
    self.assertFalse(any(map(is_alive, pids)))

  @parameterized.named_parameters(
    ('missing', 'lab:no_such_level', True, 'no_such_level: .*not found'),
    (
      'held_out',
      'rooms_collect_good_objects_test',
      True,
      '_test: .*only be used during evaluation',
    ),
  )
  def test_levels_that_cannot_be_played(self, level, is_training, message):
    with self.assertRaisesRegex(UserError, message) as raised:
      self.make(LANGUAGE, level, is_training=is_training)
    self.assertStartsWith(str(raised.exception), 'DeepMind Lab cannot play')

  def test_held_out_level_in_a_test(self):
    env = self.make('rooms_collect_good_objects_test', is_training=False)
    env.reset(seed=1)

  def test_error_of_a_process_comes_with_its_own_type(self):
    env = self.make(LANGUAGE, 'tests/failing_test')
    env.reset(seed=1)
    with self.assertRaisesRegex(ArithmeticError, 'the engine is lost'):
      for _ in range(40):
        env.step(np.array([0, 0], np.int32))

  def test_engine_that_ends_its_process_is_named(self):
    env = self.make(LANGUAGE, 'tests/dying_test')
    env.reset(seed=1)
    with self.assertRaisesRegex(RuntimeError, 'ended; tests/dying_test.* 3$'):
      for _ in range(40):
        env.step(np.array([0, 0], np.int32))
    pids = [process.pid for process in env.processes]
    env.close()
    self.assertFalse(any(map(is_alive, pids)))


class InstallationTest(parameterized.TestCase):
  def test_missing_engine(self):
    with (
      mock.patch('importlib.util.find_spec', lambda name: None),
      self.assertRaisesRegex(UserError, 'no module deepmind_lab.*README'),
    ):
      DmLabVectorEnv([LANGUAGE], PROTOCOL, True)

  def test_engine_that_cannot_be_imported(self):
    env = DmLabEnv(LANGUAGE, PROTOCOL, True)
    with mock.patch.dict(sys.modules, {'deepmind_lab': None}):
      self.assertIn('deepmind_lab', env.connect())

  @parameterized.named_parameters(
    ('none', ''), ('no_folder', '/no/such/folder'), ('empty_folder', None)
  )
  def test_missing_pictures(self, path):
    if path is None:
      path = self.create_tempdir().full_path
    protocol = DmLabProtocol(dataset_path=path)
    for level in (
      'psychlab_arbitrary_visuomotor_mapping',
      'psychlab_continuous_recognition',
    ):
      with self.assertRaisesRegex(
        UserError, f'{level} .*--dataset_path={path}'
      ):
        DmLabVectorEnv(['rooms_watermaze', level], protocol, True)

  @parameterized.named_parameters(('dummy', True), ('pictures', False))
  def test_pictures(self, is_dummy):
    path = 'dummy'
    if not is_dummy:
      folder = self.create_tempdir()
      folder.create_file('0001.png')
      path = folder.full_path
    env = DmLabVectorEnv(
      ['psychlab_continuous_recognition'],
      DmLabProtocol(dataset_path=path),
      True,
    )
    env.close()

  def test_unwritable_cache(self):
    protocol = dataclasses.replace(PROTOCOL, level_cache_dir='/proc/no_folder')
    with self.assertRaisesRegex(UserError, '--level_cache_dir=/proc/no_folder'):
      DmLabVectorEnv([LANGUAGE], protocol, True)


if __name__ == '__main__':
  absltest.main()
