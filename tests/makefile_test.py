"""Setting up with make, and the lock file that it installs.

The interpreters here are shell scripts that answer the questions the Makefile
asks of a Python, so that nothing is downloaded.
"""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from absl.testing import absltest, parameterized
from packaging.markers import Marker
from packaging.requirements import Requirement

ROOT = pathlib.Path(__file__).resolve().parents[1]
TARGETS = (
  'demo',
  'test',
  'test-slow',
  'test-browser',
  'torture',
  'lint',
  'bench',
  'results',
)
PYTHONS = ('3.10', '3.11', '3.12', '3.13')
# Programs that the Makefile runs; a Python is not among them.
PROGRAMS = ('sh', 'echo', 'touch', 'mkdir', 'cp', 'rm', 'find', 'cat')

# Says its version, makes a .venv whose python is itself, and logs each install.
PYTHON = """#!/bin/sh
case "$*" in
  *version_info*) echo {version};;
  *ensurepip*) exit {ensurepip};;
  *'venv --clear'*) mkdir -p .venv/bin; cp "$0" .venv/bin/python;;
  *'pip install'*) echo "{version} $*" >> install.log; exit {install};;
esac
"""


class SetupTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.root = pathlib.Path(folder.name)
    for name in ('Makefile', 'requirements-lock.txt'):
      shutil.copy(ROOT / name, self.root)
    self.bin = self.root / 'bin'
    self.bin.mkdir()
    for name in PROGRAMS:
      (self.bin / name).symlink_to(shutil.which(name))

  def _add_python(self, name: str, version: str, ensurepip=0, install=0):
    path = self.bin / name
    path.write_text(
      PYTHON.format(version=version, ensurepip=ensurepip, install=install)
    )
    path.chmod(0o755)

  def _make(self, *arguments: str) -> subprocess.CompletedProcess:
    # Without the variables of a make that may run this test.
    return subprocess.run(
      [shutil.which('make'), *arguments],
      cwd=self.root,
      env={'PATH': str(self.bin), 'HOME': os.environ.get('HOME', '')},
      capture_output=True,
      text=True,
      timeout=60,
    )

  def _installs(self) -> list[str]:
    log = self.root / 'install.log'
    return log.read_text().splitlines() if log.exists() else []

  def test_installs_the_lock_file_once(self):
    self._add_python('python3', '3.11')
    self.assertEqual(self._make('setup').returncode, 0)
    self.assertLen(self._installs(), 1)
    self.assertIn('-r requirements-lock.txt', self._installs()[0])
    again = self._make('setup')
    self.assertEqual(again.returncode, 0)
    self.assertIn('Nothing to be done', again.stdout)
    self.assertLen(self._installs(), 1)

  def test_changed_lock_file_is_installed_into_the_same_environment(self):
    self._add_python('python3', '3.11')
    self._make('setup')
    kept = self.root / '.venv/kept'
    kept.touch()
    later = (self.root / '.venv/.lock-installed').stat().st_mtime + 10
    os.utime(self.root / 'requirements-lock.txt', (later, later))
    (self.bin / 'python3').unlink()
    self.assertEqual(self._make('setup').returncode, 0)
    self.assertLen(self._installs(), 2)
    self.assertTrue(kept.exists())

  def test_failed_install_is_tried_again(self):
    self._add_python('python3', '3.11', install=1)
    self.assertNotEqual(self._make('setup').returncode, 0)
    self.assertFalse((self.root / '.venv/.lock-installed').exists())
    self.assertNotEqual(self._make('setup').returncode, 0)
    self.assertLen(self._installs(), 2)

  def test_cuda_libraries_of_the_locked_tensorflow_are_added_once(self):
    self._add_python('python3', '3.11')
    self.assertEqual(self._make('setup', 'GPU=1').returncode, 0)
    lock, cuda = self._installs()
    self.assertIn('-r requirements-lock.txt', lock)
    self.assertIn('-c requirements-lock.txt tensorflow[and-cuda]', cuda)
    self.assertRegex(
      (self.root / 'requirements-lock.txt').read_text(),
      r'(?m)^tensorflow==[\d.]+$',
    )
    for variant in ('GPU=1', 'GPU=0', 'GPU='):
      again = self._make('setup', variant)
      self.assertIn('Nothing to be done', again.stdout, variant)
    self.assertLen(self._installs(), 2)

  def test_cuda_libraries_can_be_added_later(self):
    self._add_python('python3', '3.11')
    self._make('setup', 'GPU=0')
    self.assertLen(self._installs(), 1)
    self.assertEqual(self._make('test', 'GPU=1').returncode, 0)
    self.assertLen(self._installs(), 2)
    self.assertIn('tensorflow[and-cuda]', self._installs()[1])

  def test_changed_lock_file_brings_its_cuda_libraries(self):
    self._add_python('python3', '3.11')
    self._make('setup', 'GPU=1')
    for name in ('.lock-installed', '.gpu-installed'):
      os.utime(self.root / '.venv' / name, (1e9, 1e9))
    # Without GPU=1 the lock file alone; with it, what was left out.
    for variant, num_installs in (('GPU=', 3), ('GPU=1', 4)):
      self.assertEqual(self._make('setup', variant).returncode, 0)
      self.assertLen(self._installs(), num_installs)

  def test_failed_cuda_install_is_tried_again(self):
    self._add_python('python3', '3.11')
    self._make('setup')
    for path in (self.bin / 'python3', self.root / '.venv/bin/python'):
      path.write_text(PYTHON.format(version='3.11', ensurepip=0, install=1))
    for _ in range(2):
      self.assertNotEqual(self._make('setup', 'GPU=1').returncode, 0)
    self.assertLen(self._installs(), 3)
    self.assertFalse((self.root / '.venv/.gpu-installed').exists())

  @parameterized.named_parameters(
    ('newest_of_several', {'python3.10': '3.10', 'python3.12': '3.12'}, '3.12'),
    ('too_new_default', {'python3': '3.14', 'python3.11': '3.11'}, '3.11'),
    ('default', {'python3': '3.10'}, '3.10'),
    ('misnamed', {'python3.13': '3.8', 'python3': '3.13'}, '3.13'),
  )
  def test_first_suitable_python(self, pythons, expected):
    for name, version in pythons.items():
      self._add_python(name, version)
    self.assertEqual(self._make('setup').returncode, 0)
    self.assertStartsWith(self._installs()[0], expected)

  def test_python_that_cannot_make_an_environment_is_passed_over(self):
    self._add_python('python3.12', '3.12', ensurepip=1)
    self._add_python('python3', '3.11')
    self.assertEqual(self._make('setup').returncode, 0)
    self.assertStartsWith(self._installs()[0], '3.11')

  def test_chosen_python(self):
    self._add_python('python3', '3.13')
    self._add_python('mine', '3.10')
    self.assertEqual(self._make('setup', 'PYTHON=mine').returncode, 0)
    self.assertStartsWith(self._installs()[0], '3.10')

  @parameterized.named_parameters(
    ('none', {}, (), 'found none'),
    ('too_old', {'python3': '3.9'}, (), 'python3 is 3.9'),
    ('too_new', {'python3': '3.14'}, (), 'python3 is 3.14'),
    ('similar', {'python3': '3.1'}, (), 'python3 is 3.1'),
    (
      'chosen',
      {'python3': '3.11', 'mine': '3.8'},
      ('PYTHON=mine',),
      'mine is 3.8',
    ),
    ('chosen_missing', {'python3': '3.11'}, ('PYTHON=mine',), 'found none'),
  )
  def test_no_suitable_python(self, pythons, arguments, message):
    for name, version in pythons.items():
      self._add_python(name, version)
    result = self._make('setup', *arguments)
    self.assertNotEqual(result.returncode, 0)
    lines = [
      x for x in result.stderr.splitlines() if not x.startswith('make: ')
    ]
    self.assertLen(lines, 1)
    self.assertIn('needs Python 3.10 to 3.13', lines[0])
    self.assertIn(message, lines[0])
    self.assertFalse((self.root / '.venv').exists())

  def test_missing_venv_module_is_named(self):
    self._add_python('python3', '3.11', ensurepip=1)
    self.assertIn('python3-venv', self._make('setup').stderr)

  @parameterized.named_parameters(*zip(TARGETS, TARGETS, strict=True))
  def test_target_sets_up_first(self, target):
    self._add_python('python3', '3.11')
    result = self._make(target)
    self.assertEqual(result.returncode, 0, result.stderr)
    self.assertLen(self._installs(), 1)
    self.assertIn('.venv/bin/python -m', result.stdout)

  def test_clean_keeps_runs(self):
    self._add_python('python3', '3.11')
    self._make('setup')
    for name in ('runs/pong', 'core/__pycache__', '.ruff_cache'):
      (self.root / name).mkdir(parents=True)
    self.assertEqual(self._make('clean').returncode, 0)
    for name in ('.venv', 'core/__pycache__', '.ruff_cache'):
      self.assertFalse((self.root / name).exists(), name)
    self.assertTrue((self.root / 'runs/pong').exists())


class LockTest(parameterized.TestCase):
  def _read(self, name: str) -> list[Requirement]:
    lines = (ROOT / name).read_text().splitlines()
    texts = (re.sub(r'(^|\s)#.*', '', line).strip() for line in lines)
    return [Requirement(text) for text in texts if text]

  def _pins(self, python: str) -> dict[str, str]:
    """Map each locked package to its version on this Python."""
    pins = {}
    for requirement in self._read('requirements-lock.txt'):
      marker = requirement.marker or Marker("python_version > '3'")
      if marker.evaluate({'python_version': python}):
        self.assertNotIn(requirement.name, pins)
        (pin,) = requirement.specifier
        self.assertEqual(pin.operator, '==')
        pins[requirement.name] = pin.version
    return pins

  @parameterized.named_parameters(*zip(PYTHONS, PYTHONS, strict=True))
  def test_every_requirement_is_pinned_inside_of_its_range(self, python):
    pins = self._pins(python)
    for requirement in self._read('requirements.txt'):
      marker = requirement.marker
      if marker and not marker.evaluate({'python_version': python}):
        self.assertNotIn(requirement.name, pins)
        continue
      self.assertIn(requirement.name, pins)
      version = pins[requirement.name]
      self.assertTrue(requirement.specifier.contains(version), requirement)

  def test_every_requirement_has_a_range_and_a_reason(self):
    for line in (ROOT / 'requirements.txt').read_text().splitlines():
      if line and not line.startswith('#'):
        marker = r'(; python_version < "3\.\d+")?'
        self.assertRegex(line, rf'^[\w-]+>=[\w.]+,<[\w.]+{marker} +# \w.*\.$')

  def test_lock_file_is_only_pins_and_comments(self):
    for line in (ROOT / 'requirements-lock.txt').read_text().splitlines():
      marker = r"(; python_version (<|>=) '3\.\d+')?"
      self.assertRegex(line, rf'^(#.*|[a-z\d-]+==[\d.]+{marker})$')


if __name__ == '__main__':
  absltest.main()
