"""Per task, rewards are divided by the greatest return seen so far.

Nauman et al. 2025, appendix C.2, equations 2 to 4 (arXiv:2505.23150): returns
then lie within the support. Rewards are stored raw and normalised when they are
sampled, because the factor grows.

Axes: T steps of an episode, n tasks.
"""

import numpy as np
import tensorflow as tf


def monte_carlo_returns(
  rewards: np.ndarray, bootstrap: float, discount: float
) -> np.ndarray:
  """Returns R_t = r_t + discount R_{t+1} of an episode, float64 [T].

  Args:
    rewards: [T].
    bootstrap: R after the last step.
    discount: gamma.
  """
  returns = np.empty(len(rewards))
  following = bootstrap
  for t in range(len(rewards) - 1, -1, -1):
    following = rewards[t] + discount * following
    returns[t] = following
  return returns


def denominators(
  greatest: np.ndarray,
  temperature: np.ndarray,
  entropies: np.ndarray,
  discount: float,
  v_max: float,
) -> np.ndarray:
  """Returns what raw rewards are divided by (equations 3 and 4).

    (G + tau H / (1 - gamma)) / v_max

  The second part is what the entropy of every later step may add to a return.
  Takes arrays and tensors alike.

  Args:
    greatest: G, [n]; infinite before the first episode ended, so that
      normalised rewards are 0.
    temperature: tau.
    entropies: H, [n] or a scalar: of the policy on each task (the paper), or
      minus half the target entropy (the official code).
    discount: gamma.
    v_max: the greatest atom of the support.

  Returns:
    [n].
  """
  return (greatest + temperature * entropies / (1.0 - discount)) / v_max


def moving_entropies(
  entropies: tf.Tensor, log_probs: tf.Tensor, task_id: tf.Tensor
) -> tf.Tensor:
  """Moves H of the tasks in a batch a hundredth of the way to its mean (D3).

  Args:
    entropies: float32 [n], H so far.
    log_probs: float32 [B], log pi of sampled actions.
    task_id: int32 [B].

  Returns:
    float32 [n].
  """
  n = entropies.shape[0]
  sums = tf.math.unsorted_segment_sum(-log_probs, task_id, n)
  counts = tf.math.unsorted_segment_sum(tf.ones_like(log_probs), task_id, n)
  moved = entropies + 0.01 * (tf.math.divide_no_nan(sums, counts) - entropies)
  return tf.where(counts > 0.0, moved, entropies)


class RewardNormalizer:
  """Keeps G, and the rewards of the episodes that are being played.

  Attributes:
    greatest: G, float32 [n], the greatest |return| of any state of a finished
      episode; infinite before the first one.
  """

  def __init__(self, num_tasks: int, discount: float):
    """Starts with nothing seen.

    Args:
      num_tasks: n, an environment each.
      discount: gamma.
    """
    self.greatest = np.full(num_tasks, np.inf, np.float32)
    self._discount = discount
    self._rewards: list[list[float]] = [[] for _ in range(num_tasks)]

  def add(
    self,
    rewards: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    bootstraps: np.ndarray | None = None,
  ) -> None:
    """Takes in one step of every task.

    Args:
      rewards: raw, [n].
      terminated: bool [n].
      truncated: bool [n]; an episode that is both is bootstrapped, as in the
        official code.
      bootstraps: what returns go on with after a truncation, [n], in the unit
        of raw rewards: the critic's, as in the paper. None, or NaN for a task:
        mean reward / (1 - gamma), as in the official code.
    """
    for task, reward in enumerate(rewards):
      episode = self._rewards[task]
      episode.append(float(reward))
      if not (terminated[task] or truncated[task]):
        continue
      bootstrap = 0.0
      if truncated[task]:
        bootstrap = np.mean(episode) / (1.0 - self._discount)
        if bootstraps is not None and np.isfinite(bootstraps[task]):
          bootstrap = bootstraps[task]
      returns = monte_carlo_returns(episode, bootstrap, self._discount)
      greatest = np.float32(np.max(np.abs(returns)))
      if np.isfinite(self.greatest[task]):
        greatest = max(greatest, self.greatest[task])
      self.greatest[task] = greatest
      episode.clear()

  def begin_episodes(self) -> None:
    """Forgets the episodes that were being played."""
    self._rewards = [[] for _ in self._rewards]

  def get_state(self) -> dict[str, np.ndarray]:
    """Returns arrays that `set_state` goes on from."""
    return dict(
      greatest=self.greatest.copy(),
      lengths=np.array([len(r) for r in self._rewards], np.int64),
      rewards=np.array([x for r in self._rewards for x in r], np.float64),
    )

  def set_state(self, state: dict[str, np.ndarray]) -> None:
    """Goes on from `get_state`."""
    self.greatest = np.array(state['greatest'], np.float32)
    ends = np.cumsum(state['lengths'])[:-1]
    self._rewards = [part.tolist() for part in np.split(state['rewards'], ends)]
