"""Rates and reminders of a training loop."""

import collections
import time
from typing import Any

from core.run_config import RunConfig


class Clock:
  """Tells how fast a run is, and when to save it."""

  def __init__(self, config: RunConfig, learner: Any):
    """Starts now; the learner has env_frames, num_updates and a timer."""
    self._config = config
    self._learner = learner
    self._rate_start = self._lap_start = (time.monotonic(), learner.env_frames)
    self._rate = 0.0
    self._last_save = time.monotonic()

  def frames_per_sec(self) -> float:
    """Returns environment frames per second of the last ten seconds or so."""
    secs, frames = self._since(self._rate_start)
    if secs > 10.0:
      self._rate = frames / secs
      self._rate_start = (time.monotonic(), self._learner.env_frames)
    return self._rate or frames / secs

  def lap(self) -> dict[str, float]:
    """Returns the rate and the seconds per phase since the last lap."""
    secs, frames = self._since(self._lap_start)
    self._lap_start = (time.monotonic(), self._learner.env_frames)
    phases = collections.defaultdict(float, self._learner.timer.take())
    row = dict(frames_per_sec=round(frames / secs, 1))
    for name in ('environment', 'inference', 'learner', 'waiting'):
      row[f'{name}_secs'] = round(phases[name], 4)
    return row

  def checkpoint_is_due(self) -> bool:
    """Tells whether it is time for a checkpoint, by updates or by the clock."""
    if self._config.checkpoint_updates:
      return self._learner.num_updates % self._config.checkpoint_updates == 0
    if time.monotonic() - self._last_save < self._config.checkpoint_secs:
      return False
    self._last_save = time.monotonic()
    return True

  def _since(self, start):
    secs = max(time.monotonic() - start[0], 1e-9)
    return secs, self._learner.env_frames - start[1]
