"""The tables command: every published table, the READMEs, bad command lines."""

import contextlib
import csv
import io
import os
import pathlib
import re

import pandas as pd
from absl.testing import absltest, parameterized

from core.errors import UserError
from experiments import (
  markdown,
  published,
  recorded,
  table_comparison,
  table_layout,
  table_summaries,
  tables,
)

ROOT = pathlib.Path(__file__).resolve().parents[2]
ITEMS = [
  (paper, x) for paper in published.PAPERS for x in published.items(paper)
]


class RootTestCase(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    previous = os.getcwd()
    os.chdir(ROOT)
    self.addCleanup(os.chdir, previous)

  def print(self, *arguments: str) -> str:
    """Returns what the command prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
      tables.main(arguments)
    return printed.getvalue()


class EveryTableTest(RootTestCase):
  @parameterized.parameters(*ITEMS)
  def test_shows_every_published_number_and_what_was_not_run(self, paper, item):
    lines = table_comparison.compare(paper, item)
    page = table_layout.make_page(lines)
    is_wide = 'published' not in page.header
    first = page.num_words if is_wide else page.header.index('published')
    columns = [
      i
      for i, name in enumerate(page.header)
      if i >= first and not name.startswith('ours: ') and is_wide or i == first
    ]
    shown = [cells[i] for cells in page.body for i in columns if cells[i]]
    self.assertLen(shown, len(lines))
    for text in shown:
      self.assertRegex(text, r'^-?[\d,]+(\.\d+)?B?( \[\d+\])?$')
    for cells in page.body:
      self.assertLen(cells, len(page.header))

    self.check_statuses(lines, page)

  def check_statuses(self, lines, page):
    statuses = [line.ours.status for line in lines]
    rows = table_layout.csv_rows(lines)
    self.assertEqual([row['status'] for row in rows], statuses)
    if 'not run at this scale' in statuses:
      self.assertIn('ot run at this scale', page.markdown())
    for row in rows:
      self.assertEqual(row['ours'] == '', row['status'] != 'run')

  @parameterized.parameters(*published.PAPERS)
  def test_prints_all_tables_of_a_paper(self, paper):
    items = published.items(paper)
    text = self.print(f'--paper={paper}')
    for item in items:
      self.assertIn(f'{paper}, {item}\n', re.sub(' +\n', '\n', text))
    rows = list(
      csv.DictReader(
        io.StringIO(self.print(f'--paper={paper}', '--format=csv'))
      )
    )
    self.assertLen(rows, len(published.read(paper)))

  def test_prints_markdown(self):
    text = self.print('--paper=stacx', '--format=markdown')
    self.assertEqual(
      [line for line in text.splitlines() if line.startswith('### ')],
      [f'### stacx, {item}' for item in published.items('stacx')],
    )

  def test_csv_has_the_published_values(self):
    text = self.print('--paper=stacx', '--table=Figure 2', '--format=csv')
    table = pd.read_csv(io.StringIO(text))
    self.assertEqual(tuple(table.columns), table_layout.CSV_COLUMNS)
    expected = published.select('stacx', 'Figure 2')
    self.assertEqual(table.published.tolist(), expected.value.tolist())
    self.assertEqual(table.published_frames.tolist(), [200_000_000] * 3)


class LayoutTest(RootTestCase):
  def test_ours_stand_beside_table_c1_with_their_frames(self):
    text = self.print('--paper=impala', '--table=C.1', '--format=markdown')
    header, _, *body = [x for x in text.splitlines() if x.startswith('| ')]
    columns = [cell.strip() for cell in header.split('|')]
    self.assertLen(body, 57)
    line = [cells for cells in body if cells.startswith('| pong ')][0]
    pong = dict(zip(columns, line.split('|'), strict=True))
    self.assertEqual(pong['IMPALA (shallow) (200M)'].strip(), '20.40')
    ours = pong['ours: IMPALA (shallow)'].strip()
    self.assertRegex(ours, r'^18\.67 \[1\d\.\d\d, 19\.\d\d\] at 35M$')
    self.assertIn('python -m impala.experiment --flagfile=experiments/', text)
    self.assertIn('1 seed of 35M frames and 1.4 h on 2 cores AMD EPYC', text)
    self.assertIn('30 episodes of pong; whole games; sampled policy', text)
    self.assertNotIn('--logdir', text)

  def test_a_task_apart_is_named_beside_the_common_measure(self):
    page = table_layout.make_page(
      table_comparison.compare('impala', 'Table B.1')
    )
    self.assertEqual(page.header[0], 'task')
    self.assertLen(page.body, 31)
    self.assertEqual(
      page.body[-1][0],
      'dmlab30 (mean human-normalised %; test levels, capped at 100)',
    )
    self.assertStartsWith(page.texts[0], 'Published: mean return; test levels;')

  def test_notes_are_numbered_and_told_once(self):
    lines = table_comparison.compare('prl', 'Table 3')
    page = table_layout.make_page(lines)
    self.assertEqual([row[2][-3:] for row in page.body[:3]], ['[1]'] * 3)
    self.assertEqual(page.texts.count('[1] of Mnih et al. 2015'), 1)
    self.assertIn('[2] has observed random play only', page.texts)

  @parameterized.parameters(100, 140)
  def test_no_column_is_cut_off(self, width):
    with _piped_columns(width):
      text = self.print('--paper=impala', '--table=C.1')
    lines = text.splitlines()
    self.assertLessEqual(max(map(len, lines)), width)
    alien = [line for line in lines if line.startswith('  alien')]
    self.assertEqual(
      alien[0].split(),
      [
        'alien',
        '3,197.10',
        '6,482.10',
        '2,344.60',
        '1,536.05',
        '-',
        '15,962.10',
      ],
    )

  def test_a_narrow_terminal_gets_every_character(self):
    with _piped_columns(60):
      text = self.print('--paper=popart', '--table=1')
    self.assertLessEqual(max(map(len, text.splitlines())), 60)
    self.assertNotIn('…', text)

  def test_row_selects(self):
    text = self.print(
      '--paper=impala', '--table=C.1', '--row=ACKTR', '--format=csv'
    )
    self.assertEqual(set(pd.read_csv(io.StringIO(text))['row']), {'ACKTR'})


class BadCommandLineTest(RootTestCase):
  @parameterized.parameters(
    (['--paper=muzero'], "unknown paper 'muzero'; there are impala, popart, "),
    (
      ['--paper=popart', '--table=9'],
      "no table '9' .*there are Table 1, Text, ",
    ),
    (['--paper=distral', '--table=1'], 'none at all: it prints curves only'),
    (['--table=1'], '--table and --row need --paper'),
    (['--paper=prl', '--row=DQN'], "Table 3 has no row 'DQN'; there are "),
  )
  def test_one_line_says_what_there_is(self, arguments, message):
    with self.assertRaises(SystemExit) as caught:
      self.print(*arguments)
    self.assertRegex(str(caught.exception), f'^error: .*{message}')
    self.assertNotIn('\n', str(caught.exception))

  @parameterized.parameters(
    ('impala', 'C.1', 'Table C.1'),
    ('impala', 'table c.1', 'Table C.1'),
    ('impala', '1', 'Table 1'),
    ('popart', 'Figure 5', 'Figure 5'),
    ('prl', '3', 'Table 3'),
    ('prl', '3 (revision)', 'Table 3 (revision)'),
    ('popart', 'text', 'Text'),
  )
  def test_names_of_tables(self, paper, name, item):
    self.assertEqual(tables.find_item(paper, name), item)


class SummaryTest(RootTestCase):
  def test_list_has_every_table(self):
    text = self.print('--format=csv')
    rows = list(csv.DictReader(io.StringIO(text)))
    found = [
      (row['paper'], row['table']) for row in rows if row['numbers'] != '0'
    ]
    self.assertEqual(found, ITEMS)
    beside = {(r['paper'], r['table']): r['beside ours'] for r in rows}
    self.assertEqual(beside['impala', 'Table C.1'], '2')
    self.assertEqual(beside['popart', 'Table 1'], '2')
    self.assertEqual(beside['impala', 'Table 4'], '0')

  def test_compute_is_that_of_all_recorded_runs(self):
    _, body = table_summaries.list_compute()
    names = recorded.names() + recorded.table_experiments()
    self.assertEqual([row[0] for row in body], [*names, 'all'])
    seconds = 0.0
    for path in pathlib.Path(recorded.RESULTS).glob(
      '*/*/seed_*/updates.csv.gz'
    ):
      seconds += pd.read_csv(path).wall_secs.max()
    for name in recorded.table_experiments():
      seconds += recorded.read_table_experiment(name)['wall_secs']
    self.assertEqual(body[-1][5], f'{seconds / 3600:.1f}')

  def test_results_name_every_recorded_row_and_its_command(self):
    text = table_summaries.results_text()
    for name in recorded.names() + recorded.table_experiments():
      self.assertIn(f'(experiments/results/{name})', text)
    for paper in (
      'impala.experiment',
      'popart.experiment',
      'experiments.distral',
    ):
      self.assertIn(f'`python -m {paper}', text)


class ReadmeTest(RootTestCase):
  def test_generated_tables_are_those_of_the_records(self):
    texts = tables.generated()
    self.assertContainsSubset(
      {'README.md', 'experiments/README.md', 'popart/README.md'},
      {text.path for text in texts},
    )
    for text in texts:
      with self.subTest(f'{text.path} {text.begin}'):
        self.assertEqual(
          markdown.read(text.path, text.begin, text.end),
          text.make(),
          'stale: make results',
        )

  def test_write_replaces_what_stands_between_the_markers(self):
    path = self.create_tempfile(content='a\n<b>\nold\n<e>\nz\n').full_path
    markdown.write(path, '| new |', '<b>', '<e>')
    with open(path) as file:
      self.assertEqual(file.read(), 'a\n<b>\n| new |\n<e>\nz\n')
    self.assertEqual(markdown.read(path, '<b>', '<e>'), '| new |')

  @parameterized.parameters('old', '<b>\nold', 'old\n<e>', '<e>\nold\n<b>')
  def test_missing_markers_leave_the_file_alone(self, content):
    path = self.create_tempfile(content=content).full_path
    with self.assertRaisesRegex(UserError, 'has no markers <b> and <e>'):
      markdown.write(path, '| new |', '<b>', '<e>')
    with open(path) as file:
      self.assertEqual(file.read(), content)

  def test_a_bar_in_a_cell_does_not_end_it(self):
    self.assertEqual(
      markdown.table(['a', 'b'], [['x|y', '1']], 1),
      '| a | b |\n| --- | ---: |\n| x\\|y | 1 |',
    )


@contextlib.contextmanager
def _piped_columns(width):
  previous = tables._NUM_PIPED_COLUMNS
  tables._NUM_PIPED_COLUMNS = width
  try:
    yield
  finally:
    tables._NUM_PIPED_COLUMNS = previous


if __name__ == '__main__':
  absltest.main()
