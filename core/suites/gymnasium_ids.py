"""Environments that are registered with Gymnasium, such as gym:CartPole-v1."""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import gymnasium
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from core.errors import UserError
from core.suites import suite


class GymnasiumIds(suite.Suite):
  """A task is an id of Gymnasium's registry behind 'gym:'."""

  name = 'gymnasium'
  title = 'Gymnasium'
  examples = 'ids of Gymnasium (gym:CartPole-v1)'
  packages = ('gymnasium',)

  def owns(self, task: str) -> bool:
    """Tells whether a task is an id of Gymnasium."""
    return task.startswith('gym:')

  def expand(self, name: str) -> tuple[str, ...] | None:
    """Lists the one environment.

    Raises:
      UserError: Gymnasium does not know it; the message has the nearest.
    """
    if not self.owns(name):
      return None
    try:
      gymnasium.spec(name.removeprefix('gym:'))
    except gymnasium.error.Error as error:
      raise UserError(f'--level_name={name}: {error}') from error
    return (name,)

  def make(
    self,
    rows: Sequence[str],
    protocol: Any,
    is_training: bool,
    num_threads: int,
  ) -> list[VectorEnv]:
    """Builds a vector environment per id.

    Raises:
      UserError: a package that the environment needs is missing.
    """
    environments = []
    for task, group in itertools.groupby(rows):
      make_one = functools.partial(gymnasium.make, task.removeprefix('gym:'))
      try:
        environments.append(
          SyncVectorEnv(
            [make_one] * len(list(group)),
            autoreset_mode=AutoresetMode.SAME_STEP,
          )
        )
      except gymnasium.error.DependencyNotInstalled as error:
        raise UserError(f'{task}: {error}') from error
    return environments
