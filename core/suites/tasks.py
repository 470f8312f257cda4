"""The tasks of a run: from a level name to suites, protocol and spec."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv

from core.errors import UserError
from core.suites.atari import Atari
from core.suites.catch import Catch
from core.suites.control import Control
from core.suites.dmlab import DmLab
from core.suites.doom import Doom
from core.suites.gymnasium_ids import GymnasiumIds
from core.suites.point_mass import PointMass
from core.suites.robots.humanoid_bench import HumanoidBench
from core.suites.robots.metaworld import MetaWorld
from core.suites.robots.shadow_hand import ShadowHand
from core.suites.rwrl import RealWorld
from core.suites.suite import Reference, Suite
from core.suites.two_rooms import TwoRooms
from core.suites.user import UserFunctions
from core.types import ActionBox, EnvSpec

SUITES: tuple[Suite, ...] = (
  Catch(),
  TwoRooms(),
  PointMass(),
  Atari(),
  GymnasiumIds(),
  Control(),
  RealWorld(),
  MetaWorld(),
  HumanoidBench(),
  ShadowHand(),
  Doom(),
  DmLab(),
  UserFunctions(),
)
"""All suites. A name belongs to the first that knows it."""


def expand(level_name: str) -> tuple[str, ...]:
  """Lists the tasks that a level name stands for.

  Args:
    level_name: one or more names, separated by commas; see `Suite.expand`.

  Returns:
    Their names, in the order of task ids.

  Raises:
    UserError: a name is unknown or wrong, or a task is named twice.
  """
  names = [_expand(name.strip()) for name in level_name.split(',')]
  tasks = tuple(task for of_name in names for task in of_name)
  if len(set(tasks)) < len(tasks):
    raise UserError(f'--level_name={level_name} names a task twice')
  return tasks


def suite_of(task: str) -> Suite:
  """Returns the suite of a task, by its name.

  Raises:
    UserError: no suite has it.
  """
  suite = find_suite(task)
  if suite is None:
    raise UserError(f'unknown task {task!r}')
  return suite


def find_suite(task: str) -> Suite | None:
  """Returns the suite of a task, None if no suite has it."""
  return next((suite for suite in SUITES if suite.owns(task)), None)


class Tasks:
  """The tasks of a run and how they are played.

  Attributes:
    names: one per task id.
    suites: the suite of each.
  """

  def __init__(self, names: Sequence[str], config: Any):
    """Asks the suites for their protocols.

    Args:
      names: from `expand`.
      config: a paper's Config, for its SuiteOptions.
    """
    self.names = tuple(names)
    self.suites = tuple(suite_of(name) for name in names)
    self._config = config
    self._protocols = {
      suite.name: suite.protocol(config) for suite in self.suites
    }

  @classmethod
  def of(cls, config: Any) -> 'Tasks':
    """Returns the tasks of the config's level name; raises as `expand`."""
    return cls(expand(config.level_name), config)

  def for_test(self) -> 'Tasks':
    """Returns the tasks that test what was trained on these."""
    pairs = zip(self.suites, self.names, strict=True)
    return Tasks([suite.test_task(name) for suite, name in pairs], self._config)

  def protocol(self, task: str) -> Any:
    """Returns how a task is played; None where there is no choice."""
    return self._protocols[suite_of(task).name]

  def describe_protocol(self) -> dict[str, Any]:
    """Returns how tasks are played, for run.json."""
    described = {}
    for protocol in self._protocols.values():
      described |= dataclasses.asdict(protocol) if protocol else {}
    return described

  @functools.cached_property
  def env_spec(self) -> EnvSpec:
    """Observations and actions of all tasks.

    Vectors of different lengths are padded to the longest.

    Raises:
      UserError: the tasks differ in more than that.
    """
    specs = [
      suite.env_spec(name, self.protocol(name))
      for suite, name in zip(self.suites, self.names, strict=True)
    ]
    return join_specs(specs)

  def make(
    self, rows: Sequence[str], is_training: bool, num_threads: int
  ) -> list[VectorEnv]:
    """Builds environments of tasks of one suite; see `Suite.make`."""
    suite = suite_of(rows[0])
    protocol = self._protocols[suite.name]
    return suite.make(rows, protocol, is_training, num_threads)

  def controls(self, task: str) -> np.ndarray:
    """Says what each action presses; see `Suite.controls`."""
    return suite_of(task).controls(task, self.protocol(task))

  def make_game(self, task: str) -> gymnasium.Env:
    """Builds one environment of a task; see `Suite.make_game`."""
    return suite_of(task).make_game(task, self.protocol(task))


def join_specs(specs: Sequence[EnvSpec]) -> EnvSpec:
  """Joins the specs of single tasks to one that an agent can act on.

  Args:
    specs: one per task.

  Raises:
    UserError: frames, instructions or the kind of actions differ.
  """
  first = specs[0]
  for spec in specs:
    if _shared_part(spec) != _shared_part(first):
      hint = ''
      if spec.num_actions and spec.frame_shape == first.frame_shape:
        hint = '; for Atari add --full_action_space'
      raise UserError(
        f'{spec.task_names[0]} has {describe_spec(spec)}, '
        f'{first.task_names[0]} {describe_spec(first)}: one agent needs the '
        f'same{hint}'
      )
  sizes = tuple(spec.num_features for spec in specs)
  return first._replace(
    task_names=tuple(spec.task_names[0] for spec in specs),
    action_box=_join_boxes([spec.action_box for spec in specs]),
    num_features=max(sizes),
    task_num_features=sizes if len(set(sizes)) > 1 else (),
    has_success=any(spec.has_success for spec in specs),
    has_time_limit=any(spec.has_time_limit for spec in specs),
  )


def describe_spec(spec: EnvSpec) -> str:
  """Says what an agent sees and does: 'frames (20, 20, 1) and 3 actions'."""
  parts = []
  if spec.frame_shape:
    parts.append(f'frames {spec.frame_shape}')
  if spec.num_features:
    parts.append(f'{spec.num_features} features')
  if spec.instruction_length:
    parts.append('instructions')
  kind = 'continuous'
  if spec.action_box is None:
    kind = str(spec.num_actions)
  return ', '.join(parts) + f' and {kind} actions'


def assign_tasks(num_environments: int, num_tasks: int) -> np.ndarray:
  """Deals tasks to environments in turn, as scalable_agent does to actors.

  Args:
    num_environments: environments of all actors.
    num_tasks: number of tasks.

  Returns:
    int32 [num_environments], environment i plays task i modulo `num_tasks`.

  Raises:
    UserError: if a task would get no environment.
  """
  if num_environments < num_tasks:
    raise UserError(
      f'{num_tasks} tasks need at least as many environments, not '
      f'{num_environments}: raise --num_environments'
    )
  return np.arange(num_environments, dtype=np.int32) % num_tasks


def test_task(task: str) -> str:
  """Returns the task that tests what was trained on this one."""
  suite = find_suite(task)
  return suite.test_task(task) if suite else task


def reference(task: str, is_human_starts: bool = False) -> Reference | None:
  """Returns what scores of a task are measured by, None if nothing is known."""
  suite = find_suite(task)
  return suite.reference(task, is_human_starts) if suite else None


def _expand(name):
  for suite in SUITES:
    tasks = suite.expand(name)
    if tasks is not None:
      return tasks
  nearest = [found for suite in SUITES for found in suite.suggest(name)]
  if nearest:
    raise UserError(
      f'unknown task {name!r}; did you mean {" or ".join(nearest)}?'
    )
  examples = '; '.join(suite.examples for suite in SUITES)
  raise UserError(f'unknown task {name!r}; there are: {examples}')


def _shared_part(spec):
  """Returns what no padding makes equal."""
  return spec._replace(
    task_names=(),
    action_box=spec.action_box is not None,
    num_features=bool(spec.num_features),
    has_success=False,
    has_time_limit=False,
  )


def _join_boxes(boxes):
  """Returns the widest box, to which others are padded; None if discrete."""
  if boxes[0] is None:
    return None
  sizes = tuple(len(box.low) for box in boxes)
  widest = boxes[int(np.argmax(sizes))]
  for box in boxes:
    size = len(box.low)
    if (box.low, box.high) != (widest.low[:size], widest.high[:size]):
      raise UserError('one agent needs the same bounds of actions in all tasks')
  return ActionBox(
    widest.low, widest.high, sizes if len(set(sizes)) > 1 else ()
  )
