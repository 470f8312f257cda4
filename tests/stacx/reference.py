"""Leaky V-trace and its losses as the paper writes them, slowly, in NumPy."""

import numpy as np


def leaky_weights(log_rhos, lambda_, alpha_rho, alpha_c, level=1.0):
  """Returns rho and c of equation 5."""
  weights = np.exp(log_rhos)
  truncated = np.minimum(level, weights)
  rhos = alpha_rho * truncated + (1 - alpha_rho) * weights
  cs = lambda_ * (alpha_c * truncated + (1 - alpha_c) * weights)
  return rhos, cs


def leaky_vtrace(
  log_rhos,
  discounts,
  rewards,
  values,
  bootstrap_value,
  lambda_,
  alpha_rho,
  alpha_c,
  level=1.0,
):
  """Returns v and rho (r + gamma v_{t+1} - V), by equation 5's double sum.

  Args:
    log_rhos: [T, ...], log(pi(a) / mu(a)).
    discounts: [T, ...].
    rewards: [T, ...].
    values: [T, ...].
    bootstrap_value: [...].
    lambda_: a number, as the rest.
    alpha_rho: of rho.
    alpha_c: of the traces.
    level: rho-bar and c-bar.
  """
  rhos, cs = leaky_weights(log_rhos, lambda_, alpha_rho, alpha_c, level)
  all_values = np.concatenate([values, bootstrap_value[None]])
  num_steps = len(values)
  vs = np.array(values, np.float64)
  for s in range(num_steps):
    for t in range(s, num_steps):
      delta = rhos[t] * (
        rewards[t] + discounts[t] * all_values[t + 1] - all_values[t]
      )
      # gamma^{t - s} prod c_i, i from s to t - 1.
      vs[s] += np.prod(discounts[s:t] * cs[s:t], axis=0) * delta
  next_vs = np.concatenate([vs[1:], bootstrap_value[None]])
  return vs, rhos * (rewards + discounts * next_vs - values)


def log_softmax(logits):
  """Returns log-probabilities."""
  return logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))
