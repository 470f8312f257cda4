"""What PRL learns to predict: deaths and points within the horizon.

Mujika 2016 (arXiv:1611.01457), section 4.4. All functions are NumPy on arrays.
"""

import numpy as np

RULES = ('lives', 'rewards')
"""lives: a lost life is a death; rewards: a negative reward is (Pong)."""


def events_of(
  rule: str, rewards: np.ndarray, terminations: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Tells deaths and points from what an environment returns.

  Args:
    rule: one of RULES. Pong counts no lives: a lost rally is a death
      there (D1).
    rewards: float [...], raw.
    terminations: bool [...], a life was lost or the game ended, time limits
      apart.

  Returns:
    deaths and points, bool [...].
  """
  if rule not in RULES:
    raise ValueError(f'unknown rule {rule}')
  rewards = np.asarray(rewards)
  deaths = np.asarray(terminations, bool) if rule == 'lives' else rewards < 0
  return deaths, rewards > 0


def window_labels(
  deaths: np.ndarray, points: np.ndarray, ends: np.ndarray
) -> np.ndarray:
  """Accumulates events over the steps of the horizon.

  Args:
    deaths: bool [..., horizon], what happened at steps i+1 to i+horizon.
    points: likewise.
    ends: likewise, whether the game ended with the step. Later steps are of
      another game: the labels stay as they are at the end.

  Returns:
    bool [..., horizon, 2]: whether a death came until then; whether no death
    but a point did.
  """
  ended = np.logical_or.accumulate(ends, axis=-1)
  is_over = np.zeros_like(ended)
  is_over[..., 1:] = ended[..., :-1]
  dead = np.logical_or.accumulate(deaths & ~is_over, axis=-1)
  scored = np.logical_or.accumulate(points & ~is_over, axis=-1)
  return np.stack([dead, scored & ~dead], axis=-1)


def compute_labels(
  deaths: np.ndarray,
  points: np.ndarray,
  horizon: int,
  ends: np.ndarray | None = None,
) -> np.ndarray:
  """Labels every step of a trace.

  Args:
    deaths: bool [T]; index t is what happened when control t took effect.
    points: bool [T].
    horizon: k, steps to predict.
    ends: bool [T], whether a game ended; by default only with the trace, after
      which nothing happens.

  Returns:
    bool [T, horizon, 2]; entry [t, j] is of controls t to t + j.

  Raises:
    ValueError: shapes differ, or the horizon is less than 1.
  """
  deaths, points = np.asarray(deaths, bool), np.asarray(points, bool)
  ends = np.zeros_like(deaths) if ends is None else np.asarray(ends, bool)
  if deaths.ndim != 1 or not deaths.shape == points.shape == ends.shape:
    raise ValueError(
      f'deaths, points and ends must be [T], not {deaths.shape}, '
      f'{points.shape} and {ends.shape}'
    )
  if horizon < 1:
    raise ValueError(f'the horizon must be at least 1, not {horizon}')
  if not len(deaths):
    return np.zeros([0, horizon, 2], bool)
  windows = [
    np.lib.stride_tricks.sliding_window_view(
      np.pad(events, (0, horizon - 1)), horizon
    )
    for events in (deaths, points, ends)
  ]
  return window_labels(*windows)


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
  """Area under the ROC curve: how well scores order cases; .5 is chance.

  The probability that a positive case has the higher score of a pair, ties
  counting half.

  Args:
    scores: float [B].
    labels: bool [B].

  Returns:
    The area; NaN without positive or negative cases.
  """
  labels = np.asarray(labels, bool)
  num_positive = int(labels.sum())
  num_pairs = num_positive * (len(labels) - num_positive)
  if not num_pairs:
    return float('nan')
  _, inverse, counts = np.unique(
    scores, return_inverse=True, return_counts=True
  )
  last = np.cumsum(counts)
  ranks = (last - 0.5 * (counts - 1))[inverse]  # Equal scores share theirs.
  least = num_positive * (num_positive + 1) / 2
  return float((ranks[labels].sum() - least) / num_pairs)
