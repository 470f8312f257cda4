"""A member at work: what the end of its slice, or a failure, leads to."""

import dataclasses
import time
from typing import Any

from experiments.launch import process, schedule
from experiments.population import members, rule
from experiments.population.settings import Population
from experiments.population.state import Member, Snapshot, Store

MAX_FAILURES = 3  # Of a slice; then its member takes another's place.


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


def finish(job: Job, position: members.Position) -> None:
  """Counts a slice that has ended, and decides what the member does next.

  Args:
    job: whose slice it was.
    position: of its checkpoint.

  Raises:
    UserError: the records are damaged, or the disk fails.
  """
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
  burn_in, end = population.rule.burn_in_frames, population.total_frames
  if burn_in <= member.first_frame < end:
    event = _evolve(job)
    events.append(event)
    if event['is_copied']:
      said += f', copies member {event["opponent"]}'
  _plan(job)
  store.commit(events)
  say(said)
  if member.donor is not None:
    copy(job)
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


def fail(job: Job, status: int, position: members.Position | None) -> None:
  """Notes a slice that did not get to its end; it is tried again.

  Args:
    job: whose slice it was.
    status: of its process.
    position: of its newest checkpoint.

  Raises:
    UserError: the disk fails.
  """
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
  say(said)
  if member.donor is not None:
    copy(job)


def copy(job: Job) -> None:
  """Copies what the state says, unless that is done already.

  Args:
    job: whose member has a donor.

  Raises:
    UserError: the disk fails, or what is copied is damaged.
  """
  member, store = job.member, job.store
  position = members.position(job.logdir)
  own = store.slice_name(job.index)
  if position is None or position.slice not in (member.parent, own):
    members.copy(job.population, job.index, member.donor, member.parent)


def say(line: str) -> None:
  """Prints a line with the time."""
  print(f'{time.strftime("%H:%M:%S")} {line}', flush=True)
