"""Actor-critic losses and reward transformations of scalable_agent.

Losses are sums over time and batch, never means: the published learning rates
and gradient-norm bounds only make sense with sums (Espeholt et al. 2018, table
D.1, arXiv:1802.01561).
"""

import tensorflow as tf


def compute_policy_gradient_loss(
  logits: tf.Tensor, actions: tf.Tensor, advantages: tf.Tensor
) -> tf.Tensor:
  """Sums -log pi(a) x advantage.

  Args:
    logits: float32 [T, B, A].
    actions: int32 [T, B].
    advantages: float32 [T, B]; they carry no gradient.

  Returns:
    float32 scalar, to minimise.
  """
  cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(
    labels=actions, logits=logits
  )
  return tf.reduce_sum(cross_entropy * tf.stop_gradient(advantages))


def compute_baseline_loss(advantages: tf.Tensor) -> tf.Tensor:
  """Sums half the squared errors; its gradient is the error itself.

  Args:
    advantages: float32 [T, B], targets minus values.

  Returns:
    float32 scalar, to minimise.
  """
  return 0.5 * tf.reduce_sum(tf.square(advantages))


def compute_entropy_loss(logits: tf.Tensor) -> tf.Tensor:
  """Sums the negative entropy of the policies.

  Args:
    logits: float32 [T, B, A].

  Returns:
    float32 scalar, to minimise.
  """
  log_policy = tf.nn.log_softmax(logits)
  return tf.reduce_sum(tf.exp(log_policy) * log_policy)


def clip_rewards(rewards: tf.Tensor, mode: str) -> tf.Tensor:
  """Transforms rewards for the loss (not for the network's input).

  Args:
    rewards: float32 [...], raw.
    mode: 'abs_one' clips to [-1, 1]; 'soft_asymmetric' is 5 tanh(r / 5), scaled
      by 0.3 below zero, as scalable_agent computes it;
      'soft_asymmetric_paper' is 5 max(tanh r, 0) + 0.3 min(tanh r, 0), as
      Espeholt et al. 2018 print it in figure D.1; 'none' leaves them.

  Returns:
    float32 [...].

  Raises:
    ValueError: for another mode.
  """
  if mode == 'none':
    return rewards
  if mode == 'abs_one':
    return tf.clip_by_value(rewards, -1.0, 1.0)
  if mode == 'soft_asymmetric':
    squeezed = 5.0 * tf.tanh(rewards / 5.0)
    return tf.where(rewards < 0, 0.3 * squeezed, squeezed)
  if mode == 'soft_asymmetric_paper':
    squeezed = tf.tanh(rewards)
    return 0.3 * tf.minimum(squeezed, 0.0) + 5.0 * tf.maximum(squeezed, 0.0)
  raise ValueError(f'unknown reward clipping {mode!r}')
