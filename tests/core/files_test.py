"""Tests of core/files.py; of kills and full disks: checkpointing_test.py."""

import os
import pathlib
import subprocess
import sys
import tempfile

from absl.testing import absltest

from core import files
from core.errors import UserError
from core.files import atomic_file


class AtomicFileTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(
      self.enter_context(tempfile.TemporaryDirectory()), 'new', 'folder'
    )
    self.path = self.folder / 'file'

  def write(self, content):
    with atomic_file(str(self.path)) as file:
      file.write(content)
      file.flush()
      yield

  def test_takes_its_name_when_it_is_whole(self):
    for content, before in ((b'one', None), (b'two', b'one')):
      for _ in self.write(content):
        found = self.path.read_bytes() if self.path.exists() else None
        self.assertEqual(found, before)
      self.assertEqual(self.path.read_bytes(), content)
      self.assertEqual(os.listdir(self.folder), ['file'])

  def test_an_error_leaves_what_stood_there(self):
    for _ in self.write(b'one'):
      pass
    for error in (ArithmeticError, KeyboardInterrupt):
      with self.assertRaises(error), atomic_file(str(self.path)) as file:
        file.write(b'two')
        raise error
      self.assertEqual(self.path.read_bytes(), b'one')
      self.assertEqual(os.listdir(self.folder), ['file'])

  def test_what_a_user_can_mend(self):
    self.folder.parent.mkdir()
    self.folder.write_text('a file')
    with self.assertRaisesRegex(
      UserError, f'^cannot write {self.path}: (File exists|Not a directory)$'
    ):
      for _ in self.write(b'one'):
        self.fail('It cannot be opened.')

  def test_a_pipe_in_the_place_of_the_temporary_file(self):
    self.folder.mkdir(parents=True)
    pipe = pathlib.Path(f'{self.path}.tmp')
    os.mkfifo(pipe)  # Writing to it would wait for ever.
    with self.assertRaisesRegex(UserError, f'{pipe} is a named pipe'):
      for _ in self.write(b'one'):
        self.fail('It cannot be opened.')


class LockedTest(absltest.TestCase):
  def hold(self, folder):
    """Holds the folder in another process; returns it."""
    program = (
      'import sys, time; from core import files\n'
      'with files.locked(sys.argv[1]):\n'
      '  print("held", flush=True); time.sleep(60)'
    )
    process = subprocess.Popen(
      [sys.executable, '-c', program, folder], stdout=subprocess.PIPE
    )
    self.addCleanup(process.stdout.close)
    self.addCleanup(process.wait)
    self.addCleanup(process.kill)
    self.assertEqual(process.stdout.readline(), b'held\n')
    return process

  def test_a_second_process_is_refused_until_the_first_is_killed(self):
    folder = os.path.join(self.create_tempdir().full_path, 'logdir')
    process = self.hold(folder)
    with (
      self.assertRaisesRegex(
        UserError, f'{folder} is in use by process {process.pid}'
      ),
      files.locked(folder),
    ):
      pass
    process.kill()
    process.wait()
    for _ in range(2):
      with files.locked(folder):
        pass

  def test_a_pipe_in_the_place_of_the_lock(self):
    folder = self.create_tempdir().full_path
    os.mkfifo(f'{folder}/lock')
    message = f'{folder}/lock is a named pipe'
    with self.assertRaisesRegex(UserError, message), files.locked(folder):
      pass

  def test_a_folder_that_cannot_be_made(self):
    file = self.create_tempfile().full_path
    with (
      self.assertRaisesRegex(UserError, f'cannot write to {file}/a'),
      files.locked(f'{file}/a'),
    ):
      pass


if __name__ == '__main__':
  absltest.main()
