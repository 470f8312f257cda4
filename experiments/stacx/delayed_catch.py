"""Catch whose reward comes 30 steps late: a short horizon cannot see it.

The ball comes down after 9 steps; the board then stands still, whatever the
actions, until the reward ends the episode in step 39. To the last move that
reward is worth .04 with gamma .9 and .86 with gamma .995.

    python -m stacx.experiment --preset=catch \\
      --level_name=experiments.stacx.delayed_catch:make_vector_env
"""

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from core.environments.catch import Catch

DELAY = 30  # Steps between the ball's last one and the reward.


class DelayedCatch(Catch):
  """Catch; reward and end come `DELAY` steps late."""

  def reset(
    self, *, seed: int | None = None, options: dict[str, Any] | None = None
  ) -> tuple[np.ndarray, dict[str, Any]]:
    """Drops a new ball."""
    self._waited, self._outcome = 0, None
    return super().reset(seed=seed, options=options)

  def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
    """Plays Catch, then waits."""
    if self._outcome is None:
      frame, reward, is_down, _, infos = super().step(action)
      if is_down:
        self._outcome = reward
      return frame, 0.0, False, False, infos
    self._waited += 1
    is_last = self._waited == DELAY
    reward = self._outcome if is_last else 0.0
    return self._frame(), reward, is_last, False, {}

  def get_state(self) -> dict[str, Any]:
    """Returns all that `set_state` needs, as JSON can hold it."""
    waiting = dict(waited=self._waited, outcome=self._outcome)
    return super().get_state() | waiting

  def set_state(self, state: dict[str, Any]) -> None:
    """Goes on from `get_state`."""
    self._waited, self._outcome = state['waited'], state['outcome']
    super().set_state(state)


def make_vector_env(num_envs: int, is_training: bool) -> VectorEnv:
  """Builds N games, the same in training and evaluation."""
  del is_training
  return SyncVectorEnv(
    [DelayedCatch] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP
  )
