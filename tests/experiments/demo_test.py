"""The command line of the demo."""

import contextlib
import io
import subprocess
import sys
from unittest import mock

from absl.testing import absltest, parameterized

from experiments import demo


class CommandLineTest(parameterized.TestCase):
  @parameterized.parameters(
    ('--nope', 2, 'unrecognized arguments: --nope'),
    ('pong', 2, 'unrecognized arguments: pong'),
    ('--help', 0, 'IMPALA learns an Atari game in minutes'),
  )
  def test_starts_nothing(self, argument, status, said):
    output = io.StringIO()
    with (
      mock.patch.object(sys, 'argv', ['demo', argument]),
      mock.patch.object(subprocess, 'run') as run,
      contextlib.redirect_stdout(output),
      contextlib.redirect_stderr(output),
      self.assertRaises(SystemExit) as caught,
    ):
      demo.main()
    run.assert_not_called()
    self.assertEqual(caught.exception.code, status)
    self.assertIn(said, output.getvalue())


if __name__ == '__main__':
  absltest.main()
