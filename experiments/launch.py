"""Runs a sweep: many settings and seeds, one process each, a few at a time.

    python -m experiments.launch experiments/popart/multi_task_catch_sweep.py
    ... --dry_run        # prints the commands
    ... --estimate       # frames, hours, memory and disk, by a short benchmark
    ... --max_parallel=4

The same command goes on after Ctrl-C, a kill or a failure: stages that are done
are not run again, killed runs resume from their checkpoints, failed ones are
tried again. experiments/sweeps.py says how a sweep is written.
"""

import argparse
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from core.errors import UserError
from core.interrupt import Interrupt
from experiments import launch_display, launch_estimate, run_process, sweeps

_POLL_SECS = 0.2
_NUM_LAST_LINES = 10


@dataclasses.dataclass
class Job:
  """A run as the launcher sees it.

  Attributes:
    run: what to do.
    disk_state: what launch.json says.
    state: waiting, running, done or failed.
    process: at work; None for one that an earlier launcher started.
    started: time.monotonic() of its start.
    num_failures: of this launch.
    reason: why it failed.
  """

  run: sweeps.Run
  disk_state: run_process.State
  state: str = 'waiting'
  process: subprocess.Popen | None = None
  started: float = 0.0
  num_failures: int = 0
  reason: str = ''

  @property
  def stage(self) -> int:
    """Index of the first stage that is not done."""
    return run_process.num_done(self.disk_state, self.run.stages)


def launch(
  sweep: sweeps.Sweep,
  max_parallel: int,
  retry_failed: bool,
  display: launch_display.Display,
) -> list[Job]:
  """Runs what is not done; returns when nothing is left or after Ctrl-C.

  Args:
    sweep: what to run.
    max_parallel: processes at once.
    retry_failed: try a failed run once more when no other waits.
    display: shows the states.

  Returns:
    All jobs; those that still wait were interrupted.

  Raises:
    UserError: another launcher is at work, or LOGDIR cannot be written.
  """
  with run_process.lock(sweep.logdir), Interrupt() as interrupt:
    jobs = [_find(run) for run in sweep.runs]
    was_interrupted = False
    while True:
      for job in jobs:
        if job.state == 'running':
          _poll(job, interrupt.requested)
      if interrupt.requested and not was_interrupted:
        was_interrupted = True
        _pass_on(jobs)
      if not interrupt.requested:
        _start_waiting(sweep, jobs, max_parallel, retry_failed)
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
    max_parallel: processes at once.

  Returns:
    The sweep; all of its runs are done.

  Raises:
    UserError: the file is wrong, or a run failed or was interrupted.
  """
  sweep = sweeps.read(path)
  with launch_display.Display() as display:
    jobs = launch(sweep, max_parallel, False, display)
  if any(job.state != 'done' for job in jobs):
    raise UserError('; '.join(report(jobs)))
  return sweep


def report(jobs: Sequence[Job]) -> list[str]:
  """Returns lines about what failed, and one about all."""
  lines = []
  for job in jobs:
    if job.state == 'failed':
      lines.append(f'{job.run.name} failed: {job.reason}; {job.run.logdir}/log')
      last = run_process.last_lines(job.run.logdir, _NUM_LAST_LINES)
      lines += ['  ' + line for line in last]
  counts = {
    state: sum(job.state == state for job in jobs)
    for state in ('done', 'failed', 'waiting', 'running')
  }
  lines.append(
    f'{counts["done"]} of {len(jobs)} runs done'
    + (f', {counts["failed"]} failed' if counts['failed'] else '')
  )
  if counts['done'] < len(jobs):
    lines[-1] += '; the same command goes on with the rest'
  return lines


def _find(run):
  """Returns the job of a run as an earlier launch left it."""
  job = Job(run, run_process.read_state(run.logdir))
  if run_process.is_alive(job.disk_state):
    # Its launcher was killed and it is writing its last checkpoint. Its status
    # will never be known, so its stage is started again when it has ended.
    job.state, job.started = 'running', time.monotonic()
  elif job.stage == len(run.stages):
    job.state = 'done'
  return job


def _start_waiting(sweep, jobs, max_parallel, retry_failed):
  """Starts runs as long as fewer than max_parallel are at work."""
  num_running = sum(job.state == 'running' for job in jobs)
  waiting = [job for job in jobs if job.state == 'waiting']
  if retry_failed and not waiting:
    waiting = [
      job for job in jobs if job.state == 'failed' and job.num_failures < 2
    ]
  for job in waiting[: max(0, max_parallel - num_running)]:
    _start(sweep, job)


def _start(sweep, job):
  run, stage = job.run, job.stage
  try:
    os.makedirs(run.logdir, exist_ok=True)
    job.process = run_process.start(
      run.stages[stage],
      run.logdir,
      sweep.environment,
      f'stage {stage + 1} of {len(run.stages)}',
    )
  except OSError as error:
    raise UserError(f'cannot start {run.name}: {error}') from error
  job.state, job.started = 'running', time.monotonic()
  job.disk_state.pid = job.process.pid
  job.disk_state.start_ticks = run_process.start_ticks(job.process.pid)
  run_process.write_state(run.logdir, job.disk_state)


def _poll(job, is_interrupted):
  """Moves a running job on if its process has ended."""
  run, stage = job.run, job.stage
  if job.process is None:
    if not run_process.is_alive(job.disk_state):
      job.state = 'waiting'
    return
  status = job.process.poll()
  if status is None:
    return
  run_process.end_children(job.process)
  reason = _why_not_done(run, stage, status)
  if reason is None:
    done = [run_process.identity(a) for a in run.stages[: stage + 1]]
    job.disk_state.done = done
  secs = job.disk_state.secs + time.monotonic() - job.started
  job.disk_state.secs = round(secs, 1)
  job.disk_state.pid = job.disk_state.start_ticks = 0
  job.process = None
  run_process.write_state(run.logdir, job.disk_state)
  if reason is None:
    job.state = 'done' if job.stage == len(run.stages) else 'waiting'
  elif is_interrupted:
    job.state = 'waiting'
  else:
    job.state, job.reason = 'failed', reason
    job.num_failures += 1


def _why_not_done(run, stage, status):
  """Returns why a stage that ended is not done, None if it is."""
  if status < 0:
    return f'killed by {signal.Signals(-status).name}'
  if status:
    return f'exit status {status}'
  if run.modes[stage] != 'train':
    return None
  return run_process.missing_frames(run.logdir)


def _pass_on(jobs):
  """Asks the runs to write a checkpoint and end.

  Not those of an earlier launcher: its death told them so already, and a second
  signal would end them without a checkpoint.
  """
  for job in jobs:
    if job.process and job.process.poll() is None:
      job.process.send_signal(signal.SIGINT)


def _parse_arguments():
  parser = argparse.ArgumentParser(description='Run a sweep.')
  parser.add_argument('sweep', help='Python file of constants')
  parser.add_argument(
    '--max_parallel', type=int, default=2, help='runs at once'
  )
  parser.add_argument('--dry_run', action='store_true', help='print commands')
  parser.add_argument('--estimate', action='store_true', help='state the cost')
  parser.add_argument(
    '--retry_failed',
    action='store_true',
    help='try failed runs once more at the end of this launch',
  )
  arguments = parser.parse_args()
  if arguments.max_parallel < 1:
    raise UserError('--max_parallel must be at least 1')
  return arguments


def _print_commands(sweep):
  lines = []
  for run in sweep.runs:
    num_done = run_process.num_done(
      run_process.read_state(run.logdir), run.stages
    )
    for i, stage in enumerate(run.stages):
      command = sweeps.show_command(sweep, stage)
      lines.append('# done: ' * (i < num_done) + command)
  print('\n'.join(lines))


def main() -> None:
  """Does what the command line asks for."""
  try:
    arguments = _parse_arguments()
    sweep = sweeps.read(arguments.sweep)
    if arguments.dry_run:
      _print_commands(sweep)
      return
    if arguments.estimate:
      launch_estimate.show(sweep, arguments.max_parallel)
      return
    with launch_display.Display() as display:
      jobs = launch(
        sweep, arguments.max_parallel, arguments.retry_failed, display
      )
  except UserError as error:
    sys.exit(f'error: {error}')
  print('\n'.join(report(jobs)), flush=True)
  if any(job.state == 'failed' for job in jobs):
    sys.exit(1)
  if any(job.state != 'done' for job in jobs):
    sys.exit(130)


if __name__ == '__main__':
  main()
