"""HumanoidBench: a humanoid with or without hands, Sferrazza et al. 2024.

The package (arXiv:2403.10506) has no wheel; README says how to install it. It
was written for other versions of MuJoCo and Gymnasium, and asks for PyTorch and
JAX for a policy of its own that its tasks do not need. With MuJoCo 3.3.0 an
episode goes another way than with the 3.1.6 that it asks for.
"""

import contextlib
import dataclasses
import importlib.util
import io
import sys
import types

import gymnasium

from core.environments import control
from core.environments.robots.gym_robot import GymRobot
from core.errors import UserError

_POLICIES = 'humanoid_bench.mjx.flax_to_torch'


@dataclasses.dataclass(frozen=True)
class HumanoidBenchProtocol:
  """How HumanoidBench is played.

  Attributes:
    num_action_repeats: control steps per agent step; rewards add up.
  """

  num_action_repeats: int = 1


def make(task: str, protocol: HumanoidBenchProtocol) -> GymRobot:
  """Builds one task, which ends when the humanoid falls or after its limit.

  Features are positions and velocities, actions lie in [-1, 1].

  Args:
    task: robot and task, such as h1-walk.
    protocol: how to play.

  Raises:
    UserError: HumanoidBench is missing.
  """
  _import()
  with contextlib.redirect_stdout(
    io.StringIO()
  ):  # It prints a word of its own.
    env = gymnasium.make(
      f'{task}-v0', render_mode=None, disable_env_checker=True
    )
  return GymRobot(env, protocol.num_action_repeats)


def check_installation() -> None:
  """Refuses to go on without HumanoidBench.

  Raises:
    UserError: with the command that installs it.
  """
  control.check_installation('HumanoidBench')
  if importlib.util.find_spec('humanoid_bench') is None:
    raise UserError(
      'HumanoidBench is not installed: git clone '
      'https://github.com/carlosferrazza/humanoid-bench && .venv/bin/python -m '
      'pip install --no-deps -e humanoid-bench'
    )


def _import():
  """Imports HumanoidBench, which registers its tasks, under our versions."""
  check_installation()
  if 'humanoid_bench' in sys.modules:
    return
  # Its policies need PyTorch and JAX; only hierarchical control uses them.
  stand_in = types.ModuleType(_POLICIES)
  stand_in.TorchModel = stand_in.TorchPolicy = None
  sys.modules.setdefault(_POLICIES, stand_in)
  with control.mujoco_gl(), contextlib.redirect_stdout(io.StringIO()):
    import humanoid_bench  # noqa: F401 - registers its tasks.
    from dm_control.mujoco.wrapper.mjbindings import sizes
    from humanoid_bench.dmc_deps import dmc_sizes

  # Its own table is that of MuJoCo 3.1.6.
  dmc_sizes.array_sizes = sizes.array_sizes
