"""What a population knows of itself, on the disk.

<logdir>/population.json is its state, replaced whole; population.jsonl its
history, a line per event. The state says how long the history is: what a kill
left behind its end was not decided yet, and is cut off.
"""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from core.errors import UserError
from core.files import atomic_file, refuse_pipe
from experiments.population import rule, settings
from experiments.runs import json_files


@dataclasses.dataclass
class Snapshot:
  """What a member was when its last slice ended.

  Attributes:
    slice: name of that slice.
    env_frames: of its checkpoint.
    fitness: points, None if a task had no episode yet.
    values: hyperparameters of that slice.
  """

  slice: str
  env_frames: int
  fitness: float | None
  values: dict[str, float]


@dataclasses.dataclass
class Member:
  """A member, and the slice that it has before it.

  Attributes:
    values: hyperparameters of that slice.
    number: how many slices of its own came before it.
    parent: the slice from whose end it goes on; '' at the start.
    donor: the member whose checkpoint must be copied first; None: its own.
    first_frame: of the slice.
    until: frame at which it ends; equal to first_frame: nothing is left.
    num_failures: of the slice, one after the other.
    snapshot: of the end of its last slice; None before the first one ended.
  """

  values: dict[str, float]
  number: int = 0
  parent: str = ''
  donor: int | None = None
  first_frame: int = 0
  until: int = 0
  num_failures: int = 0
  snapshot: Snapshot | None = None

  @property
  def is_done(self) -> bool:
    """Whether it has no slice before it."""
    return self.first_frame >= self.until


class Store:
  """The state of a population and its history.

  Attributes:
    population: what the file says.
    id: tells it from other populations.
    rng: of all its choices.
    members: by number.
    best: the best member, once all are done.
  """

  def __init__(self, population: settings.Population):
    """Reads the state, or makes that of a new population; writes nothing.

    Raises:
      UserError: the state is damaged, of other settings, or missing although
        there are members.
    """
    self.population = population
    self.best: int | None = None
    refuse_pipe(self.log_path)
    content = json_files.read(self._path, if_missing={})
    self._log_bytes = 0
    self.is_new = not content
    if content:
      self._restore(content)
      return
    _refuse_leftovers(population)
    self.rng = np.random.default_rng(population.seed)
    self.id = os.urandom(4).hex()
    until = min(population.slice_frames, population.total_frames)
    self.members = [
      Member(rule.draw_all(self.rng, population.rule.ranges), until=until)
      for _ in range(population.num_members)
    ]

  @property
  def _path(self):
    return os.path.join(self.population.logdir, 'population.json')

  @property
  def log_path(self) -> str:
    """Path of the history."""
    return os.path.join(self.population.logdir, 'population.jsonl')

  def slice_name(self, member: int) -> str:
    """Returns the name of the slice that a member has before it."""
    return f'{self.id}/{member}/{self.members[member].number}'

  def begin(self) -> None:
    """Writes a new population down; cuts off what a kill left in the history.

    Raises:
      UserError: it cannot be written, or the history is shorter than the state
        says.
    """
    if self.is_new:
      self.commit(
        [
          dict(
            event='begin',
            member=i,
            seed=self.population.member_seed(i),
            values=member.values,
          )
          for i, member in enumerate(self.members)
        ]
      )
      self.is_new = False
      return
    try:
      length = os.path.getsize(self.log_path)
      if length > self._log_bytes:
        os.truncate(self.log_path, self._log_bytes)
    except OSError as error:
      raise UserError(
        f'cannot go on with {self.log_path}: {error.strerror}'
      ) from error
    if length < self._log_bytes:
      raise UserError(
        f'{self.log_path} has {length} bytes, but {self._log_bytes} when '
        'population.json was written: put the whole file back'
      )

  def commit(self, events: Sequence[Mapping[str, Any]]) -> None:
    """Writes events and the state that they lead to: both count, or neither.

    Args:
      events: what JSON can hold.

    Raises:
      UserError: they cannot be written.
    """
    lines = ''.join(json.dumps(event) + '\n' for event in events).encode()
    try:
      os.makedirs(self.population.logdir, exist_ok=True)
      with open(self.log_path, 'ab') as file:
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())
    except OSError as error:
      raise UserError(
        f'cannot write {self.log_path}: {error.strerror}'
      ) from error
    self._log_bytes += len(lines)
    content = dict(
      id=self.id,
      settings=settings.describe(self.population),
      log_bytes=self._log_bytes,
      rng=self.rng.bit_generator.state,
      best=self.best,
      members=[dataclasses.asdict(member) for member in self.members],
    )
    with atomic_file(self._path) as file:
      file.write((json.dumps(content, indent=2) + '\n').encode())

  def _restore(self, content):
    """Sets the attributes to what the file holds."""
    try:
      saved = content['settings']
      self.id = content['id']
      self._log_bytes = content['log_bytes']
      self.best = content['best']
      self.rng = np.random.default_rng()
      self.rng.bit_generator.state = content['rng']
      self.members = []
      for fields in content['members']:
        snapshot = fields.pop('snapshot')
        self.members.append(
          Member(**fields, snapshot=snapshot and Snapshot(**snapshot))
        )
      current = json.loads(json.dumps(settings.describe(self.population)))
      changed = [
        f'{name} was {saved.get(name)}, is {current.get(name)}'
        for name in {**current, **saved}
        if (name in saved, saved.get(name))
        != (name in current, current.get(name))
      ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
      reason = f'{type(error).__name__}: {error}'
      raise UserError(f'{self._path} is damaged ({reason})') from error
    if changed:
      raise UserError(
        f'{self.population.logdir} holds a population of other settings: '
        f'{", ".join(changed)}; give the old ones, or another LOGDIR'
      )


def read_events(logdir: str) -> list[dict[str, Any]]:
  """Returns the history of a population, as far as its state reaches.

  Args:
    logdir: of the population.

  Raises:
    UserError: it has none, or one that is damaged.
  """
  content = json_files.read(os.path.join(logdir, 'population.json'))
  path = os.path.join(logdir, 'population.jsonl')
  refuse_pipe(path)
  try:
    with open(path, 'rb') as file:
      lines = file.read(content.get('log_bytes', 0)).decode().splitlines()
    return [json.loads(line) for line in lines]
  except (OSError, ValueError, TypeError) as error:
    raise UserError(f'cannot read {path}: {error}') from error


def _refuse_leftovers(population):
  """Refuses members that no population.json knows."""
  for i in range(population.num_members):
    logdir = population.member_logdir(i)
    if os.path.lexists(logdir):
      raise UserError(
        f'{logdir} is there, but no {population.logdir}/population.json: it '
        'belongs to another population; move it away or give another LOGDIR'
      )
