"""Environments of the user's own: package.module:function."""

import importlib
import itertools
import traceback
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from core.errors import UserError
from core.suites import suite


class UserFunctions(suite.Suite):
  """A task is a function of num_envs and is_training that builds them."""

  name = 'user'
  title = 'Own environments'
  examples = 'functions that build your own (package.module:function)'

  def owns(self, task: str) -> bool:
    """Tells whether a task names a function."""
    return ':' in task

  def expand(self, name: str) -> tuple[str, ...] | None:
    """Lists the one function.

    Raises:
      UserError: it cannot be imported.
    """
    if not self.owns(name):
      return None
    _import_function(name)
    return (name,)

  def make(
    self,
    rows: Sequence[str],
    protocol: Any,
    is_training: bool,
    num_threads: int,
  ) -> list[VectorEnv]:
    """Calls each function once.

    Raises:
      UserError: it fails, or what it returns is no vector environment that
        resets in the step that ends an episode.
    """
    return [
      _make(name, len(list(group)), is_training)
      for name, group in itertools.groupby(rows)
    ]

  def controls(self, task: str, protocol: Any) -> np.ndarray:
    """Returns metadata['controls'] of the environment; see `Suite.controls`.

    Raises:
      UserError: it is missing, or not of the environment's actions.
    """
    (env,) = self.make([task], protocol, is_training=True, num_threads=1)
    env.close()
    table = np.array(env.metadata.get('controls', ()))
    shape = (getattr(env.single_action_space, 'n', 0), 3)
    if table.shape != shape or not np.isin(table, (-1, 0, 1)).all():
      raise UserError(
        f"what the actions of {task} press is not known: metadata['controls'] "
        f'of the vector environment must be {shape[0]} times fire, horizontal '
        'and vertical, each -1, 0 or 1'
      )
    return table.astype(np.int32)


def _make(name, num_envs, is_training):
  try:
    env = _import_function(name)(num_envs, is_training)
  except Exception as error:
    if isinstance(error, UserError):
      raise
    raise UserError(f'{name} failed: {_describe(error)}') from error
  if not isinstance(env, VectorEnv) or env.num_envs != num_envs:
    raise UserError(
      f'{name}({num_envs}, {is_training}) must return a '
      f'gymnasium.vector.VectorEnv of {num_envs} environments, not {env!r}'
    )
  if env.metadata.get('autoreset_mode') != AutoresetMode.SAME_STEP:
    raise UserError(
      f'{name}: build the vector environment with '
      'autoreset_mode=AutoresetMode.SAME_STEP'
    )
  return env


def _import_function(name):
  module_name, _, function_name = name.partition(':')
  try:
    function = getattr(importlib.import_module(module_name), function_name)
  # Importing runs the module, which may raise anything or exit.
  except (Exception, SystemExit) as error:
    raise UserError(f'--level_name={name}: {_describe(error)}') from error
  if not callable(function):
    raise UserError(f'--level_name={name}: it is not a function')
  return function


def _describe(error):
  """Returns an error in one line, with the user's line that raised it."""
  text = ' '.join(f'{type(error).__name__}: {error}'.split())
  ours = (__file__, importlib.__file__)
  lines = [
    line
    for line in traceback.extract_tb(error.__traceback__)
    if line.filename not in ours and line.filename[0] != '<'
  ]
  if lines:
    text += f' ({lines[-1].filename}, line {lines[-1].lineno})'
  return text
