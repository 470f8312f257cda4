"""Tests of core/environments/dmlab_processes.py, on a stand-in."""

import contextlib
import dataclasses
import importlib
import os
import pathlib
import sys
import tempfile
import time
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from core.environments.dmlab import DmLabProtocol
from core.environments.dmlab_processes import DmLabVectorEnv
from core.errors import UserError
from core.instructions import hash_words
from tests.core.environments.dmlab_test import (
  EPISODE_STEPS,
  FAKE,
  LANGUAGE,
  LOOK_LEFT,
  LOOK_RIGHT,
  PROTOCOL,
  SUITE,
  episode_seeds,
)


def setUpModule():
  sys.path.insert(0, FAKE)
  importlib.invalidate_caches()


def tearDownModule():
  sys.path.remove(FAKE)


def is_alive(pid):
  """Tells whether a process runs; one that nobody waits for does not."""
  with contextlib.suppress(FileNotFoundError):
    stat = pathlib.Path(f'/proc/{pid}/stat').read_text()
    return stat.rpartition(')')[2].split()[0] not in 'XZ'
  return False


def wait_for(condition):
  """Returns what a condition says as soon as that is true."""
  deadline = time.monotonic() + 20.0
  while not (found := condition()):
    if time.monotonic() > deadline:
      raise TimeoutError
    time.sleep(0.01)
  return found


class DmLabVectorEnvTest(parameterized.TestCase):
  """In processes."""

  def make(self, *levels, is_training=True, **protocol):
    self.folder = pathlib.Path(self.create_tempdir().full_path)
    with mock.patch.object(tempfile, 'tempdir', str(self.folder)):
      env = DmLabVectorEnv(levels, DmLabProtocol(**protocol), is_training)
    self.addCleanup(env.close)
    return env

  def test_rows_play_their_levels_from_their_seeds(self):
    names = ('rooms_watermaze', 'language_execute_random_task')
    levels = (LANGUAGE, *(SUITE + name for name in names))
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
    self.assertEqual(os.listdir(self.folder), [])

  def test_closes_all_that_compiles_a_map(self):
    env = self.make('tests/compiling_test', LANGUAGE)
    env.reset_async(seed=1)
    (file,) = wait_for(lambda: list(self.folder.rglob('compiling')))
    pids = [*map(int, file.read_text().split()), env.processes[0].pid]
    self.assertLen(pids, 3)
    self.assertTrue(all(map(is_alive, pids)))
    env.close()
    wait_for(lambda: not any(map(is_alive, pids)))
    self.assertEqual(os.listdir(self.folder), [])

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
    ('missing', 'no_such_level', True, 'no_such_level: .*not found'),
    (
      'held_out',
      SUITE + 'rooms_collect_good_objects_test',
      True,
      '_test: .*only be used during evaluation',
    ),
  )
  def test_levels_that_cannot_be_played(self, level, is_training, message):
    try:
      self.make(LANGUAGE, level, is_training=is_training)
      self.fail('it can be played')
    except UserError as error:
      self.assertRegex(str(error), f'^DeepMind Lab cannot play .*{message}')
      # Though the error's traceback still holds the environments.
      self.assertEqual(os.listdir(self.folder), [])

  @parameterized.named_parameters(
    ('constructor', 'tests/lua_error_test', -6),
    ('first_reset', 'tests/bad_map_test', 1),
  )
  def test_engine_that_ends_before_it_plays(self, level, code):
    with self.assertRaisesRegex(
      UserError, f'^DeepMind Lab ended; {level}: exit code {code}$'
    ):
      self.make(LANGUAGE, level).reset(seed=1)

  def test_engine_that_ended_between_steps(self):
    env = self.make(LANGUAGE, 'tests/empty_room_test')
    env.reset(seed=1)
    env.processes[1].kill()
    env.processes[1].join()
    with self.assertRaisesRegex(
      RuntimeError, '^DeepMind Lab ended; tests/empty_room_test: exit code -9$'
    ):
      for _ in range(2):
        env.step(np.array([0, 0], np.int32))

  def test_held_out_level_in_a_test(self):
    env = self.make(
      SUITE + 'rooms_collect_good_objects_test', is_training=False
    )
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

  def test_unwritable_cache(self):
    protocol = dataclasses.replace(PROTOCOL, level_cache_dir='/proc/no_folder')
    with self.assertRaisesRegex(UserError, '--level_cache_dir=/proc/no_folder'):
      DmLabVectorEnv([LANGUAGE], protocol, True)


if __name__ == '__main__':
  absltest.main()
