"""Tables of runs, and malformed ones."""

import gzip
import os

from absl.testing import absltest, parameterized

from core.errors import UserError
from experiments.runs import reader
from tests.experiments.fake_runs import write_run

MEANS = {'pong': 10.0, 'breakout': 20.0}


class TablesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    write_run(self.folder, MEANS, num_episodes=3)
    self.path = f'{self.folder}/episodes.csv'
    with open(self.path) as file:
      self.lines = file.read().splitlines(keepends=True)

  def write(self, lines):
    with open(self.path, 'w') as file:
      file.writelines(lines)

  def read(self):
    return reader.read_run(self.folder).table('episodes')

  def test_compressed_is_the_same(self):
    plain = self.read()
    self.assertLen(plain, 6)
    with open(self.path, 'rb') as file, gzip.open(f'{self.path}.gz', 'w') as to:
      to.write(file.read())
    os.remove(self.path)
    self.assertTrue(self.read().equals(plain))
    os.remove(f'{self.path}.gz')
    self.assertIsNone(self.read())

  @parameterized.named_parameters(
    ('half_a_line', 0.5), ('all_but_its_end', 1.0)
  )
  def test_a_line_that_is_being_written_is_left_out(self, share):
    last = self.lines[-1][:-1]
    self.write([*self.lines[:-1], last[: int(len(last) * share)]])
    self.assertLen(self.read(), 5)

  def test_a_file_just_opened_has_no_rows(self):
    self.write([])
    self.assertEmpty(self.read())
    self.assertIn('task', self.read())

  @parameterized.named_parameters(
    ('word', '1,pong,high,1000,1\n', 'line 4: episode_return is high'),
    ('infinite', '1,pong,inf,1000,1\n', 'line 4: episode_return is inf'),
    ('missing', '1,pong\n', 'line 4: episode_return is nan'),
    ('no_task', '1,,2,1000,1\n', 'line 4: task is nan'),
    ('blank', '\n', 'line 4: env_frames is nan'),
    ('too_many', '1,pong,2,1000,1,7,8\n', 'Expected 5 fields in line 4, saw 7'),
  )
  def test_malformed_lines_are_named(self, line, message):
    self.write([*self.lines[:3], line, *self.lines[4:]])
    with self.assertRaisesRegex(UserError, f'{self.path}.*{message}'):
      self.read()

  def test_missing_columns_and_broken_archives_are_named(self):
    self.write(['env_frames,task\n', '1,pong\n'])
    with self.assertRaisesRegex(UserError, 'has no column .*episode_return'):
      self.read()
    os.remove(self.path)
    with open(f'{self.path}.gz', 'wb') as file:
      file.write(gzip.compress(b'env_frames\n' * 99)[:20])
    with self.assertRaisesRegex(UserError, 'cannot read .*episodes.csv.gz'):
      self.read()


if __name__ == '__main__':
  absltest.main()
