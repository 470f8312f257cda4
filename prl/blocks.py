"""Blocks of the data set: frames stored once, cases built by index.

A block is what an iteration collects, a folder of three files:

    block.json   what it is of, and how many steps are on the disk
    frames.bin   uint8 [steps, N, *frame], the newest frame of each step
    steps.bin    uint8 [steps, N, 2], the action taken there, and flags

N rows play side by side. In memory are, of every block, two bytes per step (24
MB at full scale) and the cases of a few batches; frames are mapped and read
where a case needs them.
"""

import json
import os
import zlib
from typing import Any, NamedTuple

import numpy as np

from core.errors import UserError
from core.files import atomic_file
from prl.labels import window_labels

_DEATH, _POINT, _END = 1, 2, 4  # Flags of a step.
_FRAMES, _STEPS, _DESCRIPTION = 'frames.bin', 'steps.bin', 'block.json'


class BlockSpec(NamedTuple):
  """What a block is of.

  Attributes:
    iteration: that collected it, from 1.
    task_names: the games.
    row_tasks: per row, an index into them.
    rules: per game, how deaths are told (`prl.labels.RULES`).
    protocol: how they are played, as JSON can hold it.
    seed: of the run.
    frame_shape: of one stored frame.
    num_stacked: frames that the network sees at once.
    horizon: k, steps that a case looks ahead.
    num_cases: T, steps per row that are trained on.
    num_held_out: steps per row that are not; they lie a horizon behind.
  """

  iteration: int
  task_names: list[str]
  row_tasks: list[int]
  rules: list[str]
  protocol: dict[str, Any]
  seed: int
  frame_shape: list[int]
  num_stacked: int
  horizon: int
  num_cases: int
  num_held_out: int

  @property
  def num_rows(self) -> int:
    """N."""
    return len(self.row_tasks)

  @property
  def num_steps(self) -> int:
    """Steps per row: every case sees its whole horizon."""
    apart = self.horizon + self.num_held_out if self.num_held_out else 0
    return self.num_cases + apart + self.horizon

  @property
  def frame_bytes(self) -> int:
    """Bytes of frames per step of all rows."""
    return self.num_rows * int(np.prod(self.frame_shape))


class Cases(NamedTuple):
  """B cases, as a batch.

  Attributes:
    frames: uint8 [B, stack, H, W], oldest first, or [B, H, W, C] without stack.
    actions: int32 [B, horizon], c_{i+1} to c_{i+k}.
    labels: bool [B, horizon, 2], death and point.
  """

  frames: np.ndarray
  actions: np.ndarray
  labels: np.ndarray


def folder_of(data_dir: str, iteration: int) -> str:
  """Returns the folder of an iteration's block."""
  return os.path.join(data_dir, f'block_{iteration:03d}')


def exists(folder: str) -> bool:
  """Tells whether a block was begun."""
  return os.path.exists(os.path.join(folder, _DESCRIPTION))


def is_whole(folder: str, spec: BlockSpec) -> bool:
  """Tells whether a block can be read to its end.

  Raises:
    UserError: it is of something else, or its description cannot be read.
  """
  if not exists(folder):
    return False
  description = _read_description(folder)
  _check_spec(folder, description['spec'], spec)
  num_frames = _size(os.path.join(folder, _FRAMES)) // spec.frame_bytes
  return min(description['steps'], num_frames) == spec.num_steps


class BlockWriter:
  """Collects a block; what was committed survives a kill and a full disk.

  Attributes:
    num_steps: steps that are on the disk.
    num_frames: of these, those whose frames are; fewer if the file was cut.
    actions: int32 [num_steps, N], the actions of the steps on the disk.
    state: what the last commit was given.
  """

  def __init__(self, folder: str, spec: BlockSpec, max_bytes: float):
    """Opens a block, new or where it was left.

    Args:
      folder: of the block; created if need be.
      spec: what it is to be of.
      max_bytes: of frames that wait in memory for a commit.

    Raises:
      UserError: the folder holds another block or a damaged one, or cannot be
        written.
    """
    self._folder, self._spec = folder, spec
    self.num_steps, self.num_frames, self.state = 0, 0, {}
    steps = np.zeros([0, spec.num_rows, 2], np.uint8)
    if exists(folder):
      description = _read_description(folder)
      _check_spec(folder, description['spec'], spec)
      self.num_steps, self.state = description['steps'], description['state']
      steps = _read_steps(folder, spec, description)
      size = _size(os.path.join(folder, _FRAMES))
      self.num_frames = min(self.num_steps, size // spec.frame_bytes)
    self.actions = steps[..., 0].astype(np.int32)
    self._checksum = zlib.crc32(steps)
    self.capacity = int(max(1, min(1000, max_bytes // spec.frame_bytes)))
    shape = [self.capacity, spec.num_rows]
    self._frames = np.zeros([*shape, *spec.frame_shape], np.uint8)
    self._steps = np.zeros([*shape, 2], np.uint8)
    self._files = [self._open(name) for name in (_FRAMES, _STEPS)]

  def add_frames(self, t: int, rows: slice, frames: np.ndarray) -> None:
    """Takes in what some rows see at step t, not yet on the disk."""
    self._frames[t % self.capacity, rows] = frames

  def add_step(
    self,
    t: int,
    rows: slice,
    actions: np.ndarray,
    deaths: np.ndarray,
    points: np.ndarray,
    ends: np.ndarray,
  ) -> None:
    """Takes in what some rows did at step t and what it led to, each [n]."""
    flags = _DEATH * deaths + _POINT * points + _END * ends
    self._steps[t % self.capacity, rows] = np.stack([actions, flags], axis=-1)

  def read_frames(self, t: int) -> np.ndarray:
    """Returns the frames of step t, of those on the disk, [N, *frame]."""
    self._files[0].seek(t * self._spec.frame_bytes)
    content = self._files[0].read(self._spec.frame_bytes)
    shape = (self._spec.num_rows, *self._spec.frame_shape)
    return np.frombuffer(content, np.uint8).reshape(shape)

  def is_due(self, num_steps: int) -> bool:
    """Tells whether that many steps must be committed."""
    return num_steps % self.capacity == 0 or num_steps == self._spec.num_steps

  def commit(self, num_steps: int, state: dict[str, Any]) -> None:
    """Writes all steps up to `num_steps`, then says so in block.json.

    Args:
      num_steps: since the block began.
      state: what is needed to go on, as JSON can hold it.

    Raises:
      UserError: the disk is full or the like; earlier commits are untouched.
    """
    buffers = (self._frames, self._steps)
    starts = (self.num_frames, self.num_steps)
    for name, file, buffer, start in zip(
      (_FRAMES, _STEPS), self._files, buffers, starts, strict=True
    ):
      new = buffer[np.arange(start, num_steps) % self.capacity]
      try:
        file.seek(start * buffer[0].nbytes)
        file.write(new.data)
        file.flush()
        os.fsync(file.fileno())
      except OSError as error:
        raise UserError(
          f'cannot write {os.path.join(self._folder, name)}: {error.strerror}; '
          f'{self.num_steps} of {self._spec.num_steps} steps of iteration '
          f'{self._spec.iteration} are kept: the same command goes on from them'
        ) from error
      if name == _STEPS:
        self._checksum = zlib.crc32(new, self._checksum)
    # Steps of a block whose frames are played again stay on the disk.
    self.num_frames = num_steps
    if num_steps > self.num_steps:
      self.num_steps, self.state = num_steps, state
    description = dict(
      spec=self._spec._asdict(),
      steps=self.num_steps,
      checksum=self._checksum,
      state=self.state,
    )
    with atomic_file(os.path.join(self._folder, _DESCRIPTION)) as file:
      file.write(json.dumps(description).encode())

  def close(self) -> None:
    """Closes the files; steps that were not committed are dropped."""
    for file in self._files:
      file.close()

  def _open(self, name):
    path = os.path.join(self._folder, name)
    try:
      os.makedirs(self._folder, exist_ok=True)
      return open(path, 'r+b' if os.path.exists(path) else 'w+b')  # noqa: SIM115
    except OSError as error:
      raise UserError(f'cannot write {path}: {error.strerror}') from error


class Block:
  """A whole block, to read.

  Attributes:
    spec: what it is of.
  """

  def __init__(self, folder: str, spec: BlockSpec):
    """Maps the frames and reads the steps.

    Args:
      folder: of the block.
      spec: what it must be of.

    Raises:
      UserError: it is missing, of something else, damaged or not whole.
    """
    description = _read_description(folder)
    _check_spec(folder, description['spec'], spec)
    if description['steps'] != spec.num_steps:
      raise UserError(
        f'{folder} has {description["steps"]} steps of {spec.num_steps}: it '
        'was not collected to its end'
      )
    steps = _read_steps(folder, spec, description)
    path = os.path.join(folder, _FRAMES)
    wanted = spec.num_steps * spec.frame_bytes
    if _size(path) < wanted:
      raise UserError(f'{path} has {_size(path)} bytes, not {wanted}')
    self.spec = spec
    shape = (spec.num_steps, spec.num_rows, *spec.frame_shape)
    self._frames = np.memmap(path, np.uint8, 'r', shape=shape)
    self._actions = steps[..., 0]
    self._flags = steps[..., 1]

  @property
  def num_cases(self) -> int:
    """Cases of all rows that are trained on."""
    return self.spec.num_cases * self.spec.num_rows

  def cases(self, index: np.ndarray) -> Cases:
    """Builds cases to train on from int [B], each below `num_cases`."""
    return self.at(*np.divmod(index, self.spec.num_rows))

  def held_out(self, task: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns step and row, int [B], of a game's held-out cases."""
    start = self.spec.num_cases + self.spec.horizon
    rows = np.flatnonzero(np.array(self.spec.row_tasks) == task)
    t = np.arange(start, start + self.spec.num_held_out)
    grid = np.meshgrid(t, rows, indexing='ij')
    return grid[0].ravel(), grid[1].ravel()

  def counts(self, task: int) -> dict[str, int]:
    """Returns how many deaths, points and games a task's rows have."""
    rows = np.array(self.spec.row_tasks) == task
    flags = self._flags[:, rows]
    names = dict(deaths=_DEATH, points=_POINT, games=_END)
    return {n: int(np.count_nonzero(flags & f)) for n, f in names.items()}

  def at(self, t: np.ndarray, rows: np.ndarray) -> Cases:
    """Builds the cases of steps and rows, int [B] each."""
    ahead = t[:, None] + np.arange(self.spec.horizon)
    flags = self._flags[ahead, rows[:, None]]
    labels = window_labels(
      (flags & _DEATH) > 0, (flags & _POINT) > 0, (flags & _END) > 0
    )
    actions = self._actions[ahead, rows[:, None]].astype(np.int32)
    return Cases(self._stack(t, rows), actions, labels)

  def _stack(self, t, rows):
    """Puts the last frames of a game together; zeros before its first."""
    if self.spec.num_stacked == 1:
      return self._frames[t, rows]
    frames = []
    is_of_game = np.ones(len(t), bool)
    for back in range(self.spec.num_stacked):
      step = np.maximum(t - back, 0)
      frame = self._frames[step, rows]
      frame[~is_of_game] = 0
      frames.append(frame)
      # The step before the first of a game ended the last one.
      ended = (self._flags[np.maximum(step - 1, 0), rows] & _END) > 0
      is_of_game &= ~ended & (t - back > 0)
    return np.stack(frames[::-1], axis=1)


def _size(path):
  return os.path.getsize(path) if os.path.isfile(path) else 0


def _read_description(folder):
  path = os.path.join(folder, _DESCRIPTION)
  try:
    with open(path, encoding='utf-8') as file:
      description = json.load(file)
    numbers = description['steps'], description['checksum']
    names = set(description['spec'])
    if names != set(BlockSpec._fields) or not all(
      isinstance(n, int) and n >= 0 for n in numbers
    ):
      raise ValueError('it is not what a run writes')
    description['state']
  except (OSError, ValueError, KeyError, TypeError) as error:
    reason = getattr(error, 'strerror', None) or error
    raise UserError(
      f'{path} cannot be read ({reason}): put the folder back, or move it away'
    ) from error
  return description


def _check_spec(folder, found, spec):
  wanted = json.loads(json.dumps(spec._asdict()))
  differing = [
    f'{name} was {found[name]}, is {wanted[name]}'
    for name in wanted
    if found[name] != wanted[name]
  ]
  if differing:
    raise UserError(
      f'{folder} holds other data: {"; ".join(differing)}; give the old values '
      'or another --data_dir'
    )


def _read_steps(folder, spec, description):
  path = os.path.join(folder, _STEPS)
  num_bytes = description['steps'] * spec.num_rows * 2
  content = b''
  if os.path.isfile(path):
    with open(path, 'rb') as file:
      content = file.read(num_bytes)
  if len(content) < num_bytes or zlib.crc32(content) != description['checksum']:
    raise UserError(
      f'{path} is cut short or damaged: put the file back, or move {folder} '
      'away'
    )
  shape = [description['steps'], spec.num_rows, 2]
  return np.frombuffer(content, np.uint8).reshape(shape)
