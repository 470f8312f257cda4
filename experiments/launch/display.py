"""What a person sees of a sweep: a live table; without a terminal, lines."""

import datetime
import time
from collections.abc import Sequence
from typing import Any

import rich.console
import rich.live
import rich.table
import rich.text

from core.errors import UserError
from experiments.runs import reader

REFRESH_SECS = 1.0
_SUMMARY_SECS = 60.0
ORDER = ('running', 'failed', 'waiting', 'done')


class LiveTable:
  """A table on a terminal, as long as a with-block lasts; nothing elsewhere.

  Attributes:
    console: where it is shown.
    is_shown: whether that is a terminal.
  """

  def __init__(self, console: rich.console.Console | None = None):
    """Begins to show; to stdout by default."""
    self.console = console or rich.console.Console()
    self.is_shown = self.console.is_terminal
    # Refreshed by hand: the launcher forks, so it has no threads.
    self._live = rich.live.Live(console=self.console, auto_refresh=False)

  def __enter__(self) -> 'LiveTable':
    if self.is_shown:
      self._live.start()
    return self

  def __exit__(self, *unused: Any) -> None:
    if self.is_shown:
      self._live.stop()

  @property
  def num_rows(self) -> int:
    """Returns how many rows there is room for."""
    return max(4, self.console.height - 5)

  def show(self, table: rich.table.Table) -> None:
    """Shows a table in place of the last one."""
    self._live.update(table, refresh=True)


class Display(LiveTable):
  """Shows the states of jobs."""

  def __init__(self, console: rich.console.Console | None = None):
    """Begins to show; to stdout by default."""
    super().__init__(console)
    self._shown = {}
    self._last = float('-inf')

  def update(self, jobs: Sequence[Any]) -> None:
    """Shows the jobs, unless that was done a moment ago."""
    now = time.monotonic()
    states = {job.run.name: _words(job) for job in jobs}
    if self.is_shown:
      if states != self._shown or now - self._last >= REFRESH_SECS:
        self._last = now
        self.show(self._table(jobs))
    else:
      clock = time.strftime('%H:%M:%S')
      for name, words in states.items():
        # What is done or waits at the start is in the first summary.
        if words != self._shown.get(name, words if words in ORDER else ''):
          self._print(f'{clock} {name} {words}')
      if now - self._last >= _SUMMARY_SECS:
        self._last = now
        self._print(f'{clock} {summary(jobs)}')
        for job in jobs:
          if job.state == 'running' and (now_at := _progress(job))[0]:
            self._print(f'  {job.run.name} {now_at[0]} {now_at[1]} frames/s')
    self._shown = states

  def _print(self, line):
    print(line, file=self.console.file, flush=True)

  def _table(self, jobs):
    table = rich.table.Table(box=None, title_justify='left')
    # On top: a low terminal cuts off the end.
    table.title = rich.text.Text(summary(jobs))
    table.add_column('run', overflow='fold')
    table.add_column('state')
    for name in ('frames', 'frames/s', 'left'):
      table.add_column(name, justify='right')
    ordered = sorted(jobs, key=lambda job: ORDER.index(job.state))
    for job in ordered[: self.num_rows]:
      frames, rate, secs = _progress(job)
      name, words = rich.text.Text(job.run.name), rich.text.Text(_words(job))
      table.add_row(name, words, frames, rate, _duration(secs))
    if len(ordered) > self.num_rows:
      table.add_row(f'and {len(ordered) - self.num_rows} more')
    return table


def summary(jobs: Sequence[Any]) -> str:
  """Returns one line: how many are in which state, and the time left."""
  counts = ', '.join(
    f'{count} {state}'
    for state in ORDER
    if (count := sum(job.state == state for job in jobs))
  )
  line = f'{len(jobs)} runs: {counts}'
  secs = secs_left(jobs)
  return line if secs is None else f'{line}; about {_duration(secs)} left'


def secs_left(jobs: Sequence[Any]) -> float | None:
  """Estimates the time until all runs are done.

  Args:
    jobs: of the launcher.

  Returns:
    Seconds, if the runs that wait take as long as the others and as many go on
    side by side as do now; None as long as nothing tells.
  """
  whole, left = [], 0.0
  running = [job for job in jobs if job.state == 'running']
  for job in jobs:
    if job.state == 'done':
      whole.append(job.disk_state.secs)
  for job in running:
    secs = _progress(job)[2]
    if secs is None:
      return None
    left += secs
    earlier = job.disk_state.secs + time.monotonic() - job.started
    whole.append(earlier + secs)
  if not running:
    return None
  num_waiting = sum(job.state == 'waiting' for job in jobs)
  return (left + num_waiting * sum(whole) / len(whole)) / len(running)


def _progress(job):
  """Returns frames and frames/s as text, and seconds left in training."""
  try:
    run = reader.read_run(job.run.logdir)
  except UserError:  # It is of no use here, and the run itself goes on.
    return '', '', None
  if not run.frames:
    return '', '', None
  frames = f'{run.frames:,}'
  if run.total:
    frames += f'/{run.total:,}'
  if job.state != 'running' or not run.total or not run.frames_per_sec:
    return frames, '', None
  left = max(0, run.total - run.frames) / run.frames_per_sec
  return frames, f'{run.frames_per_sec:,.0f}', left


def _words(job):
  if job.state == 'failed':
    return f'failed: {job.reason}'
  if job.state != 'running':
    return job.state
  if job.process is None:
    return 'running since an earlier launch'
  return f'running stage {job.stage + 1} of {len(job.run.stages)}'


def _duration(secs):
  return '' if secs is None else str(datetime.timedelta(seconds=round(secs)))
