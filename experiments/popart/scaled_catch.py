"""Seven copies of Catch whose rewards differ by six orders of magnitude.

Every copy shows its number below the board and has its own order of actions (in
the last the ball rises): the policy, which is not told the task, can tell the
copies apart, and must act differently in each. A cell is 4 x 8 pixels; the
shallow network's VALID convolutions reach every pixel of a 60 x 44 frame.
"""

import functools
import itertools

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from core.environments import catch

SCALES = (1e-2, 1e-1, 1e0, 1e1, 1e2, 1e3, 1e4)
ACTION_ORDERS = tuple(itertools.permutations(range(3)))


class ScaledCatch(catch.Catch):
  """Catch with scaled rewards and actions in another order."""

  def __init__(self, copy: int):
    """Makes copy number `copy`, an index into SCALES."""
    super().__init__()
    self.observation_space = gymnasium.spaces.Box(0, 255, (60, 44, 1), np.uint8)
    self._scale = SCALES[copy]
    self._action_order = ACTION_ORDERS[copy % len(ACTION_ORDERS)]
    self._is_upside_down = copy >= len(ACTION_ORDERS)
    label = np.zeros((2, catch.COLUMNS), np.uint8)
    label.flat[copy] = 255
    self._empty_frame = np.zeros(self.observation_space.shape[:2], np.uint8)
    self._empty_frame[40:, :40] = np.kron(label, np.ones((10, 8), np.uint8))

  def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
    """Moves as Catch does; the reward at the bottom is +scale or -scale."""
    frame, reward, *rest = super().step(self._action_order[action])
    return frame, self._scale * reward, *rest

  def _frame(self) -> np.ndarray:
    frame = self._empty_frame.copy()
    for row, column in (self._ball, (catch.ROWS - 1, self._paddle)):
      row = catch.ROWS - 1 - row if self._is_upside_down else row
      frame[4 * row : 4 * row + 4, 8 * column : 8 * column + 8] = 255
    return frame[:, :, None]


def _make_vector_env(copy: int, num_envs: int, is_training: bool) -> VectorEnv:
  del is_training
  return SyncVectorEnv(
    [functools.partial(ScaledCatch, copy)] * num_envs,
    autoreset_mode=AutoresetMode.SAME_STEP,
  )


# What --level_name names.
TASKS = (
  'times_1e_minus_2',
  'times_1e_minus_1',
  'times_1e0',
  'times_1e1',
  'times_1e2',
  'times_1e3',
  'times_1e4',
)
times_1e_minus_2 = functools.partial(_make_vector_env, 0)
times_1e_minus_1 = functools.partial(_make_vector_env, 1)
times_1e0 = functools.partial(_make_vector_env, 2)
times_1e1 = functools.partial(_make_vector_env, 3)
times_1e2 = functools.partial(_make_vector_env, 4)
times_1e3 = functools.partial(_make_vector_env, 5)
times_1e4 = functools.partial(_make_vector_env, 6)
SCALE_OF_TASK = {
  f'experiments.popart.scaled_catch:{task}': scale
  for task, scale in zip(TASKS, SCALES, strict=True)
}
