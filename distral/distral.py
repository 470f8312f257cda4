"""Distral's equations (Teh et al. 2017, arXiv:1707.04175) as pure functions.

Notation of the paper: pi_i is the policy of task i, pi_0 the distilled policy,
h the logits of pi_0, f those of a task's own column. The objective

  J = sum_i E[ sum_t gamma^t (R_i + alpha / beta log pi_0(a_t | s_t)
                                  - 1 / beta log pi_i(a_t | s_t)) ]    (1)

weighs KL(pi_i, pi_0) with c_KL = alpha / beta and the entropy of pi_i with
c_Ent = (1 - alpha) / beta.
"""

import tensorflow as tf


def two_column_logits(
  distilled_logits: tf.Tensor, task_logits: tf.Tensor, alpha: float
) -> tf.Tensor:
  """Adds the distilled policy's column to a task's (equation 12).

  pi_i = softmax(alpha h + f). The network puts out beta times the soft
  advantage, so that beta, which is large, multiplies nothing.

  Args:
    distilled_logits: float32 [..., A], h.
    task_logits: float32 [..., A], f.
    alpha: weight of h.

  Returns:
    float32 [..., A], logits of pi_i; gradients flow into both columns.
  """
  distilled_logits.shape.assert_is_compatible_with(task_logits.shape)
  return alpha * distilled_logits + task_logits


def scaled_soft_advantages(
  distilled_logits: tf.Tensor, task_logits: tf.Tensor, alpha: float
) -> tf.Tensor:
  """Computes beta times the soft advantages of a task (equation 11).

  Args:
    distilled_logits: float32 [..., A], h.
    task_logits: float32 [..., A], f.
    alpha: exponent of pi_0.

  Returns:
    float32 [..., A]; pi_0^alpha times its exponential is pi_i.
  """
  distilled_logits.shape.assert_is_compatible_with(task_logits.shape)
  log_distilled = tf.nn.log_softmax(distilled_logits)
  return task_logits - tf.reduce_logsumexp(
    alpha * log_distilled + task_logits, axis=-1, keepdims=True
  )


def log_probabilities(logits: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
  """Returns log pi(a_t | s_t).

  Args:
    logits: float32 [T, B, A].
    actions: int32 [T, B].

  Returns:
    float32 [T, B].
  """
  logits.shape[:-1].assert_is_compatible_with(actions.shape)
  return -tf.nn.sparse_softmax_cross_entropy_with_logits(
    labels=actions, logits=logits
  )


def regularized_rewards(
  rewards: tf.Tensor,
  task_log_probabilities: tf.Tensor,
  distilled_log_probabilities: tf.Tensor | float,
  alpha: float,
  beta: float,
) -> tf.Tensor:
  """Adds what the objective pays for being close to pi_0 and for entropy.

  R_reg = R + alpha / beta log pi_0(a_t | s_t) - 1 / beta log pi_i(a_t | s_t),
  of equation 9. With alpha = 0 that is the reward with an entropy bonus.

  Args:
    rewards: float32 [T, B].
    task_log_probabilities: float32 [T, B], of the actions under pi_i.
    distilled_log_probabilities: float32 [T, B], under pi_0; 0 without one.
    alpha: share of the KL divergence.
    beta: inverse of the regularisers' total weight.

  Returns:
    float32 [T, B]; it carries no gradient (its own has expectation zero).
  """
  rewards.shape.assert_is_compatible_with(task_log_probabilities.shape)
  if alpha:
    rewards.shape.assert_is_compatible_with(distilled_log_probabilities.shape)
  regularizer = alpha * distilled_log_probabilities - task_log_probabilities
  return rewards + tf.stop_gradient(regularizer) / beta


def n_step_returns(
  rewards: tf.Tensor,
  discounts: tf.Tensor,
  bootstrap_value: tf.Tensor,
) -> tf.Tensor:
  """Sums discounted rewards up to the end of the unroll, and the value there.

  Args:
    rewards: float32 [T, B].
    discounts: float32 [T, B], gamma, 0 where the episode ends.
    bootstrap_value: float32 [B], V(s_T).

  Returns:
    float32 [T, B], G_t = r_t + discount_t G_{t + 1} with G_T the bootstrap
    value; it carries no gradient.
  """
  rewards.shape.assert_is_compatible_with(discounts.shape)
  rewards.shape[1:].assert_is_compatible_with(bootstrap_value.shape)
  returns = [bootstrap_value]
  for t in reversed(range(rewards.shape[0])):
    returns.append(rewards[t] + discounts[t] * returns[-1])
  return tf.stop_gradient(tf.stack(returns[:0:-1]))


def distillation_loss(
  task_logits: tf.Tensor,
  distilled_logits: tf.Tensor,
  alpha: float,
  beta: float,
) -> tf.Tensor:
  """Sums the cross-entropy from task policies to the distilled policy.

  Its gradient by h is alpha / beta (pi_0 - pi_i): the second line of equation
  10, without gamma^t, which actor-critics drop (D10).

  Args:
    task_logits: float32 [T, B, A], of pi_i; it receives no gradient.
    distilled_logits: float32 [T, B, A], h.
    alpha: share of the KL divergence.
    beta: inverse of the regularisers' total weight.

  Returns:
    float32 scalar, to minimise.
  """
  cross_entropy = tf.nn.softmax_cross_entropy_with_logits(
    labels=tf.stop_gradient(tf.nn.softmax(task_logits)), logits=distilled_logits
  )
  return alpha / beta * tf.reduce_sum(cross_entropy)


def kl_divergences(
  task_logits: tf.Tensor, distilled_logits: tf.Tensor
) -> tf.Tensor:
  """Returns KL(pi_i, pi_0) in nats.

  Args:
    task_logits: float32 [..., A].
    distilled_logits: float32 [..., A].

  Returns:
    float32 [...].
  """
  task_logits.shape.assert_is_compatible_with(distilled_logits.shape)
  log_task = tf.nn.log_softmax(task_logits)
  log_distilled = tf.nn.log_softmax(distilled_logits)
  return tf.reduce_sum(tf.exp(log_task) * (log_task - log_distilled), axis=-1)


def value_regularization_loss(
  task_values: tf.Tensor, shared_values: tf.Tensor | float
) -> tf.Tensor:
  """Sums half the squared distances of task values from shared ones.

  Appendix B.2 says no more than "L2 losses" on the task values "to encourage a
  small amount of transfer of knowledge in value estimates" (D3).

  Args:
    task_values: float32 [T, B], V_i.
    shared_values: float32 [T, B], V_0 of the shared column, which is pulled
      as well; or 0.

  Returns:
    float32 scalar, to minimise.
  """
  if tf.is_tensor(shared_values):
    task_values.shape.assert_is_compatible_with(shared_values.shape)
  return 0.5 * tf.reduce_sum(tf.square(task_values - shared_values))
