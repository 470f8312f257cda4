"""Tests of the equations in distral/tabular.py, by dynamic programming."""

import math
from typing import NamedTuple

import numpy as np
from absl.testing import absltest, parameterized

from distral import tabular

GAMMA = 0.9


class Mdps(NamedTuple):
  """N random tasks: dynamics [N, S, A, S], rewards [N, S, A], starts [N, S]."""

  dynamics: np.ndarray
  rewards: np.ndarray
  starts: np.ndarray


def random_policy(rng, *shape):
  return rng.dirichlet(np.ones(shape[-1]), shape[:-1])


def random_mdps(rng, num_tasks, num_states=4, num_actions=3):
  shape = num_tasks, num_states, num_actions
  return Mdps(
    dynamics=random_policy(rng, *shape, num_states),
    rewards=rng.normal(size=shape),
    starts=random_policy(rng, num_tasks, num_states),
  )


def solve(mdps, prior, alpha, beta):
  """Iterates equations 2 and 3 to their fixed point; returns Q."""
  q = np.zeros(mdps.rewards.shape)
  for _ in range(600):
    values = tabular.soft_values(q, np.log(prior), alpha, beta)
    q = mdps.rewards + GAMMA * np.einsum('nsat,nt->nsa', mdps.dynamics, values)
  return q


def improve(mdps, prior, alpha, beta):
  """Returns the best task policies [N, S, A] for a prior."""
  q = solve(mdps, prior, alpha, beta)
  return tabular.soft_q_policy(q, np.log(prior), alpha, beta)


def visits(mdps, policies):
  """Returns sum_t gamma^t P(s_t, a_t) as [N, S, A]."""
  moves = np.einsum('nsa,nsat->nst', policies, mdps.dynamics)
  matrix = np.eye(moves.shape[-1]) - GAMMA * moves.transpose(0, 2, 1)
  states = np.linalg.solve(matrix, mdps.starts[..., None])
  return states * policies


def objective(mdps, policies, prior, alpha, beta):
  """Returns J of every task (equation 1) [N]."""
  costs = alpha * np.log(prior) - np.log(policies)
  return (visits(mdps, policies) * (mdps.rewards + costs / beta)).sum((1, 2))


class EquationsTest(parameterized.TestCase):
  @parameterized.product(alpha=(0.0, 0.5, 1.0), beta=(0.1, 5.0, 1e4))
  def test_policy_is_as_equation_4_and_sums_to_one(self, alpha, beta):
    rng = np.random.default_rng(0)
    q = rng.normal(size=[7, 5])
    prior = random_policy(rng, 7, 5)
    values = tabular.soft_values(q, np.log(prior), alpha, beta)
    policy = tabular.soft_q_policy(q, np.log(prior), alpha, beta)
    np.testing.assert_allclose(policy.sum(axis=-1), 1, rtol=1e-12)
    expected = prior**alpha * np.exp(beta * (q - values[:, None]))
    np.testing.assert_allclose(policy, expected, rtol=1e-8)

  def test_values_as_printed(self):
    q, prior = np.array([0.3, -1.2, 0.8]), np.array([0.2, 0.5, 0.3])
    for alpha, beta in ((0.0, 2.0), (0.5, 0.7), (1.0, 5.0)):
      terms = [
        p**alpha * math.exp(beta * x) for p, x in zip(prior, q, strict=True)
      ]
      self.assertAlmostEqual(
        tabular.soft_values(q, np.log(prior), alpha, beta),
        math.log(sum(terms)) / beta,
        places=12,
      )

  def test_large_beta_is_the_maximum(self):
    q = np.array([[1.0, 3.0, 2.0], [-900.0, -800.0, -801.0]])
    prior = np.array([0.5, 0.2, 0.3])
    values = tabular.soft_values(q, np.log(prior), 1.0, 1e6)
    np.testing.assert_allclose(values, [3, -800], atol=1e-5)
    policy = tabular.soft_q_policy(q, np.log(prior), 1.0, 1e6)
    np.testing.assert_array_equal(policy, [[0, 1, 0], [0, 1, 0]])

  def test_values_with_a_uniform_prior(self):
    q = np.random.default_rng(0).normal(size=[6, 5])
    for alpha in (0.0, 0.3, 1.0):
      values = tabular.soft_values(q, np.log(np.full(5, 0.2)), alpha, 2.0)
      expected = np.log(np.exp(2 * q).sum(-1)) / 2 - alpha / 2 * np.log(5)
      np.testing.assert_allclose(values, expected, rtol=1e-12)

  def test_without_alpha_the_prior_has_no_effect(self):
    rng = np.random.default_rng(0)
    q, priors = rng.normal(size=[6, 5]), random_policy(rng, 2, 6, 5)
    for function in (tabular.soft_q_policy, tabular.soft_values):
      first, second = (function(q, np.log(p), 0.0, 3.0) for p in priors)
      np.testing.assert_array_equal(first, second)
      first, second = (function(q, np.log(p), 0.5, 3.0) for p in priors)
      self.assertGreater(np.abs(first - second).max(), 0.01)

  def test_pseudocount(self):
    counts = np.array([[3.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(
      tabular.distilled_policy(counts, 1.0),
      [[4 / 7, 1 / 7, 2 / 7], [1 / 3, 1 / 3, 1 / 3]],
    )


class ExactTest(parameterized.TestCase):
  @parameterized.product(alpha=(0.0, 0.5, 1.0), beta=(1.0, 5.0))
  def test_fixed_point_maximises_the_objective(self, alpha, beta):
    rng = np.random.default_rng(1)
    mdps = random_mdps(rng, 2)
    prior = random_policy(rng, 4, 3)
    q = solve(mdps, prior, alpha, beta)
    policies = tabular.soft_q_policy(q, np.log(prior), alpha, beta)
    best = objective(mdps, policies, prior, alpha, beta)
    values = tabular.soft_values(q, np.log(prior), alpha, beta)
    np.testing.assert_allclose(best, (mdps.starts * values).sum(1), rtol=1e-10)
    for _ in range(200):
      noise = rng.choice([0.01, 0.1, 1.0]) * rng.normal(size=policies.shape)
      other = policies * np.exp(noise)
      other /= other.sum(axis=-1, keepdims=True)
      gains = objective(mdps, other, prior, alpha, beta) - best
      self.assertLess(gains.max(), 0)

  def test_distillation_is_the_mixture_weighted_by_visits(self):
    rng = np.random.default_rng(2)
    mdps = random_mdps(rng, 3)
    policies = random_policy(rng, 3, 4, 3)
    weights = visits(mdps, policies)

    def log_likelihood(prior):  # Equation 5, without its factor.
      return (weights * np.log(prior)).sum()

    prior = tabular.distilled_policy(weights.sum(axis=0), 0.0)
    states = weights.sum(axis=2, keepdims=True)  # d_i(s), [N, S, 1].
    mixture = (states * policies).sum(0) / states.sum(0)
    np.testing.assert_allclose(prior, mixture, rtol=1e-12)
    best = log_likelihood(prior)
    for _ in range(200):
      noise = rng.choice([0.01, 0.1, 1.0]) * rng.normal(size=prior.shape)
      other = prior * np.exp(noise)
      other /= other.sum(axis=-1, keepdims=True)
      self.assertLess(log_likelihood(other), best)
    self.assertLess(log_likelihood(policies.mean(axis=0)), best - 0.001)

  def test_distillation_of_equal_visits_is_the_mean(self):
    policies = random_policy(np.random.default_rng(3), 3, 4, 5)
    prior = tabular.distilled_policy(policies.sum(axis=0), 0.0)
    np.testing.assert_allclose((policies - prior).sum(axis=0), 0, atol=1e-12)

  @parameterized.parameters(0.0, 0.5, 1.0)
  def test_alternation_never_lowers_the_objective(self, alpha):
    mdps = random_mdps(np.random.default_rng(4), 3)
    prior = np.full([4, 3], 1 / 3)
    objectives = []
    for _ in range(12):
      policies = improve(mdps, prior, alpha, 2.0)
      objectives.append(objective(mdps, policies, prior, alpha, 2.0).sum())
      prior = tabular.distilled_policy(visits(mdps, policies).sum(axis=0), 0.0)
      objectives.append(objective(mdps, policies, prior, alpha, 2.0).sum())
    self.assertGreater(np.diff(objectives).min(), -1e-9)
    if alpha:
      self.assertGreater(objectives[-1] - objectives[0], 0.01)

  def test_one_task_without_entropy_becomes_greedy(self):
    mdps = random_mdps(np.random.default_rng(5), 1)
    prior = np.full([4, 3], 1 / 3)
    entropies = []
    for _ in range(40):
      policies = improve(mdps, prior, 1.0, 2.0)
      entropies.append(-(policies * np.log(policies)).sum(-1).mean())
      prior = tabular.distilled_policy(visits(mdps, policies)[0], 0.0)
    self.assertGreater(entropies[0], 0.3)
    self.assertLess(entropies[-1], 0.003)
    hard = solve(mdps, prior, 0.0, 1e6)[0]  # The unregularised Q.
    np.testing.assert_array_equal(policies[0].argmax(-1), hard.argmax(-1))

  @parameterized.parameters(0.25, 0.5)
  def test_one_task_with_entropy_becomes_boltzmann(self, alpha):
    mdps = random_mdps(np.random.default_rng(6), 1)
    prior, beta = np.full([4, 3], 1 / 3), 2.0
    for _ in range(80):
      policies = improve(mdps, prior, alpha, beta)
      prior = tabular.distilled_policy(visits(mdps, policies)[0], 0.0)
    expected = improve(mdps, prior, 0.0, beta / (1 - alpha))
    np.testing.assert_allclose(policies, expected, atol=1e-12)


if __name__ == '__main__':
  absltest.main()
