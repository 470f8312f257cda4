"""Human-normalised scores and their aggregates over a suite."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from core.errors import UserError


class Aggregate(NamedTuple):
  """One number for a suite, with its bootstrap interval.

  Attributes:
    point: float, percent.
    low: float, lower end of the interval; NaN with a single run, from which no
      spread can be told.
    high: float, upper end.
  """

  point: float
  low: float
  high: float


def human_normalized_score(
  returns: float | Sequence[float] | np.ndarray,
  random: float,
  human: float,
  cap: float | None = None,
) -> float:
  """Scores mean return so that random play is 0 and the human is 100.

  Args:
    returns: raw returns of one task's episodes.
    random: mean return of random play.
    human: mean return of the human.
    cap: upper limit of the score in percent, or None. There is no lower limit.

  Returns:
    100 * (mean - random) / |human - random|. The absolute value is van Hasselt
    et al.'s 2016 (arXiv:1509.06461); it matters only to Video Pinball under
    human starts, where random play beats the human.

  Raises:
    ValueError: without a return.
  """
  returns = np.asarray(returns, np.float64)
  if not returns.size:
    raise ValueError('no returns to score')
  score = 100.0 * (returns.mean() - random) / abs(human - random)
  return float(score if cap is None else min(score, cap))


def task_scores(
  returns: Mapping[str, Sequence[float]],
  tasks: Sequence[str],
  random_scores: Mapping[str, float],
  human_scores: Mapping[str, float],
  cap: float | None = None,
) -> np.ndarray:
  """Scores every task of a suite.

  Args:
    returns: raw returns by task; tasks outside the suite are ignored.
    tasks: the suite.
    random_scores: mean return of random play by task.
    human_scores: mean return of the human by task.
    cap: upper limit per task in percent, or None.

  Returns:
    float64 [num_tasks], in the order of `tasks`.

  Raises:
    ValueError: naming a task of the suite that has no returns.
  """
  missing = [task for task in tasks if not len(returns.get(task, ()))]
  if missing:
    raise ValueError(f'no returns for {", ".join(missing)}')
  return np.array(
    [
      human_normalized_score(
        returns[task], random_scores[task], human_scores[task], cap
      )
      for task in tasks
    ]
  )


def aggregate(
  score_matrix: np.ndarray,
  seed: int,
  num_bootstraps: int = 2000,
  confidence: float = 0.95,
) -> dict[str, Aggregate]:
  """Aggregates scores over tasks as Agarwal et al. 2021 (arXiv:2108.13264) do.

  Args:
    score_matrix: float [num_runs, num_tasks], percent.
    seed: of the bootstrap.
    num_bootstraps: resamplings of runs, stratified by task.
    confidence: of the percentile interval.

  Returns:
    `mean`, `median` (both of the tasks' means over runs) and `iqm`, the mean of
    the middle half of all scores.

  Raises:
    ValueError: if the matrix is not of rank 2 or has no or missing scores.
    UserError: if rliable is not installed.
  """
  matrix = np.asarray(score_matrix, np.float64)
  if matrix.ndim != 2 or not matrix.size or not np.isfinite(matrix).all():
    raise ValueError(
      f'scores must be finite, [num_runs, num_tasks], not {matrix.shape}'
    )
  try:
    from rliable import library, metrics
  except ImportError as error:
    raise UserError(
      f'aggregates need rliable ({error}): pip install rliable'
    ) from error

  def statistics(scores):
    return np.array(
      [
        metrics.aggregate_mean(scores),
        metrics.aggregate_median(scores),
        metrics.aggregate_iqm(scores),
      ]
    )

  points = statistics(matrix)
  intervals = np.full([2, len(points)], np.nan)
  if len(matrix) > 1:
    with _numpy_seed(seed):
      _, by_name = library.get_interval_estimates(
        {'': matrix},
        statistics,
        reps=num_bootstraps,
        confidence_interval_size=confidence,
      )
    intervals = by_name['']
  return {
    name: Aggregate(*map(float, values))
    for name, *values in zip(
      ('mean', 'median', 'iqm'), points, *intervals, strict=True
    )
  }


@contextlib.contextmanager
def _numpy_seed(seed: int) -> Iterator[None]:
  """Seeds NumPy's global generator for a while.

  rliable 1.2.0 takes a `random_state` and then draws from the global one.
  """
  state = np.random.get_state()
  np.random.seed(seed)
  try:
    yield
  finally:
    np.random.set_state(state)
