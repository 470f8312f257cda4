"""Trains populations: a slice of a member is a process, a few at a time.

The member that is furthest behind goes first. When its slice has ended, it is
compared with another as that one's last slice left it, whether or not that one
is at work again: nobody waits for the rest.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from core.errors import UserError
from core.interrupt import Interrupt
from experiments.launch import process, schedule
from experiments.population import jobs as job_ends
from experiments.population import members
from experiments.population.display import Display
from experiments.population.jobs import Job, say
from experiments.population.settings import Population
from experiments.population.state import Member, Store

POLL_SECS = 0.2
_SUMMARY_SECS = 60.0


def train(
  populations: Sequence[Population],
  root: str,
  environment: Mapping[str, str],
  slots: int,
  start: Callable[..., Any] = process.start,
) -> list[Job]:
  """Trains what is not done; returns when nothing is left or after Ctrl-C.

  Args:
    populations: the first ones first.
    root: LOGDIR of all of them.
    environment: variables of the processes.
    slots: processes at once.
    start: starts a process, as `process.start`.

  Returns:
    A job per member; those that still wait were interrupted.

  Raises:
    UserError: another launcher is at work, a logdir is another population's, or
      the disk fails.
  """
  with process.lock(root), Interrupt() as interrupt, Display() as display:
    stores = [Store(population) for population in populations]
    jobs = [_find(store, i) for store in stores for i in range(_size(store))]
    for store in stores:
      store.begin()
    _finish_copies(jobs)
    summary_time = time.monotonic()
    was_interrupted = False
    while True:
      for job in jobs:
        if job.state == 'running':
          _poll(job, interrupt.requested)
      if interrupt.requested and not was_interrupted:
        was_interrupted = True
        schedule.pass_on(jobs)
      if not interrupt.requested:
        _start_waiting(jobs, environment, slots, start)
      display.update(jobs, summary(jobs))
      if not any(_is_awaited(job, interrupt.requested) for job in jobs):
        break
      if time.monotonic() - summary_time > _SUMMARY_SECS:
        summary_time = time.monotonic()
        say(summary(jobs))
      time.sleep(POLL_SECS)
    _choose_best(stores)
  return jobs


def summary(jobs: Sequence[Job]) -> str:
  """Returns one line: how many members are in which state, how far all are."""
  counts = ', '.join(
    f'{count} {state}'
    for state in ('running', 'failed', 'waiting', 'done')
    if (count := sum(job.state == state for job in jobs))
  )
  total = sum(job.population.total_frames for job in jobs)
  frames = sum(
    min(job.member.first_frame, job.population.total_frames) for job in jobs
  )
  return (
    f'{len(jobs)} members: {counts}; {100 * frames / total:.1f} % of frames'
  )


def slice_arguments(
  population: Population, index: int, member: Member, name: str
) -> list[str]:
  """Returns what stands after `python` for a member's slice.

  Args:
    population: of the member.
    index: number of the member.
    member: its state.
    name: of the slice.
  """
  explored = [f'--{field}={value!r}' for field, value in member.values.items()]
  return [
    *population.command,
    *explored,
    f'--seed={population.member_seed(index)}',
    f'--stop_frames={member.until}',
    f'--population_slice={name}',
    f'--logdir={population.member_logdir(index)}',
  ]


def _size(store):
  return store.population.num_members


def _find(store, index):
  """Returns the job of a member as an earlier launch left it."""
  job = Job(store, index)
  members.restore_interrupted_copy(job.logdir)
  position = members.position(job.logdir)
  if position and not position.slice.startswith(f'{store.id}/'):
    whose = 'another population' if position.slice else 'no population'
    raise UserError(
      f'{job.logdir} is of {whose}: move it away, or give another LOGDIR'
    )
  disk_state = process.read_state(job.logdir)
  if process.is_alive(disk_state):
    # Its launcher was killed: it is writing its last checkpoint.
    job.state, job.started = 'running', time.monotonic()
    say(f'{job.name}: its process of an earlier launch is waited for')
  elif job.member.is_done:
    job.state = 'done'
  else:
    job.member.num_failures = 0  # A new launch, new luck.
  return job


def _finish_copies(jobs):
  """Makes the copies that a killed launcher had decided on.

  Before anything else: a donor's snapshot is the one that was meant until its
  next slice has ended.
  """
  for job in jobs:
    if job.member.donor is not None:
      job_ends.copy(job)


def _start_waiting(jobs, environment, slots, start):
  """Starts slices as long as fewer than `slots` are at work."""
  num_free = slots - sum(job.state == 'running' for job in jobs)
  if num_free <= 0:
    return
  names = [
    store.population.name for store in dict.fromkeys(j.store for j in jobs)
  ]
  waiting = sorted(
    (job for job in jobs if job.state == 'waiting'),
    key=lambda job: (
      names.index(job.population.name),
      job.member.first_frame,
      job.member.number,
      job.index,
    ),
  )
  for job in waiting[:num_free]:
    _start(job, environment, start)


def _start(job, environment, start):
  member, name = job.member, job.store.slice_name(job.index)
  position = members.position(job.logdir)
  found = position.slice if position else ''
  if found not in (member.parent, name):
    raise UserError(
      f'{job.logdir} is at the end of slice {found or "none"}, not of '
      f'{member.parent or "none"}: put its checkpoints back'
    )
  if found == name and position.env_frames >= member.until:
    job_ends.finish(
      job, position
    )  # It ended while no launcher was there to see it.
    return
  arguments = slice_arguments(job.population, job.index, member, name)
  try:
    os.makedirs(job.logdir, exist_ok=True)
    job.process = start(arguments, job.logdir, environment, f'slice {name}')
    state = process.State(
      pid=job.process.pid, create_time=process.create_time(job.process.pid)
    )
    process.write_state(job.logdir, state)
  except OSError as error:
    raise UserError(f'cannot start {job.name}: {error}') from error
  job.state, job.started = 'running', time.monotonic()
  say(
    f'{job.name}: slice {member.number} from frame {member.first_frame:,} to '
    f'{member.until:,}'
  )


def _is_awaited(job, is_interrupted):
  """Whether the launcher still has to do with a member."""
  if is_interrupted:
    # One of an earlier launcher is ending anyhow; the next launch finds it.
    return job.state == 'running' and job.process is not None
  return job.state in ('running', 'waiting')


def _poll(job, is_interrupted):
  """Moves a running job on if its process has ended."""
  status = None
  if job.process is None:
    if process.is_alive(process.read_state(job.logdir)):
      return
  else:
    status = job.process.poll()
    if status is None:
      return
    process.end_children(job.process)
    job.process = None
  process.write_state(job.logdir, process.State())
  position = members.position(job.logdir)
  name = job.store.slice_name(job.index)
  # Not the status: the checkpoint says what was done, and orphans have none.
  is_at_end = position and position.env_frames >= job.member.until
  if is_at_end and position.slice == name:
    job_ends.finish(job, position)
  elif is_interrupted or status is None:
    job.state = 'waiting'
  else:
    job_ends.fail(job, status, position)


def _choose_best(stores):
  """Notes the best member of populations whose members are all done."""
  for store in stores:
    if store.best is None and all(member.is_done for member in store.members):
      fitnesses = [
        -float('inf') if m.snapshot.fitness is None else m.snapshot.fitness
        for m in store.members
      ]
      store.best = fitnesses.index(max(fitnesses))
      store.commit([dict(event='end', best=store.best)])
