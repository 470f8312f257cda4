"""Bootstrap intervals: rliable's of score matrices, scipy's of the rest."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

CONFIDENCE = 0.95
NUM_RESAMPLES = 2000


def interval(
  samples: Sequence[np.ndarray],
  statistic: Callable[..., np.ndarray],
  num_resamples: int = NUM_RESAMPLES,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the percentile interval of a statistic, by scipy.

  Args:
    samples: arrays [num_units, ...], from each of which as many units are drawn
      as it has.
    statistic: of drawn samples [..., num_units] and the keyword axis; it
      reduces the last axis.
    num_resamples: number of draws.

  Returns:
    Lower and upper end, 95 %.
  """
  from scipy import stats

  found = stats.bootstrap(
    samples,
    statistic,
    axis=0,
    vectorized=True,
    n_resamples=num_resamples,
    batch=500,
    confidence_level=CONFIDENCE,
    method='percentile',
    rng=np.random.default_rng(0),
  ).confidence_interval
  return found.low, found.high


def mean_interval(
  values: np.ndarray, num_resamples: int = NUM_RESAMPLES
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the interval of a mean over runs.

  Args:
    values: float [num_runs, ...].
    num_resamples: number of draws.

  Returns:
    Lower and upper end, float [...]; empty arrays for a single run, from which
    no spread can be told.
  """
  if len(values) < 2:
    return np.empty(0), np.empty(0)
  return interval((values,), np.mean, num_resamples)


def profiles(
  matrices: Mapping[str, np.ndarray], thresholds: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
  """Returns the share of runs and tasks above each score, by rliable.

  Args:
    matrices: by agent float [num_runs, num_tasks].
    thresholds: float [P].

  Returns:
    By agent the shares [P]; by agent with several runs their interval [2, P],
    stratified by task.
  """
  from rliable import library

  np.random.seed(0)  # rliable draws from the global generator.
  shares, intervals = library.create_performance_profile(
    dict(matrices),
    thresholds,
    # The same as rliable's own, which loops over thresholds in Python.
    custom_profile_func=_shares_above,
    reps=NUM_RESAMPLES,
    confidence_interval_size=CONFIDENCE,
  )
  several = {label for label, matrix in matrices.items() if len(matrix) > 1}
  return shares, {label: intervals[label] for label in shares.keys() & several}


def _shares_above(scores, thresholds):
  return (scores[..., np.newaxis] > thresholds).mean(axis=(0, 1))
