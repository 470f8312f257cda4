"""A stand-in for the Shadow Hand's objects with the contract of dex_envs.

As the real one: importing it registers the objects whose files it finds; an
environment's observations are a dict of doubles, its reward is -1 or 0, its
infos tell whether the object is turned as it should be.
"""

import gymnasium
import numpy as np
from gymnasium import spaces

OBJECTS = ('rubber_duck', 'cube', 'mug', 'torus')
WITHOUT_MESH = 'torus'


class HandEnv(gymnasium.Env):
  """The object turns as the first action says; 0.5 is as it should be."""

  metadata = {'render_modes': ['human', 'rgb_array'], 'render_fps': 25}

  def __init__(self, name, target_rotation, reward_type, render_mode=None):
    if name == WITHOUT_MESH:
      raise ValueError(f"Error: Error opening file 'stls/{name}.stl'")
    if (target_rotation, reward_type) != ('z', 'sparse'):
      raise ValueError(f'another task: {target_rotation}, {reward_type}')

    def box(size):
      return spaces.Box(-np.inf, np.inf, (size,), np.float64)

    self.observation_space = spaces.Dict(
      desired_goal=box(7), achieved_goal=box(7), observation=box(61)
    )
    self.action_space = spaces.Box(-1.0, 1.0, (20,), np.float32)

  def reset(self, *, seed=None, options=None):
    super().reset(seed=seed)
    self._goal = self.np_random.uniform(size=7)
    self._state = self.np_random.uniform(size=61)
    return self._observe(), {}

  def step(self, action):
    if np.array(action).shape != self.action_space.shape:
      raise ValueError('Action dimension mismatch')
    self._state[:20] = action
    is_success = np.float32(action[0] == 0.5)
    return (
      self._observe(),
      is_success - 1,
      False,
      False,
      dict(is_success=is_success),
    )

  def _observe(self):
    return dict(
      observation=self._state.copy(),
      achieved_goal=self._state[-7:].copy(),
      desired_goal=self._goal.copy(),
    )


for name in OBJECTS:
  gymnasium.registry.pop(f'{name}-rotate-v1', None)  # Of another import.
  gymnasium.register(
    id=f'{name}-rotate-v1',
    entry_point=HandEnv,
    kwargs=dict(name=name, target_rotation='z', reward_type='sparse'),
    max_episode_steps=100,
  )
