"""Policies as STACX's losses see them: softmax, and the squashed Gaussian.

Zahavy et al. 2020, supplement 9.3 (arXiv:2002.12928). Both describe a policy by
an array of parameters whose last axis is of length `num_parameters`, and both
work on any number of heads at once: parameters are [T, B, P, ...], of P heads,
while actions, the same for all of them, have no such axis.
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from core.types import AgentOutput, EnvSpec
from stacx import leaky_vtrace


class Taken(NamedTuple):
  """The actions of an unroll, as the policy scores them.

  Attributes:
    actions: int32 [T, B], or [T, B, D] before the squashing.
    log_probs: [T, B], log mu of them.
  """

  actions: tf.Tensor
  log_probs: tf.Tensor


class Softmax:
  """Discrete actions; the parameters are logits.

  Attributes:
    num_parameters: A.
    regularizer_name: what a record calls the regulariser.
  """

  regularizer_name = 'negative_entropy'

  def __init__(self, env_spec: EnvSpec):
    """Takes the number of actions."""
    self.num_parameters = env_spec.num_actions

  def parameters(self, outputs: tf.Tensor) -> tf.Tensor:
    """Turns the network's outputs into parameters; here they are the same."""
    return outputs

  def taken(self, agent_outputs: AgentOutput, task_id: tf.Tensor) -> Taken:
    """Reads what the actors did.

    Args:
      agent_outputs: [T, B, ...], without an unroll's entry 0.
      task_id: int32 [B].

    Returns:
      Taken.
    """
    del task_id
    logits, actions = agent_outputs.policy_logits, agent_outputs.action
    return Taken(actions, leaky_vtrace.action_log_probs(logits, actions))

  def log_probs(
    self, parameters: tf.Tensor, actions: tf.Tensor, task_id: tf.Tensor
  ) -> tf.Tensor:
    """Returns log pi of actions [T, B] under each head, [T, B, P]."""
    del task_id
    return leaky_vtrace.action_log_probs(parameters, actions)

  def regularizer(self, parameters: tf.Tensor, task_id: tf.Tensor) -> tf.Tensor:
    """Returns the negative entropy of each step, [T, B, P], to minimise."""
    del task_id
    log_policy = tf.nn.log_softmax(parameters)
    return tf.reduce_sum(tf.exp(log_policy) * log_policy, axis=-1)

  def kl_divergence(
    self, parameters: tf.Tensor, others: tf.Tensor, task_id: tf.Tensor
  ) -> tf.Tensor:
    """Returns KL(pi || other) of each step, [T, B, P]."""
    del task_id
    log_policy, log_other = map(tf.nn.log_softmax, (parameters, others))
    difference = log_policy - log_other
    return tf.reduce_sum(tf.exp(log_policy) * difference, axis=-1)


class TanhGaussian:
  """Continuous actions: a Gaussian, squashed by tanh into the bounds.

  With u from N(mean, diag(sigma^2)), the action is tanh(u), stretched to the
  bounds. The parameters are the D means and D log sigmas. Actors record u
  beside them, so that nothing has to invert a tanh that rounding took to 1.

  Attributes:
    num_parameters: 2 D.
    regularizer_name: what a record calls the regulariser.
  """

  regularizer_name = 'kl_to_standard_gaussian'

  def __init__(
    self, env_spec: EnvSpec, min_log_sigma: float, max_log_sigma: float
  ):
    """Takes the actions' bounds, and those of log sigma."""
    box = env_spec.action_box
    self._low, self._high = np.float32(box.low), np.float32(box.high)
    num_numbers = len(box.low)
    self.num_parameters = 2 * num_numbers
    self._log_sigmas = (min_log_sigma, max_log_sigma)
    sizes = box.task_sizes or [num_numbers] * len(env_spec.task_names)
    # 1 where a task reads the number, 0 where it is padding: [tasks, D].
    self._is_read = np.float32(
      np.arange(num_numbers) < np.array(sizes)[:, None]
    )

  def parameters(self, outputs: tf.Tensor) -> tf.Tensor:
    """Squashes the network's outputs, [..., 2 D], into means and log sigmas.

    D6: sigma = exp(min + (max - min) (tanh(y) + 1) / 2), the parenthesis that
    the printed formula lacks.
    """
    mean, y = tf.split(outputs, 2, axis=-1)
    low, high = self._log_sigmas
    log_sigma = low + 0.5 * (high - low) * (tf.tanh(y) + 1.0)
    return tf.concat([tf.tanh(mean), log_sigma], axis=-1)

  def sample(
    self, parameters: tf.Tensor, seed: tf.Tensor
  ) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws an action for each row.

    Args:
      parameters: float32 [N, 2 D].
      seed: int32 [2].

    Returns:
      Actions within the bounds, float32 [N, D]; and what is recorded of the
      policy, float32 [N, 3 D]: its parameters, then u.
    """
    mean, log_sigma = tf.split(parameters, 2, axis=-1)
    noise = tf.random.stateless_normal(tf.shape(mean), seed)
    before = mean + tf.exp(log_sigma) * noise
    share = 0.5 * (tf.tanh(before) + 1.0)
    action = self._low + share * (self._high - self._low)
    return action, tf.concat([parameters, before], axis=-1)

  def taken(self, agent_outputs: AgentOutput, task_id: tf.Tensor) -> Taken:
    """Reads what the actors did; as `Softmax.taken`."""
    recorded = agent_outputs.policy_logits
    parameters = recorded[..., : self.num_parameters]
    actions = recorded[..., self.num_parameters :]
    log_probs = self.log_probs(parameters[:, :, None], actions, task_id)
    return Taken(actions, log_probs[:, :, 0])

  def log_probs(
    self, parameters: tf.Tensor, actions: tf.Tensor, task_id: tf.Tensor
  ) -> tf.Tensor:
    """Returns the log-density of actions under each head, [T, B, P].

    Args:
      parameters: [T, B, P, 2 D].
      actions: u, [T, B, D].
      task_id: int32 [B].

    Returns:
      log N(u) - log |da / du|, of the numbers that the task reads.
    """
    mean, log_sigma = tf.split(parameters, 2, axis=-1)
    before = actions[:, :, None]
    z = (before - mean) * tf.exp(-log_sigma)
    gaussian = -0.5 * z * z - log_sigma - 0.5 * math.log(2.0 * math.pi)
    # log(1 - tanh(u)^2), which rounding would take to -inf.
    squashing = 2.0 * (math.log(2.0) - before - tf.math.softplus(-2.0 * before))
    stretching = np.log(0.5 * (self._high - self._low))
    each = gaussian - squashing - tf.cast(stretching, before.dtype)
    return self._sum_of_read(each, task_id)

  def regularizer(self, parameters: tf.Tensor, task_id: tf.Tensor) -> tf.Tensor:
    """Returns KL(N(mean, sigma^2) || N(0, 1)) of each step, [T, B, P]; D7."""
    mean, log_sigma = tf.split(parameters, 2, axis=-1)
    each = 0.5 * (tf.exp(2.0 * log_sigma) + mean * mean - 1.0) - log_sigma
    return self._sum_of_read(each, task_id)

  def kl_divergence(
    self, parameters: tf.Tensor, others: tf.Tensor, task_id: tf.Tensor
  ) -> tf.Tensor:
    """Returns KL(pi || other), the same before and after squashing."""
    mean, log_sigma = tf.split(parameters, 2, axis=-1)
    other_mean, other_log_sigma = tf.split(others, 2, axis=-1)
    scale = tf.exp(-2.0 * other_log_sigma)
    spread = tf.exp(2.0 * log_sigma) + tf.square(mean - other_mean)
    each = other_log_sigma - log_sigma + 0.5 * (scale * spread - 1.0)
    return self._sum_of_read(each, task_id)

  def _sum_of_read(self, each, task_id):
    """Sums [T, B, P, D] over the numbers that the tasks [B] read."""
    is_read = tf.cast(tf.gather(self._is_read, task_id), each.dtype)
    return tf.reduce_sum(each * is_read[:, None], axis=-1)
