"""MetaWorld: single tasks (metaworld:door-open), the 50, a split of them."""

import functools
from collections.abc import Sequence
from typing import Any

from gymnasium.vector import VectorEnv

from core.environments import workers
from core.environments.robots import metaworld
from core.environments.robots.metaworld import MetaWorldEnv, MetaWorldProtocol
from core.suites import suite
from core.suites.suite import Reference
from core.types import ActionBox, EnvSpec

_PREFIX = 'metaworld:'

_TASKS = (
  *('assembly', 'basketball', 'bin-picking', 'box-close'),
  *('button-press-topdown', 'button-press-topdown-wall', 'button-press'),
  *('button-press-wall', 'coffee-button', 'coffee-pull', 'coffee-push'),
  *('dial-turn', 'disassemble', 'door-close', 'door-lock', 'door-open'),
  *('door-unlock', 'hand-insert', 'drawer-close', 'drawer-open'),
  *('faucet-open', 'faucet-close', 'hammer', 'handle-press-side'),
  *('handle-press', 'handle-pull-side', 'handle-pull', 'lever-pull'),
  *('pick-place-wall', 'pick-out-of-hole', 'pick-place', 'plate-slide'),
  *('plate-slide-side', 'plate-slide-back', 'plate-slide-back-side'),
  *('peg-insert-side', 'peg-unplug-side', 'soccer', 'stick-push'),
  *('stick-pull', 'push', 'push-wall', 'push-back', 'reach', 'reach-wall'),
  *('shelf-place', 'sweep-into', 'sweep', 'window-open', 'window-close'),
)
_HELD_OUT = ('assembly', 'disassemble', 'dial-turn', 'lever-pull', 'push-back')

TASKS = tuple(_PREFIX + task for task in _TASKS)
"""The 50, in the order of Nauman et al. 2025 (arXiv:2505.23150), E.1."""

LISTS = {
  'metaworld': TASKS,
  'metaworld:train': tuple(
    _PREFIX + task for task in _TASKS if task not in _HELD_OUT
  ),
  'metaworld:transfer': tuple(_PREFIX + task for task in _HELD_OUT),
}
"""All, and what that paper trains on before it goes on to the rest (E.2)."""

_GREATEST_REWARD = 10.0  # Of a control step.


class MetaWorld(suite.Suite):
  """Single tasks and sets of them, from features."""

  name = 'metaworld'
  title = 'MetaWorld'
  examples = f'tasks of MetaWorld (metaworld:door-open) and {", ".join(LISTS)}'
  names = TASKS
  lists = tuple(LISTS)
  packages = ('metaworld', 'mujoco')
  has_protocol = True
  has_success = True

  def owns(self, task: str) -> bool:
    """Tells whether a task is one of MetaWorld."""
    return task.startswith(_PREFIX)

  def expand(self, name: str) -> tuple[str, ...] | None:
    """Lists a set, or one task.

    Raises:
      UserError: there is no such task.
    """
    return suite.expand_prefixed(name, _PREFIX, TASKS, LISTS)

  def protocol(self, config: Any) -> MetaWorldProtocol:
    """Returns the way to play that the config says."""
    return MetaWorldProtocol(
      num_action_repeats=config.num_action_repeats,
      metaworld_rewards=config.metaworld_rewards,
      metaworld_goals=config.metaworld_goals,
    )

  def protocol_line(self, protocol: MetaWorldProtocol) -> str:
    """Says version, rewards and which goal an episode has."""
    return (
      f'MetaWorld {protocol.metaworld_version}, rewards of '
      f'{protocol.metaworld_rewards}, goals {protocol.metaworld_goals}, '
      f'{protocol.metaworld_episode_steps} control steps an episode'
    )

  def env_spec(self, task: str, protocol: MetaWorldProtocol) -> EnvSpec:
    """Describes a task, as all are, without building it.

    Raises:
      UserError: metaworld is missing.
    """
    metaworld.check_installation()
    return EnvSpec(
      task_names=(task,),
      action_box=ActionBox((-1.0,) * 4, (1.0,) * 4),
      num_features=metaworld.NUM_FEATURES,
      has_success=True,
    )

  def make(
    self,
    rows: Sequence[str],
    protocol: MetaWorldProtocol,
    is_training: bool,
    num_threads: int,
  ) -> list[VectorEnv]:
    """Builds one vector environment, whose processes play several rows each.

    Raises:
      UserError: metaworld is missing.
    """
    del is_training
    metaworld.check_installation()
    makers = [
      functools.partial(MetaWorldEnv, task.removeprefix(_PREFIX), protocol)
      for task in rows
    ]
    num_workers = workers.num_workers(rows, num_threads)
    return [workers.WorkerVectorEnv(makers, num_workers)]

  def evaluation_line(
    self, protocol: MetaWorldProtocol, starts: str | None = None
  ) -> str:
    """Says how tasks are played."""
    del starts
    return (
      'whole episodes; sampled policy; raw rewards; action repeat '
      f'{protocol.num_action_repeats}; {self.protocol_line(protocol)}'
    )

  def reference(
    self, task: str, is_human_starts: bool = False
  ) -> Reference | None:
    """Returns the least and the greatest possible return."""
    if is_human_starts or task not in TASKS:
      return None
    num_steps = MetaWorldProtocol().metaworld_episode_steps
    return Reference(0.0, _GREATEST_REWARD * num_steps, is_human=False)
