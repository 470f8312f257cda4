"""Returns over several steps, and how often the policy acts at random.

Axes: B batch, n steps.
"""

import tensorflow as tf


def returns(rewards: tf.Tensor, discount: float) -> tf.Tensor:
  """Returns sum_k discount^k r_k, float32 [B].

  Args:
    rewards: float32 [B, n], 0 after the end of an episode.
    discount: gamma.
  """
  powers = [discount**k for k in range(rewards.shape[1])]
  return tf.linalg.matvec(rewards, tf.constant(powers, tf.float32))


def discounts(
  num_steps: tf.Tensor, goes_on: tf.Tensor, discount: float
) -> tf.Tensor:
  """Returns what the value after the steps counts, float32 [B].

  Args:
    num_steps: int32 [B], steps that were made.
    goes_on: float32 [B], 0 where the episode terminated.
    discount: gamma.
  """
  return goes_on * tf.pow(discount, tf.cast(num_steps, tf.float32))


def epsilon(step: int, start: int, decay_steps: int, end: float) -> float:
  """Returns the share of random actions: 1, then falling, then `end`.

  Args:
    step: of the environments, counted from 1.
    start: step on which it begins to fall.
    decay_steps: steps over which it falls, linearly.
    end: where it stays.
  """
  spent = min(max(step - start, 0) / decay_steps, 1.0)
  return 1.0 - (1.0 - end) * spent
