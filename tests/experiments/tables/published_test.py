"""The published numbers: all there, the same everywhere, well-formed."""

import os
import re

from absl.testing import absltest, parameterized

from core.errors import UserError
from core.suites import dmlab as dmlab30
from core.suites.tasks import suite_of
from experiments.tables import published
from tests.published_rows import atari57, column

LEVELS = tuple(dmlab30.LEVEL_MAPPING.values())
ATARI_100K = {
  'alien',
  'amidar',
  'assault',
  'asterix',
  'bank_heist',
  'battle_zone',
  'boxing',
  'breakout',
  'chopper_command',
  'crazy_climber',
  'demon_attack',
  'freeway',
  'frostbite',
  'gopher',
  'hero',
  'jamesbond',
  'kangaroo',
  'krull',
  'kung_fu_master',
  'ms_pacman',
  'pong',
  'private_eye',
  'qbert',
  'road_runner',
  'seaquest',
  'up_n_down',
}

# Number of rows of every table and figure.
SIZES = {
  'impala': {
    'Table 1': 8 * 2 + 3,
    'Table 2': 2 * 4 * 5,
    'Table 3': 6,
    'Table 4': 5 * 2,  # Of 12 cells one is N/A and one was illegible.
    'Table B.1': 4 * (30 + 1),
    'Table C.1': 4 * 57 + 57 - 13,  # ACKTR has 13 times N/A.
    'Text': 6,
    'R2D2 Table 1': 5 * 2,
    'R2D2 Table 3': 2 * 30,
    'scalable_agent README': 5,
  },
  'popart': {
    'Table 1': 2 * 6,
    'Text': 4,
    'Figure 3': 2,
    'Figure 5': 3,
    'Figure 6': 2,
    'Figure 7': 3,
  },
  'distral': {},
  'stacx': {
    'Figure 2': 3,
    'Text': 11 + 4 + 1,
    'Figure 3': 3 * 2,
    'Figure 4': 2,
    'Figure 5': 2,
    'Table 4': 4 * 4,
  },
  'prl': {'Table 3': 3 * 3, 'Table 3 (revision)': 2 + 3, 'Text': 2},
  'brc': {
    'Atari 100k table': 7 * (26 + 1),
    'HumanoidBench normalisation table': 2 * (36 + 2),
    'Figure 1': 6 * 2 + 2,
    'Appendix G': 2 * 2 + 4 * 2 * 10 + 16 * 2,
    'Figure 6': 1,
    'Figure 9': 1,
    'Figure 11': 1,
    'Figure 12': 1,
    'Other agents': 6 * 2 + 5 + 1,
  },
}


class CompletenessTest(parameterized.TestCase):
  @parameterized.parameters(*published.PAPERS)
  def test_every_table_has_all_its_rows(self, paper):
    table = published.read(paper)
    self.assertEqual(table.groupby('item').size().to_dict(), SIZES[paper])
    self.assertEqual(published.items(paper), list(table['item'].unique()))
    self.assertEqual(tuple(table.columns), published.COLUMNS)
    self.assertEqual(str(table.value.dtype), 'float64')
    self.assertEqual(str(table.frames.dtype), 'Int64')

  def test_papers(self):
    self.assertSameElements(SIZES, published.PAPERS)

  @parameterized.named_parameters(
    ('c1', 'impala', 'Table C.1', 4, atari57.GAMES),
    ('b1', 'impala', 'Table B.1', 4, LEVELS),
    ('r2d2', 'impala', 'R2D2 Table 3', 2, LEVELS),
    ('brc', 'brc', 'Atari 100k table', 7, ATARI_100K),
  )
  def test_rows_have_every_task(self, paper, item, num_rows, tasks):
    rows = set(published.select(paper, item)['row']) - {'ACKTR'}
    self.assertLen(rows, num_rows)
    for row in rows:
      self.assertSameElements(column(paper, item, row), tasks)

  def test_number_of_tasks(self):
    self.assertLen(atari57.GAMES, 57)
    self.assertLen(LEVELS, 30)
    self.assertLen(ATARI_100K & set(atari57.GAMES), 26)

  def test_acktr_played_44_games(self):
    acktr = column('impala', 'Table C.1', 'ACKTR')
    self.assertLen(set(acktr) & set(atari57.GAMES), 44)
    missing = set(atari57.GAMES) - set(acktr)
    self.assertContainsSubset({'montezuma_revenge', 'venture'}, missing)

  @parameterized.named_parameters(
    ('throughput', 'impala', 'Table 1', ['protocol', 'row'], [2] * 8 + [1] * 3),
    ('off_policy', 'impala', 'Table 2', ['protocol', 'row'], [5] * 8),
    ('popart', 'popart', 'Table 1', ['row'], [6] * 2),
    ('run_times', 'stacx', 'Table 4', ['row'], [4] * 4),
    ('prl', 'prl', 'Table 3', ['row'], [3] * 3),
  )
  def test_small_tables_have_every_cell(self, paper, item, keys, widths):
    table = published.select(paper, item)
    cells = table.duplicated([*keys, 'task', 'protocol'])
    self.assertFalse(cells.any())
    found = sorted(table.groupby(keys).size())
    self.assertEqual(found, sorted(widths))

  @parameterized.parameters(*published.PAPERS)
  def test_source_names_the_table(self, paper):
    for row in published.read(paper).itertuples():
      table = re.search(r'Table [A-Z0-9.]+', row.item)
      if table:
        self.assertEndsWith(row.source, f', {table[0]}')

  def test_known_inconsistencies_have_a_note(self):
    for paper, item, row, task, words in (
      ('impala', 'Table 4', 'IMPALA, deep, experts', 'atari57', 'illegible'),
      ('impala', 'Table B.1', 'Experts', 'dmlab30', 'lasertag'),
      ('popart', 'Text', 'PopArt-IMPALA', 'atari57_unclipped', 'contradicts'),
      ('stacx', 'Figure 2', 'STACX', 'atari57', 'abstract'),
      ('prl', 'Table 3 (revision)', 'A3C', 'pong', 'uncertain'),
      ('brc', 'Atari 100k table', 'Ours (ST)', 'ms_pacman', 'duplicate'),
    ):
      table = published.select(paper, item)
      rows = table[(table['row'] == row) & (table.task == task)]
      self.assertIn(words, rows.iloc[0].note)


class OncePublishedTest(parameterized.TestCase):
  """A number stands in one file, and test mode shows the same ones."""

  @parameterized.parameters(*published.PAPERS)
  def test_no_number_twice(self, paper):
    table = published.read(paper)
    key = ['item', 'row', 'task', 'protocol', 'statistic', 'frames']
    self.assertEmpty(table[table.duplicated(key)])

  @parameterized.parameters(
    ('pong', 'Table C.1', 'IMPALA (deep)', 20.98),
    ('rooms_watermaze', 'R2D2 Table 3', 'IMPALA, deep (rerun)', 47.0),
  )
  def test_columns_of_test_mode(self, task, item, row, value):
    self.assertEqual(suite_of(task).published()[row][task], value)
    self.assertEqual(column('impala', item, row)[task], value)


class BadInputTest(parameterized.TestCase):
  HEADER = ','.join(published.COLUMNS)
  ROW = 'prl,Table 3,Random,pong,not said,mean return,-20.7,400,a source,'

  def write(self, text, paper='prl'):
    folder = self.create_tempdir().full_path
    with open(os.path.join(folder, f'{paper}.csv'), 'wb') as file:
      file.write(text if isinstance(text, bytes) else text.encode())
    return folder

  def test_what_is_read(self):
    folder = self.write(f'# One.\n{self.HEADER}\n{self.ROW}"a, ""b"""\n')
    (row,) = published.read('prl', folder).to_dict('records')
    self.assertEqual(row['value'], -20.7)
    self.assertEqual(row['frames'], 400)
    self.assertEqual(row['note'], 'a, "b"')
    self.assertEqual(published.items('prl', folder), ['Table 3'])

  def test_missing_frames_are_missing(self):
    folder = self.write(f'{self.HEADER}\n{self.ROW.replace("400", "")}\n')
    self.assertTrue(published.read('prl', folder).frames.isna().all())

  @parameterized.named_parameters(
    ('cells', 'prl,Table 3', '2 cells instead of 10'),
    ('blank_line', '', '0 cells instead of 10'),
    ('comment_below', '# Later.', '1 cells instead of 10'),
    ('value', ROW.replace('-20.7', 'n/a'), "value is not a number: 'n/a'"),
    ('infinite', ROW.replace('-20.7', 'inf'), "value is not a number: 'inf'"),
    ('no_value', ROW.replace('-20.7', ''), 'value is empty'),
    (
      'frames',
      ROW.replace('400', '1e9'),
      "not a whole number: '1e9'",
    ),
    ('no_task', ROW.replace('pong', ''), 'task is empty'),
    ('blanks', ROW.replace('pong', ' pong'), 'blanks around it'),
    ('paper', ROW.replace('prl', 'brc'), "paper is 'brc', not 'prl'"),
    ('twice', ROW.replace('pong', 'alien'), 'same number as in line 3'),
    ('quotes', ROW + '"a" b', 'expected after'),
    ('open_quote', ROW + '"a', 'unexpected end of data'),
  )
  def test_malformed_row_is_named_by_file_and_line(self, row, message):
    good = self.ROW.replace('pong', 'alien')
    folder = self.write(f'# One.\n{self.HEADER}\n{good}\n{row}\n')
    path = os.path.join(folder, 'prl.csv')
    for call in (
      lambda: published.read('prl', folder),
      lambda: published.items('prl', folder),
      lambda: published.select('prl', 'Table 3', folder),
    ):
      with self.assertRaisesRegex(UserError, f'^{path}, line 4: .*{message}'):
        call()

  def test_line_after_a_row_of_two_lines(self):
    text = f'{self.HEADER}\n{self.ROW}"a\nb"\nprl\n'
    with self.assertRaisesRegex(UserError, 'line 4: 1 cells'):
      published.read('prl', self.write(text))

  @parameterized.named_parameters(
    ('other', '# One.\na,b\n', 'line 2: the columns must be paper,item,'),
    ('order', 'item,paper\n', 'line 1: the columns must be'),
    ('empty', '', 'line 1: the columns must be'),
    ('comments_only', '# One.\n', 'line 2: the columns must be'),
  )
  def test_other_columns(self, text, message):
    with self.assertRaisesRegex(UserError, message):
      published.read('prl', self.write(text))

  def test_unreadable(self):
    folder = self.write(b'\xff\xfe', 'brc')
    with self.assertRaisesRegex(UserError, 'brc.csv is not UTF-8'):
      published.read('brc', folder)
    with self.assertRaisesRegex(UserError, 'cannot read .*prl.csv: No such'):
      published.read('prl', folder)

  def test_a_named_pipe_is_refused(self):
    folder = self.create_tempdir().full_path
    os.mkfifo(f'{folder}/prl.csv')  # Reading it would wait for ever.
    with self.assertRaisesRegex(UserError, 'prl.csv is a named pipe'):
      published.read('prl', folder)

  def test_unknown_paper_gets_the_list(self):
    message = (
      "unknown paper 'dqn'; there are impala, popart, distral, stacx, prl, brc"
    )
    for call in (published.read, published.items):
      with self.assertRaisesRegex(UserError, message):
        call('dqn')
    with self.assertRaisesRegex(UserError, message):
      published.select('dqn', 'Table 1')

  def test_unknown_item_gets_the_list(self):
    message = (
      "prl has no published numbers for 'Table 9'; there are Table 3, "
      r'Table 3 \(revision\), Text'
    )
    with self.assertRaisesRegex(UserError, message):
      published.select('prl', 'Table 9')
    with self.assertRaisesRegex(UserError, 'there are none at all'):
      published.select('distral', 'Table 1')

  def test_select_has_the_rows_of_its_item_only(self):
    table = published.select('popart', 'Table 1')
    self.assertEqual(set(table['item']), {'Table 1'})
    self.assertEqual(list(table.index), list(range(12)))


if __name__ == '__main__':
  absltest.main()
