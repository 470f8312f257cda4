"""DeepMind Lab: each level in a process of its own, and how processes end."""

import contextlib
import functools
import importlib.util
import multiprocessing.connection
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from core.environments.dmlab import (
  MAX_INSTRUCTION_WORDS,
  DmLabEnv,
  DmLabProtocol,
)
from core.environments.workers import spawning
from core.errors import UserError

_CLOSE_SECS = 3.0


class DmLabVectorEnv(AsyncVectorEnv):
  """N levels in N processes; instructions come as word buckets.

  Observations are a dict of `frame`, uint8 [N, height, width, 3], and
  `instruction`, int32 [N, 16], as `core.types.Observation` has it.
  """

  def __init__(
    self, levels: Sequence[str], protocol: DmLabProtocol, is_training: bool
  ):
    """Starts processes and engines.

    Args:
      levels: the level of each row, by its name among Lab's.
      protocol: how to play.
      is_training: False allows the levels that are held out for tests.

    Raises:
      UserError: `deepmind_lab`, a level or the folder of maps is missing.
    """
    check_installation()
    if protocol.level_cache_dir:
      _make_cache_folder(protocol.level_cache_dir)
    self._levels = levels
    self._ended = set()
    self._folder = tempfile.TemporaryDirectory(
      prefix='dmlab_', ignore_cleanup_errors=True
    )
    env_fns = [
      functools.partial(DmLabEnv, level, protocol, is_training)
      for level in levels
    ]
    with spawning():
      super().__init__(
        env_fns, context='spawn', autoreset_mode=AutoresetMode.SAME_STEP
      )
    try:
      self._connect()
    except BaseException:
      self.close()
      raise

  def _connect(self):
    with self._naming_the_dead(UserError):
      self.call('lead_group')
      failures = self.call('connect', self._folder.name)
    for level, failure in zip(self._levels, failures, strict=True):
      if failure:
        raise UserError(f'DeepMind Lab cannot play {level}: {failure}')

  def reset(self, **kwargs: Any) -> tuple[dict[str, np.ndarray], dict]:
    """Begins all episodes; row i is seeded with `seed` + i.

    Raises:
      UserError: an engine ended its process, as it does of a bad map.
    """
    with self._naming_the_dead(UserError):
      observations, infos = super().reset(**kwargs)
    return _with_word_buckets(observations), infos

  def step_async(self, actions: np.ndarray) -> None:
    """Begins a step of all rows; raises as `step_wait`."""
    with self._naming_the_dead(RuntimeError):
      super().step_async(actions)

  def step_wait(self, timeout: float | None = None) -> tuple[Any, ...]:
    """Waits for all rows; see gymnasium.

    Raises:
      RuntimeError: an engine ended its process.
    """
    with self._naming_the_dead(RuntimeError):
      observations, *others = super().step_wait(timeout)
    return _with_word_buckets(observations), *others

  def close_extras(self, **unused: Any) -> None:
    """Ends the processes; by force those that take longer than 3 seconds.

    Gymnasium would wait for what they are doing (compiling a map takes many
    seconds), and raise their errors once more.
    """
    for pipe in self.parent_pipes:
      if pipe is not None:
        with contextlib.suppress(OSError):
          pipe.send(('close', None))
    waiting = {process.sentinel for process in self.processes}
    deadline = time.monotonic() + _CLOSE_SECS
    while waiting and time.monotonic() < deadline:
      secs = max(0.0, deadline - time.monotonic())
      waiting -= set(multiprocessing.connection.wait(waiting, secs))
    for process in self.processes:
      if process not in self._ended:
        _end(process)
    for pipe in self.parent_pipes:
      if pipe is not None:
        pipe.close()
    self._folder.cleanup()

  @contextlib.contextmanager
  def _naming_the_dead(self, kind: type[Exception]) -> Iterator[None]:
    """Raises the end of a process as an error that says whose it was."""
    try:
      yield
    except (EOFError, ConnectionError) as error:
      sentinels = [process.sentinel for process in self.processes]
      ended = multiprocessing.connection.wait(sentinels, 1.0)
      codes = []
      for level, process in zip(self._levels, self.processes, strict=True):
        if process.sentinel in ended:
          _end(process)
          self._ended.add(process)
          codes.append(f'{level}: exit code {process.exitcode}')
      raise kind(f'DeepMind Lab ended; {", ".join(codes)}') from error


def _end(process):
  """Ends a process, if it still runs, and all that it started."""
  # Before it is joined: from then on its id may be another's.
  with contextlib.suppress(ProcessLookupError):  # No group yet, or no more.
    os.killpg(process.pid, signal.SIGKILL)
  process.kill()
  process.join()


def check_installation() -> None:
  """Refuses to go on without the engine's module."""
  if importlib.util.find_spec('deepmind_lab') is None:
    raise UserError(
      'DeepMind Lab is not installed (no module deepmind_lab): build it as '
      'README says under "DeepMind Lab"'
    )


def _make_cache_folder(folder):
  try:
    os.makedirs(folder, exist_ok=True)
  except OSError as error:
    raise UserError(f'--level_cache_dir={folder}: {error.strerror}') from error


def _with_word_buckets(observations):
  rows = observations['instruction']
  buckets = np.stack([_word_buckets(row.tobytes()) for row in rows])
  return dict(frame=observations['frame'], instruction=buckets)


@functools.lru_cache(2**16)
def _word_buckets(text: bytes) -> np.ndarray:
  # Here, not above: the processes of environments do without TensorFlow.
  from core.instructions import hash_words

  words = text.rstrip(b'\0').decode()
  return np.array(hash_words(words, MAX_INSTRUCTION_WORDS), np.int32)
