"""Where the time goes: seconds per phase, summed over threads."""

import collections
import contextlib
import threading
import time
from collections.abc import Iterator, Mapping


class Timer:
  """Adds up wall seconds under names; threads may share one."""

  def __init__(self):
    """Starts at zero."""
    self._lock = threading.Lock()
    self._secs = collections.defaultdict(float)

  @contextlib.contextmanager
  def phase(self, name: str) -> Iterator[None]:
    """Counts the seconds of a with-block under `name`."""
    start = time.perf_counter()
    try:
      yield
    finally:
      elapsed = time.perf_counter() - start
      with self._lock:
        self._secs[name] += elapsed

  def add(self, secs: Mapping[str, float]) -> None:
    """Counts seconds by name that somebody else has measured."""
    with self._lock:
      for name, value in secs.items():
        self._secs[name] += value

  def take(self) -> dict[str, float]:
    """Returns the seconds per name since the last call, and starts over."""
    with self._lock:
      secs, self._secs = dict(self._secs), collections.defaultdict(float)
    return secs
