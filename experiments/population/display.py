"""What a person sees of populations on a terminal: a table of the members."""

import time
from collections.abc import Sequence

import rich.console
import rich.table
import rich.text

from core.errors import UserError
from experiments.launch.display import ORDER, REFRESH_SECS, LiveTable
from experiments.population.jobs import Job
from experiments.runs import reader


class Display(LiveTable):
  """Shows the members; nothing without a terminal, where lines say it all."""

  def __init__(self, console: rich.console.Console | None = None):
    """Begins to show; to stdout by default."""
    super().__init__(console)
    self._last = float('-inf')
    self._states: list[str] = []

  def update(self, jobs: Sequence[Job], title: str) -> None:
    """Shows the members, unless it did a moment ago and their states stand."""
    now, states = time.monotonic(), [job.state for job in jobs]
    is_new = states != self._states or now - self._last >= REFRESH_SECS
    if self.is_shown and is_new:
      self._last, self._states = now, states
      self.show(make_table(jobs, title, self.num_rows))


def make_table(
  jobs: Sequence[Job], title: str, num_rows: int
) -> rich.table.Table:
  """Returns the table, those at work on top.

  Args:
    jobs: of the members.
    title: above the table.
    num_rows: at most; the rest is counted.
  """
  table = rich.table.Table(box=None, title_justify='left')
  # On top: a low terminal cuts off the end.
  table.title = rich.text.Text(title)
  table.add_column('member', overflow='fold')
  table.add_column('state')
  explored = jobs[0].population.rule.ranges
  for name in ('frames', 'frames/s', 'fitness', *explored):
    table.add_column(name.replace('_', ' '), justify='right')
  ordered = sorted(jobs, key=lambda job: ORDER.index(job.state))
  for job in ordered[:num_rows]:
    snapshot = job.member.snapshot
    fitness = snapshot.fitness if snapshot else None
    words = f'failed: {job.reason}' if job.state == 'failed' else job.state
    table.add_row(
      rich.text.Text(job.name),
      rich.text.Text(words),
      *_progress(job),
      '' if fitness is None else f'{fitness:.2f}',
      *(f'{job.member.values[name]:.3g}' for name in explored),
    )
  if len(ordered) > num_rows:
    table.add_row(f'and {len(ordered) - num_rows} more')
  return table


def _progress(job):
  """Returns frames and frames/s as text."""
  frames, rate = job.member.first_frame, ''
  if job.state == 'running':
    try:
      run = reader.read_run(job.logdir)
      frames = max(frames, run.frames or 0)
      rate = f'{run.frames_per_sec:,.0f}' if run.frames_per_sec else ''
    except UserError:  # It is of no use here, and the run itself goes on.
      pass
  return f'{frames:,}/{job.population.total_frames:,}', rate
