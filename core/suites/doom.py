"""First-person tasks that install from wheels: mazes, objects, laser-tag.

An engine of Doom with mazes and walls of DeepMind Lab. Names that DMLab-30 has
too are of tasks like its own, not of the same: scores do not compare.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium
from gymnasium.vector import VectorEnv

from core.environments import workers
from core.environments.doom import engine, processes, tasks
from core.environments.doom.env import ACTION_SETS, DoomProtocol
from core.errors import UserError
from core.suites import suite
from core.suites.suite import Reference
from core.types import EnvSpec

_PREFIX = 'doom:'
_SCORES = {
  row['task']: row for row in suite.read_table(suite.FOLDER / 'doom.csv')
}

TASKS = tuple(_PREFIX + name for name in tasks.TASKS)
"""All 26."""

CHECKS = tuple(_PREFIX + name for name in tasks.CHECKS)
"""In none of the sets: a room in which learning shows within minutes."""

LISTS = {
  name: tuple(_PREFIX + task for group in groups for task in group)
  for name, groups in {
    'doom_mazes': (tasks.MAZES,),
    'doom_navigation': (tasks.NAVIGATION,),
    'doom_lasertag': (tasks.LASER_TAG,),
    'doom14': (tasks.EXPLORE, tasks.LASER_TAG, tasks.COGNITION),
  }.items()
}
"""Distral's three sets (Teh et al. 2017, section 5), and one like DMLab-30."""


class Doom(suite.Suite):
  """Single tasks and sets of them."""

  name = 'doom'
  title = 'Doom mazes'
  examples = f'first-person tasks (doom:nav_goal), doom and {", ".join(LISTS)}'
  names = TASKS
  lists = tuple(LISTS)
  packages = ('vizdoom', 'labmaze')
  has_protocol = True
  max_test_rows = 16  # Each is an engine of 20 MB.

  def owns(self, task: str) -> bool:
    """Tells whether a task is one of the 26, or a check."""
    return task.startswith(_PREFIX)

  def expand(self, name: str) -> tuple[str, ...] | None:
    """Lists a set, or one task.

    Raises:
      UserError: there is no such task.
    """
    if name == self.name:
      return TASKS
    return suite.expand_prefixed(name, _PREFIX, (*TASKS, *CHECKS), LISTS)

  def protocol(self, config: Any) -> DoomProtocol:
    """Returns the way to play that the config says.

    Raises:
      UserError: it asks for larger frames than the engine draws.
    """
    if config.width > engine.WIDTH or config.height > engine.HEIGHT:
      raise UserError(
        f'--width={config.width} --height={config.height}: the tasks of doom: '
        f'have frames of at most {engine.WIDTH}x{engine.HEIGHT}'
      )
    return DoomProtocol(
      width=config.width,
      height=config.height,
      num_action_repeats=config.num_action_repeats,
      action_set=config.action_set,
    )

  def env_spec(self, task: str, protocol: DoomProtocol) -> EnvSpec:
    """Describes a task without the engine."""
    return EnvSpec(
      task_names=(task,),
      num_actions=len(ACTION_SETS[protocol.action_set]),
      frame_shape=(protocol.height, protocol.width, 3),
      instruction_length=processes.MAX_INSTRUCTION_WORDS,
    )

  def make(
    self,
    rows: Sequence[str],
    protocol: DoomProtocol,
    is_training: bool,
    num_threads: int,
  ) -> list[VectorEnv]:
    """Builds one vector environment, whose processes play several rows each.

    Raises:
      UserError: a package is missing, or an engine does not start.
    """
    del is_training
    return [
      processes.DoomVectorEnv(
        [task.removeprefix(_PREFIX) for task in rows],
        protocol,
        workers.num_workers(rows, num_threads),
      )
    ]

  def evaluation_line(
    self, protocol: DoomProtocol, starts: str | None = None
  ) -> str:
    """Says how tasks are played."""
    del starts
    return (
      'whole episodes; sampled policy; raw rewards; action repeat '
      f'{protocol.num_action_repeats}; {protocol.action_set} actions; '
      f'{protocol.width}x{protocol.height} pixels; frames are tics of Doom'
    )

  def make_game(self, task: str, protocol: DoomProtocol) -> gymnasium.Env:
    """Builds one environment to film; it has no saved states.

    Raises:
      UserError: a package is missing.
    """
    return processes.DoomGame(task.removeprefix(_PREFIX), protocol)

  def reference(
    self, task: str, is_human_starts: bool = False
  ) -> Reference | None:
    """Returns what random play and the scripted player score."""
    row = _SCORES.get(task.removeprefix(_PREFIX))
    if is_human_starts or row is None or not self.owns(task):
      return None
    return Reference(
      float(row['random']), float(row['scripted']), is_human=False
    )

  def yardsticks(self) -> dict[str, dict[str, float]]:
    """Returns the same as columns; the scripted player sees everything."""
    references = {task: self.reference(task) for task in self.names}
    return {
      'random play': {task: r.low for task, r in references.items()},
      'scripted player': {task: r.high for task, r in references.items()},
    }
