"""The meta-gradient: from the outer loss through an optimiser's step to eta.

Zahavy et al. 2020, algorithm 2 (arXiv:2002.12928). With theta' the
network after an optimiser's step along G = d inner / d theta, which eta shapes,

  v    = d (outer + KL) / d theta'      an ordinary gradient, at theta'
  u    = (d theta' / d G) v             elementwise, slopes of `rms_prop_step`
  eta <- eta - Adam(d <u, G(eta)> / d eta)

The inner loss knows eta only through the network's outputs y. So with
s = d inner / dy and J = dy / d theta, G is J^T s, and <u, G(eta)> is
<s(eta), J u>. J^T s is linear in s: its gradient in s along u is J u
(`transposable_gradients`). That is one pass, as cheap as a forward one; nothing
is differentiated twice through the torso, and nothing is approximated.

Notation: P is the number of heads, M the number of self-tuned metaparameters.
Any floating dtype is kept.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf


class Step(NamedTuple):
  """What one step of RMSProp makes of one variable's slots.

  Attributes:
    mean_square: the new one.
    moment: the new one; the variable becomes variable - moment.
    slope: d theta' / d G, elementwise.
  """

  mean_square: tf.Tensor
  moment: tf.Tensor
  slope: tf.Tensor


def transposable_gradients(
  tape: tf.GradientTape,
  outputs: Any,
  variables: Sequence[tf.Variable],
  cotangents: Any,
) -> tuple[list[tf.Tensor], Callable[[Sequence[tf.Tensor]], Any]]:
  """Computes G = J^T s, and J itself as a function of directions.

  Args:
    tape: that recorded how `outputs` came from `variables`.
    outputs: y, a nest.
    variables: theta.
    cotangents: s, a nest like y.

  Returns:
    G, one tensor per variable; and a function of u, tensors of the same shapes,
    that returns J u, a nest like y, at the theta that the tape saw. It can be
    called once.
  """
  with tf.GradientTape(watch_accessed_variables=False) as linear:
    linear.watch(cotangents)
    gradients = tape.gradient(outputs, variables, output_gradients=cotangents)

  def tangents(directions):
    return linear.gradient(gradients, cotangents, output_gradients=directions)

  return gradients, tangents


def eta_gradient(
  loss_fn: Callable[[Any, tf.Tensor], tf.Tensor],
  outputs: Any,
  eta: tf.Tensor,
  tangents: Any,
) -> tf.Tensor:
  """Computes d <s(y, eta), J u> / d eta, where s = d loss / d y.

  Args:
    loss_fn: the inner loss, a scalar function of y and eta.
    outputs: y, a nest; constant here.
    eta: [M, P].
    tangents: J u, a nest like y.

  Returns:
    [M, P].
  """
  with tf.GradientTape(watch_accessed_variables=False) as meta_tape:
    meta_tape.watch(eta)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch(outputs)
      loss = loss_fn(outputs, eta)
    cotangents = tape.gradient(loss, outputs)
    pairs = zip(
      tf.nest.flatten(cotangents), tf.nest.flatten(tangents), strict=True
    )
    product = tf.add_n([tf.reduce_sum(s * t) for s, t in pairs])
  return meta_tape.gradient(product, eta)


def rms_prop_step(
  gradient: tf.Tensor,
  mean_square: tf.Tensor,
  moment: tf.Tensor,
  learning_rate: tf.Tensor | float,
  decay: float,
  momentum: float,
  epsilon: float,
) -> Step:
  """Takes core.optimizers.RMSProp's step of one variable, and its derivative.

  theta' = theta - moment', where G enters twice: as itself, and through its
  square in the mean square, which counts too (algorithm 2, line 12).

  Args:
    gradient: G, [...].
    mean_square: the slot before the step, [...].
    moment: likewise.
    learning_rate: of this step.
    decay: of the mean square.
    momentum: of the step.
    epsilon: added to the mean square inside the root.

  Returns:
    Step.
  """
  square = (1.0 - decay) * gradient * gradient
  new_mean_square = decay * mean_square + square
  scale = tf.math.rsqrt(new_mean_square + epsilon)
  return Step(
    mean_square=new_mean_square,
    moment=momentum * moment + learning_rate * gradient * scale,
    slope=-learning_rate * (scale - square * scale * scale * scale),
  )


def clip_transposed(
  directions: Sequence[tf.Tensor],
  gradients: Sequence[tf.Tensor],
  norm: tf.Tensor,
  max_norm: float,
) -> list[tf.Tensor]:
  """Takes a cotangent back through clipping by the global norm.

  Args:
    directions: w, cotangent of the clipped gradients.
    gradients: G, before clipping.
    norm: their global norm.
    max_norm: the bound; 0: they were not clipped.

  Returns:
    (d clip(G) / d G)^T w, one tensor per gradient.
  """
  if not max_norm:
    return list(directions)
  pairs = list(zip(directions, gradients, strict=True))
  along = tf.add_n([tf.reduce_sum(w * g) for w, g in pairs]) / (norm * norm)
  is_clipped = norm > max_norm
  scale = tf.where(is_clipped, max_norm / norm, 1.0)
  along = tf.where(is_clipped, along, 0.0)
  return [scale * (w - along * g) for w, g in pairs]


class Adam(tf.Module):
  """Adam on one variable, epsilon outside the root (Kingma and Ba 2015)."""

  def __init__(
    self,
    variable: tf.Variable,
    learning_rate: float,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    name: str = 'adam',
  ):
    """Creates the moments; call it inside the strategy's scope.

    Args:
      variable: what `apply` will update.
      learning_rate: of every step.
      beta_1: decay of the mean gradient.
      beta_2: decay of the mean square.
      epsilon: added to the root of the mean square.
      name: name of the module.
    """
    super().__init__(name=name)
    self._variable = variable
    self._learning_rate = learning_rate
    self._betas = (beta_1, beta_2)
    self._epsilon = epsilon
    zeros = tf.zeros_like(variable)
    self._mean = tf.Variable(zeros, trainable=False)
    self._mean_square = tf.Variable(zeros, trainable=False)
    self._num_steps = tf.Variable(tf.zeros([], zeros.dtype), trainable=False)

  def apply(self, gradient: tf.Tensor) -> None:
    """Takes one step; under a strategy, call it in cross-replica context."""
    beta_1, beta_2 = self._betas
    num_steps = self._num_steps + 1.0
    mean = beta_1 * self._mean + (1.0 - beta_1) * gradient
    mean_square = (
      beta_2 * self._mean_square + (1.0 - beta_2) * gradient * gradient
    )
    spread = tf.sqrt(mean_square / (1.0 - beta_2**num_steps))
    step = mean / (1.0 - beta_1**num_steps) / (spread + self._epsilon)
    self._variable.assign_sub(self._learning_rate * step)
    self._mean.assign(mean)
    self._mean_square.assign(mean_square)
    self._num_steps.assign(num_steps)

  def named_variables(self) -> dict[str, tf.Variable]:
    """Returns the moments by names that stay the same between runs."""
    return {
      'adam/mean': self._mean,
      'adam/mean_square': self._mean_square,
      'adam/num_steps': self._num_steps,
    }
