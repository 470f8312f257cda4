"""Ctrl-C: once for a checkpoint and a clean end, twice for an end at once."""

import _thread
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def ignored_by_children() -> Iterator[None]:
  """Lets processes started in a with-block ignore Ctrl-C.

  A terminal sends it to all of them: environments would end before the
  checkpoint is written. They end when the parent closes them. They inherit that
  the signal is blocked; here it comes at the end of the block.
  """
  previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, previous)


@contextlib.contextmanager
def never_swallowed() -> Iterator[None]:
  """Lets Ctrl-C end a command at any moment of it, without a traceback.

  Python prints and drops a KeyboardInterrupt that is raised in a destructor or
  in a callback of its garbage collector (JAX has one, and TensorFlow imports
  JAX where it is installed). In the with-block it comes again a moment later;
  after it, while the interpreter shuts down, the signal ends the process.
  """
  previous = sys.unraisablehook

  def hook(unraisable):
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
      # Not threading's: its locks may be held where this comes from.
      _thread.start_new_thread(_interrupt_soon, ())
    else:
      previous(unraisable)

  sys.unraisablehook = hook
  try:
    yield
  finally:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
      signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.unraisablehook = previous


def _interrupt_soon():
  time.sleep(0.01)  # Until the main thread is out of what swallows it.
  signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


# In which SIGTERM counts once: a launcher's death sends it to a run (see
# experiments/launch/process.py) once for each of the launcher's threads.
_ONE_SIGTERM_SECS = 1.0


class Interrupt:
  """Catches SIGINT and SIGTERM while in a with-block.

  Attributes:
    requested: whether a signal came.
  """

  def __init__(self):
    """Starts without a request."""
    self.requested = False
    self._requested_at = 0.0

  def __enter__(self) -> 'Interrupt':
    signals = (signal.SIGINT, signal.SIGTERM)
    self._previous = {s: signal.signal(s, self._handle) for s in signals}
    return self

  def __exit__(self, *unused: Any) -> None:
    for number, handler in self._previous.items():
      signal.signal(number, handler)

  def _handle(self, number, unused_frame):
    secs = time.monotonic() - self._requested_at
    if self.requested:
      if number == signal.SIGTERM and secs < _ONE_SIGTERM_SECS:
        return
      for child in multiprocessing.active_children():
        child.kill()  # One that hangs would stay.
      os._exit(128 + number)
    self.requested, self._requested_at = True, time.monotonic()
    print('stopping after a checkpoint; once more to stop at once', flush=True)
