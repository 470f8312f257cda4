"""Distral with tables: soft Q-learning alternates with distillation.

Teh et al. 2017 (arXiv:1707.04175), section 2.2, equations 2 to 5, and 4.1. All
tasks of all seeds step at the same time: the axes are R seeds, N tasks, S
states, A actions. The equations for networks are in distral.py.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


@dataclasses.dataclass(frozen=True)
class TabularConfig:
  """Hyperparameters of the grid world.

  Attributes:
    alpha: exponent of pi_0; 1 is "only the KL regularization" (section 4.1).
    beta: inverse temperature (appendix B.1).
    discounting: gamma (appendix B.1).
    learning_rate: of the soft Q-learning (appendix B.1).
    pseudocount: of each action in each state (appendix B.1).
    rollout_length: steps of each task between two distillations (section 4.1).
    count_decay: factor on all counts before a rollout, so that pi_0 forgets the
      first policies; ours, the paper does not say whether counts are kept (D7).
  """

  alpha: float = 1.0
  beta: float = 5.0
  discounting: float = 0.95
  learning_rate: float = 0.1
  pseudocount: float = 1.0
  rollout_length: int = 10
  count_decay: float = 0.995


class Tasks(NamedTuple):
  """Deterministic tasks that differ in rewards, ends and first states.

  Attributes:
    next_state: int64 [S, A].
    rewards: float64 [R, N, S, A].
    is_last: bool [R, N, S, A], whether the episode ends.
    starts: int64 [R, N, K], first states, equally likely.
    max_steps: of an episode; a cut episode's last value is bootstrapped.
  """

  next_state: np.ndarray
  rewards: np.ndarray
  is_last: np.ndarray
  starts: np.ndarray
  max_steps: int


class Evaluation(NamedTuple):
  """Whole episodes, E of each task.

  Attributes:
    returns: float64 [R, N, E], undiscounted.
    lengths: int64 [R, N, E], steps.
  """

  returns: np.ndarray
  lengths: np.ndarray


def soft_values(
  q: np.ndarray, log_prior: np.ndarray, alpha: float, beta: float
) -> np.ndarray:
  """Computes V_i = 1/beta log sum_a pi_0^alpha exp(beta Q_i) (equation 2).

  Args:
    q: float64 [..., A], Q_i(., s).
    log_prior: float64, broadcasts with q; log pi_0(.|s), finite.
    alpha: exponent of pi_0.
    beta: inverse temperature; towards infinity the value is the largest Q.

  Returns:
    float64 [...].
  """
  logits = alpha * log_prior + beta * q
  largest = logits.max(axis=-1, keepdims=True)
  total = np.exp(logits - largest).sum(axis=-1)
  return (largest[..., 0] + np.log(total)) / beta


def soft_q_policy(
  q: np.ndarray, log_prior: np.ndarray, alpha: float, beta: float
) -> np.ndarray:
  """Computes pi_i = pi_0^alpha exp(beta (Q_i - V_i)) (equation 4).

  Args:
    q: float64 [..., A], Q_i(., s).
    log_prior: float64, broadcasts with q; log pi_0(.|s), finite.
    alpha: exponent of pi_0.
    beta: inverse temperature.

  Returns:
    float64 [..., A], probabilities; V_i is their log normaliser.
  """
  logits = alpha * log_prior + beta * q
  unnormalized = np.exp(logits - logits.max(axis=-1, keepdims=True))
  return unnormalized / unnormalized.sum(axis=-1, keepdims=True)


def distilled_policy(counts: np.ndarray, pseudocount: float) -> np.ndarray:
  """Fits pi_0 to the visits of all tasks (maximum likelihood of equation 5).

  Args:
    counts: float64 [..., A], how often each action was taken, over all tasks.
    pseudocount: added to each; 0 only where every state was visited.

  Returns:
    float64 [..., A], probabilities.
  """
  smoothed = counts + pseudocount
  return smoothed / smoothed.sum(axis=-1, keepdims=True)


class Learner:
  """R independent agents with N tasks each.

  Attributes:
    q: float64 [R, N, S, A], Q_i.
    counts: float64 [R, S, A], visits of all tasks, older ones decayed.
    prior: float64 [R, S, A], pi_0.
  """

  def __init__(
    self,
    tasks: Tasks,
    config: TabularConfig,
    is_distilled: bool,
    generators: Sequence[np.random.Generator],
  ):
    """Begins with Q = 0 and a uniform pi_0.

    Args:
      tasks: of all seeds.
      config: hyperparameters.
      is_distilled: True is Distral; False keeps pi_0 uniform, so that every
        task learns for itself.
      generators: one per seed, so that a seed's results do not depend on what
        runs beside it.
    """
    self._tasks = tasks
    self._config = config
    self._is_distilled = is_distilled
    self._generators = generators
    num_seeds, num_tasks, num_states, num_actions = tasks.rewards.shape
    self._seed = np.arange(num_seeds)[:, None]  # Indices that broadcast.
    self._task = np.arange(num_tasks)
    self.q = np.zeros(tasks.rewards.shape)
    self.counts = np.zeros([num_seeds, num_states, num_actions])
    self.prior = np.full(self.counts.shape, 1 / num_actions)
    self._log_prior = np.log(self.prior)
    self._num_steps = np.zeros([num_seeds, num_tasks], np.int64)
    uniforms = _draw(generators, [num_tasks])
    self._state = _pick_starts(tasks.starts, uniforms)

  def run_iteration(self) -> None:
    """Learns from a rollout of each task with pi_0 fixed; then fits pi_0.

    Episodes go on from one rollout to the next.
    """
    config = self._config
    shape = [2, config.rollout_length, len(self._task)]
    uniforms = _draw(self._generators, shape)  # [R, 2, T, N]
    self.counts *= config.count_decay
    for t in range(config.rollout_length):
      self._step(uniforms[:, 0, t], uniforms[:, 1, t])
    if self._is_distilled:
      self.prior = distilled_policy(self.counts, config.pseudocount)
      self._log_prior = np.log(self.prior)

  def task_policies(self) -> np.ndarray:
    """Returns pi_i as float64 [R, N, S, A]."""
    config = self._config
    log_prior = self._log_prior[:, None]
    return soft_q_policy(self.q, log_prior, config.alpha, config.beta)

  def _step(self, action_uniforms, start_uniforms):
    """Takes one step of every task and updates what it came from."""
    config, tasks = self._config, self._tasks
    seed, task, state = self._seed, self._task, self._state
    weights = config.alpha, config.beta
    policy = soft_q_policy(
      self.q[seed, task, state], self._log_prior[seed, state], *weights
    )
    action = _sample(policy.cumsum(axis=-1), action_uniforms)
    at = seed, task, state, action
    next_state, is_last = tasks.next_state[state, action], tasks.is_last[at]
    values = soft_values(
      self.q[seed, task, next_state],
      self._log_prior[seed, next_state],
      *weights,
    )
    discount = config.discounting * ~is_last
    targets = tasks.rewards[at] + discount * values  # Equation 3.
    self.q[at] += config.learning_rate * (targets - self.q[at])
    # Two tasks of a seed may be in the same state.
    np.add.at(self.counts, (seed, state, action), 1.0)
    self._num_steps += 1
    ended = is_last | (self._num_steps == tasks.max_steps)
    self._num_steps[ended] = 0
    starts = _pick_starts(tasks.starts, start_uniforms)
    self._state = np.where(ended, starts, next_state)


def evaluate(
  tasks: Tasks,
  policies: np.ndarray,
  num_episodes: int,
  generators: Sequence[np.random.Generator],
) -> Evaluation:
  """Plays whole episodes of every task with its policy, which is sampled.

  Args:
    tasks: of all seeds.
    policies: float64 [R, N, S, A].
    num_episodes: E, of each task.
    generators: one per seed.

  Returns:
    Evaluation.
  """
  num_seeds, num_tasks = policies.shape[:2]
  shape = [1 + tasks.max_steps, num_tasks, num_episodes]
  uniforms = _draw(generators, shape)  # [R, 1 + max_steps, N, E]
  seed = np.arange(num_seeds)[:, None, None]
  task = np.arange(num_tasks)[:, None]
  cumulative = policies.cumsum(axis=-1)
  state = _pick_starts(tasks.starts[:, :, None], uniforms[:, 0])
  returns = np.zeros([num_seeds, num_tasks, num_episodes])
  lengths = np.zeros(returns.shape, np.int64)
  is_running = np.ones(returns.shape, bool)
  for t in range(tasks.max_steps):
    action = _sample(cumulative[seed, task, state], uniforms[:, 1 + t])
    at = seed, task, state, action
    returns += tasks.rewards[at] * is_running
    lengths += is_running
    is_running &= ~tasks.is_last[at]
    if not is_running.any():
      break
    state = tasks.next_state[state, action]
  return Evaluation(returns, lengths)


def _draw(generators, shape):
  """Returns numbers in [0, 1) as [R, *shape], from each seed's generator."""
  return np.stack([rng.random(shape) for rng in generators])


def _sample(cumulative, uniforms):
  """Returns actions [...] from cumulative probabilities [..., A]."""
  # Without the last one, which rounding may leave below 1.
  return (uniforms[..., None] >= cumulative[..., :-1]).sum(axis=-1)


def _pick_starts(starts, uniforms):
  """Returns first states [...] from starts, which broadcasts to [..., K]."""
  index = (uniforms * starts.shape[-1]).astype(np.int64)
  shape = (*index.shape, starts.shape[-1])
  picked = np.take_along_axis(
    np.broadcast_to(starts, shape), index[..., None], axis=-1
  )
  return picked[..., 0]
