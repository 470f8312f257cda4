"""Rows of the published tables, for tests."""

from experiments import published

MEDIAN = 'median human-normalised %'
MEAN = 'mean human-normalised %'


def column(paper, item, row, statistic='mean return', **others):
  """Returns value by task of one row of a table.

  Args:
    paper: see `published.PAPERS`.
    item: the table or figure.
    row: the method.
    statistic: the one to take.
    **others: what other columns must be.
  """
  table = published.select(paper, item)
  table = table[(table['row'] == row) & (table.statistic == statistic)]
  for name, value in others.items():
    table = table[table[name] == value]
  assert table.task.is_unique, (item, row)
  return dict(zip(table.task, table.value, strict=True))
