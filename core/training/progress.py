"""What a person sees of a training run.

On a terminal a display that renews itself; elsewhere, as in the log of a batch
job, a plain line now and then.
"""

import datetime
import time
from collections.abc import Mapping, Sequence

import rich.console
import rich.live
import rich.progress_bar
import rich.table
import rich.text

_MAX_TASKS = 12  # More would fill a small terminal.
_NUM_SHOWN = 5  # Of more tasks than that, beside their mean.
_REFRESH_SECS = 0.5


class Progress:
  """Shows frames, frames/s, time left and the returns of each task."""

  def __init__(
    self,
    total_frames: int,
    task_names: Sequence[str],
    interval_secs: float = 15.0,
    console: rich.console.Console | None = None,
  ):
    """Begin to show a run.

    Args:
      total_frames: environment frames at which the run ends.
      task_names: names in the order in which they are shown.
      interval_secs: seconds between lines where there is no terminal.
      console: where to; by default stdout.
    """
    self._total = total_frames
    self._names = tuple(task_names)
    self._console = console or rich.console.Console()
    self._live = None
    self._interval = interval_secs
    if self._console.is_terminal:
      self._interval = _REFRESH_SECS
      # Refreshed by hand: a thread would hinder forking of environments.
      self._live = rich.live.Live(console=self._console, auto_refresh=False)
      self._live.start()
    self._state = None
    self._last = None

  def update(
    self,
    env_frames: int,
    frames_per_sec: float | None,
    episodes_by_task: Mapping[str, Sequence[float]],
    note: str = '',
  ) -> None:
    """Show where the run is, unless that was shown a moment ago.

    Args:
      env_frames: environment frames so far.
      frames_per_sec: environment frames per second; None while none is played,
        when neither they nor the time left are shown.
      episodes_by_task: the returns of the last 100 episodes by task name; tasks
        without episodes may be missing.
      note: anything else worth a few words.
    """
    self._state = (env_frames, frames_per_sec, episodes_by_task, note)
    now = time.monotonic()
    if self._last is None or now - self._last >= self._interval:
      self._last = now
      self._show()

  def close(self) -> None:
    """Show the last state and give the terminal back."""
    if self._state:
      self._show()
    if self._live:
      self._live.stop()

  def _show(self) -> None:
    frames, frames_per_sec, episodes_by_task, note = self._state
    self._state = None  # Not to be shown twice.
    share = min(1.0, frames / self._total)  # The last update may overshoot.
    counts = [f'{frames:,}/{self._total:,} frames ({share:.1%})']
    if frames_per_sec is not None:
      counts += [
        f'{frames_per_sec:,.0f} frames/s',
        f'{time_left(self._total - frames, frames_per_sec)} left',
      ]
    returns = _mean_returns(self._names, episodes_by_task)
    if self._live:
      self._live.update(
        self._table(frames, counts, returns, note), refresh=True
      )
      return
    shown = ', '.join(f'{name} {mean:.2f}' for name, mean in returns.items())
    parts = (*counts, f'return {shown}' if shown else 'no episode yet', note)
    print(', '.join(filter(None, parts)), file=self._console.file, flush=True)

  def _table(
    self,
    frames: int,
    counts: Sequence[str],
    returns: Mapping[str, float],
    note: str,
  ) -> rich.table.Table:
    table = rich.table.Table.grid()
    table.add_row(
      rich.progress_bar.ProgressBar(self._total, min(frames, self._total))
    )
    table.add_row(rich.text.Text('  '.join(counts)))
    grid = rich.table.Table(
      'task', 'mean return of last 100 episodes', box=None
    )
    for name, mean in returns.items():
      grid.add_row(rich.text.Text(name), f'{mean:.2f}')
    table.add_row(grid if returns else rich.text.Text('no episode yet'))
    if note:
      table.add_row(rich.text.Text(note))
    return table


def time_left(count: int, per_sec: float) -> str:
  """Returns how long a number of frames or updates takes, as 0:20:15."""
  if per_sec <= 0:
    return 'unknown time'
  return str(datetime.timedelta(seconds=round(max(0, count) / per_sec)))


def _mean_returns(
  names: Sequence[str], episodes_by_task: Mapping[str, Sequence[float]]
) -> dict[str, float]:
  """Return what to show: the mean return by task, led by a mean over many."""
  means = {
    name: sum(episodes_by_task[name]) / len(episodes_by_task[name])
    for name in names
    if episodes_by_task.get(name)
  }
  if len(names) <= _MAX_TASKS or not means:
    return means
  first = dict(list(means.items())[:_NUM_SHOWN])
  return {
    f'mean of {len(means)} tasks': sum(means.values()) / len(means),
    **first,
  }
