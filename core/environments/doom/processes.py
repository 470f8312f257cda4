"""Tasks of Doom in processes of their own, several in each."""

import fcntl
import functools
import multiprocessing
import os
import signal
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from core.environments.doom import engine, pictures
from core.environments.doom.engine import check_installation
from core.environments.doom.env import (
  MAX_INSTRUCTION_BYTES,
  DoomEnv,
  DoomProtocol,
)
from core.environments.workers import WorkerVectorEnv
from core.errors import UserError

MAX_INSTRUCTION_WORDS = 16  # As many as DeepMind Lab's here.


class DoomVectorEnv(WorkerVectorEnv):
  """N environments in W processes; instructions come as word buckets.

  Observations are a dict of `frame`, uint8 [N, height, width, 3], and
  `instruction`, int32 [N, 16], as `core.types.Observation` has it.
  """

  def __init__(
    self, tasks: Sequence[str], protocol: DoomProtocol, num_workers: int
  ):
    """Starts processes and engines.

    Args:
      tasks: the task of each row, keys of `tasks.PLAYABLE`.
      protocol: how to play.
      num_workers: W.

    Raises:
      UserError: a package is missing, or an engine does not start.
    """
    check_installation()
    engine.sweep()
    self._tasks = tasks
    self._frame_shape = (protocol.height, protocol.width, 3)
    textures = pictures.textures()
    env_fns = [
      functools.partial(_start, task, protocol, textures) for task in tasks
    ]
    super().__init__(env_fns, num_workers)

  def reset(self, **kwargs: Any) -> tuple[dict[str, np.ndarray], dict]:
    """Begins all episodes; row i is seeded with `seed` + i."""
    observations, infos = super().reset(**kwargs)
    return self._split(observations), infos

  def step_wait(self) -> tuple[Any, ...]:
    """Waits for all rows; raises UserError if a process ended."""
    observations, *others = super().step_wait()
    return self._split(observations), *others

  def close_extras(self, **unused: Any) -> None:
    """Ends the processes, and removes what they left if they crashed."""
    super().close_extras()
    engine.sweep()

  def _split(self, rows):
    frames = rows[:, :-MAX_INSTRUCTION_BYTES]
    words = rows[:, -MAX_INSTRUCTION_BYTES:]
    return dict(
      frame=frames.reshape([len(rows), *self._frame_shape]),
      instruction=np.stack([word_buckets(row.tobytes()) for row in words]),
    )

  def _send(self, name, argument):
    try:
      super()._send(name, argument)
    except ConnectionError as error:
      raise UserError(self._obituary()) from error

  def _receive(self):
    try:
      return super()._receive()
    except (EOFError, ConnectionError) as error:
      raise UserError(self._obituary()) from error

  def _obituary(self):
    """Says whose process ended, and how."""
    for process, rows in zip(self.processes, self._slices, strict=True):
      process.join(1.0)
      status = process.exitcode
      if status is not None:
        cause = f'exit status {status}'
        if status < 0:
          cause = f'killed by {signal.Signals(-status).name}'
        names = ', '.join(f'doom:{x}' for x in dict.fromkeys(self._tasks[rows]))
        return f'the process that plays {names} ended: {cause}'
    return 'a process that plays doom: does not answer'


class DoomGame(gymnasium.Wrapper):
  """One environment to film, in this process.

  Observations are as `DoomVectorEnv`'s, of one row; pictures are as large as
  the engine draws them.
  """

  def __init__(self, task: str, protocol: DoomProtocol):
    """Starts no engine yet.

    Raises:
      UserError: a package is missing.
    """
    check_installation()
    super().__init__(DoomEnv(task, protocol, pictures.textures()))
    self._task = task
    self._frame_shape = (protocol.height, protocol.width, 3)
    self.metadata = {'render_fps': 35 / protocol.num_action_repeats}

  def reset(self, **kwargs: Any) -> tuple[dict[str, np.ndarray], dict]:
    """Begins an episode.

    Raises:
      UserError: it shall begin from a saved state.
    """
    if (kwargs.get('options') or {}).get('start_state') is not None:
      self.save_state()
    observation, info = self.env.reset(**kwargs)
    return self._split(observation), info

  def step(self, action: int) -> tuple[dict, float, bool, bool, dict]:
    """Repeats an action; closes the engine after the last step."""
    observation, *others = self.env.step(action)
    if others[1] or others[2]:
      self.env.close()
    return self._split(observation), *others

  def save_state(self) -> bytes:
    """Refuses: the engine's own states are not exact."""
    raise UserError(f'doom:{self._task} has no saved states')

  def _split(self, row):
    return dict(
      frame=row[:-MAX_INSTRUCTION_BYTES].reshape(self._frame_shape),
      instruction=word_buckets(row[-MAX_INSTRUCTION_BYTES:].tobytes()),
    )


@functools.lru_cache(2**10)
def word_buckets(text: bytes) -> np.ndarray:
  """Returns the words of an instruction, int32 [16]; see core.instructions."""
  # Here, not above: the processes of environments do without TensorFlow.
  from core.instructions import hash_words

  words = text.rstrip(b'\0').decode()
  return np.array(hash_words(words, MAX_INSTRUCTION_WORDS), np.int32)


def _start(task, protocol, textures):
  """Builds an environment in a process, with its engine."""
  end_with_parent()
  env = DoomEnv(task, protocol, textures)
  env.reset(seed=0)
  return env


def end_with_parent():
  """Lets the kernel end this process with its parent, even while it hangs.

  The parent holds the other end of a pipe for this; when it closes, the signal
  SIGIO comes, whose default is to end the process.
  """
  pipe = multiprocessing.parent_process().sentinel
  signal.signal(signal.SIGIO, signal.SIG_DFL)
  fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
  flags = fcntl.fcntl(pipe, fcntl.F_GETFL)
  fcntl.fcntl(pipe, fcntl.F_SETFL, flags | os.O_ASYNC)
