"""DeepMind Control: single tasks (control:cartpole/swingup) and sets."""

import difflib
from collections.abc import Sequence
from typing import Any

from gymnasium.vector import VectorEnv

from core.environments import control, control_custom, workers
from core.environments.control import ControlProtocol
from core.errors import UserError
from core.suites import suite
from core.suites.suite import Reference
from core.types import EnvSpec

_PREFIX = 'control:'

_BENCHMARKING = (
  *('acrobot/swingup', 'acrobot/swingup_sparse', 'ball_in_cup/catch'),
  *('cartpole/balance', 'cartpole/balance_sparse'),
  *('cartpole/swingup', 'cartpole/swingup_sparse', 'cheetah/run'),
  *('finger/spin', 'finger/turn_easy', 'finger/turn_hard'),
  *('fish/upright', 'fish/swim', 'hopper/stand', 'hopper/hop'),
  *('humanoid/stand', 'humanoid/walk', 'humanoid/run'),
  *('manipulator/bring_ball', 'pendulum/swingup', 'point_mass/easy'),
  *('reacher/easy', 'reacher/hard', 'swimmer/swimmer6', 'swimmer/swimmer15'),
  *('walker/stand', 'walker/walk', 'walker/run'),
)
_OTHERS = (
  *('cartpole/two_poles', 'cartpole/three_poles', 'dog/stand', 'dog/walk'),
  *('dog/trot', 'dog/run', 'dog/fetch', 'humanoid/run_pure_state'),
  *('humanoid_CMU/stand', 'humanoid_CMU/walk', 'humanoid_CMU/run'),
  *('lqr/lqr_2_1', 'lqr/lqr_6_2', 'manipulator/bring_peg'),
  *('manipulator/insert_ball', 'manipulator/insert_peg', 'point_mass/hard'),
  *('quadruped/walk', 'quadruped/run', 'quadruped/escape', 'quadruped/fetch'),
  *('stacker/stack_2', 'stacker/stack_4'),
)

BENCHMARKING = tuple(_PREFIX + task for task in _BENCHMARKING)
"""The 28 tasks of dm_control's benchmarking set, in its order."""

CUSTOM = tuple(_PREFIX + task for task in control_custom.TASKS)
"""Tasks of Hansen et al. 2024, which dm_control lacks."""

ALL_TASKS = (*BENCHMARKING, *(_PREFIX + task for task in _OTHERS), *CUSTOM)
"""All tasks there are."""

_DOGS = ('dog/stand', 'dog/walk', 'dog/trot', 'dog/run')
_HUMANOIDS = ('humanoid/stand', 'humanoid/walk', 'humanoid/run')
_DIVERSE = (
  *('walker/stand', 'walker/walk', 'walker/run', 'cheetah/run'),
  *('reacher/easy', 'reacher/hard', 'acrobot/swingup', 'pendulum/swingup'),
  *('cartpole/balance', 'cartpole/balance_sparse', 'cartpole/swingup'),
  *('cartpole/swingup_sparse', 'ball_in_cup/catch', 'finger/spin'),
  *('finger/turn_easy', 'finger/turn_hard', 'fish/swim', 'hopper/stand'),
  *('hopper/hop', 'cheetah/run_backwards', 'cheetah/run_front'),
  *('cheetah/run_back', 'cheetah/jump', 'walker/walk_backwards'),
  *('walker/run_backwards', 'hopper/hop_backwards', 'reacher/three_easy'),
  *('reacher/three_hard', 'ball_in_cup/spin', 'pendulum/spin'),
)

LISTS = {
  name: tuple(_PREFIX + task for task in tasks)
  for name, tasks in {
    'control:dogs': _DOGS,
    'control:humanoids': _HUMANOIDS,
    'control:hard': _DOGS + _HUMANOIDS,
    'control:diverse': _DIVERSE,
  }.items()
}
"""Sets of Nauman et al. 2025 (arXiv:2505.23150, appendix E.1): DMC-Hard, which
are two runs there, and the 30 tasks that stand beside MetaWorld's in MW+DMC."""


class Control(suite.Suite):
  """Single tasks and sets of them, from features or pixels."""

  name = 'control'
  title = 'DeepMind Control'
  examples = (
    'tasks of DeepMind Control (control:cartpole/swingup), control and '
    f'{", ".join(LISTS)}'
  )
  names = BENCHMARKING
  lists = tuple(LISTS)
  packages = ('dm-control', 'mujoco')
  has_protocol = True

  def owns(self, task: str) -> bool:
    """Tells whether a task is one of DeepMind Control."""
    return task.startswith(_PREFIX)

  def expand(self, name: str) -> tuple[str, ...] | None:
    """Lists a set, or one task.

    Raises:
      UserError: there is no such task, or it lacks its 'control:'.
    """
    if name == self.name:
      return BENCHMARKING
    if name in LISTS:
      return LISTS[name]
    if _PREFIX + name in ALL_TASKS:
      raise UserError(f'unknown task {name!r}; did you mean {_PREFIX}{name}?')
    if not self.owns(name):
      return None
    if name not in ALL_TASKS:
      raise UserError(f'unknown task {name!r}; did you mean {_nearest(name)}?')
    return (name,)

  def protocol(self, config: Any) -> ControlProtocol:
    """Returns the way to play that the config says."""
    return ControlProtocol(
      num_action_repeats=config.num_action_repeats,
      observations=config.control_observations,
    )

  def env_spec(self, task: str, protocol: ControlProtocol) -> EnvSpec:
    """Describes a task without starting a process.

    Raises:
      UserError: dm_control is missing.
    """
    spaces = control.spaces_of(task.removeprefix(_PREFIX), protocol)
    spec = suite.spec_of_spaces(task, *spaces)
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
      UserError: dm_control is missing, or pixels cannot be drawn here.
    """
    del is_training
    return [
      control.make_vector_env(
        [task.removeprefix(_PREFIX) for task in rows],
        protocol,
        workers.num_workers(rows, num_threads),
      )
    ]

  def evaluation_line(
    self, protocol: ControlProtocol, starts: str | None = None
  ) -> str:
    """Says how tasks are played."""
    del starts
    seen = protocol.observations
    if seen == 'pixels':
      seen = f'{protocol.frame_width}x{protocol.frame_height} pixels'
    return (
      'whole episodes of 1000 control steps; sampled policy; raw rewards; '
      f'action repeat {protocol.num_action_repeats}; {seen}'
    )

  def reference(
    self, task: str, is_human_starts: bool = False
  ) -> Reference | None:
    """Returns the least and the greatest possible return."""
    if is_human_starts or not self.owns(task) or '/lqr_' in task:
      return None
    return Reference(0.0, 1000.0, is_human=False)


def _nearest(name):
  """Returns the task that a wrong one is most like, or its domain's tasks."""
  domain = name.partition('/')[0]
  of_domain = [task for task in ALL_TASKS if task.startswith(f'{domain}/')]
  nearest = difflib.get_close_matches(name, of_domain, n=3, cutoff=0.0)
  known = (*LISTS, *ALL_TASKS)
  nearest = nearest or difflib.get_close_matches(name, known, 3, 0.0)
  return ' or '.join(nearest)
