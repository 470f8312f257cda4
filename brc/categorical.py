"""Categorical values: support, projection, mixture of critics, losses.

Nauman et al. 2025, section 3 and appendix C.2 (arXiv:2505.23150), after
Bellemare et al. 2017 (arXiv:1707.06887). A critic says of a state and an action
the probabilities of N returns, the atoms z of the support.

Axes: E critics, B batch, N atoms.
"""

import numpy as np
import tensorflow as tf


def make_support(num_atoms: int, v_max: float) -> np.ndarray:
  """Returns the atoms z_k = -v_max + k delta (eq. 1), float32 [N].

  Args:
    num_atoms: N, at least 2; if it is odd the atom in the middle is exactly 0.
    v_max: the greatest atom.
  """
  steps = 2 * np.arange(num_atoms) - (num_atoms - 1)
  return np.float32(v_max * steps / (num_atoms - 1))


def mixture(logits: tf.Tensor) -> tf.Tensor:
  """Returns the mean of the critics' distributions; not of their logits.

  Args:
    logits: float32 [E, B, N].

  Returns:
    Probabilities, float32 [B, N].
  """
  return tf.reduce_mean(tf.nn.softmax(logits), axis=0)


def expectation(probs: tf.Tensor, support: tf.Tensor) -> tf.Tensor:
  """Returns Q = sum_k z_k p_k, float32 [B].

  Args:
    probs: float32 [B, N].
    support: float32 [N].
  """
  return tf.linalg.matvec(probs, support)


def project(
  target_probs: tf.Tensor,
  rewards: tf.Tensor,
  discounts: tf.Tensor,
  entropy_costs: tf.Tensor,
  support: tf.Tensor,
) -> tf.Tensor:
  """Projects the distribution of the soft target onto the support.

  Atom k of the next state moves to r + discount (z_k - entropy_cost), clipped
  to the support; its mass goes to the two nearest atoms, in proportion to how
  near they are. Both shares are added up by bin, row * N + atom, which is the
  fastest of the equal ways on a CPU.

  Args:
    target_probs: float32 [B, N], of the next state and action.
    rewards: float32 [B].
    discounts: float32 [B], 0 where the episode terminated.
    entropy_costs: float32 [B], tau log pi of the next action.
    support: float32 [N], evenly spaced.

  Returns:
    The target distribution, float32 [B, N]; each row adds up to 1. It carries
    no gradient.
  """
  support = tf.convert_to_tensor(support)
  num_atoms, batch_size = support.shape[0], tf.shape(rewards)[0]
  low, high = support[0], support[-1]
  atoms = rewards[:, None] + discounts[:, None] * (
    support - entropy_costs[:, None]
  )
  positions = (atoms - low) * ((num_atoms - 1) / (high - low))
  positions = tf.clip_by_value(positions, 0.0, num_atoms - 1.0)
  lower = tf.floor(positions)
  upper_share = positions - lower  # 0 where it hits an atom.
  lower_bin = tf.cast(lower, tf.int32)
  upper_bin = tf.minimum(lower_bin + 1, num_atoms - 1)
  first_bin = num_atoms * tf.range(batch_size)[:, None]
  bins = tf.stack([first_bin + lower_bin, first_bin + upper_bin])
  masses = tf.stack(
    [target_probs * (1.0 - upper_share), target_probs * upper_share]
  )
  sums = tf.math.unsorted_segment_sum(
    tf.reshape(masses, [-1]), tf.reshape(bins, [-1]), batch_size * num_atoms
  )
  return tf.stop_gradient(tf.reshape(sums, [batch_size, num_atoms]))


def cross_entropy_loss(logits: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
  """Returns the cross-entropy of each row, summed over the critics.

  Args:
    logits: float32 [E, B, N].
    target: float32 [B, N], from `project`.

  Returns:
    float32 [B].
  """
  log_probs = tf.nn.log_softmax(logits)
  return -tf.reduce_sum(target * log_probs, axis=[0, 2])


def squared_error_loss(values: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
  """Returns the squared error of each row, summed over the critics.

  Args:
    values: float32 [E, B].
    target: float32 [B].

  Returns:
    float32 [B].
  """
  return tf.reduce_sum(tf.square(values - target), axis=0)
