"""Tests of core/checkpointing.py."""

import errno
import io
import json
import os
import pathlib
import pickle
import random
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from typing import Any, NamedTuple

import numpy as np
from absl.testing import absltest, parameterized

from core import checkpointing
from core.errors import UserError

ROOT = pathlib.Path(__file__).resolve().parents[2]

ARRAYS = {
  'weights/0': np.linspace(-1, 1, 60, dtype=np.float32).reshape(5, 12),
  'file': np.asarray(7, np.int64),
  'done': np.asarray([True, False]),
  'empty': np.zeros((0, 3), np.uint8),
}
METADATA = {'env_frames': 10, 'config': {'seed': 1}, 'text': 'ä', 'big': 2**100}


class Pair(NamedTuple):
  first: Any
  second: Any


class CheckpointingTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.base = self.enter_context(tempfile.TemporaryDirectory())
    self.folder = os.path.join(self.base, 'checkpoints')
    self.warnings = []

  def save(self, env_frames, arrays=None, keep=10):
    arrays = ARRAYS if arrays is None else arrays
    metadata = {**METADATA, 'env_frames': env_frames}
    return checkpointing.save(self.folder, env_frames, arrays, metadata, keep)

  def restore(self):
    return checkpointing.restore_latest(self.folder, self.warnings.append)

  def assert_arrays_equal(self, found, expected):
    self.assertEqual(found.keys(), expected.keys())
    for name, array in expected.items():
      np.testing.assert_array_equal(found[name], array, strict=True)

  def names(self):
    return sorted(os.listdir(self.folder))


class SaveTest(CheckpointingTest):
  def test_restores_what_was_saved(self):
    path = self.save(10)
    self.assertEqual(os.path.basename(path), 'checkpoint_000000000000010.npz')
    arrays, metadata, restored_path = self.restore()
    self.assert_arrays_equal(arrays, ARRAYS)
    self.assertEqual(metadata, METADATA)
    self.assertEqual(restored_path, path)
    self.assertEqual(self.warnings, [])

  def test_metadata_alone(self):
    self.assertIsNone(checkpointing.latest_metadata(self.folder))
    path, newest = self.save(10), self.save(20)
    metadata, found = checkpointing.latest_metadata(self.folder)
    self.assertEqual((metadata['env_frames'], found), (20, newest))
    with open(newest, 'r+b') as file:
      file.truncate(100)
    metadata, found = checkpointing.latest_metadata(self.folder)
    self.assertEqual((metadata['env_frames'], found), (10, path))

  def test_numpy_reads_the_file(self):
    with np.load(self.save(10), allow_pickle=False) as archive:
      np.testing.assert_array_equal(archive['weights/0'], ARRAYS['weights/0'])
      self.assertEqual(json.loads(archive['metadata'].item()), METADATA)

  def test_nothing_to_restore(self):
    self.assertIsNone(self.restore())
    os.makedirs(self.folder)
    self.assertIsNone(self.restore())

  def test_keeps_the_newest(self):
    for env_frames in (5, 1000, 20, 10**15, 3 * 10**15):
      self.save(env_frames, keep=2)
    self.assertEqual(
      self.names(),
      ['checkpoint_1000000000000000.npz', 'checkpoint_3000000000000000.npz'],
    )
    self.assertEqual(self.restore()[1]['env_frames'], 3 * 10**15)

  def test_same_name_is_replaced(self):
    self.save(10, {'x': np.zeros(3)})
    self.save(10, {'x': np.ones(3)})
    self.assert_arrays_equal(self.restore()[0], {'x': np.ones(3)})
    self.assertLen(self.names(), 1)

  def test_damaged_newer_file_does_not_push_out_a_good_one(self):
    pathlib.Path(self.save(30)).write_bytes(b'damaged')
    self.save(10, keep=1)
    self.save(20, keep=1)
    self.assertEqual(self.restore()[1]['env_frames'], 20)
    self.save(40, keep=1)
    self.assertEqual(self.names(), ['checkpoint_000000000000040.npz'])

  def test_removes_what_a_killed_run_left(self):
    os.makedirs(self.folder)
    for name in ('checkpoint_000000000000010.npz.tmp', 'mine.tmp'):
      pathlib.Path(self.folder, name).write_bytes(b'half')
    self.save(20)
    self.assertEqual(
      self.names(), ['checkpoint_000000000000020.npz', 'mine.tmp']
    )

  def test_a_folder_in_the_place_of_a_leftover_is_no_hindrance(self):
    os.makedirs(f'{self.folder}/checkpoint_000000000000010.npz.tmp')
    self.save(20)
    self.assertEqual(self.restore()[1]['env_frames'], 20)

  @parameterized.named_parameters(
    ('objects', np.asarray([None, {}], object)),
    ('bytes', np.asarray(b'ab\0')),
    ('records', np.zeros(2, 'f4,i4')),
  )
  def test_refuses_arrays_that_would_not_read_back(self, array):
    with self.assertRaisesRegex(ValueError, 'x of .* would not read back'):
      self.save(10, {'x': array})
    self.assertEqual(self.names(), [])

  def test_the_name_of_the_json_entry_is_taken(self):
    with self.assertRaisesRegex(ValueError, 'metadata'):
      self.save(10, {'metadata': np.zeros(1)})

  @parameterized.parameters('fsync', 'replace')
  def test_full_disk_leaves_earlier_files_alone(self, function):
    path = self.save(10, keep=1)
    before = pathlib.Path(path).read_bytes()
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with (
      absltest.mock.patch.object(os, function, side_effect=full),
      self.assertRaises(UserError) as context,
    ):
      self.save(20, keep=1)
    self.assertEqual(
      str(context.exception),
      f'cannot write {self.folder}/checkpoint_000000000000020.npz: '
      'No space left on device',
    )
    self.assertEqual(self.names(), [os.path.basename(path)])
    self.assertEqual(pathlib.Path(path).read_bytes(), before)

  def test_file_size_limit(self):
    self.save(10, {'x': np.zeros(10)})
    code = (
      'import resource, sys, numpy as np; from core import checkpointing\n'
      'resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n'
      'checkpointing.save(sys.argv[1], 20, {"x": np.zeros(10**6)}, {}, 1)'
    )
    result = subprocess.run(
      [sys.executable, '-c', code, self.folder],
      cwd=ROOT,
      capture_output=True,
      text=True,
    )
    self.assertRegex(
      result.stderr.splitlines()[-1],
      'UserError: cannot write .*20.npz: File too large',
    )
    self.assertEqual(self.names(), ['checkpoint_000000000000010.npz'])

  @parameterized.parameters('file', 'link_to_nowhere')
  def test_what_is_no_folder_is_not_an_empty_one(self, what):
    if what == 'file':
      pathlib.Path(self.folder).touch()
    else:
      os.symlink('nowhere', self.folder)
    message = f'{self.folder} is not a folder: move it away'
    with self.assertRaisesRegex(UserError, message):
      self.restore()

  @parameterized.parameters('folder', 'link_to_nowhere', 'pipe')
  def test_what_is_no_file_is_not_passed_over(self, what):
    self.save(10)
    path = f'{self.folder}/checkpoint_000000000000020.npz'
    if what == 'folder':
      os.mkdir(path)
    elif what == 'pipe':
      os.mkfifo(path)  # Reading it would wait for ever.
    else:
      os.symlink('nowhere', path)
    with self.assertRaisesRegex(UserError, f'{path} is not a file: move it'):
      self.restore()

  def test_folder_that_cannot_be_made(self):
    file = os.path.join(self.base, 'file')
    pathlib.Path(file).touch()
    with self.assertRaisesRegex(UserError, 'npz: Not a directory'):
      checkpointing.save(f'{file}/folder', 1, {}, {}, 1)

  def test_kill_never_leaves_an_unreadable_state(self):
    code = (
      'import sys, numpy as np; from core import checkpointing\n'
      'for n in range(1, 10**6):\n'
      '  arrays = {"x": np.full(200_000, n)}\n'
      '  checkpointing.save(sys.argv[1], n, arrays, {"n": n}, 2)\n'
      '  print(n, flush=True)'
    )
    rng = random.Random(1)
    for _ in range(12):
      child = subprocess.Popen(
        [sys.executable, '-c', code, self.folder],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
      )
      child.stdout.readline()
      time.sleep(rng.uniform(0, 0.05))
      child.send_signal(signal.SIGKILL)
      rest = child.communicate()[0].split()
      arrays, metadata, _ = self.restore()
      np.testing.assert_array_equal(
        arrays['x'], np.full(200_000, metadata['n']), strict=True
      )
      # Whatever was reported as saved is there.
      self.assertGreaterEqual(metadata['n'], int(rest[-1]) if rest else 1)
    self.assertEqual(self.warnings, [])


class DamageTest(CheckpointingTest):
  def test_truncated_anywhere(self):
    good, bad = self.save(10), self.save(20)
    data = pathlib.Path(bad).read_bytes()
    positions = {*range(0, len(data), 37), *range(len(data) - 40, len(data))}
    for length in sorted(positions):
      self.warnings.clear()
      pathlib.Path(bad).write_bytes(data[:length])
      self.assertEqual(self.restore()[2], good, length)
      self.assertRegex(
        self.warnings[0], rf'^checkpoint {bad} is damaged \(.+\); using {good}$'
      )

  def test_wrong_byte_anywhere(self):
    good, bad = self.save(10), self.save(20)
    data = pathlib.Path(bad).read_bytes()
    num_damaged = 0
    for position in range(len(data)):
      self.warnings.clear()
      changed = bytearray(data)
      changed[position] ^= 1 << (position % 8)
      pathlib.Path(bad).write_bytes(changed)
      arrays, _, path = self.restore()
      # A file's date may be wrong and do no harm, but no value ever is.
      self.assert_arrays_equal(arrays, ARRAYS)
      num_damaged += path == good
      self.assertLen(self.warnings, path == good)
      for warning in self.warnings:
        self.assertLen(warning.splitlines(), 1)
    self.assertGreater(num_damaged, 0.7 * len(data))

  def test_shortened_array_is_seen(self):
    good, bad = self.save(10), self.save(20, {'x': np.zeros((9, 8000))})
    data = pathlib.Path(bad).read_bytes()
    self.assertIn(b"'shape': (9, 8000)", data)
    # Reading by the wrong shape stops short of where checksums are compared.
    pathlib.Path(bad).write_bytes(data.replace(b'(9, 8000)', b'(1, 8000)'))
    self.assertEqual(self.restore()[2], good)

  def test_without_metadata(self):
    good, bad = self.save(10), self.save(20)
    np.savez(bad, **{'x': np.zeros(3)})
    self.assertEqual(self.restore()[2], good)
    self.assertIn('it has no metadata', self.warnings[0])

  def test_other_metadata_in_a_valid_archive(self):
    arrays = {'x': np.zeros(3)}
    good, bad = self.save(10, arrays), self.save(20, arrays)
    with np.load(bad) as archive:
      arrays = dict(archive)
    self.assertIn('"env_frames": 20', arrays['metadata'].item())
    changed = arrays['metadata'].item().replace('20', '21')
    np.savez(bad, **{**arrays, 'metadata': np.asarray(changed)})
    self.assertEqual(self.restore()[2], good)
    self.assertIn('its metadata does not fit its checksum', self.warnings[0])
    # As those that were written before there was one.
    del arrays['metadata_sha256']
    np.savez(bad, **arrays)
    self.assertEqual(self.restore()[2], bad)

  def test_two_damaged_files(self):
    good = self.save(10)
    for env_frames in (20, 30):
      pathlib.Path(self.save(env_frames)).write_bytes(b'PK')
    self.assertEqual(self.restore()[2], good)
    self.assertLen(self.warnings, 2)

  def test_none_readable(self):
    for env_frames in (20, 30):
      pathlib.Path(self.save(env_frames)).write_bytes(b'PK')
    with self.assertRaisesRegex(
      UserError, rf'no checkpoint in {self.folder} can be read.*30.*20'
    ):
      self.restore()

  def test_pickle_is_refused_and_not_run(self):
    marker = os.path.join(self.base, 'marker')

    class Attack:
      def __reduce__(self):
        return open, (marker, 'w')

    good, bad = self.save(10), self.save(20)
    array = np.empty(1, object)
    array[0] = Attack()
    as_object, as_raw = io.BytesIO(), pickle.dumps(Attack())
    np.save(as_object, array, allow_pickle=True)
    for name in ('metadata.npy', 'weights.npy'):
      for content in (as_object.getvalue(), as_raw):
        self.warnings.clear()
        with zipfile.ZipFile(bad, 'w') as archive:
          archive.writestr(name, content)
        self.assertEqual(self.restore()[2], good)
        self.assertLen(self.warnings, 1)
    self.assertFalse(os.path.exists(marker))
    # The file would have run: this is what the refusal is worth.
    np.load(io.BytesIO(as_object.getvalue()), allow_pickle=True)
    self.assertTrue(os.path.exists(marker))


class CheckConfigTest(absltest.TestCase):
  def test_equal_but_for_what_is_ignored(self):
    saved = json.loads(json.dumps({'shape': (1, 2), 'lr': 0.1, 'frames': 5}))
    current = {'shape': (1, 2), 'lr': 0.1, 'frames': 9}
    checkpointing.check_config(saved, current, ignore=('frames',))

  def test_names_every_difference(self):
    saved = {'a': 1, 'b': 2, 'gone': None, 'same': 3}
    current = {'a': 5, 'b': 2.5, 'new': 7, 'same': 3}
    with self.assertRaisesRegex(
      UserError, 'a was 1, is 5, b was 2, is 2.5, new was .*, gone was'
    ) as context:
      checkpointing.check_config(saved, current)
    self.assertNotIn('same', str(context.exception))


class FlattenTest(absltest.TestCase):
  TREE = {
    'pair': Pair(np.zeros(2, np.float32), [np.ones((1, 3)), ()]),
    'count': np.asarray(4),
  }

  def test_there_and_back(self):
    flat = checkpointing.flatten(self.TREE)
    self.assertEqual(set(flat), {'count', 'pair/first', 'pair/second/0'})
    like = {'pair': Pair(flat['pair/first'] + 9, [np.zeros((1, 3)), ()])}
    like['count'] = np.asarray(0)
    back = checkpointing.unflatten(like, flat)
    self.assertIsInstance(back['pair'], Pair)
    self.assertEqual(back['count'], 4)
    np.testing.assert_array_equal(back['pair'].first, [0, 0])
    np.testing.assert_array_equal(back['pair'].second[0], [[1, 1, 1]])
    self.assertEqual(back['pair'].second[1], ())

  def test_two_leaves_of_one_name(self):
    with self.assertRaisesRegex(ValueError, 'two leaves are named a/b'):
      checkpointing.flatten({'a': {'b': 1}, 'a/b': 2})

  def test_names_what_does_not_fit(self):
    flat = checkpointing.flatten(self.TREE)
    for wrong, message in (
      (None, 'the checkpoint has no array pair/first'),
      (np.zeros(3, np.float32), r'pair/first .* shape \(3,\), not \(2,\)'),
      (np.zeros(2), 'pair/first .* dtype float64, not float32'),
    ):
      broken = {k: v for k, v in flat.items() if k != 'pair/first'}
      if wrong is not None:
        broken['pair/first'] = wrong
      with self.assertRaisesRegex(UserError, message):
        checkpointing.unflatten(self.TREE, broken)


if __name__ == '__main__':
  absltest.main()
