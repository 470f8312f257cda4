"""Trains populations: a slice of a member is a process, a few at a time.

The member that is furthest behind goes first. When its slice has ended, it is
compared with another as that one's last slice left it, whether or not that one
is at work again: nobody waits for the rest.
"""

import dataclasses
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from core.errors import UserError
from core.interrupt import Interrupt
from experiments.launch import process, schedule
from experiments.population import members, rule
from experiments.population.settings import Population
from experiments.population.state import Member, Snapshot, Store

POLL_SECS = 0.2
MAX_FAILURES = 3  # Of a slice; then its member takes another's place.
_SUMMARY_SECS = 60.0


@dataclasses.dataclass
class Job:
  """A member as the launcher sees it.

  Attributes:
    store: of its population.
    index: its number.
    state: waiting, running, done or failed.
    process: at work; None for one that an earlier launcher started.
    started: time.monotonic() of its start.
    reason: why it failed.
  """

  store: Store
  index: int
  state: str = 'waiting'
  process: Any = None
  started: float = 0.0
  reason: str = ''

  @property
  def population(self) -> Population:
    """The population it belongs to."""
    return self.store.population

  @property
  def member(self) -> Member:
    """Its state."""
    return self.store.members[self.index]

  @property
  def logdir(self) -> str:
    """Of its training."""
    return self.population.member_logdir(self.index)

  @property
  def name(self) -> str:
    """What a line calls it."""
    return f'{self.population.name} member {self.index}'


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
  with process.lock(root), Interrupt() as interrupt:
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
      if not any(_is_awaited(job, interrupt.requested) for job in jobs):
        break
      if time.monotonic() - summary_time > _SUMMARY_SECS:
        summary_time = time.monotonic()
        _say(summary(jobs))
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
  return f'{len(jobs)} members: {counts}; {100 * frames / total:.1f} % of frames'


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
    _say(f'{job.name}: its process of an earlier launch is waited for')
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
      _copy(job)


def _copy(job):
  """Copies what the state says, unless that is done already."""
  member, store = job.member, job.store
  position = members.position(job.logdir)
  own = store.slice_name(job.index)
  if position is None or position.slice not in (member.parent, own):
    members.copy(job.population, job.index, member.donor, member.parent)


def _start_waiting(jobs, environment, slots, start):
  """Starts slices as long as fewer than `slots` are at work."""
  num_free = slots - sum(job.state == 'running' for job in jobs)
  if num_free <= 0:
    return
  names = [store.population.name for store in dict.fromkeys(j.store for j in jobs)]
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
    _finish(job, position)  # It ended while no launcher was there to see it.
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
  _say(
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
  if position and position.slice == name:
    if position.env_frames >= job.member.until:
      _finish(job, position)
      return
  if is_interrupted or status is None:
    job.state = 'waiting'
  else:
    _fail(job, status, position)


def _finish(job, position):
  """Counts a slice that has ended, and decides what the member does next."""
  population, store, member = job.population, job.store, job.member
  fitness, returns = members.measure(population, job.logdir)
  members.keep_snapshot(job.logdir, position.path)
  name = store.slice_name(job.index)
  secs = time.monotonic() - job.started if job.started else 0.0
  events = [
    dict(
      event='slice',
      member=job.index,
      slice=name,
      parent=member.parent,
      first_frame=member.first_frame,
      env_frames=position.env_frames,
      values=member.values,
      fitness=fitness,
      returns=returns,
      secs=round(secs, 1),
    )
  ]
  member.snapshot = Snapshot(
    name, position.env_frames, fitness, dict(member.values)
  )
  said = 'unknown' if fitness is None else f'{fitness:.2f}'
  said = f'{job.name}: frame {position.env_frames:,}, fitness {said}'
  member.parent, member.donor = name, None
  member.first_frame = position.env_frames
  if member.first_frame >= population.rule.burn_in_frames:
    if member.first_frame < population.total_frames:
      event = _evolve(job)
      events.append(event)
      if event['is_copied']:
        said += f', copies member {event["opponent"]}'
  _plan(job)
  store.commit(events)
  _say(said)
  if member.donor is not None:
    _copy(job)
  job.state = 'done' if member.is_done else 'waiting'


def _evolve(job, must_copy=False):
  """Changes a member by the rule; returns the event."""
  member, others = job.member, job.store.members
  snapshots = [other.snapshot for other in others]
  found = rule.evolve(
    job.store.rng,
    job.index,
    [snapshot and snapshot.fitness for snapshot in snapshots],
    [snapshot.values if snapshot else {} for snapshot in snapshots],
    job.population.rule,
    must_copy,
  )
  own, other = snapshots[job.index], snapshots[found.opponent]
  if found.is_copied:
    member.parent, member.first_frame = other.slice, other.env_frames
    member.donor = found.opponent
    member.snapshot = dataclasses.replace(other, values=dict(other.values))
  member.values = found.values
  return dict(
    event='evolve',
    member=job.index,
    opponent=found.opponent,
    fitness=own and own.fitness,
    opponent_fitness=other and other.fitness,
    is_copied=found.is_copied,
    next_parent=member.parent,
    first_frame=member.first_frame,
    values=found.values,
    perturbed=found.perturbed,
  )


def _plan(job):
  """Gives a member its next slice, counted from the checkpoint it goes on from.

  Not from the frames that it had itself: a donor may be ahead or behind.
  """
  member, population = job.member, job.population
  member.number += 1
  member.num_failures = 0
  member.until = min(
    member.first_frame + population.slice_frames, population.total_frames
  )


def _fail(job, status, position):
  """Notes a slice that did not get to its end; it is tried again."""
  member, store = job.member, job.store
  member.num_failures += 1
  job.reason = schedule.why_status(status) or 'ended early'
  last = process.last_lines(job.logdir, 1)
  job.reason += f' ({last[0]})' if last else ''
  events = [
    dict(
      event='failure',
      member=job.index,
      slice=store.slice_name(job.index),
      env_frames=position.env_frames if position else 0,
      reason=job.reason,
    )
  ]
  job.state = 'waiting'
  said = f'{job.name}: {job.reason}; {job.logdir}/log'
  others = [m.snapshot for i, m in enumerate(store.members) if i != job.index]
  if member.num_failures == MAX_FAILURES:
    # As with a loss that is not finite: it will not get there by itself.
    if all(others) and member.first_frame >= job.population.rule.burn_in_frames:
      events.append(_evolve(job, must_copy=True))
      _plan(job)
      member.num_failures = MAX_FAILURES  # Of the copy none is forgiven.
      said += f'; copies member {events[-1]["opponent"]}'
    else:
      job.state = 'failed'
  elif member.num_failures > MAX_FAILURES:
    job.state = 'failed'
  store.commit(events)
  _say(said)
  if member.donor is not None:
    _copy(job)


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


def _say(line):
  print(f'{time.strftime("%H:%M:%S")} {line}', flush=True)
