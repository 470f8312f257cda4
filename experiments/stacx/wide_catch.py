"""Catch on a board of 16 x 11: longer episodes, and further ways to go.

The paddle starts in the middle and may be five columns away from where the ball
comes down 15 steps later. The reward comes with the last step, so an agent with
a short horizon hardly sees what the first ones are worth.

    python -m stacx.experiment --preset=catch \\
      --level_name=experiments.stacx.wide_catch:make_vector_env
"""

import functools

from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from core.environments.catch import Catch

ROWS, COLUMNS = 16, 11


def make_vector_env(num_envs: int, is_training: bool) -> VectorEnv:
  """Builds N games, the same in training and evaluation."""
  del is_training
  return SyncVectorEnv(
    [functools.partial(Catch, ROWS, COLUMNS)] * num_envs,
    autoreset_mode=AutoresetMode.SAME_STEP,
  )
