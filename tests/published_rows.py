"""Rows of the published tables, for tests."""

import types

from core.suites.atari import GAMES
from core.suites.tasks import reference
from experiments.tables import published

ATARI = {game: reference(game) for game in GAMES}

# Random and human scores by game, as scalable_agent has them by level.
atari57 = types.SimpleNamespace(
  GAMES=GAMES,
  RANDOM_SCORES={game: scores.low for game, scores in ATARI.items()},
  HUMAN_SCORES={game: scores.high for game, scores in ATARI.items()},
)
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
