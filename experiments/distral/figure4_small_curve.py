"""The curve that a run of figure4_small writes."""

import pandas as pd

from experiments.runs import csv_files

NUM_POINTS = 10  # After the first.


def read_curve(path: str) -> pd.DataFrame:
  """Reads curve.csv of a run, as far as it is.

  Raises:
    UserError: it is damaged, with the line.
  """
  numbers = ('point', 'env_frames', 'mean_return', 'mean_length')
  return csv_files.read(path, numbers, ('task', 'policy'))
