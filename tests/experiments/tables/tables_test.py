"""The tables command: every published table, the READMEs, bad command lines."""

import contextlib
import csv
import io
import os
import pathlib
import re
import shutil

import pandas as pd
from absl.testing import absltest, parameterized

from core.errors import UserError
from experiments.runs import recorded
from experiments.tables import __main__ as tables
from experiments.tables import (
  comparison,
  generated,
  layout,
  markdown,
  published,
  summaries,
)
from tests.experiments import fake_runs, folders

ROOT = pathlib.Path(__file__).resolve().parents[3]
ITEMS = [
  (paper, x) for paper in published.PAPERS for x in published.items(paper)
]


class RootTestCase(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.enter_context(folders.working_in(ROOT))

  def print(self, *arguments: str) -> str:
    """Returns what the command prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
      tables.main(arguments)
    return printed.getvalue()


class EveryTableTest(RootTestCase):
  @parameterized.parameters(*ITEMS)
  def test_shows_every_published_number_and_what_was_not_run(self, paper, item):
    lines = comparison.compare(paper, item)
    page = layout.make_page(lines)
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
    rows = layout.csv_rows(lines)
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
      [line for line in text.splitlines() if line.startswith('### stacx')],
      [f'### stacx, {item}' for item in published.items('stacx')],
    )

  def test_csv_has_the_published_values(self):
    text = self.print('--paper=stacx', '--table=Figure 2', '--format=csv')
    table = pd.read_csv(io.StringIO(text))
    self.assertEqual(tuple(table.columns), layout.CSV_COLUMNS)
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
    page = layout.make_page(comparison.compare('impala', 'Table B.1'))
    self.assertEqual(page.header[0], 'task')
    self.assertLen(page.body, 31)
    self.assertEqual(
      page.body[-1][0],
      'dmlab30 (mean human-normalised %; test levels, capped at 100)',
    )
    self.assertStartsWith(page.texts[0], 'Published: mean return; test levels;')

  def test_notes_are_numbered_and_told_once(self):
    lines = comparison.compare('prl', 'Table 3')
    page = layout.make_page(lines)
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
    _, body = summaries.list_compute()
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
    text = summaries.results_text()
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
    texts = generated.list_texts()
    self.assertContainsSubset(
      {'README.md', 'experiments/README.md', 'popart/README.md'},
      {text.path for text in texts},
    )
    for text in texts:
      with self.subTest(f'{text.path} {text.name}'):
        found = markdown.read(text.path, text.name)
        self.assertEqual(found, text.make(), 'stale: make results')

  def test_write_replaces_what_stands_between_the_markers(self):
    begin, end = '<!-- x: begin -->', '<!-- x: end -->'
    path = self.create_tempfile(
      content=f'a\n{begin}\nold\n{end}\nz\n'
    ).full_path
    markdown.write(path, 'x', '| new |')
    with open(path) as file:
      self.assertEqual(file.read(), f'a\n{begin}\n| new |\n{end}\nz\n')
    self.assertEqual(markdown.read(path, 'x'), '| new |')

  def test_a_readme_that_is_a_named_pipe_is_refused(self):
    path = os.path.join(self.create_tempdir().full_path, 'README.md')
    os.mkfifo(path)  # Reading it would wait for ever.
    with self.assertRaisesRegex(UserError, f'{path} is a named pipe'):
      markdown.write(path, 'x', '| new |')

  def test_nothing_is_written_before_all_texts_are_made(self):
    self.write_results_into_copies()
    fake_runs.write_text('README.md', self.stale('results'))
    fake_runs.write_text('experiments/README.md', self.stale('compute'))
    before = fake_runs.read_text('README.md')
    with self.assertRaisesRegex(UserError, 'README.md has no markers <!-- it'):
      generated.write_all()
    self.assertEqual(fake_runs.read_text('README.md'), before)

  def test_short_runs_and_partial_folders_get_a_row(self):
    self.write_results_into_copies()
    folder = fake_runs.write_recorded(
      recorded.RESULTS, 'impala/short', {'pong': [1.0, 3.0]}
    )
    header = 'num_updates,env_frames,frames_per_sec,wall_secs\n'
    fake_runs.write_text(f'{folder}/updates.csv.gz', header)
    header = 'env_frames,task,episode_return,episode_length,wall_secs\n'
    fake_runs.write_text(f'{folder}/episodes.csv.gz', header)
    os.makedirs(f'{recorded.RESULTS}/impala/partial/seed_1')
    self.assertEqual(self.print('--write').split(), list(self.readmes))
    compute = markdown.read('experiments/README.md', 'compute')
    for name in ('short', 'partial'):
      self.assertIn(f'| impala/{name} | ', compute)
      others = markdown.read('README.md', 'results')
      self.assertIn(f'results/impala/{name}) | incomplete |', others)
    shutil.rmtree(f'{recorded.RESULTS}/impala/short')
    shutil.rmtree(f'{recorded.RESULTS}/impala/partial')
    self.print('--write')
    for path in self.readmes:
      self.assertEqual(
        fake_runs.read_text(path), fake_runs.read_text(str(ROOT / path))
      )

  def write_results_into_copies(self):
    """Works in a copy of the READMEs and of all that they are made of."""
    folder = self.create_tempdir().full_path
    for path in ('experiments', *self.readmes):
      to = pathlib.Path(folder, path)
      to.parent.mkdir(exist_ok=True)
      if path == 'experiments':
        shutil.copytree(path, to)
      else:
        shutil.copy(path, to)
    self.enter_context(folders.working_in(folder))

  readmes = ('README.md', 'experiments/README.md', 'popart/README.md')

  def stale(self, *names):
    marks = [f'<!-- {x}: begin -->\nold\n<!-- {x}: end -->\n' for x in names]
    return ''.join(marks)

  @parameterized.parameters('old', '<b>\nold', 'old\n<e>', '<e>\nold\n<b>')
  def test_missing_markers_leave_the_file_alone(self, content):
    content = content.replace('<b>', '<!-- x: begin -->')
    content = content.replace('<e>', '<!-- x: end -->')
    path = self.create_tempfile(content=content).full_path
    with self.assertRaisesRegex(UserError, 'has no markers <!-- x: begin -->'):
      markdown.write(path, 'x', '| new |')
    with open(path) as file:
      self.assertEqual(file.read(), content)

  def test_a_bar_in_a_cell_does_not_end_it(self):
    self.assertEqual(
      markdown.table(['a', 'b'], [['x|y', '1']], numbers=(1,)),
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
