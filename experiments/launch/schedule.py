"""Runs a sweep: one process per run, a few at a time, until all are done."""

import dataclasses
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

from core.errors import UserError
from core.interrupt import Interrupt
from experiments.launch import gang, process, sweeps
from experiments.launch.display import Display
from experiments.runs import reader

_POLL_SECS = 0.2
_NUM_LAST_LINES = 10


@dataclasses.dataclass
class Job:
  """A run as the launcher sees it.

  Attributes:
    run: what to do.
    disk_state: what launch.json says.
    state: waiting, running, done or failed.
    process: at work, as of `process.start`; None for one that an earlier
      launcher started.
    started: time.monotonic() of its start.
    first_frame: of the checkpoint from which it went on.
    num_failures: of this launch.
    reason: why it failed.
  """

  run: sweeps.PlannedRun
  disk_state: process.State
  state: str = 'waiting'
  process: Any = None
  started: float = 0.0
  first_frame: int = 0
  num_failures: int = 0
  reason: str = ''

  @property
  def stage(self) -> int:
    """Index of the first stage that is not done."""
    return process.num_done(self.disk_state, self.run.stages)


def launch(
  sweep: sweeps.Sweep,
  max_parallel: int,
  retry_failed: bool,
  display: Display,
  start: Callable[..., Any] = process.start,
) -> list[Job]:
  """Runs what is not done; returns when nothing is left or after Ctrl-C.

  Args:
    sweep: what to run.
    max_parallel: runs at once.
    retry_failed: try a failed run once more when no other waits.
    display: shows the states.
    start: starts a process, as `process.start`.

  Returns:
    All jobs; those that still wait were interrupted.

  Raises:
    UserError: another launcher is at work, or LOGDIR cannot be written.
  """
  with process.lock(sweep.logdir), Interrupt() as interrupt:
    jobs = [_find(run) for run in sweep.runs]
    was_interrupted = False
    while True:
      for job in jobs:
        if job.state == 'running':
          _poll(job, interrupt.requested)
      if interrupt.requested and not was_interrupted:
        was_interrupted = True
        pass_on(jobs)
      if not interrupt.requested:
        _start_waiting(sweep, jobs, max_parallel, retry_failed, start)
      display.update(jobs)
      # One of an earlier launcher is ending anyhow; the next launch finds it.
      if not any(
        job.state == 'running' and (job.process or not interrupt.requested)
        for job in jobs
      ):
        return jobs
      time.sleep(_POLL_SECS)


def run_sweep(path: str, max_parallel: int) -> sweeps.Sweep:
  """Runs what a sweep file says, for scripts that use the runs.

  Args:
    path: of the sweep file.
    max_parallel: runs at once.

  Returns:
    The sweep; all of its runs are done.

  Raises:
    UserError: the file is wrong, or a run failed or was interrupted.
  """
  sweep = sweeps.read(path)
  start = gang.starter(sweep.learners, process.start, gang.start_here)
  with Display() as display:
    jobs = launch(sweep, max_parallel, False, display, start)
  if any(job.state != 'done' for job in jobs):
    raise UserError('; '.join(report(jobs)))
  return sweep


def report(jobs: Sequence[Job]) -> list[str]:
  """Returns lines about what failed, and one about all."""
  lines = []
  for job in jobs:
    if job.state == 'failed':
      lines.append(f'{job.run.name} failed: {job.reason}; {job.run.logdir}/log')
      last = process.last_lines(job.run.logdir, _NUM_LAST_LINES)
      lines += ['  ' + line for line in last]
  counts = {
    state: sum(job.state == state for job in jobs)
    for state in ('done', 'failed')
  }
  total = f'{counts["done"]} of {len(jobs)} runs done'
  if counts['failed']:
    total += f', {counts["failed"]} failed'
  if counts['done'] < len(jobs):
    total += '; the same command goes on with the rest'
  return [*lines, total]


def _find(run):
  """Returns the job of a run as an earlier launch left it."""
  job = Job(run, process.read_state(run.logdir))
  if process.is_alive(job.disk_state):
    # Its launcher was killed and it is writing its last checkpoint. Its status
    # will never be known, so its stage is started again when it has ended.
    job.state, job.started = 'running', time.monotonic()
  elif job.stage == len(run.stages):
    job.state = 'done'
  return job


def _start_waiting(sweep, jobs, max_parallel, retry_failed, start):
  """Starts runs as long as fewer than max_parallel are at work."""
  num_running = sum(job.state == 'running' for job in jobs)
  waiting = [job for job in jobs if job.state == 'waiting']
  if retry_failed and not waiting:
    waiting = [
      job for job in jobs if job.state == 'failed' and job.num_failures < 2
    ]
  for job in waiting[: max(0, max_parallel - num_running)]:
    _start(sweep, job, start)


def _start(sweep, job, start):
  run, stage = job.run, job.stage
  try:
    os.makedirs(run.logdir, exist_ok=True)
    job.process = start(
      run.stages[stage],
      run.logdir,
      sweep.environment,
      f'stage {stage + 1} of {len(run.stages)}',
    )
  except OSError as error:
    raise UserError(f'cannot start {run.name}: {error}') from error
  job.state, job.started = 'running', time.monotonic()
  job.first_frame = _frames(run.logdir)
  job.disk_state.pid = job.process.pid
  job.disk_state.create_time = process.create_time(job.process.pid)
  process.write_state(run.logdir, job.disk_state)


def _poll(job, is_interrupted):
  """Moves a running job on if its process has ended."""
  run, stage = job.run, job.stage
  if job.process is None:
    if not process.is_alive(job.disk_state):
      job.state = 'waiting'
    return
  status = job.process.poll()
  if status is None:
    return
  process.end_children(job.process)
  reason = _why_not_done(run, stage, status)
  if reason is None:
    done = [process.identity(a) for a in run.stages[: stage + 1]]
    job.disk_state.done = done
  secs = job.disk_state.secs + time.monotonic() - job.started
  job.disk_state.secs = round(secs, 1)
  job.disk_state.pid, job.disk_state.create_time = 0, 0.0
  job.process = None
  process.write_state(run.logdir, job.disk_state)
  if reason is None:
    job.state = 'done' if job.stage == len(run.stages) else 'waiting'
  elif is_interrupted or _was_lost(job, status):
    job.state = 'waiting'
  else:
    job.state, job.reason = 'failed', reason
    job.num_failures += 1


def _was_lost(job, status):
  """Tells whether a stage only needs another start, and gets on by it."""
  is_lost = status == os.EX_TEMPFAIL
  return is_lost and _frames(job.run.logdir) > job.first_frame


def _frames(logdir):
  """Returns the frame of the newest checkpoint, 0 if there is none."""
  try:
    return reader.read_run(logdir).checkpoint_frames or 0
  except UserError:
    return 0


def _why_not_done(run, stage, status):
  """Returns why a stage that ended is not done, None if it is."""
  if status:
    return why_status(status)
  if run.modes[stage] != 'train':
    return None
  return missing_frames(run.logdir)


def why_status(status: int) -> str | None:
  """Returns what a process's status says; None if that is success."""
  if status < 0:
    return f'killed by {signal.Signals(-status).name}'
  return f'exit status {status}' if status else None


def missing_frames(logdir: str) -> str | None:
  """Tells whether training ended early although its status was 0.

  A run that gets SIGINT or SIGTERM writes a checkpoint and ends with status 0,
  as a finished one does; only the frames of its newest checkpoint tell them
  apart.

  Args:
    logdir: of a training stage that ended with status 0.

  Returns:
    A line about what is missing, or None. Also None for a run without
    checkpoints or run.json: there the status is believed.
  """
  try:
    run = reader.read_run(logdir)
  except UserError as error:
    return str(error)
  frames = run.checkpoint_frames
  if not run.total or frames is None or frames >= run.total:
    return None
  return f'ended early, at frame {frames:,} of {run.total:,}'


def pass_on(jobs: Sequence[Any]) -> None:
  """Asks the runs to write a checkpoint and end.

  Not those of an earlier launcher: its death told them so already, and a second
  signal would end them without a checkpoint.
  """
  for job in jobs:
    if job.process and job.process.poll() is None:
      job.process.send_signal(signal.SIGINT)
