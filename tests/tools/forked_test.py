"""Forked processes end and speak as the commands that they stand for."""

import subprocess
import sys

from absl.testing import absltest, parameterized

from tests import runs

PAPERS = ('impala', 'popart', 'pixel_control', 'distral')


class ForkedTest(parameterized.TestCase):
  @parameterized.named_parameters(*zip(PAPERS, PAPERS, strict=True))
  def test_wrong_input_equals_the_real_command(self, paper):
    module, flags = f'{paper}.experiment', ('--preset=debug', '--batch_size=0')
    real = subprocess.run(
      [sys.executable, '-m', module, *flags],
      cwd=runs.ROOT,
      capture_output=True,
      text=True,
      timeout=runs.TIMEOUT_SECS,
    )
    forked = runs.command(module, *flags)
    self.assertEqual(forked.status, 1)
    self.assertEqual(forked.status, real.returncode)
    self.assertIn('batch_size', forked.stderr)
    self.assertEqual(forked.stdout, real.stdout)
    self.assertEqual(_said(forked.stderr), _said(real.stderr))


def _said(stderr):
  """Leaves out what TensorFlow says while it is imported."""
  return [line for line in stderr.splitlines() if line.startswith('error: ')]


if __name__ == '__main__':
  absltest.main()
