"""A new task from scratch and from networks of four others: table (Figure 2).

Scores are returns in % of the greatest, 1000; "half way" and "at the end" are
means of two evaluations each.
"""

import pandas as pd

from experiments.brc import small_records
from experiments.tables import markdown

NAMES = {
  'scratch': 'from scratch',
  'pretrained': 'pretrained, new embedding',
  'pretrained_fitted': 'pretrained, embedding fitted to 300 transitions',
}
NUM_EVALUATIONS = 2


def add_scores(table: pd.DataFrame) -> pd.DataFrame:
  """Adds `steps` and `score` to `small_records.read('transfer')`."""
  return table.assign(
    steps=table.env_frames, score=table.evaluation_return / 10.0
  )


def make_table(table: pd.DataFrame) -> str:
  """Returns Markdown, a line per start.

  Args:
    table: from `add_scores`.
  """
  half = table[table.steps <= table.steps.max() / 2]
  body = []
  for setting, name in NAMES.items():
    if setting in set(table.setting):
      cells = [
        small_records.cell(_means(part, setting), 1) for part in (half, table)
      ]
      whole = table[table.setting == setting].groupby('seed').score.mean()
      cells.append(small_records.cell(whole.to_numpy(), 1))
      body.append([name, str(len(whole)), *cells])
  header = ['start', 'seeds', 'half way', 'at the end', 'all of training']
  return markdown.table(header, body, range(1, len(header)))


def _means(table, setting):
  own = table[table.setting == setting]
  last = small_records.latest(own, NUM_EVALUATIONS)
  return last.groupby('seed').score.mean().to_numpy()
