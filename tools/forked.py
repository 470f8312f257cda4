"""Modules run as __main__ in processes that find TensorFlow imported.

Importing it takes longer than most of the runs of tests and of the torture.
Each process is forked from a server that has imported it and done nothing else.
"""

import contextlib
import functools
import multiprocessing
import os
import pathlib
import runpy
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import forkserver
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[1]
TIMEOUT_SECS = 240

_CONTEXT = multiprocessing.get_context('forkserver')
_CONTEXT.set_forkserver_preload(['core.modes', 'impala.agent'])


class Finished(NamedTuple):
  """How a run in a process of its own ended.

  Attributes:
    status: exit status, negative after a signal; None if it had not ended when
      it was killed after the time given.
    stdout: what it printed.
    stderr: likewise.
    time: wall clock at its end.
    left_children: whether a process that it started was still there.
  """

  status: int | None
  stdout: str
  stderr: str
  time: float
  left_children: bool


class Process:
  """A command in a session of its own; `finish` or `kill_all` ends it.

  Attributes:
    pid: of the process, and of the group of all that it starts.
  """

  def __init__(self, module: str, *arguments: str, cwd: pathlib.Path = ROOT):
    """Starts it, as `python -m module arguments` would in the folder `cwd`."""
    # Files: a child that lives on would hold a pipe open.
    self._outputs = tempfile.TemporaryDirectory()
    self._paths = [
      pathlib.Path(self._outputs.name, name) for name in ('stdout', 'stderr')
    ]
    _start_server()
    self._process = _CONTEXT.Process(
      target=_run,
      args=(module, arguments, self._paths, str(cwd), dict(os.environ)),
    )
    self._process.start()
    self.pid = self._process.pid

  @property
  def stdout(self) -> str:
    """What it has printed so far."""
    return self._read(0)

  @property
  def stderr(self) -> str:
    """Likewise."""
    return self._read(1)

  def wait_until(
    self, is_true: Callable[[], bool], timeout: float = TIMEOUT_SECS
  ) -> bool:
    """Waits for something; returns whether it came about before the end."""
    deadline = time.monotonic() + timeout
    while not is_true():
      if not self._process.is_alive() or time.monotonic() > deadline:
        return is_true()
      time.sleep(0.002)
    return True

  def signal(self, number: int) -> None:
    """Sends a signal to all of its processes, as a terminal does."""
    os.killpg(self.pid, number)

  def wait(self, timeout: float) -> int | None:
    """Returns the exit status, None if it did not end in time."""
    self._process.join(timeout)
    return self._process.exitcode

  def finish(self, timeout: float = TIMEOUT_SECS) -> Finished:
    """Waits for the end and cleans up."""
    try:
      status = self.wait(timeout)
      end = time.time()
      deadline = time.monotonic() + 0.2
      while self._has_members() and time.monotonic() < deadline:
        time.sleep(0.01)  # For children to be reaped.
      return Finished(
        status, self.stdout, self.stderr, end, self._has_members()
      )
    finally:
      with contextlib.suppress(ProcessLookupError):
        self.signal(signal.SIGKILL)
      self._process.kill()  # Should it have no group of its own yet.
      self._process.join()
      self._outputs.cleanup()

  def _read(self, index):
    path = self._paths[index]
    return path.read_text(errors='replace') if path.exists() else ''

  def _has_members(self):
    try:
      self.signal(0)
    except ProcessLookupError:
      return False
    return True


def kill_all() -> None:
  """Kills the commands that this process started and has not finished."""
  for process in multiprocessing.active_children():
    with contextlib.suppress(ProcessLookupError):
      os.killpg(process.pid, signal.SIGKILL)
    process.kill()


@functools.cache
def _start_server():
  """Starts the server without what TensorFlow says while it is imported."""
  stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
  os.dup2(null, 2)
  try:
    forkserver.ensure_running()
  finally:
    os.dup2(stderr, 2)
    os.close(stderr)
    os.close(null)


def _run(module, arguments, outputs, folder, environment):
  """Body of the process."""
  os.setsid()
  # Its own processes start as anywhere else, not from this server.
  multiprocessing.set_start_method(None, force=True)
  for descriptor, path in enumerate(outputs, start=1):
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
  os.chdir(folder)
  os.environ.clear()
  os.environ.update(environment)
  paths = [str(ROOT), *environment.get('PYTHONPATH', '').split(os.pathsep)]
  sys.path[:0] = [path for path in paths if path]
  sys.argv = [module, *arguments]
  runpy.run_module(module, run_name='__main__', alter_sys=True)
