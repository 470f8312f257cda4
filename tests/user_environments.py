"""Environments as users bring them: tests name them in --level_name.

Those that misbehave say when on stderr, so that a test can measure from there.
"""

import os
import sys
import time

import gymnasium
import numpy as np
from gymnasium.vector import (
  AsyncVectorEnv,
  AutoresetMode,
  SyncVectorEnv,
  VectorEnv,
)

from core.environments import point_mass
from core.environments.catch import Catch

FAILING_STEP = 40
SAME_STEP = AutoresetMode.SAME_STEP


class FailingCatch(Catch):
  """Catch that raises at its 40th step."""

  def __init__(self):
    super().__init__()
    self._num_steps = 0

  def step(self, action):
    self._num_steps += 1
    if self._num_steps == FAILING_STEP:
      print(f'raised at {time.time()}', file=sys.stderr, flush=True)
      raise ArithmeticError('the ball is lost')
    return super().step(action)


class DyingCatch(Catch):
  """Catch whose process ends without a word at its 40th step."""

  def __init__(self):
    super().__init__()
    self._num_steps = 0

  def step(self, action):
    self._num_steps += 1
    if self._num_steps == FAILING_STEP:
      print(f'raised at {time.time()}', file=sys.stderr, flush=True)
      os._exit(3)
    return super().step(action)


class SleepingCatch(Catch):
  """Catch that sleeps at its 40th step, long after any test has given up."""

  def __init__(self):
    super().__init__()
    self._num_steps = 0

  def step(self, action):
    self._num_steps += 1
    if self._num_steps == FAILING_STEP:
      print(f'sleeping at {time.time()}', file=sys.stderr, flush=True)
      end = time.monotonic() + 600
      while time.monotonic() < end:  # A signal ends a sleep.
        time.sleep(1)
    return super().step(action)


class LoggingEnv(VectorEnv):
  """Two counters per row; `calls` tells in what order it was used.

  The reward of row i at step k is 100 x scale + 10 i + k, its frame likewise;
  row i's episode ends with every (i + 2)nd step.
  """

  metadata = {'autoreset_mode': SAME_STEP}
  calls = []

  def __init__(self, num_envs, scale):
    self.num_envs = num_envs
    self.single_observation_space = gymnasium.spaces.Box(
      0, 255, (4, 4, 1), np.uint8
    )
    self.single_action_space = gymnasium.spaces.Discrete(3)
    self._scale = scale
    self._rows = np.arange(num_envs)
    self._num_steps = 0

  def reset(self, *, seed=None, options=None):
    self.calls.append(('reset', self._scale, seed))
    self._num_steps = 0
    return self._frames(), {}

  def step_async(self, actions):
    self.calls.append(('send', self._scale, actions.tolist()))
    self._num_steps += 1

  def step_wait(self):
    self.calls.append(('receive', self._scale))
    rewards = 100.0 * self._scale + 10.0 * self._rows + self._num_steps
    terminations = self._num_steps % (self._rows + 2) == 0
    truncations = np.zeros(self.num_envs, bool)
    return self._frames(), rewards, terminations, truncations, {}

  def close_extras(self, **kwargs):
    self.calls.append(('close', self._scale))

  def _frames(self):
    level = 100 * self._scale + 10 * self._rows + self._num_steps
    return np.ones([self.num_envs, 4, 4, 1], np.uint8) * np.uint8(
      level[:, None, None, None]
    )


class Everything(gymnasium.Env):
  """Frame, words and features, which all count the steps."""

  action_space = gymnasium.spaces.Discrete(3)

  def __init__(self, num_features):
    self._num_features = num_features
    self.observation_space = gymnasium.spaces.Dict(
      frame=gymnasium.spaces.Box(0, 255, (4, 4, 1), np.uint8),
      instruction=gymnasium.spaces.Box(0, 1000, (3,), np.int32),
      features=gymnasium.spaces.Box(-9, 9, (num_features,), np.float32),
    )

  def reset(self, *, seed=None, options=None):
    super().reset(seed=seed)
    self._num_steps = 0
    return self._observation(), {}

  def step(self, action):
    self._num_steps += 1
    return self._observation(), 0.0, False, False, {}

  def _observation(self):
    return dict(
      frame=np.full([4, 4, 1], self._num_steps, np.uint8),
      instruction=np.full(3, self._num_steps, np.int32),
      features=np.full(self._num_features, self._num_steps, np.float32),
    )


def make_failing(num_envs, is_training):
  return SyncVectorEnv([FailingCatch] * num_envs, autoreset_mode=SAME_STEP)


def make_failing_processes(num_envs, is_training):
  return AsyncVectorEnv([FailingCatch] * num_envs, autoreset_mode=SAME_STEP)


def make_dying_processes(num_envs, is_training):
  return AsyncVectorEnv([DyingCatch] * num_envs, autoreset_mode=SAME_STEP)


def make_sleeping(num_envs, is_training):
  return SyncVectorEnv([SleepingCatch] * num_envs, autoreset_mode=SAME_STEP)


def make_catch(num_envs, is_training):
  return SyncVectorEnv([Catch] * num_envs, autoreset_mode=SAME_STEP)


def make_processes(num_envs, is_training):
  return AsyncVectorEnv([Catch] * num_envs, autoreset_mode=SAME_STEP)


def make_first(num_envs, is_training):
  return LoggingEnv(num_envs, 1)


def make_second(num_envs, is_training):
  return LoggingEnv(num_envs, 2)


def make_next_step(num_envs, is_training):
  return SyncVectorEnv([Catch] * num_envs)


def make_continuous(num_envs, is_training):
  env = LoggingEnv(num_envs, 1)
  env.single_action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
  return env


def make_point_masses(num_envs, is_training):
  return point_mass.make_vector_env(2, num_envs)


def make_everything(num_envs, is_training, num_features=2):
  return SyncVectorEnv(
    [lambda: Everything(num_features)] * num_envs, autoreset_mode=SAME_STEP
  )


def make_everything_longer(num_envs, is_training):
  return make_everything(num_envs, is_training, num_features=5)


def make_slowly(num_envs, is_training):
  """Takes seconds; training asks it first for one environment, for its spec."""
  if num_envs > 1:
    print('building slowly', file=sys.stderr, flush=True)
    end = time.monotonic() + 3
    while time.monotonic() < end:
      time.sleep(0.1)
  return make_catch(num_envs, is_training)
