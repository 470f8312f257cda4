"""Environments in processes of their own, several in each.

For engines in Python: they would hold the lock that TensorFlow's threads need,
and some cannot share a process with it. A process that is spawned imports
neither the script that runs nor TensorFlow. It ends when its parent closes it
or dies; Ctrl-C is the parent's alone.
"""

import contextlib
import multiprocessing.connection
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

  Observations are arrays [N, ...]. The environments have
  `get_state` and `set_state`, whose states JSON can hold.

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
      spaces = self._receive()
    except BaseException:
      self.close()
      raise
    self.single_observation_space, self.single_action_space = spaces[0]
    self.observation_space, self.action_space = (
      batch_space(space, self.num_envs) for space in spaces[0]
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
      bool [N], and infos: where an episode ended, `final_obs` has, as
      gymnasium's do, its last observation, and `_final_obs` is true.
    """
    *parts, finals = zip(*self._receive(), strict=True)
    final_obs = [x for of_process in finals for x in of_process]
    has_ended = np.array([x is not None for x in final_obs])
    infos = {}
    if has_ended.any():
      infos = dict(final_obs=final_obs, _final_obs=has_ended)
    return *(np.concatenate(part) for part in parts), infos

  def step(self, actions: np.ndarray) -> tuple[Any, ...]:
    """Steps all rows; see `step_wait`."""
    self.step_async(actions)
    return self.step_wait()

  def get_state(self) -> list[Any]:
    """Returns the state of every row, as JSON can hold it."""
    self._send('get_state', [None] * self.num_envs)
    return [state for states in self._receive() for state in states]

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

  def spaces(self):
    return self._envs[0].observation_space, self._envs[0].action_space

  def reset(self, seeds):
    pairs = zip(self._envs, seeds, strict=True)
    return np.stack([env.reset(seed=seed)[0] for env, seed in pairs])

  def step(self, actions):
    results, final_obs = [], [None] * len(self._envs)
    for i, (env, action) in enumerate(zip(self._envs, actions, strict=True)):
      observation, *result, _ = env.step(action)
      if result[1] or result[2]:
        final_obs[i] = observation
        observation, _ = env.reset()
      results.append((observation, *result))
    parts = (np.array(part) for part in zip(*results, strict=True))
    return *parts, final_obs

  def get_state(self, unused):
    return [env.get_state() for env in self._envs]

  def set_state(self, states):
    for env, state in zip(self._envs, states, strict=True):
      env.set_state(state)

  def close(self):
    for env in self._envs:
      env.close()


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
