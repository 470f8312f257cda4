"""A Shadow Hand that turns objects: the tasks of Huang et al. 2021.

The objects (arXiv:2111.03062) come with the code of Nauman et al. 2025 as a
package `dex_envs`, which extends gymnasium-robotics. README says how to install
both. An episode has 100 steps; the reward of each is 0 if the object is turned
as it should be, else -1.
"""

import contextlib
import dataclasses
import importlib.util
import io
import sys

import gymnasium

from core.environments import control
from core.environments.robots.gym_robot import GymRobot
from core.errors import UserError

NUM_FEATURES = 68  # 61 of hand and object, 7 of the goal.
NUM_ACTIONS = 20
_PARTS = ('observation', 'desired_goal')


@dataclasses.dataclass(frozen=True)
class ShadowHandProtocol:
  """How the Shadow Hand is played; Nauman et al. 2025.

  Attributes:
    num_action_repeats: control steps per agent step; rewards add up.
    shadow_hand_version: of the tasks: v1 turns about the vertical, from any
      place and turn of the object.
    shadow_hand_rewards: sparse, -1 or 0.
  """

  num_action_repeats: int = 1
  shadow_hand_version: str = 'v1'
  shadow_hand_rewards: str = 'sparse'


def make(task: str, protocol: ShadowHandProtocol) -> GymRobot:
  """Builds the task of one object.

  Args:
    task: the object, such as rubber_duck.
    protocol: how to play.

  Raises:
    UserError: a package or the files of the object are missing.
  """
  check_installation()
  with control.mujoco_gl(), contextlib.redirect_stdout(io.StringIO()):
    import dex_envs  # noqa: F401 - registers its tasks.
  try:
    env = gymnasium.make(
      f'{task}-rotate-{protocol.shadow_hand_version}',
      reward_type=protocol.shadow_hand_rewards,
      disable_env_checker=True,
    )
  except (gymnasium.error.Error, OSError, ValueError) as error:
    raise UserError(
      f'shadow_hand:{task}: dex_envs cannot build it '
      f'({" ".join(str(error).split())}): its files are missing'
    ) from error
  return GymRobot(env, protocol.num_action_repeats, _PARTS, 'is_success')


def check_installation() -> None:
  """Refuses to go on without the packages.

  Raises:
    UserError: with the command that installs the first that is missing.
  """
  if importlib.util.find_spec('dex_envs') is None:
    raise UserError(
      'the objects of Shadow Hand are not installed: git clone '
      'https://github.com/naumix/BiggerRegularizedCategorical && export '
      'PYTHONPATH=$PWD/BiggerRegularizedCategorical/jaxrl/additional_tasks'
    )
  if importlib.util.find_spec('gymnasium_robotics') is not None:
    return
  if sys.version_info >= (3, 13):
    raise UserError(
      'Shadow Hand needs Python 3.10 to 3.12: it is played with the MuJoCo of '
      'DeepMind Control, whose labmaze has no wheel of later ones'
    )
  raise UserError(
    'Shadow Hand needs gymnasium-robotics: .venv/bin/python -m pip install '
    'gymnasium-robotics==1.4.2 mujoco==3.3.0'
  )
