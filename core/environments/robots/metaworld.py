"""MetaWorld: 50 tasks of a robot arm, Yu et al. 2019 (arXiv:1910.10897).

The tasks of its second version are called v3 in the package of today. Results
compare only where the rule is the same by which an episode gets its goal: the
code of Nauman et al. 2025 (arXiv:2505.23150) draws one for each environment and
keeps it in all episodes; others draw one for every episode.
"""

import dataclasses
import functools
import importlib.util
import sys
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from core.environments import control, control_state
from core.environments.control_state import pack, unpack
from core.errors import UserError

VERSION = 'v3'  # That the package of today has.
NUM_FEATURES = 39


@dataclasses.dataclass(frozen=True)
class MetaWorldProtocol:
  """How MetaWorld is played; defaults are those of Nauman et al. 2025.

  Attributes:
    num_action_repeats: control steps per agent step; rewards add up.
    metaworld_version: of the tasks, as the package calls it.
    metaworld_rewards: 'v2', or 'v1', the rewards of the first version.
    metaworld_goals: 'frozen', each environment draws a goal and the place of
      the object when it is seeded and keeps them; 'random', each episode draws.
    metaworld_episode_steps: control steps after which episodes are truncated;
      the package itself has 500.
  """

  num_action_repeats: int = 1
  metaworld_version: str = VERSION
  metaworld_rewards: str = 'v2'
  metaworld_goals: str = 'frozen'
  metaworld_episode_steps: int = 200


class MetaWorldEnv(gymnasium.Env):
  """One task, from features, float32 [39], the goal among them.

  Actions are float [4] in [-1, 1]: where the hand moves and how it grips. The
  `success` of infos is 1 where the task was fulfilled in the step. Episodes are
  truncated, never terminated.
  """

  def __init__(self, task: str, protocol: MetaWorldProtocol):
    """Compiles the model.

    Args:
      task: such as door-open.
      protocol: how to play.

    Raises:
      UserError: metaworld is missing.
    """
    classes = _load()
    name = f'{task}-{protocol.metaworld_version}-goal-observable'
    self._env = classes[name](seed=0)
    self._env.reward_function_version = protocol.metaworld_rewards
    self._env.seeded_rand_vec = True  # Draws from its own generator.
    self._protocol = protocol
    self._fresh = control_state.model_arrays(self._env.model)
    self.action_space = spaces.Box(-1.0, 1.0, (4,), np.float32)
    self.observation_space = spaces.Box(
      -np.inf, np.inf, (NUM_FEATURES,), np.float32
    )

  def reset(
    self, *, seed: int | None = None, options: dict[str, Any] | None = None
  ) -> tuple[np.ndarray, dict[str, Any]]:
    """Begins an episode; `seed` draws a goal, also where goals are frozen."""
    super().reset(seed=seed)
    is_frozen = self._protocol.metaworld_goals == 'frozen'
    if seed is not None:
      self._env.seed(seed)
      if is_frozen:  # Drawn as when its own constructor ends.
        self._env._freeze_rand_vec = False
        self._env.reset()
    self._env._freeze_rand_vec = is_frozen
    observation, _ = self._env.reset()
    self._num_steps = 0
    return observation.astype(np.float32), {}

  def step(
    self, action: np.ndarray
  ) -> tuple[np.ndarray, float, bool, bool, dict]:
    """Repeats an action; the reward is the sum over its control steps."""
    action = np.clip(np.asarray(action, np.float32), -1.0, 1.0)
    reward, success, is_last = 0.0, 0.0, False
    for _ in range(self._protocol.num_action_repeats):
      observation, one_reward, _, _, info = self._env.step(action)
      reward += float(one_reward)
      success = max(success, float(info['success']))
      self._num_steps += 1
      is_last = self._num_steps >= self._protocol.metaworld_episode_steps
      if is_last:
        break
    info = {'success': success}
    return observation.astype(np.float32), reward, False, is_last, info

  def get_state(self) -> dict[str, Any]:
    """Returns all that `set_state` needs, as JSON can hold it."""
    env = self._env
    return dict(
      num_steps=self._num_steps,
      generator=env.np_random.bit_generator.state,
      attributes={
        name: _as_json(value) for name, value in self._attributes().items()
      },
      **control_state.simulation_state(env.model, env.data, self._fresh),
    )

  def set_state(self, state: dict[str, Any]) -> None:
    """Goes on from `get_state`; call it after `reset`."""
    env = self._env
    self._num_steps = state['num_steps']
    env.np_random.bit_generator.state = state['generator']
    control_state.set_simulation_state(env.model, env.data, self._fresh, state)
    for name, value in state['attributes'].items():
      setattr(env, name, _of_json(value))

  def close(self) -> None:
    """Frees the simulation."""
    self._env.close()

  def _attributes(self):
    """Returns what a task remembers of an episode beside the simulation.

    Views of the simulation's arrays stay what they are.
    """
    return {
      name: value
      for name, value in vars(self._env).items()
      if isinstance(value, (bool, int, float, np.floating, str))
      or (isinstance(value, np.ndarray) and not _is_view(value))
    }


def _is_view(array):
  return array.base is not None and not isinstance(array.base, np.ndarray)


def _as_json(value):
  if isinstance(value, np.ndarray):
    return [pack(value), str(value.dtype), *value.shape]
  return float(value) if isinstance(value, np.floating) else value


def _of_json(value):
  if not isinstance(value, list):
    return value
  text, dtype, *shape = value
  return unpack(text, np.empty(shape, dtype))


def check_installation() -> None:
  """Refuses to go on without metaworld.

  Raises:
    UserError: with the command that installs it.
  """
  if importlib.util.find_spec('metaworld') is not None:
    return
  if sys.version_info >= (3, 13):
    raise UserError(
      'MetaWorld needs Python 3.10 to 3.12: it is played with the physics of '
      'DeepMind Control, for which labmaze has no wheel of later ones'
    )
  raise UserError(
    'MetaWorld is not installed: .venv/bin/python -m pip install '
    'metaworld==3.1.1 mujoco==3.3.0'
  )


@functools.cache
def _load():
  """Returns MetaWorld's classes by their names; leaves OpenGL out."""
  check_installation()
  with control.mujoco_gl():
    from metaworld import env_dict

  return env_dict.ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE
