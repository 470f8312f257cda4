"""Catch: a ball falls, a paddle moves, +1 or -1 at the bottom.

The smallest environment that can be learned from pixels; its whole state can be
saved, which the tests of resuming need. It is also the example to copy when you
bring an environment of your own.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

ROWS, COLUMNS = 10, 5
PIXELS = (2, 4)  # Per cell: a frame is [20, 20, 1].


class Catch(gymnasium.Env):
  """A ball in a random column of a 10 x 5 board; 9 steps an episode.

  Of another board the episodes are as many steps long as the ball falls rows.
  """

  action_space = gymnasium.spaces.Discrete(3)  # Left, stay, right.

  def __init__(self, rows: int = ROWS, columns: int = COLUMNS):
    """Takes the size of the board."""
    self._rows, self._columns = rows, columns
    self.observation_space = gymnasium.spaces.Box(
      0, 255, (PIXELS[0] * rows, PIXELS[1] * columns, 1), np.uint8
    )

  def reset(
    self, *, seed: int | None = None, options: dict[str, Any] | None = None
  ) -> tuple[np.ndarray, dict[str, Any]]:
    """Drops a new ball."""
    super().reset(seed=seed)
    self._ball = [0, int(self.np_random.integers(self._columns))]
    self._paddle = self._columns // 2
    return self._frame(), {}

  def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
    """Moves the paddle by action - 1, the ball down by one row."""
    self._paddle = int(np.clip(self._paddle + action - 1, 0, self._columns - 1))
    self._ball[0] += 1
    is_last = self._ball[0] == self._rows - 1
    reward = 0.0
    if is_last:
      reward = 1.0 if self._ball[1] == self._paddle else -1.0
    return self._frame(), reward, is_last, False, {}

  def get_state(self) -> dict[str, Any]:
    """Returns all that `set_state` needs, as JSON can hold it."""
    generator = self.np_random.bit_generator.state
    return dict(ball=self._ball, paddle=self._paddle, generator=generator)

  def set_state(self, state: dict[str, Any]) -> None:
    """Goes on from `get_state`."""
    self._ball, self._paddle = list(state['ball']), state['paddle']
    self.np_random.bit_generator.state = state['generator']
    self._frame()  # Fails of what is not on the board.

  def _frame(self) -> np.ndarray:
    board = np.zeros((self._rows, self._columns), np.uint8)
    board[self._ball[0], self._ball[1]] = 255
    board[self._rows - 1, self._paddle] = 255
    return np.kron(board, np.ones(PIXELS, np.uint8))[:, :, None]


def make_vector_env(num_envs: int, is_training: bool) -> VectorEnv:
  """Builds N games; this is all that `--level_name=module:function` needs.

  Args:
    num_envs: N.
    is_training: False in evaluation; Catch is the same in both.

  Returns:
    A vector environment that resets in the step that ends an episode.
  """
  del is_training
  return SyncVectorEnv(
    [Catch] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP
  )
