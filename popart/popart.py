"""PopArt: normalise value targets adaptively, preserve outputs precisely.

Hessel et al. 2018, "Multi-task Deep Reinforcement Learning with PopArt"
(arXiv:1809.04474). One value output n_i per task i, and per task a shift mu_i
and a scale sigma_i, so that the unnormalised value is sigma_i n_i + mu_i.
"""

from typing import NamedTuple

import tensorflow as tf


class Statistics(NamedTuple):
  """Running moments of the value targets of N tasks.

  float64: sigma^2 is a difference of numbers that can agree in most digits
  (D2 in popart/README).

  Attributes:
    shift: float64 [N], mu, the mean.
    second_moment: float64 [N], nu, the mean of squares.
  """

  shift: tf.Tensor
  second_moment: tf.Tensor


def initial_statistics(
  num_tasks: int, second_moment: float = 1.0
) -> Statistics:
  """Returns mu = 0 and nu = `second_moment` (D3: not printed).

  Args:
    num_tasks: N.
    second_moment: 1, hence sigma = 1; 0: sigma starts at its lower bound, and
      learning is the same whatever the scale of the rewards.

  Returns:
    Statistics of N tasks.
  """
  return Statistics(
    tf.zeros([num_tasks], tf.float64),
    tf.fill([num_tasks], tf.constant(second_moment, tf.float64)),
  )


def compute_scale(
  statistics: Statistics, lower_bound: float, upper_bound: float
) -> tf.Tensor:
  """Computes sigma = sqrt(nu - mu^2), clipped (equation 6 and table 3).

  Args:
    statistics: of N tasks.
    lower_bound: least scale.
    upper_bound: largest scale.

  Returns:
    float64 [N].
  """
  variance = statistics.second_moment - tf.square(statistics.shift)
  scale = tf.sqrt(tf.maximum(variance, 0.0))
  return tf.clip_by_value(scale, lower_bound, upper_bound)


def normalize(x: tf.Tensor, shift: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
  """Returns (x - mu) / sigma; the shapes broadcast."""
  return (x - shift) / scale


def unnormalize(x: tf.Tensor, shift: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
  """Returns sigma x + mu (equation 10); the shapes broadcast."""
  return scale * x + shift


def rollout_moments(
  targets: tf.Tensor, second_moment: str
) -> tuple[tf.Tensor, tf.Tensor]:
  """Averages the value targets over each rollout.

  Args:
    targets: float32 [T, B], unnormalised.
    second_moment: 'square_of_mean' squares the rollout's mean, the literal
      reading of the paper; 'mean_of_squares' averages squares (D1).

  Returns:
    First and second moment, float64 [B] each.

  Raises:
    ValueError: for another `second_moment`.
  """
  targets = tf.cast(targets, tf.float64)
  mean = tf.reduce_mean(targets, axis=0)
  if second_moment == 'square_of_mean':
    return mean, tf.square(mean)
  if second_moment == 'mean_of_squares':
    return mean, tf.reduce_mean(tf.square(targets), axis=0)
  raise ValueError(f'unknown second moment {second_moment!r}')


def update_statistics(
  statistics: Statistics,
  moments: tuple[tf.Tensor, tf.Tensor],
  task_id: tf.Tensor,
  step_size: float,
) -> Statistics:
  """Moves the statistics towards each rollout's moments, one after another.

    mu_i <- (1 - beta) mu_i + beta G        (equation 6, likewise nu)

  for the task i of every rollout in the batch's order. Written out, a rollout
  that k later ones of its task follow weighs beta (1 - beta)^k, which needs no
  loop.

  Args:
    statistics: of N tasks.
    moments: from `rollout_moments`, float64 [B] each.
    task_id: int32 [B].
    step_size: beta.

  Returns:
    The new statistics.
  """
  num_tasks = statistics.shift.shape[0]
  is_task = tf.one_hot(task_id, num_tasks, dtype=tf.float64)  # [B, N]
  num_later = tf.cumsum(is_task, axis=0, exclusive=True, reverse=True)
  keep = tf.constant(1.0 - step_size, tf.float64)
  weights = is_task * step_size * keep**num_later
  kept = keep ** tf.reduce_sum(is_task, axis=0)
  first, second = (tf.linalg.matvec(weights, m, True) for m in moments)
  return Statistics(
    kept * statistics.shift + first, kept * statistics.second_moment + second
  )


def preserve_outputs(
  w: tf.Tensor,
  b: tf.Tensor,
  old_shift: tf.Tensor,
  old_scale: tf.Tensor,
  new_shift: tf.Tensor,
  new_scale: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
  """Corrects the value layer so that unnormalised values stay (equation 13).

  Args:
    w: float32 [F, N], weights of the linear value layer.
    b: float32 [N], its biases.
    old_shift: float64 [N], like the three that follow.
    old_scale: float64 [N].
    new_shift: float64 [N].
    new_scale: float64 [N].

  Returns:
    The corrected weights and biases, float32.
  """
  new_w = tf.cast(w, tf.float64) * old_scale / new_scale
  new_b = old_scale * tf.cast(b, tf.float64) + old_shift - new_shift
  return tf.cast(new_w, w.dtype), tf.cast(new_b / new_scale, b.dtype)
