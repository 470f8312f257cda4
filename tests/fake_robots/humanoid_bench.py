"""A stand-in for HumanoidBench with its contract, under today's packages.

As the real one: importing it registers the tasks, and needs PyTorch for its
policies unless their module is there already; a task can be built without
OpenGL only if it shall not be drawn, and with the MuJoCo of today only if the
table of the sizes of arrays is exchanged for dm_control's; building one prints
a line; observations are doubles, positions and velocities.
"""

import os

import gymnasium
import numpy as np
from gymnasium import spaces

__path__ = [os.path.join(os.path.dirname(__file__), 'humanoid_bench_parts')]

from humanoid_bench.mjx.flax_to_torch import (  # noqa: E402
  TorchModel,  # noqa: F401
  TorchPolicy,  # noqa: F401
)

# Numbers of positions and velocities, and of actions.
ROBOTS = {'h1': (26, 25, 19), 'h1hand': (76, 75, 61)}
# Steps of an episode, and further positions and velocities.
TASKS = {
  'walk': (1000, 0),
  'stair': (1000, 0),
  'slide': (1000, 0),
  'push': (500, 7),
  'crawl': (1000, 0),
}
FALL = 0.9  # Of the first action: it makes the humanoid fall.


class HumanoidEnv(gymnasium.Env):
  """A body that is where its actions have pushed it."""

  metadata = {'render_modes': ['rgb_array'], 'render_fps': 50}

  def __init__(self, robot, control, task, render_mode='rgb_array'):
    from humanoid_bench.dmc_deps import dmc_sizes

    if render_mode is not None:
      raise RuntimeError('an OpenGL platform library has not been loaded')
    if 'flex_xvert0' in dmc_sizes.array_sizes['mjmodel']:
      raise AttributeError("MjModel has no attribute 'flex_xvert0'")
    print(False)
    num_positions, num_velocities, num_actions = ROBOTS[robot]
    size = num_positions + num_velocities + 2 * TASKS[task][1]
    self.observation_space = spaces.Box(-np.inf, np.inf, (size,), np.float64)
    self.action_space = spaces.Box(-1, 1, (num_actions,), np.float32)

  def reset(self, *, seed=None, options=None):
    super().reset(seed=seed)
    self._state = self.np_random.uniform(
      -0.01, 0.01, self.observation_space.shape
    )
    return self._state.copy(), {}

  def step(self, action):
    if action.shape != self.action_space.shape or np.abs(action).max() > 1:
      raise ValueError('Action dimension mismatch')
    self._state[: len(action)] += 0.1 * action
    reward = float(np.mean(action))
    info = {'per_timestep_reward': reward, 'stand_reward': 1.0}
    return self._state.copy(), reward, bool(action[0] > FALL), False, info


for robot in ROBOTS:
  for task, (num_steps, _) in TASKS.items():
    gymnasium.registry.pop(f'{robot}-{task}-v0', None)  # Of another import.
    gymnasium.register(
      id=f'{robot}-{task}-v0',
      entry_point=HumanoidEnv,
      max_episode_steps=num_steps,
      kwargs=dict(robot=robot, control='pos', task=task),
    )
