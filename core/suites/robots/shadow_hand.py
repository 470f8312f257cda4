"""Shadow Hand: single objects (shadow_hand:rubber_duck) and two sets."""

import functools
import pathlib
from collections.abc import Sequence
from typing import Any

from gymnasium.vector import VectorEnv

from core.environments import workers
from core.environments.robots import shadow_hand
from core.environments.robots.shadow_hand import ShadowHandProtocol
from core.suites import suite
from core.suites.suite import Reference
from core.types import ActionBox, EnvSpec

_PREFIX = 'shadow_hand:'
_TABLE = suite.read_table(pathlib.Path(__file__).with_name('shadow_hand.csv'))

TASKS = tuple(row['task'] for row in _TABLE)
"""All 114 objects."""

LISTS = {
  name: tuple(row['task'] for row in _TABLE if row['set'] == part)
  for name, part in (
    ('shadow_hand', 'train'),
    ('shadow_hand:transfer', 'transfer'),
  )
}
"""The 85 objects that Nauman et al. 2025 (arXiv:2505.23150) train on, and the
29 that they go on to."""

_NUM_STEPS = 100


class ShadowHand(suite.Suite):
  """Single objects and sets of them, from features."""

  name = 'shadow_hand'
  title = 'Shadow Hand'
  examples = (
    f'objects of Shadow Hand (shadow_hand:rubber_duck), {", ".join(LISTS)}'
  )
  names = TASKS
  lists = tuple(LISTS)
  packages = ('mujoco',)
  has_protocol = True
  has_success = True

  def owns(self, task: str) -> bool:
    """Tells whether a task is an object of Shadow Hand."""
    return task.startswith(_PREFIX)

  def expand(self, name: str) -> tuple[str, ...] | None:
    """Lists a set, or one object.

    Raises:
      UserError: there is no such object.
    """
    return suite.expand_prefixed(name, _PREFIX, TASKS, LISTS)

  def protocol(self, config: Any) -> ShadowHandProtocol:
    """Returns the way to play that the config says."""
    return ShadowHandProtocol(num_action_repeats=config.num_action_repeats)

  def env_spec(self, task: str, protocol: ShadowHandProtocol) -> EnvSpec:
    """Describes a task, as all are, without building it.

    Raises:
      UserError: a package is missing.
    """
    shadow_hand.check_installation()
    size = shadow_hand.NUM_ACTIONS
    return EnvSpec(
      task_names=(task,),
      action_box=ActionBox((-1.0,) * size, (1.0,) * size),
      num_features=shadow_hand.NUM_FEATURES,
      has_success=True,
    )

  def make(
    self,
    rows: Sequence[str],
    protocol: ShadowHandProtocol,
    is_training: bool,
    num_threads: int,
  ) -> list[VectorEnv]:
    """Builds one vector environment, whose processes play several rows each.

    Raises:
      UserError: a package or the files of an object are missing.
    """
    del is_training
    shadow_hand.check_installation()
    makers = [
      functools.partial(shadow_hand.make, task.removeprefix(_PREFIX), protocol)
      for task in rows
    ]
    num_workers = workers.num_workers(rows, num_threads)
    return [workers.WorkerVectorEnv(makers, num_workers)]

  def evaluation_line(
    self, protocol: ShadowHandProtocol, starts: str | None = None
  ) -> str:
    """Says how tasks are played."""
    del starts
    return (
      'whole episodes of 100 control steps; sampled policy; raw rewards; '
      f'action repeat {protocol.num_action_repeats}; tasks '
      f'{protocol.shadow_hand_version}, {protocol.shadow_hand_rewards} rewards'
    )

  def reference(
    self, task: str, is_human_starts: bool = False
  ) -> Reference | None:
    """Returns the least and the greatest possible return."""
    if is_human_starts or task not in TASKS:
      return None
    return Reference(-float(_NUM_STEPS), 0.0, is_human=False)
