"""The losses of STACX: inner ones, which eta shapes, and the outer one.

Zahavy et al. 2020, equations 1, 3 and 4 and algorithm 1 (arXiv:2002.12928), as
functions of what the network returns.

Notation: T is the unroll's length, B the batch, P the number of heads, M the
number of self-tuned metaparameters. Any floating dtype is kept.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from stacx import leaky_vtrace

METAPARAMETERS = (
  'gamma',
  'lambda',
  'alpha',
  'alpha_rho',
  'alpha_c',
  'truncation',
  'g_v',
  'g_p',
  'g_e',
)
"""What can be tuned; `alpha` is alpha_rho and alpha_c tied."""

_SCALED = ('truncation', 'g_v', 'g_p', 'g_e')  # By their outer values.


class Hyperparameters(NamedTuple):
  """What a loss depends on besides the network; numbers, or [P] each.

  Attributes:
    gamma: discount.
    lambda_: scale of the traces.
    alpha_rho: share of truncated weights in rho.
    alpha_c: share of truncated weights in the traces.
    truncation: rho-bar and c-bar.
    g_v: weight of the squared value errors, without a half.
    g_p: weight of the policy gradient.
    g_e: weight of the regulariser: negative entropy, or KL divergence.
  """

  gamma: Any
  lambda_: Any
  alpha_rho: Any
  alpha_c: Any
  truncation: Any
  g_v: Any
  g_p: Any
  g_e: Any


class Outputs(NamedTuple):
  """What losses read of the network.

  Attributes:
    parameters: [T + 1, B, P, ...], of the policies.
    values: [T + 1, B, P]; the last one is the bootstrap.
    extra_values: [T + 1, B, 1], of the policy that acts, learned with the outer
      loss's coefficients; () without them.
  """

  parameters: tf.Tensor
  values: tf.Tensor
  extra_values: Any = ()


class Objective(NamedTuple):
  """What the losses of one agent are.

  Attributes:
    policy: Softmax or TanhGaussian, of stacx/policies.py.
    tuned: the M metaparameters that eta holds, of `METAPARAMETERS`.
    outer: coefficients of the outer loss, numbers.
    behaviour: 'main_head', 'random_head' or 'average_logits'.
    advantage: as for `leaky_vtrace.from_importance_weights`.
  """

  policy: Any
  tuned: tuple[str, ...]
  outer: 'Hyperparameters'
  behaviour: str = 'main_head'
  advantage: str = 'paper'


class Experience(NamedTuple):
  """What losses read of a batch besides the network's outputs.

  Attributes:
    actions: [T, B, ...], as the policy scores them.
    behaviour_log_probs: [T, B], log mu of the actions.
    rewards: [T, B], as the loss sees them.
    goes_on: [T, B], 0 where the episode ended with the step, else 1.
    task_id: int32 [B].
    truncated: bool [T, B], a time limit ended the episode with the step; ()
      where none does.
  """

  actions: tf.Tensor
  behaviour_log_probs: tf.Tensor
  rewards: tf.Tensor
  goes_on: tf.Tensor
  task_id: tf.Tensor
  truncated: Any = ()


class Losses(NamedTuple):
  """Per head, [P] each; sums over time and batch.

  Attributes:
    policy_gradient: with its weight, as the next two.
    value: the squared errors.
    regularizer: negative entropy, or KL divergence.
    unweighted_regularizer: the same without its weight.
    num_truncated: steps whose importance weight exceeds the truncation level.
  """

  policy_gradient: tf.Tensor
  value: tf.Tensor
  regularizer: tf.Tensor
  unweighted_regularizer: tf.Tensor
  num_truncated: tf.Tensor

  def total(self) -> tf.Tensor:
    """Returns each head's loss, [P]."""
    return self.policy_gradient + self.value + self.regularizer


def inner_loss(
  objective: Objective,
  outputs: Outputs,
  experience: Experience,
  eta: tf.Tensor,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
  """Computes the mean of the heads' losses (equation 4; algorithm 2, line 11).

  Args:
    objective: what the losses are.
    outputs: of all heads.
    experience: of the T steps.
    eta: [M, P], raw.

  Returns:
    The loss, a sum over time and batch; and metrics, scalars but for
    `num_truncated`, [P], the steps whose weights are truncated.
  """
  zeta = hyperparameters(eta, objective.tuned, objective.outer)
  parts = actor_critic_losses(
    objective, outputs.parameters, outputs.values, experience, zeta
  )
  total_loss = tf.reduce_mean(parts.total())
  metrics = {
    'policy_gradient_loss': tf.reduce_mean(parts.policy_gradient),
    'baseline_loss': tf.reduce_mean(parts.value),
    'entropy_loss': tf.reduce_mean(parts.regularizer),
    objective.policy.regularizer_name: parts.unweighted_regularizer[0],
    'num_truncated': parts.num_truncated,
  }
  if not isinstance(outputs.extra_values, tuple):
    # D11: learned with the outer loss's coefficients, as one more head.
    acting = actor_critic_losses(
      objective, *_acting(objective, outputs), experience, objective.outer
    )
    metrics['extra_baseline_loss'] = acting.value[0] / outputs.values.shape[2]
    total_loss += metrics['extra_baseline_loss']
  return total_loss, {'total_loss': total_loss, **metrics}


def outer_loss(
  objective: Objective,
  outputs: Outputs,
  old_outputs: Outputs,
  experience: Experience,
  kl_scale: tf.Tensor | float,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
  """Computes the loss of who acts (equation 3; algorithm 2, lines 13 and 14).

  Args:
    objective: what the losses are.
    outputs: at theta', of the heads that act.
    old_outputs: at theta, of all heads; constant.
    experience: of the T steps.
    kl_scale: g_kl, for a sum over time and batch; D5.

  Returns:
    The loss, its KL divergence included; and both apart as scalars, the
    divergence without its weight.
  """
  parameters, values = _acting(objective, outputs)
  old_parameters, _ = _acting(objective, old_outputs)
  parts = actor_critic_losses(
    objective, parameters, values, experience, objective.outer
  )
  divergence = objective.policy.kl_divergence(
    parameters[:-1], tf.stop_gradient(old_parameters[:-1]), experience.task_id
  )
  loss = tf.reduce_mean(parts.total())
  kl = tf.reduce_sum(tf.reduce_mean(divergence, axis=2))
  return loss + kl_scale * kl, dict(outer_loss=loss, kl=kl)


def hyperparameters(
  eta: tf.Tensor, names: Sequence[str], outer: Hyperparameters
) -> Hyperparameters:
  """Computes zeta(eta), what the inner loss uses (algorithm 2, line 10).

  A metaparameter is a sigmoid; loss coefficients and truncation level are
  multiplied by their outer values. What is not tuned has its outer value itself
  (section 4.1).

  Args:
    eta: [M, P], raw.
    names: the M metaparameters, of `METAPARAMETERS`.
    outer: numbers.

  Returns:
    Hyperparameters, [P] each where tuned, the outer number elsewhere.
  """
  values = outer._asdict()
  for fraction, name in zip(tf.unstack(tf.sigmoid(eta)), names, strict=True):
    if name == 'alpha':
      values.update(alpha_rho=fraction, alpha_c=fraction)
    elif name in _SCALED:
      values[name] = fraction * values[name]
    else:
      values['lambda_' if name == 'lambda' else name] = fraction
  return Hyperparameters(**values)


def actor_critic_losses(
  objective: Objective,
  parameters: tf.Tensor,
  values: tf.Tensor,
  experience: Experience,
  zeta: Hyperparameters,
) -> Losses:
  """Computes the losses of every head (algorithm 1).

  No gradient flows into the network through importance weights, targets and
  advantages. They are not constants, though: where zeta depends on eta, the
  losses' gradients do, through discounts, traces, weights and coefficients. In
  the outer loss zeta is constant, and with it targets and advantages; so both
  are this function.

  Args:
    objective: whose policy and form of the advantage it takes.
    parameters: [T + 1, B, P, ...], of the policies.
    values: [T + 1, B, P]; the last one is the bootstrap.
    experience: of the T steps.
    zeta: the losses' coefficients.

  Returns:
    Losses.
  """
  policy, task_id = objective.policy, experience.task_id
  log_probs = policy.log_probs(
    parameters[:-1], experience.actions, task_id
  )  # [T, B, P]
  log_rhos = (
    tf.stop_gradient(log_probs) - experience.behaviour_log_probs[:, :, None]
  )
  fixed_values = tf.stop_gradient(values)
  targets = leaky_vtrace.from_importance_weights(
    log_rhos,
    discounts=experience.goes_on[:, :, None] * zeta.gamma,
    rewards=_rewards(experience, fixed_values),
    values=fixed_values[:-1],
    bootstrap_value=fixed_values[-1],
    lambda_=zeta.lambda_,
    alpha_rho=zeta.alpha_rho,
    alpha_c=zeta.alpha_c,
    clip_rho_threshold=zeta.truncation,
    clip_c_threshold=zeta.truncation,
    advantage=objective.advantage,
  )

  def total(each):
    return tf.reduce_sum(each, axis=[0, 1])  # [P]

  # D2: equation 1 and line 18 print the entropy with the sign that lessens it.
  regularizer = total(policy.regularizer(parameters[:-1], task_id))
  is_truncated = tf.exp(log_rhos) > tf.cast(zeta.truncation, log_rhos.dtype)
  return Losses(
    policy_gradient=-zeta.g_p * total(log_probs * targets.pg_advantages),
    value=zeta.g_v * total(tf.square(targets.vs - values[:-1])),
    regularizer=zeta.g_e * regularizer,
    unweighted_regularizer=regularizer,
    num_truncated=total(tf.cast(is_truncated, log_rhos.dtype)),
  )


def _rewards(experience, values):
  """Returns rewards [T, B, 1 or P], with the values instead at time limits.

  D18: what would follow is not seen, so that nothing is learned of the step,
  and the one before ends in its value.
  """
  rewards = experience.rewards[:, :, None]
  if isinstance(experience.truncated, tuple):
    return rewards
  return tf.where(experience.truncated[:, :, None], values[:-1], rewards)


def _acting(objective, outputs):
  """Returns policies and values that the outer loss is of.

  Several where a random one acts (section 9.3), else one.
  """
  parameters, values, extra_values = outputs
  if objective.behaviour == 'random_head':
    return parameters, values
  if objective.behaviour == 'average_logits':
    return tf.reduce_mean(parameters, axis=2, keepdims=True), extra_values
  if not isinstance(extra_values, tuple):
    values = extra_values
  return parameters[:, :, :1], values[:, :, :1]
