"""Five point masses whose rewards differ by four orders of magnitude.

Every copy turns the force by another angle, which its observations do not tell:
a policy that knows one copy alone fails in the others, so that one large reward
cannot make up for four small ones.
"""

import functools
import math

import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from core.environments import point_mass

SCALES = (1e-2, 1e-1, 1e0, 1e1, 1e2)


class ScaledPointMass(point_mass.PointMass):
  """A point mass in two dimensions with scaled rewards and turned forces."""

  def __init__(self, copy: int):
    """Makes copy number `copy`, an index into SCALES."""
    super().__init__(num_dimensions=2)
    self._scale = SCALES[copy]
    angle = 2.0 * math.pi * copy / len(SCALES)
    cos, sin = math.cos(angle), math.sin(angle)
    self._turn = np.array([[cos, -sin], [sin, cos]])

  def step(
    self, action: np.ndarray
  ) -> tuple[np.ndarray, float, bool, bool, dict]:
    """Pushes as PointMass does; a step's reward is at most the scale."""
    force = self._turn @ np.clip(np.asarray(action, np.float64), -1.0, 1.0)
    features, reward, *rest = super().step(force)
    return features, self._scale * reward, *rest


def _make_vector_env(copy: int, num_envs: int, is_training: bool) -> VectorEnv:
  del is_training
  return SyncVectorEnv(
    [functools.partial(ScaledPointMass, copy)] * num_envs,
    autoreset_mode=AutoresetMode.SAME_STEP,
  )


# What --level_name names.
TASKS = (
  *('times_1e_minus_2', 'times_1e_minus_1', 'times_1e0', 'times_1e1'),
  'times_1e2',
)
times_1e_minus_2 = functools.partial(_make_vector_env, 0)
times_1e_minus_1 = functools.partial(_make_vector_env, 1)
times_1e0 = functools.partial(_make_vector_env, 2)
times_1e1 = functools.partial(_make_vector_env, 3)
times_1e2 = functools.partial(_make_vector_env, 4)
SCALE_OF_TASK = {
  f'experiments.brc.scaled_point_mass:{task}': scale
  for task, scale in zip(TASKS, SCALES, strict=True)
}
