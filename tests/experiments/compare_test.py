"""What the command that compares runs prints."""

import io
import os
import sys
from unittest import mock

import rich.console
from absl.testing import absltest

from experiments import compare
from tests.experiments.comparison_case import ComparisonTestCase

PARTS = (  # Of what the command prints.
  'pong',
  '+17.6',
  'higher',
  'mean of 2, %',
  'A: 2 runs, seeds 1, 2',
  'commit 0123456789',
  'num_action_repeats 4',
  'bootstrap (scipy)',
)


class CommandTest(ComparisonTestCase):
  def test_the_command_prints_terminal_and_markdown(self):
    a = self.write('a', [(0, 40), (10, 60)])
    b = self.write('b', [(50, 40), (60, 60)])
    for extra in ([], ['--markdown']):
      out = io.StringIO()
      with (
        mock.patch.object(sys, 'argv', ['compare', a, '--with', b, *extra]),
        mock.patch.object(sys, 'stdout', out),
        mock.patch.dict(os.environ, COLUMNS='100'),
      ):
        compare.main()
      text = out.getvalue()
      for part in PARTS:
        self.assertIn(part, text)
    lines = text.splitlines()
    self.assertEqual(lines[0], '| task | A | B | B - A | 95 % interval |  |')
    self.assertEqual({line.count('|') for line in lines[:7]}, {7})

  def test_a_folder_without_records_is_one_line(self):
    a = self.write('a', [(10, 10)])
    arguments = ['compare', a, '--with', self.root]
    with (
      mock.patch.object(sys, 'argv', arguments),
      self.assertRaisesRegex(SystemExit, f'^error: no records in {self.root}:'),
    ):
      compare.main()

  def test_the_terminal_table_fits_in_eighty_columns(self):
    a = self.write('a', [(-1234.5, 40), (10, 60)])
    b = self.write('b', [(50, 40), (60, 123456)])
    console = rich.console.Console(width=80, file=io.StringIO())
    console.print(compare.to_rich(self.compare(a, b)[0]))
    self.assertNotIn('…', console.file.getvalue())


if __name__ == '__main__':
  absltest.main()
