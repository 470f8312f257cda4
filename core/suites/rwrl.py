"""The Real-World RL challenge: four tasks at three levels of difficulty."""

import functools
from collections.abc import Sequence
from typing import Any

from gymnasium.vector import VectorEnv

from core.environments import control
from core.environments.control import ControlProtocol
from core.environments.rwrl import CHALLENGES, PERTURBATIONS, RealWorldEnv
from core.environments.workers import WorkerVectorEnv, num_workers
from core.errors import UserError
from core.suites import suite
from core.suites.suite import Reference
from core.types import EnvSpec

_PREFIX = 'rwrl:'

TASKS = tuple(
  f'{_PREFIX}{task}/{level}' for level in CHALLENGES for task in PERTURBATIONS
)
"""Four tasks a level; `quadruped` has other bounds of actions."""


class RealWorld(suite.Suite):
  """The combined challenges, from features."""

  name = 'rwrl'
  title = 'Real-World RL'
  examples = 'tasks of the Real-World RL challenge (rwrl:walker/walk/hard)'
  names = TASKS
  packages = ('dm-control', 'mujoco')
  has_protocol = True

  def owns(self, task: str) -> bool:
    """Tells whether a task is one of the challenge."""
    return task.startswith(_PREFIX)

  def expand(self, name: str) -> tuple[str, ...] | None:
    """Lists all twelve, or one.

    Raises:
      UserError: there is no such task.
    """
    if name == self.name:
      return TASKS
    if not self.owns(name):
      return None
    suite.check_known(name, TASKS)
    return (name,)

  def protocol(self, config: Any) -> ControlProtocol:
    """Returns the way to play that the config says.

    Raises:
      UserError: it asks for pixels.
    """
    if config.control_observations != 'features':
      raise UserError(
        f'--control_observations={config.control_observations}: the '
        'Real-World RL challenge is played from features'
      )
    return ControlProtocol(num_action_repeats=config.num_action_repeats)

  def env_spec(self, task: str, protocol: ControlProtocol) -> EnvSpec:
    """Describes a task without starting a process.

    Raises:
      UserError: dm_control is missing.
    """
    env = _maker(task, protocol)()
    env.close()
    spec = suite.spec_of_spaces(task, env.observation_space, env.action_space)
    return spec._replace(has_time_limit=True)

  def make(
    self,
    rows: Sequence[str],
    protocol: ControlProtocol,
    is_training: bool,
    num_threads: int,
  ) -> list[VectorEnv]:
    """Builds one vector environment, whose processes play several rows each.

    Raises:
      UserError: dm_control is missing.
    """
    del is_training
    control.check_installation()
    makers = [_maker(task, protocol) for task in rows]
    return [WorkerVectorEnv(makers, num_workers(rows, num_threads))]

  def evaluation_line(
    self, protocol: ControlProtocol, starts: str | None = None
  ) -> str:
    """Says how tasks are played."""
    del starts
    return (
      'whole episodes of 1000 control steps; sampled policy; raw rewards, '
      f'delayed; action repeat {protocol.num_action_repeats}; features'
    )

  def reference(
    self, task: str, is_human_starts: bool = False
  ) -> Reference | None:
    """Returns the least and the greatest possible return."""
    if is_human_starts or task not in TASKS:
      return None
    return Reference(0.0, 1000.0, is_human=False)


def _maker(task, protocol):
  """Returns a function that builds an environment."""
  name, level = task.removeprefix(_PREFIX).rsplit('/', 1)
  return functools.partial(
    RealWorldEnv,
    name,
    protocol,
    CHALLENGES[level],
    PERTURBATIONS[name][level],
  )
