"""A convolutional actor-critic of few weights in float64, for meta-gradients.

The whole of algorithm 2 on it, two ways: with the functions under test, and as
numbers that central differences can be taken of.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from core.types import EnvSpec
from stacx import losses, meta_gradient
from stacx.policies import Softmax
from stacx.pooling import make_max_pool
from tests.stacx import reference

T, B, A = 4, 3, 3
OUTER = losses.Hyperparameters(0.995, 1.0, 1.0, 1.0, 1.0, 0.25, 1.0, 0.01)
RATE, DECAY, MOMENTUM, EPSILON = 0.1, 0.99, 0.3, 0.1


class Result(NamedTuple):
  """What an update came to.

  Attributes:
    gradients: G.
    weights: theta'.
    eta_gradient: [M, P].
    kl: of the policies at theta' and theta.
  """

  gradients: list
  weights: list
  eta_gradient: np.ndarray
  kl: float


class SmallProblem:
  """Weights, a batch of experience, and eta.

  Attributes:
    objective: what the losses are.
    eta: float64 [M, P].
    experience: random, off policy.
    variables: theta.
  """

  def __init__(
    self,
    tuned=('gamma', 'lambda', 'alpha', 'g_v', 'g_p', 'g_e'),
    num_heads=2,
    seed=0,
    outer=OUTER,
    on_policy=False,
    max_norm=0.0,
    kl_scale=1.0,
    rate=RATE,
    behaviour='main_head',
    has_extra_values=False,
    advantage='paper',
  ):
    """Draws everything from the seed."""
    rng = np.random.default_rng(seed)
    policy = Softmax(EnvSpec(('task',), num_actions=A))
    self.objective = losses.Objective(
      policy, tuned, outer, behaviour, advantage
    )
    self.num_heads = num_heads
    self.max_norm, self.kl_scale, self.rate = max_norm, kl_scale, rate
    self.has_extra_values = has_extra_values
    self.eta = tf.constant(rng.normal(1.0, 1.0, [len(tuned), num_heads]))
    self.frames = rng.normal(size=[(T + 1) * B, 6, 6, 1])
    shapes = [
      *([3, 3, 1, 2], [2], [18, num_heads, A], [num_heads, A]),
      *([18, num_heads], [num_heads], [18, 1]),
    ]
    self._start = [rng.normal(scale=0.5, size=shape) for shape in shapes]
    if not has_extra_values:
      self._start.pop()
    self.variables = [tf.Variable(x) for x in self._start]
    self._mean_squares = [rng.random(x.shape) for x in self._start]
    self._moments = [0.01 * rng.normal(size=x.shape) for x in self._start]
    self._pool = make_max_pool(compile_parts=False)
    behaviour_logits = rng.normal(size=[T, B, A])
    actions = rng.integers(A, size=[T, B], dtype=np.int32)
    log_mu = reference.log_softmax(behaviour_logits)
    if on_policy:
      logits = self.outputs().parameters[:-1, :, 0].numpy()
      log_mu = reference.log_softmax(logits)
    taken = np.take_along_axis(log_mu, actions[..., None], axis=2)[..., 0]
    self.experience = losses.Experience(
      tf.constant(actions),
      tf.constant(taken),
      tf.constant(rng.normal(size=[T, B])),
      tf.constant(np.float64(rng.random([T, B]) > 0.2)),
      tf.zeros([B], tf.int32),
    )

  def outputs(self):
    """Passes the batch through the network."""
    w, b, w_policy, b_policy, w_values, b_values, *extra = self.variables
    x = self._pool(tf.nn.conv2d(self.frames, w, 1, 'SAME') + b)
    x = tf.reshape(tf.nn.relu(x), [-1, 18])
    policy = tf.einsum('nf,fpa->npa', x, w_policy) + b_policy
    values = x @ w_values + b_values
    return losses.Outputs(
      tf.reshape(policy, [T + 1, B, self.num_heads, A]),
      tf.reshape(values, [T + 1, B, self.num_heads]),
      tf.reshape(x @ extra[0], [T + 1, B, 1]) if extra else (),
    )

  def reset(self):
    """Makes the weights theta again."""
    for variable, start in zip(self.variables, self._start, strict=True):
      variable.assign(start)

  def steps(self, gradients):
    """Returns the optimiser's steps, and the norm of the gradients."""
    norm = tf.linalg.global_norm(gradients)
    if self.max_norm:
      gradients, _ = tf.clip_by_global_norm(gradients, self.max_norm)
    steps = [
      meta_gradient.rms_prop_step(g, s, m, self.rate, DECAY, MOMENTUM, EPSILON)
      for g, s, m in zip(
        gradients, self._mean_squares, self._moments, strict=True
      )
    ]
    return steps, norm

  def update(self):
    """Runs algorithm 2 with the functions under test; resets the weights."""
    with tf.GradientTape() as tape:
      outputs = self.outputs()
    with tf.GradientTape() as loss_tape:
      loss_tape.watch(outputs)
      loss, _ = losses.inner_loss(
        self.objective, outputs, self.experience, self.eta
      )
    gradients, tangents = meta_gradient.transposable_gradients(
      tape, outputs, self.variables, loss_tape.gradient(loss, outputs)
    )
    steps, norm = self.steps(gradients)
    for variable, step in zip(self.variables, steps, strict=True):
      variable.assign_sub(step.moment)
    with tf.GradientTape() as tape:
      loss, metrics = losses.outer_loss(
        self.objective, self.outputs(), outputs, self.experience, self.kl_scale
      )
    v = tape.gradient(loss, self.variables, unconnected_gradients='zero')
    weights = [variable.numpy() for variable in self.variables]
    directions = meta_gradient.clip_transposed(
      [v * step.slope for v, step in zip(v, steps, strict=True)],
      *(gradients, norm, self.max_norm),
    )
    eta_gradient = meta_gradient.eta_gradient(
      lambda y, eta: losses.inner_loss(self.objective, y, self.experience, eta)[
        0
      ],
      *(outputs, self.eta, tangents(directions)),
    )
    self.reset()
    return Result(
      gradients, weights, eta_gradient.numpy(), float(metrics['kl'])
    )

  def step_weights(self, eta):
    """Sets the weights to theta'(eta)."""
    self.reset()
    with tf.GradientTape() as tape:
      loss, _ = losses.inner_loss(
        self.objective, self.outputs(), self.experience, eta
      )
    steps, _ = self.steps(tape.gradient(loss, self.variables))
    for variable, step in zip(self.variables, steps, strict=True):
      variable.assign_sub(step.moment)

  def outer_numbers(self):
    """Returns, at the weights as they are, outputs and the outer targets."""
    outputs = tf.nest.map_structure(np.asarray, self.outputs())
    logits, values = outputs.parameters, outputs.values
    if self.has_extra_values:
      values = outputs.extra_values
    if self.objective.behaviour == 'average_logits':
      logits = logits.mean(axis=2, keepdims=True)
    if self.objective.behaviour == 'main_head':
      logits, values = logits[:, :, :1], values[:, :, :1]
    log_pi = reference.log_softmax(logits[:-1])
    actions = self.experience.actions.numpy()[:, :, None, None]
    taken = np.take_along_axis(log_pi, actions, axis=3)[..., 0]
    outer = self.objective.outer
    log_mu, rewards, goes_on = (
      x.numpy()[:, :, None] for x in self.experience[1:4]
    )
    ones = np.ones_like(taken)
    targets = reference.leaky_vtrace(
      taken - log_mu,
      ones * goes_on * outer.gamma,
      ones * rewards,
      values[:-1],
      values[-1],
      *(outer.lambda_, outer.alpha_rho, outer.alpha_c, outer.truncation),
    )
    return log_pi, taken, values[:-1], targets

  def surrogate(self, eta, targets, old_log_pi):
    """Computes outer loss and KL divergence at theta'(eta), targets given."""
    self.step_weights(eta)
    log_pi, taken, values, _ = self.outer_numbers()
    vs, advantages = targets
    outer = self.objective.outer
    pi = np.exp(log_pi)
    loss = (
      outer.g_v * np.sum((vs - values) ** 2)
      - outer.g_p * np.sum(taken * advantages)
      + outer.g_e * np.sum(pi * log_pi)
      + self.kl_scale * np.sum(pi * (log_pi - old_log_pi))
    )
    return loss / values.shape[2]

  def differences(self, is_frozen=True, h=1e-5):
    """Takes central differences of the outer loss in eta, [M, P].

    Args:
      is_frozen: whether v and rho (r + gamma v - V) stay as they are at
        theta'(eta), as the stop-gradients want it.
      h: half the distance.
    """
    self.reset()
    old_log_pi = self.outer_numbers()[0]
    self.step_weights(self.eta)
    targets = self.outer_numbers()[3]
    found = np.zeros(self.eta.shape)
    for index in np.ndindex(*self.eta.shape):
      sides = []
      for sign in (1.0, -1.0):
        eta = self.eta.numpy()
        eta[index] += sign * h
        eta = tf.constant(eta)
        if not is_frozen:
          self.step_weights(eta)
          targets = self.outer_numbers()[3]
        sides.append(self.surrogate(eta, targets, old_log_pi))
      found[index] = (sides[0] - sides[1]) / (2.0 * h)
    self.reset()
    return found
