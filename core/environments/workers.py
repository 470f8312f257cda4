"""Environments in processes of their own, several in each.

For engines in Python: they would hold the lock that TensorFlow's threads need,
and some cannot share a process with it. A process that is spawned imports
neither the script that runs nor TensorFlow. It ends when its parent closes it
or dies; Ctrl-C is the parent's alone.
"""

import contextlib
import multiprocessing.connection
import os
import signal
import sys
import time
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import resource_tracker
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from core.errors import EnvironmentFailure, UserError
from core.interrupt import ignored_by_children

_CLOSE_SECS = 3.0


class WorkerVectorEnv(VectorEnv):
  """N environments in W processes, which reset in the step that ends one.

  Observations are arrays [N, ...], actions numbers [N] or vectors [N, D].
  Environments may differ in the lengths of vectors: observations [F] are then
  padded with zeros to the longest, and of an action [D] each gets the first
  numbers that it reads. `get_state` and `set_state` of the environments, if
  they have them, take what JSON can hold.

  Attributes:
    processes: W of them.
  """

  metadata = {'autoreset_mode': AutoresetMode.SAME_STEP}

  def __init__(
    self, env_fns: Sequence[Callable[[], gymnasium.Env]], num_workers: int
  ):
    """Starts the processes and waits until all environments are there.

    Args:
      env_fns: N functions that can be pickled; each builds one environment.
      num_workers: W, at most N of them are started.

    Raises:
      UserError: an environment raised it.
      EnvironmentFailure: an environment raised anything else.
    """
    self.num_envs = len(env_fns)
    self.processes: list[Any] = []
    self._pipes: list[multiprocessing.connection.Connection] = []
    # As even as can be.
    num_workers = min(num_workers, self.num_envs)
    bounds = np.arange(num_workers + 1) * self.num_envs // num_workers
    self._slices = [
      slice(int(a), int(b))
      for a, b in zip(bounds[:-1], bounds[1:], strict=True)
    ]
    context = multiprocessing.get_context('spawn')
    try:
      with spawning():
        for rows in self._slices:
          self._start(context, env_fns[rows])
      spaces = [pair for of_process in self._receive() for pair in of_process]
      observations, actions = map(_widest, zip(*spaces, strict=True))
      self._send('pad_to', [observations.shape] * self.num_envs)
      self._receive()
    except BaseException:
      self.close()
      raise
    self.single_observation_space = observations
    self.single_action_space = actions
    self.observation_space, self.action_space = (
      batch_space(space, self.num_envs) for space in (observations, actions)
    )

  def reset(
    self,
    *,
    seed: int | Sequence[int] | None = None,
    options: dict[str, Any] | None = None,
  ) -> tuple[np.ndarray, dict[str, Any]]:
    """Begins all episodes; row i is seeded with `seed` + i."""
    del options
    if seed is None or isinstance(seed, int):
      seed = [None if seed is None else seed + i for i in range(self.num_envs)]
    self._send('reset', seed)
    return np.concatenate(self._receive()), {}

  def step_async(self, actions: np.ndarray) -> None:
    """Sends actions [N, ...]; returns at once."""
    self._send('step', actions)

  def step_wait(self) -> tuple[Any, ...]:
    """Waits for all rows.

    Returns:
      observations [N, ...], rewards float64 [N], terminations and truncations
      bool [N], and infos: `success`, float32 [N], what the environments' own
      say of the step, NaN where one says nothing; without it if none does.
      Where an episode ended, `final_obs` has, as gymnasium's do, its last
      observation, and `_final_obs` is true.
    """
    *parts, success, finals = zip(*self._receive(), strict=True)
    success = np.concatenate(success)
    infos = {} if np.isnan(success).all() else {'success': success}
    final_obs = [x for of_process in finals for x in of_process]
    has_ended = np.array([x is not None for x in final_obs])
    if has_ended.any():
      infos |= dict(final_obs=final_obs, _final_obs=has_ended)
    return *(np.concatenate(part) for part in parts), infos

  def step(self, actions: np.ndarray) -> tuple[Any, ...]:
    """Steps all rows; see `step_wait`."""
    self.step_async(actions)
    return self.step_wait()

  def get_state(self) -> list[Any] | None:
    """Returns the states of all rows, or None if one cannot say it."""
    self._send('get_state', [None] * self.num_envs)
    states = [state for states in self._receive() for state in states]
    return None if None in states else states

  def set_state(self, states: list[Any]) -> None:
    """Goes on from `get_state`."""
    self._send('set_state', states)
    self._receive()

  def close_extras(self, **unused: Any) -> None:
    """Ends the processes; by force those that take longer than 3 seconds."""
    for pipe in self._pipes:
      with contextlib.suppress(OSError):
        pipe.send(('close', None))
    deadline = time.monotonic() + _CLOSE_SECS
    for process in self.processes:
      process.join(max(0.0, deadline - time.monotonic()))
      process.kill()
      process.join()
    for pipe in self._pipes:
      pipe.close()

  def _start(self, context, env_fns):
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, env_fns), daemon=True)
    process.start()
    theirs.close()  # Else its end would not show here.
    self.processes.append(process)
    self._pipes.append(ours)

  def _send(self, name, argument):
    for pipe, rows in zip(self._pipes, self._slices, strict=True):
      pipe.send((name, argument[rows]))

  def _receive(self):
    """Returns the results of all processes, or raises the first failure."""
    results = [pipe.recv() for pipe in self._pipes]
    for error, _ in results:
      if error is not None:
        raise error
    return [result for _, result in results]


@contextlib.contextmanager
def spawning() -> Iterator[None]:
  """Lets processes spawned in a with-block ignore Ctrl-C and the main module.

  They would import the script that runs anew, and with it TensorFlow.
  """
  # It starts with the first process, and lets Ctrl-C through from then on.
  resource_tracker.ensure_running()
  main = sys.modules['__main__']
  sys.modules['__main__'] = types.ModuleType('__main__')
  try:
    with ignored_by_children():
      yield
  finally:
    sys.modules['__main__'] = main


class _Rows:
  """The environments of one process."""

  def __init__(self, env_fns):
    self._envs = [make() for make in env_fns]
    self._shape = None

  def spaces(self):
    return [(env.observation_space, env.action_space) for env in self._envs]

  def pad_to(self, shapes):
    self._shape = shapes[0]

  def reset(self, seeds):
    pairs = zip(self._envs, seeds, strict=True)
    return self._stack([env.reset(seed=seed)[0] for env, seed in pairs])

  def step(self, actions):
    observations, results, final_obs = [], [], [None] * len(self._envs)
    for i, (env, action) in enumerate(zip(self._envs, actions, strict=True)):
      if env.action_space.shape:
        action = action[: env.action_space.shape[0]]
      observation, *result, info = env.step(action)
      if result[1] or result[2]:
        final_obs[i] = self._stack([observation])[0]
        observation, _ = env.reset()
      observations.append(observation)
      results.append((*result, np.float32(info.get('success', np.nan))))
    parts = (np.array(part) for part in zip(*results, strict=True))
    return self._stack(observations), *parts, final_obs

  def _stack(self, observations):
    """Returns observations as one array [n, ...], padded at their ends."""
    array = np.zeros([len(observations), *self._shape], observations[0].dtype)
    for row, observation in zip(array, observations, strict=True):
      row[: len(observation)] = observation
    return array

  def get_state(self, unused):
    return [
      env.get_state() if hasattr(env, 'get_state') else None
      for env in self._envs
    ]

  def set_state(self, states):
    for env, state in zip(self._envs, states, strict=True):
      env.set_state(state)

  def close(self):
    for env in self._envs:
      env.close()


def _widest(boxes):
  """Returns the space with the longest vectors."""
  return max(boxes, key=lambda box: box.shape)


def num_workers(rows: Sequence[str], num_threads: int) -> int:
  """Returns how many processes shall play some rows together.

  Args:
    rows: the task of each.
    num_threads: how many a task alone may use; all together use as many as
      there are cores, or fewer.
  """
  return min(os.cpu_count() or 1, num_threads * len(set(rows)))


def _work(pipe, env_fns):
  """Serves a parent until it says 'close', dies or an environment fails."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  with contextlib.suppress(EOFError, ConnectionError):  # The parent died.
    try:
      rows = _Rows(env_fns)
      pipe.send((None, rows.spaces()))
      name, argument = pipe.recv()
      while name != 'close':
        pipe.send((None, getattr(rows, name)(argument)))
        name, argument = pipe.recv()
      rows.close()
    except UserError as error:
      pipe.send((error, None))
    except (EOFError, ConnectionError):
      raise
    except Exception:
      text = traceback.format_exc().rstrip()
      pipe.send((EnvironmentFailure(f'a process failed:\n{text}'), None))
