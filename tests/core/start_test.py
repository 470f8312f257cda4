"""Tests of core/start.py, and of what a process does before TensorFlow."""

import os
import subprocess
import sys
import time

from absl.testing import absltest, parameterized

from tests import runs

PROGRAM = """
import os, sys
from core import start
start._GPU_DRIVER = sys.argv[1]
with start.quiet_tensorflow():
  os.write(2, b'noise of a library\\n')
  if sys.argv[2] == 'fails':
    raise ImportError('a library is missing')
  if sys.argv[2] == 'is interrupted':
    raise KeyboardInterrupt
os.write(2, b'after it\\n')
"""


def run(*arguments, **environment):
  """Runs a program; returns its status and what it wrote to stderr."""
  inherited = {n: v for n, v in os.environ.items() if not n.startswith('TF_')}
  finished = subprocess.run(
    [sys.executable, *arguments],
    cwd=runs.ROOT,
    env={**inherited, **environment},
    capture_output=True,
    text=True,
  )
  return finished.returncode, finished.stderr


class QuietTest(parameterized.TestCase):
  def test_holds_back_what_is_said_in_the_block(self):
    status, stderr = run('-c', PROGRAM, '/no/driver', 'works')
    self.assertEqual((status, stderr), (0, 'after it\n'))

  def test_shows_it_after_a_failure(self):
    status, stderr = run('-c', PROGRAM, '/no/driver', 'fails')
    self.assertEqual(status, 1)
    self.assertIn('noise of a library\n', stderr)
    self.assertIn('ImportError: a library is missing', stderr)

  def test_ctrl_c_is_no_failure(self):
    _, stderr = run('-c', PROGRAM, '/no/driver', 'is interrupted')
    self.assertNotIn('noise', stderr)
    self.assertIn('KeyboardInterrupt', stderr)

  @parameterized.named_parameters(
    ('where_there_is_a_gpu', '/', {}),
    ('on_demand', '/no/driver', {'TF_CPP_MIN_LOG_LEVEL': '0'}),
  )
  def test_shows_it(self, driver, environment):
    _, stderr = run('-c', PROGRAM, driver, 'works', **environment)
    self.assertEqual(stderr, 'noise of a library\nafter it\n')


class FirstSecondTest(parameterized.TestCase):
  @parameterized.parameters(
    *('impala.experiment', 'popart.experiment', 'pixel_control.experiment'),
    *('distral.experiment', 'stacx.experiment'),
    'experiments.stacx.off_policyness_run',
    'experiments.distral.figure4_small',
  )
  def test_flags_are_read_before_tensorflow_is_imported(self, module):
    program = (
      f'import sys; import {module}; sys.exit("tensorflow" in sys.modules)'
    )
    self.assertEqual(run('-c', program), (0, ''))

  def test_a_command_that_needs_it_first_is_quiet_too(self):
    program = (
      'from experiments.speed import update_cost; import tensorflow as tf; '
      'tf.constant(0)'  # Starts the devices.
    )
    self.assertEqual(run('-c', program), (0, ''))

  def test_a_typo_is_answered_at_once(self):
    start = time.monotonic()
    status, stderr = run('-m', 'impala.experiment', '--preset=atari')
    self.assertEqual(status, 1)
    self.assertStartsWith(stderr, 'error: flag --preset=atari')
    self.assertLess(time.monotonic() - start, 3.0)  # 0.2 s on an idle machine.

  @parameterized.parameters('one_device', 'mirrored')
  def test_a_run_says_nothing_on_stderr(self, strategy):
    logdir = self.create_tempdir().full_path
    status, stderr = run(
      '-m',
      'impala.experiment',
      '--preset=debug',
      f'--logdir={logdir}',
      '--stop_frames=100',
      f'--strategy={strategy}',
    )
    self.assertEqual((status, stderr), (0, ''))


if __name__ == '__main__':
  absltest.main()
