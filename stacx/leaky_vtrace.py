"""Leaky V-trace: targets whose truncation leaks, and can be differentiated.

Zahavy et al. 2020, section 3.1, equation 5 and algorithm 1 (arXiv:2002.12928).
impala/vtrace.py stops every gradient; here nothing is stopped, so that targets
can be differentiated in gamma, lambda, alpha and the truncation levels. What a
loss must not follow (importance weights, values), its caller stops.

Notation: T is the unroll's length, B the batch, A the number of actions.
Everything is time-major and may have trailing axes, such as one of several
heads, which then ride along in one recursion. Any floating dtype is kept.
"""

from typing import NamedTuple

import tensorflow as tf


class LeakyVTraceReturns(NamedTuple):
  """What both functions return.

  Attributes:
    vs: [T, B, ...], targets v_t of the values.
    pg_advantages: [T, B, ...], rho_t (q_t - V(x_t)), with the leaky rho_t.
  """

  vs: tf.Tensor
  pg_advantages: tf.Tensor


def from_logits(
  behaviour_policy_logits: tf.Tensor,
  target_policy_logits: tf.Tensor,
  actions: tf.Tensor,
  discounts: tf.Tensor,
  rewards: tf.Tensor,
  values: tf.Tensor,
  bootstrap_value: tf.Tensor,
  lambda_: tf.Tensor | float,
  alpha_rho: tf.Tensor | float,
  alpha_c: tf.Tensor | float,
  clip_rho_threshold: tf.Tensor | float = 1.0,
  clip_c_threshold: tf.Tensor | float = 1.0,
  advantage: str = 'paper',
) -> LeakyVTraceReturns:
  """Computes leaky V-trace targets for softmax policies.

  Args:
    behaviour_policy_logits: [T, B, A], mu, the actors' policy.
    target_policy_logits: [T, B, ..., A], pi, perhaps of several heads.
    actions: int32 [T, B], sampled from mu.
    discounts: [T, B, ...], gamma, or 0 where the episode ended.
    rewards: [T, B, ...], of the actions.
    values: [T, B, ...], V(x_t) under pi.
    bootstrap_value: [B, ...], V(x_T).
    lambda_: as for `from_importance_weights`.
    alpha_rho: likewise.
    alpha_c: likewise.
    clip_rho_threshold: likewise.
    clip_c_threshold: likewise.
    advantage: likewise.

  Returns:
    LeakyVTraceReturns; gradients flow through the logits too unless the caller
    stops them, as algorithm 1 does (line 4).

  Raises:
    ValueError: if a rank does not fit.
  """
  num_trailing = len(target_policy_logits.shape) - 3
  behaviour = action_log_probs(behaviour_policy_logits, actions)
  behaviour = tf.reshape(behaviour, [*actions.shape, *[1] * num_trailing])
  return from_importance_weights(
    action_log_probs(target_policy_logits, actions) - behaviour,
    discounts,
    rewards,
    values,
    bootstrap_value,
    lambda_,
    alpha_rho,
    alpha_c,
    clip_rho_threshold,
    clip_c_threshold,
    advantage,
  )


def from_importance_weights(
  log_rhos: tf.Tensor,
  discounts: tf.Tensor,
  rewards: tf.Tensor,
  values: tf.Tensor,
  bootstrap_value: tf.Tensor,
  lambda_: tf.Tensor | float,
  alpha_rho: tf.Tensor | float,
  alpha_c: tf.Tensor | float,
  clip_rho_threshold: tf.Tensor | float = 1.0,
  clip_c_threshold: tf.Tensor | float = 1.0,
  advantage: str = 'paper',
) -> LeakyVTraceReturns:
  """Computes leaky V-trace targets from log importance weights (equation 5).

  With alpha_rho = alpha_c = 1 and lambda = 1 they are V-trace's, with alpha = 0
  those of importance sampling. Theorem 1 asks for alpha_rho >= alpha_c.

  Args:
    log_rhos: [T, B, ...], log(pi(a) / mu(a)); their dtype is everything's.
    discounts: [T, B, ...], gamma, or 0 where the episode ended.
    rewards: [T, B, ...].
    values: [T, B, ...], V(x_t) under pi.
    bootstrap_value: [B, ...], V(x_T).
    lambda_: scale of the traces c, a number or what broadcasts to `values`.
    alpha_rho: share of the truncated weight in rho, likewise.
    alpha_c: share of the truncated weight in c, likewise.
    clip_rho_threshold: rho-bar, likewise.
    clip_c_threshold: c-bar, likewise.
    advantage: 'paper', q_t = r_t + gamma v_{t+1} (algorithm 1, line 20); or
      'rlax', as there: v_{t+1} is mixed with V(x_{t+1}) by lambda.

  Returns:
    LeakyVTraceReturns; gradients flow to every argument.

  Raises:
    ValueError: if a rank does not fit `values`, or `advantage` is another.
  """
  log_rhos = tf.convert_to_tensor(log_rhos)
  discounts, rewards, values, bootstrap_value, lambda_ = (
    tf.convert_to_tensor(x, log_rhos.dtype)
    for x in (discounts, rewards, values, bootstrap_value, lambda_)
  )
  rank = len(values.shape)
  _check_ranks(rank, log_rhos=log_rhos, discounts=discounts, rewards=rewards)
  _check_ranks(rank - 1, bootstrap_value=bootstrap_value)

  weights = tf.exp(log_rhos)
  rhos = leak(weights, alpha_rho, clip_rho_threshold)
  cs = lambda_ * leak(weights, alpha_c, clip_c_threshold)
  values_t_plus_1 = tf.concat([values[1:], bootstrap_value[None]], axis=0)
  deltas = rhos * (rewards + discounts * values_t_plus_1 - values)
  vs = values + discounted_sum(deltas, discounts * cs)
  q_t_plus_1 = tf.concat([vs[1:], bootstrap_value[None]], axis=0)
  if advantage == 'rlax':
    q_t_plus_1 = lambda_ * q_t_plus_1 + (1.0 - lambda_) * values_t_plus_1
  elif advantage != 'paper':
    raise ValueError(f'unknown form of the advantage {advantage!r}')
  pg_advantages = rhos * (rewards + discounts * q_t_plus_1 - values)
  return LeakyVTraceReturns(vs, pg_advantages)


def leak(
  weights: tf.Tensor, alpha: tf.Tensor | float, threshold: tf.Tensor | float
) -> tf.Tensor:
  """Mixes truncated and whole importance weights (equation 5).

  Args:
    weights: [...], pi(a) / mu(a).
    alpha: share of the truncated ones, broadcasts to `weights`.
    threshold: where they are truncated, likewise.

  Returns:
    alpha min(threshold, w) + (1 - alpha) w, [...].
  """
  threshold = tf.convert_to_tensor(threshold, weights.dtype)
  truncated = tf.minimum(threshold, weights)
  if isinstance(alpha, float) and alpha == 1.0:
    return truncated  # Also where a weight is infinite.
  alpha = tf.convert_to_tensor(alpha, weights.dtype)
  return alpha * truncated + (1.0 - alpha) * weights


def discounted_sum(deltas: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
  """Solves x_t = delta_t + factor_t x_{t+1} backwards from x_T = 0.

  In log2(T) steps on whole tensors, each of which lets a step see twice as far:
  no loop, so XLA compiles it and its gradients on every device.

  Args:
    deltas: [T, ...].
    factors: [T, ...], of the same shape.

  Returns:
    [T, ...].
  """
  num_steps = deltas.shape[0]
  reach = 1
  while reach < num_steps:
    # x_t holds the terms of the next `reach` steps, factor_t their product.
    deltas += factors * _shift(deltas, reach)
    factors *= _shift(factors, reach)
    reach *= 2
  return deltas


def action_log_probs(logits: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
  """Computes log pi(a | x) of the actions taken.

  Args:
    logits: [T, B, ..., A], unnormalised log-probabilities.
    actions: int32 [T, B], the same for all trailing axes.

  Returns:
    [T, B, ...].
  """
  logits = tf.convert_to_tensor(logits)
  _check_ranks(2, actions=actions)
  num_trailing = len(logits.shape) - 3
  # A product rather than a gather: its gradients are products too.
  taken = tf.one_hot(actions, logits.shape[-1], dtype=logits.dtype)
  taken = tf.reshape(
    taken, [*taken.shape[:2], *[1] * num_trailing, taken.shape[2]]
  )
  return tf.reduce_sum(tf.nn.log_softmax(logits) * taken, axis=-1)


def _shift(x: tf.Tensor, steps: int) -> tf.Tensor:
  """Returns x_{t + steps}, 0 beyond the end."""
  return tf.concat([x[steps:], tf.zeros_like(x[:steps])], axis=0)


def _check_ranks(rank: int, **tensors: tf.Tensor) -> None:
  for name, tensor in tensors.items():
    if len(tensor.shape) != rank:
      raise ValueError(
        f'{name} must have rank {rank}, not {len(tensor.shape)}: {tensor.shape}'
      )
