"""Prints published tables beside our recorded runs, and writes the READMEs'.

    python -m experiments.tables                             # what there is
    python -m experiments.tables --paper=popart              # all its tables
    python -m experiments.tables --paper=popart --table=1
    python -m experiments.tables --paper=impala --table=C.1 --format=markdown
    python -m experiments.tables --paper=stacx --table='Figure 2' --format=csv
    python -m experiments.tables --write                     # into the READMEs

Published numbers are experiments/reference/<paper>.csv, our runs
experiments/results/; experiments/reference/runs.csv says which belong together.
"""

import argparse
import csv
import io
import sys
from collections.abc import Sequence

import rich.box
import rich.console
import rich.markup
import rich.table

from core.errors import UserError
from experiments.tables import (
  comparison,
  generated,
  layout,
  published,
  summaries,
)
from experiments.tables.layout import Page

_NUM_PIPED_COLUMNS = 140  # Where the output is not a terminal.


def find_item(paper: str, name: str) -> str:
  """Returns the item that a command line means by 'C.1' or 'table 1'.

  Args:
    paper: one of `published.PAPERS`.
    name: the item, in any case, or what stands after 'Table'.

  Raises:
    UserError: there is none, with the list.
  """
  items = published.items(paper)
  for wanted in (name, f'Table {name}'):
    for item in items:
      if item.lower() == wanted.lower():
        return item
  raise UserError(
    f'{paper} has no table {name!r} with numbers; there are '
    f'{", ".join(items) or "none at all: it prints curves only"}'
  )


def show(page: Page) -> None:
  """Prints a page to the terminal."""
  console = rich.console.Console(
    width=None if sys.stdout.isatty() else _NUM_PIPED_COLUMNS,
    highlight=False,
  )
  table = rich.table.Table(
    title=page.title,
    title_justify='left',
    box=rich.box.SIMPLE_HEAD,
  )
  widths = _column_widths(page, console.width)
  for i, name in enumerate(page.header):
    table.add_column(
      rich.markup.escape(name),
      justify='left' if i < page.num_words else 'right',
      overflow='fold',
      width=widths[i],
    )
  for cells in page.body:
    table.add_row(*map(rich.markup.escape, cells))
  console.print(table if page.header else page.title)
  for text in page.texts:
    console.print(rich.markup.escape(text.replace('`', '')))
  console.print()


def _column_widths(page, total):
  """Returns widths that keep words whole; None each if there is no room.

  rich wraps all columns alike, and cuts off the last where minima are given.
  """
  columns = list(zip(page.header, *page.body, strict=True))
  widths = [max(map(len, ' '.join(cells).split())) for cells in columns]
  wanted = [max(map(len, cells)) for cells in columns]
  spare = total - sum(widths) - 3 * len(columns) - 1
  if spare < 0:
    return [None] * len(columns)
  while spare and widths != wanted:
    for i, width in enumerate(widths):
      if spare and width < wanted[i]:
        widths[i] += 1
        spare -= 1
  return widths


def render_csv(rows: Sequence[dict], columns: Sequence[str]) -> str:
  """Returns rows as CSV with a line of columns."""
  file = io.StringIO()
  writer = csv.DictWriter(file, columns, lineterminator='\n')
  writer.writeheader()
  writer.writerows(rows)
  return file.getvalue()


def _print_pages(pages, output_format):
  for page in pages:
    if output_format == 'markdown':
      print(page.markdown())
    else:
      show(page)


def _print_list(output_format):
  """Prints which tables there are and what else is recorded."""
  header, body = summaries.list_items()
  if output_format == 'csv':
    rows = [dict(zip(header, cells, strict=True)) for cells in body]
    print(render_csv(rows, header), end='')
    return
  hint = 'python -m experiments.tables --paper=<paper> --table=<table>'
  pages = [Page('Published tables', header, body, 3, [f'`{hint}`'])]
  pages += _other_pages('')
  _print_pages(pages, output_format)


def _other_pages(paper):
  """Returns a page about recorded runs beside no published number, or none."""
  names = [line.results for line in comparison.read_connections()]
  header, body = summaries.list_others(names)
  body = [cells for cells in body if cells[0].startswith(paper)]
  if not body:
    return []
  texts = [f'{name}: `{command}`' for name, command, *_ in body]
  body = [[name, *rest] for name, _, *rest in body]
  title = 'Recorded without a published number beside it'
  return [Page(title, [header[0], *header[2:]], body, 2, texts)]


def _print_paper(arguments):
  """Prints one or all tables of a paper."""
  paper = arguments.paper
  items = published.items(paper)
  if arguments.table is not None:
    items = [find_item(paper, arguments.table)]
  tables = [comparison.compare(paper, item, arguments.row) for item in items]
  if arguments.format == 'csv':
    rows = [row for lines in tables for row in layout.csv_rows(lines)]
    print(render_csv(rows, layout.CSV_COLUMNS), end='')
    return
  pages = [layout.make_page(lines) for lines in tables]
  if arguments.table is None:
    pages += _other_pages(f'{paper}/')
    if not items:
      pages.insert(0, Page(f'{paper} prints curves only', [], [], 0))
  _print_pages(pages, arguments.format)


def main(argv: Sequence[str] | None = None) -> None:
  """Does what the command line asks for."""
  parser = argparse.ArgumentParser(
    description='Published tables beside our recorded runs.'
  )
  parser.add_argument('--paper', help=f'one of {", ".join(published.PAPERS)}')
  parser.add_argument('--table', help="'1', 'C.1', 'Figure 4', 'Text'")
  parser.add_argument('--row', help='this published row only')
  parser.add_argument(
    '--format', choices=('terminal', 'markdown', 'csv'), default='terminal'
  )
  parser.add_argument(
    '--write', action='store_true', help='every generated table of the READMEs'
  )
  arguments = parser.parse_args(argv)
  try:
    if arguments.write:
      print('\n'.join(generated.write_all()))
    elif arguments.paper is not None:
      _print_paper(arguments)
    elif arguments.table is not None or arguments.row is not None:
      raise UserError('--table and --row need --paper')
    else:
      _print_list(arguments.format)
  except UserError as error:
    sys.exit(f'error: {error}')


if __name__ == '__main__':
  main()
