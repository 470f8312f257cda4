"""Point mass: push a mass to a goal and hold it there.

The smallest task of continuous control. Its state is exact and can be saved,
which the tests of resuming need. An episode has 100 steps; each gives
exp(-10 distance^2) less a hundredth of the squared force, so that the return of
a mass that rests lies between 0 (far away) and 100.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

MAX_STEPS = 100
TIME_STEP = 0.1
FRICTION = 0.5  # Share of the velocity that a unit of time takes away.
SHARPNESS = 10.0
ACTION_COST = 0.01


class PointMass(gymnasium.Env):
  """A unit mass in D dimensions, between walls at -1 and 1.

  Observations are float32 [3 D]: position, velocity, goal. Actions are forces,
  float32 [D] between -1 and 1; what lies outside is clipped.
  """

  def __init__(self, num_dimensions: int):
    """Starts nothing yet; `num_dimensions` is D."""
    self._num_dimensions = num_dimensions
    # Of the velocity: what the friction allows a force of 1.
    bounds = np.repeat([1.0, 1.0 / FRICTION, 1.0], num_dimensions)
    self.observation_space = gymnasium.spaces.Box(
      *(np.float32([-1, 1])[:, None] * np.float32(bounds)), dtype=np.float32
    )
    self.action_space = gymnasium.spaces.Box(
      -1.0, 1.0, (num_dimensions,), np.float32
    )

  def reset(
    self, *, seed: int | None = None, options: dict[str, Any] | None = None
  ) -> tuple[np.ndarray, dict[str, Any]]:
    """Puts mass and goal anywhere, at rest."""
    super().reset(seed=seed)
    self._position, self._goal = self.np_random.uniform(
      -1.0, 1.0, [2, self._num_dimensions]
    )
    self._velocity = np.zeros(self._num_dimensions)
    self._num_steps = 0
    return self._features(), {}

  def step(
    self, action: np.ndarray
  ) -> tuple[np.ndarray, float, bool, bool, dict]:
    """Pushes with a force for `TIME_STEP`."""
    force = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
    self._velocity += TIME_STEP * (force - FRICTION * self._velocity)
    position = self._position + TIME_STEP * self._velocity
    self._position = np.clip(position, -1.0, 1.0)
    self._velocity[self._position != position] = 0.0  # The wall stops it.
    self._num_steps += 1
    distance = np.sum((self._position - self._goal) ** 2)
    reward = np.exp(-SHARPNESS * distance) - ACTION_COST * np.sum(force**2)
    is_last = self._num_steps == MAX_STEPS
    return self._features(), float(reward), False, is_last, {}

  def get_state(self) -> dict[str, Any]:
    """Returns all that `set_state` needs, as JSON can hold it."""
    return dict(
      position=self._position.tolist(),
      velocity=self._velocity.tolist(),
      goal=self._goal.tolist(),
      num_steps=self._num_steps,
      generator=self.np_random.bit_generator.state,
    )

  def set_state(self, state: dict[str, Any]) -> None:
    """Goes on from `get_state`."""
    self._position = np.array(state['position'])
    self._velocity = np.array(state['velocity'])
    self._goal = np.array(state['goal'])
    self._num_steps = state['num_steps']
    self.np_random.bit_generator.state = state['generator']

  def _features(self) -> np.ndarray:
    parts = (self._position, self._velocity, self._goal)
    return np.concatenate(parts).astype(np.float32)


def make_vector_env(num_dimensions: int, num_envs: int) -> VectorEnv:
  """Builds N masses that reset in the step which ends an episode."""
  return SyncVectorEnv(
    [lambda: PointMass(num_dimensions)] * num_envs,
    autoreset_mode=AutoresetMode.SAME_STEP,
  )
