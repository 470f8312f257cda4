"""Equations 9 and 10 against the objective, by exact enumeration.

Two tasks of two states, three actions and three steps have 432 trajectories:
few enough to write down the objective of equation 1 and to take its gradient
by differences.
"""

import itertools

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from core import losses
from distral import distral

N, S, A, T = 2, 2, 3, 3
BETA = 2.0
# All sequences of states and actions, [T, K] each.
STATES, ACTIONS = np.split(
  np.array(
    [
      states + actions
      for states in itertools.product(range(S), repeat=T)
      for actions in itertools.product(range(A), repeat=T)
    ]
  ).T,
  2,
)

rng = np.random.default_rng(0)
DYNAMICS = rng.dirichlet(np.ones(S), [N, S, A])  # [N, S, A, S]
REWARDS = rng.normal(size=[N, S, A])
STARTS = rng.dirichlet(np.ones(S), N)
BASELINES = rng.normal(size=[N, S])  # Any: their expectation is 0.
H, F = rng.normal(size=[S, A]), rng.normal(size=[N, S, A])


def log_softmax(logits):
  return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def probabilities(task, log_policy):
  """Returns how likely each trajectory is, [K]."""
  found = STARTS[task, STATES[0]]
  for t in range(T):
    found = found * np.exp(log_policy[STATES[t], ACTIONS[t]])
  for t in range(T - 1):
    found = found * DYNAMICS[task, STATES[t], ACTIONS[t], STATES[t + 1]]
  return found


def objective(h, f, alpha, alpha_arch, gamma):
  """Computes equation 1, policies being those of equation 12."""
  log_distilled = log_softmax(h)
  total = 0.0
  for task in range(N):
    log_policy = log_softmax(alpha_arch * h + f[task])
    # The reward less c_KL and c_Ent times what they weigh.
    paid = (
      REWARDS[task]
      - alpha / BETA * (log_policy - log_distilled)
      - (1 - alpha) / BETA * log_policy
    )
    for t in range(T):
      step = gamma**t * paid[STATES[t], ACTIONS[t]]
      total += np.sum(probabilities(task, log_policy) * step)
  return total


def differences(function, x, size=1e-5):
  """Returns the gradient of a function of one array."""
  gradient = np.zeros_like(x)
  for index in np.ndindex(x.shape):
    step = np.zeros_like(x)
    step[index] = size
    gradient[index] = (function(x + step) - function(x - step)) / (2 * size)
  return gradient


def expected_loss(h, f, alpha, alpha_arch, gamma):
  """Composes the loss as the agent does, weighing each trajectory.

  An actor-critic drops gamma^t, with which equations 9 and 10 weigh step t; it
  is put back here. At gamma = 1 the loss is the agent's as it stands.
  """
  loss = 0.0
  for task in range(N):
    h_of_step = tf.gather(h, STATES)  # [T, K, A]
    logits = distral.two_column_logits(
      h_of_step, tf.gather(f[task], STATES), alpha_arch
    )
    weights = probabilities(
      task, log_softmax(alpha_arch * h.numpy() + f[task].numpy())
    ) * (gamma ** np.arange(T)[:, None])
    rewards = distral.regularized_rewards(
      tf.constant(REWARDS[task][STATES, ACTIONS]),
      distral.log_probabilities(logits, ACTIONS),
      distral.log_probabilities(h_of_step, ACTIONS),
      alpha,
      BETA,
    )
    returns = distral.n_step_returns(
      rewards,
      tf.fill(rewards.shape, tf.constant(gamma, tf.float64)),
      tf.zeros(rewards.shape[1], tf.float64),
    )
    advantages = returns - BASELINES[task][STATES]
    loss += losses.compute_policy_gradient_loss(
      logits, ACTIONS, weights * advantages
    )
    # That of a policy depends on the state alone. The first column is always in
    # state 0, the last one in state 1.
    for t, state in np.ndindex(T, S):
      share = np.sum(weights[t, STATES[t] == state])
      column = state * (STATES.shape[1] - 1)
      loss += share * distral.distillation_loss(
        logits[t, column], h_of_step[t, column], alpha, BETA
      )
  return loss


class GradientTest(parameterized.TestCase):
  @parameterized.product(
    (
      dict(alpha=0.5, alpha_arch=0.5),  # KL+ent_2col.
      dict(alpha=1.0, alpha_arch=1.0),  # KL_2col.
      dict(alpha=0.5, alpha_arch=0.0),  # KL+ent_1col.
      dict(alpha=1.0, alpha_arch=0.0),  # KL_1col.
      dict(alpha=0.0, alpha_arch=1.0),  # A3C_2col, entropy in the return.
      dict(alpha=0.0, alpha_arch=0.0),
    ),
    gamma=(1.0, 0.8),
  )
  def test_equals_that_of_the_objective(self, alpha, alpha_arch, gamma):
    settings = alpha, alpha_arch, gamma
    h, f = tf.constant(H), tf.constant(F)
    with tf.GradientTape() as tape:
      tape.watch([h, f])
      loss = expected_loss(h, f, *settings)
    by_h, by_f = map(tf.convert_to_tensor, tape.gradient(loss, [h, f]))
    expected_by_h = differences(lambda x: objective(x, F, *settings), H)
    expected_by_f = differences(lambda x: objective(H, x, *settings), F)
    # The loss is to be minimised, the objective to be maximised.
    np.testing.assert_allclose(-by_f, expected_by_f, rtol=0, atol=1e-6)
    np.testing.assert_allclose(-by_h, expected_by_h, rtol=0, atol=1e-6)
    self.assertGreater(np.max(np.abs(expected_by_f)), 0.05)
    depends_on_h = alpha > 0 or alpha_arch > 0
    self.assertEqual(np.max(np.abs(expected_by_h)) > 1e-3, depends_on_h)

  def test_trajectories_are_all(self):
    for task in range(N):
      found = probabilities(task, log_softmax(F[task]))
      self.assertLen(found, S**T * A**T)
      self.assertAlmostEqual(found.sum(), 1.0)


if __name__ == '__main__':
  absltest.main()
