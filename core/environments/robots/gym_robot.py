"""A task that Gymnasium's registry builds, as our agents play it."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class GymRobot(gymnasium.Env):
  """One task, from features, float32 [F].

  Actions are float [D] between the task's bounds; what lies outside is clipped.
  """

  def __init__(
    self,
    env: gymnasium.Env,
    num_action_repeats: int,
    parts: tuple[str, ...] = (),
    success: str = '',
  ):
    """Wraps an environment.

    Args:
      env: its observations are floats [F], or a dict; it truncates episodes
        itself.
      num_action_repeats: control steps per agent step; rewards add up.
      parts: keys of the dict that are the features, in this order.
      success: key of its infos that tells if a step succeeded; '': none does.
    """
    self._env = env
    self._num_action_repeats = num_action_repeats
    self._parts = parts
    self._success = success
    bounds = env.action_space
    self.action_space = spaces.Box(
      np.float32(bounds.low), np.float32(bounds.high), dtype=np.float32
    )
    space = env.observation_space
    sizes = [space[part].shape[0] for part in parts] or [space.shape[0]]
    self.observation_space = spaces.Box(
      -np.inf, np.inf, (sum(sizes),), np.float32
    )

  def reset(
    self, *, seed: int | None = None, options: dict[str, Any] | None = None
  ) -> tuple[np.ndarray, dict[str, Any]]:
    """Begins an episode; `seed` starts the random numbers anew."""
    super().reset(seed=seed)
    observation, _ = self._env.reset(seed=seed)
    return self._features(observation), {}

  def step(
    self, action: np.ndarray
  ) -> tuple[np.ndarray, float, bool, bool, dict]:
    """Repeats an action; the reward is the sum over its control steps."""
    low, high = self.action_space.low, self.action_space.high
    action = np.clip(np.asarray(action, np.float32), low, high)
    total, success = 0.0, 0.0
    for _ in range(self._num_action_repeats):
      observation, reward, *ends, info = self._env.step(action)
      total += float(reward)
      if self._success:
        success = max(success, float(info[self._success]))
      if any(ends):
        break
    info = {'success': success} if self._success else {}
    return self._features(observation), total, *map(bool, ends), info

  def close(self) -> None:
    """Frees the simulation."""
    self._env.close()

  def _features(self, observation):
    if self._parts:
      observation = np.concatenate([observation[part] for part in self._parts])
    return np.asarray(observation, np.float32)
