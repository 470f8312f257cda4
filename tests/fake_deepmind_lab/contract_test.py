"""The stand-in is as strict as the real engine's Python module."""

import importlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

FOLDER = str(pathlib.Path(__file__).parent)


def exit_code_of(folder, *lines):
  """Runs lines in a process of its own, which may leave things in a folder."""
  script = ['import deepmind_lab', *lines]
  return subprocess.run(
    [sys.executable, '-c', '\n'.join(script)],
    env={**os.environ, 'PYTHONPATH': FOLDER, 'TMPDIR': folder},
    stderr=subprocess.DEVNULL,
    check=False,
    timeout=60,
  ).returncode


class ContractTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    sys.path.insert(0, FOLDER)
    self.addCleanup(sys.path.remove, FOLDER)
    # What labs that nobody closes leave behind.
    self.folder = self.create_tempdir().full_path
    self.enter_context(mock.patch.object(tempfile, 'tempdir', self.folder))
    self.module = importlib.import_module('deepmind_lab')

  def _lab(self, *args, **kwargs):
    lab = self.module.Lab('tests/empty_room_test', ['INSTR'], *args, **kwargs)
    lab.reset(seed=1)
    return lab

  @parameterized.named_parameters(
    ('level', (b'a', []), TypeError),
    ('observations', ('tests/empty_room_test', ('INSTR',)), TypeError),
    ('unknown', ('tests/empty_room_test', ['RGB_INTERLEAVE']), ValueError),
    ('config', ('tests/empty_room_test', [], {'width': 96}), TypeError),
    ('setting', ('tests/empty_room_test', [], {'width': '9.5'}), RuntimeError),
    ('no_words', ('tests/no_instruction_test', ['INSTR']), ValueError),
  )
  def test_arguments(self, arguments, error):
    with self.assertRaises(error):
      self.module.Lab(*arguments)

  @parameterized.named_parameters(
    ('width', dict(width='90'), "'width = 90' - "),
    ('height', dict(height='0'), "'height = 0' - "),
    ('seed', dict(mixerSeed=str(2**32)), "'mixerSeed = 4294967296' - "),
  )
  def test_settings_that_do_not_apply(self, config, message):
    with self.assertRaisesRegex(
      RuntimeError, f'Failed to apply setting {message}'
    ):
      self._lab(config)

  def test_settings_that_apply(self):
    lab = self._lab(dict(width='8', height='4', mixerSeed=str(2**32 - 1)))
    self.assertEqual(lab.observation_spec()[0]['shape'], (4, 8, 3))

  def test_renderer(self):
    with self.assertRaisesRegex(
      RuntimeError, '^Failed to set renderer must be "hardware" or "software" '
    ):
      self._lab({}, 'gpu')

  def test_properties(self):
    self.assertEqual(self._lab().read_property('engine.fps'), '60')
    with self.assertRaisesRegex(KeyError, "'x' not found."):
      self._lab().read_property('x')

  def test_temporary_folder_is_removed_by_whom_it_belongs_to(self):
    theirs = self.create_tempdir().full_path
    ours = self.folder
    for folder in ('', theirs):
      lab = self._lab(temp_folder=folder)
      self.assertLen(os.listdir(ours), 0 if folder else 1)
      lab.close()
    self.assertEqual(os.listdir(ours), [])
    self.assertTrue(os.path.isdir(theirs))

  def test_errors_of_the_cache(self):
    cache = mock.Mock()
    cache.fetch.side_effect = OSError('no space')
    with self.assertRaisesRegex(SystemError, 'with an exception set') as raised:
      self.module.Lab('tests/early_map_test', [], level_cache=cache)
    self.assertIsInstance(raised.exception.__cause__, OSError)
    level = 'contributed/dmlab30/explore_goal_locations_small'
    lab = self.module.Lab(level, [], level_cache=cache)
    with self.assertRaisesRegex(OSError, 'no space'):
      lab.reset(seed=1)

  @parameterized.named_parameters(
    ('reset_after_close', 'lab.close(); lab.reset()', signal.SIGSEGV),
    ('spec_after_close', 'lab.close(); lab.observation_spec()', signal.SIGSEGV),
    ('close_after_close', 'lab.close(); lab.close()', 0),
  )
  def test_calls_that_end_the_process(self, calls, number):
    make = "lab = deepmind_lab.Lab('tests/empty_room_test', [])"
    self.assertEqual(exit_code_of(self.folder, make, calls), -number)

  def test_levels_that_end_the_process(self):
    make = "lab = deepmind_lab.Lab('tests/lua_error_test', [])"
    self.assertEqual(exit_code_of(self.folder, make), -signal.SIGABRT)
    make = "lab = deepmind_lab.Lab('tests/bad_map_test', [])"
    self.assertEqual(exit_code_of(self.folder, make, 'lab.reset()'), 1)

  @parameterized.named_parameters(
    ('type', [0] * 7, TypeError),
    ('shape', np.zeros(6, np.intc), ValueError),
    ('dtype', np.zeros(7, np.int64), ValueError),
  )
  def test_actions(self, action, error):
    with self.assertRaises(error):
      self._lab().step(action)

  def test_seeds_are_pythons(self):
    with self.assertRaises(ValueError):
      self._lab().reset(seed=np.int64(1))

  def test_nothing_after_the_end(self):
    lab = self._lab()
    for _ in range(9):
      lab.step(np.zeros(7, np.intc), num_steps=6)
    self.assertFalse(lab.is_running())
    self.assertEqual(lab.num_steps(), 54)  # What was asked for; 50 were played.
    with self.assertRaises(RuntimeError):
      lab.observations()
    with self.assertRaises(RuntimeError):
      lab.step(np.zeros(7, np.intc))
    lab.reset()
    self.assertTrue(lab.is_running())
    self.assertTrue(lab.close())
    self.assertFalse(lab.close())
    self.assertFalse(lab.is_running())


if __name__ == '__main__':
  absltest.main()
