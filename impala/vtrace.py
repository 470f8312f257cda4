"""V-trace off-policy actor-critic targets.

See "IMPALA: Scalable Distributed Deep-RL with Importance Weighted Actor-Learner
Architectures", Espeholt et al. 2018 (arXiv:1802.01561), section 4.

Notation: T is the unroll's length, B the batch, A the number of actions. Every
function takes time-major tensors; rewards, values and discounts may carry any
further trailing dimensions, against which the importance weights broadcast.
"""

from typing import NamedTuple

import tensorflow as tf


class VTraceFromLogitsReturns(NamedTuple):
  """Returns of `from_logits`; see there."""

  vs: tf.Tensor
  pg_advantages: tf.Tensor
  log_rhos: tf.Tensor
  behaviour_action_log_probs: tf.Tensor
  target_action_log_probs: tf.Tensor


class VTraceReturns(NamedTuple):
  """Returns of `from_importance_weights`; see there."""

  vs: tf.Tensor
  pg_advantages: tf.Tensor


def log_probs_from_logits_and_actions(
  policy_logits: tf.Tensor, actions: tf.Tensor
) -> tf.Tensor:
  """Computes log pi(a | x) of the actions taken.

  Args:
    policy_logits: float32 [T, B, A], unnormalised log-probabilities.
    actions: int32 [T, B].

  Returns:
    float32 [T, B].

  Raises:
    ValueError: if the ranks are not 3 and 2.
  """
  policy_logits = tf.convert_to_tensor(policy_logits, tf.float32)
  actions = tf.convert_to_tensor(actions, tf.int32)
  _check_rank('policy_logits', policy_logits, 3)
  _check_rank('actions', actions, 2)
  return -tf.nn.sparse_softmax_cross_entropy_with_logits(
    labels=actions, logits=policy_logits
  )


def from_logits(
  behaviour_policy_logits: tf.Tensor,
  target_policy_logits: tf.Tensor,
  actions: tf.Tensor,
  discounts: tf.Tensor,
  rewards: tf.Tensor,
  values: tf.Tensor,
  bootstrap_value: tf.Tensor,
  clip_rho_threshold: float | None = 1.0,
  clip_pg_rho_threshold: float | None = 1.0,
) -> VTraceFromLogitsReturns:
  """Computes V-trace targets for softmax policies.

  Args:
    behaviour_policy_logits: float32 [T, B, A], mu, the actors' policy.
    target_policy_logits: float32 [T, B, A], pi, the learner's policy.
    actions: int32 [T, B], sampled from mu.
    discounts: float32 [T, B], gamma, or 0 where the episode ended.
    rewards: float32 [T, B], of the actions.
    values: float32 [T, B], V(x_t) under pi.
    bootstrap_value: float32 [B], V(x_T).
    clip_rho_threshold: rho-bar of the temporal differences; None: no clipping.
    clip_pg_rho_threshold: rho-bar of the policy gradient; None: no clipping.

  Returns:
    vs and pg_advantages, float32 [T, B], without gradient (see
    `from_importance_weights`); log_rhos = log(pi(a) / mu(a)) and its two parts,
    float32 [T, B].

  Raises:
    ValueError: if a rank is wrong.
  """
  behaviour_action_log_probs = log_probs_from_logits_and_actions(
    behaviour_policy_logits, actions
  )
  target_action_log_probs = log_probs_from_logits_and_actions(
    target_policy_logits, actions
  )
  log_rhos = target_action_log_probs - behaviour_action_log_probs
  vtrace_returns = from_importance_weights(
    log_rhos,
    discounts,
    rewards,
    values,
    bootstrap_value,
    clip_rho_threshold,
    clip_pg_rho_threshold,
  )
  return VTraceFromLogitsReturns(
    vs=vtrace_returns.vs,
    pg_advantages=vtrace_returns.pg_advantages,
    log_rhos=log_rhos,
    behaviour_action_log_probs=behaviour_action_log_probs,
    target_action_log_probs=target_action_log_probs,
  )


def from_importance_weights(
  log_rhos: tf.Tensor,
  discounts: tf.Tensor,
  rewards: tf.Tensor,
  values: tf.Tensor,
  bootstrap_value: tf.Tensor,
  clip_rho_threshold: float | None = 1.0,
  clip_pg_rho_threshold: float | None = 1.0,
) -> VTraceReturns:
  """Computes V-trace targets from log importance weights.

  Equation 1 of Espeholt et al. 2018 in its recursive form (remark 1), with
  c-bar = 1. Targets and advantages carry no gradient.

  Args:
    log_rhos: float32 [T, B], log(pi(a) / mu(a)).
    discounts: float32 [T, B], gamma, or 0 where the episode ended.
    rewards: float32 [T, B, ...].
    values: float32 [T, B, ...], V(x_t) under pi.
    bootstrap_value: float32 [B, ...], V(x_T).
    clip_rho_threshold: rho-bar of the temporal differences; None: no clipping.
    clip_pg_rho_threshold: rho-bar of the policy gradient; None: no clipping.

  Returns:
    vs: float32 [T, B, ...], targets for the baseline.
    pg_advantages: float32 [T, B, ...], clipped rho_t (r_t + gamma vs_{t+1} -
      V(x_t)), for the policy gradient.

  Raises:
    ValueError: if a rank does not fit `log_rhos` and `values`.
  """
  tensors = (log_rhos, discounts, rewards, values, bootstrap_value)
  tensors = [tf.convert_to_tensor(x, tf.float32) for x in tensors]
  log_rhos, discounts, rewards, values, bootstrap_value = tensors
  rank = log_rhos.shape.rank
  if rank is not None:
    _check_rank('values', values, rank)
    _check_rank('bootstrap_value', bootstrap_value, rank - 1)
    _check_rank('discounts', discounts, rank)
    _check_rank('rewards', rewards, rank)

  rhos = tf.exp(log_rhos)
  clipped_rhos = _clip(rhos, clip_rho_threshold)
  cs = tf.minimum(1.0, rhos)  # D8: c-bar is 1.
  values_t_plus_1 = tf.concat([values[1:], bootstrap_value[None]], axis=0)
  deltas = clipped_rhos * (rewards + discounts * values_t_plus_1 - values)

  vs_minus_v_xs = _discounted_sum(deltas, discounts * cs)
  vs = vs_minus_v_xs + values
  vs_t_plus_1 = tf.concat([vs[1:], bootstrap_value[None]], axis=0)
  clipped_pg_rhos = _clip(rhos, clip_pg_rho_threshold)
  pg_advantages = clipped_pg_rhos * (rewards + discounts * vs_t_plus_1 - values)
  return VTraceReturns(
    vs=tf.stop_gradient(vs), pg_advantages=tf.stop_gradient(pg_advantages)
  )


def _discounted_sum(deltas: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
  """Solves x_t = delta_t + factor_t x_{t+1} backwards from x_T = 0."""
  # No gradient is wanted, and a loop without one is cheaper to build.
  deltas, factors = tf.stop_gradient(deltas), tf.stop_gradient(factors)
  return tf.scan(
    lambda x_t_plus_1, step: step[0] + step[1] * x_t_plus_1,
    (deltas, factors),
    initializer=tf.zeros_like(deltas[0]),
    parallel_iterations=1,
    reverse=True,
  )


def _clip(rhos: tf.Tensor, threshold: float | None) -> tf.Tensor:
  return rhos if threshold is None else tf.minimum(threshold, rhos)


def _check_rank(name: str, tensor: tf.Tensor, rank: int) -> None:
  if tensor.shape.rank is not None and tensor.shape.rank != rank:
    raise ValueError(
      f'{name} must have rank {rank}, not {tensor.shape.rank}: {tensor.shape}'
    )
