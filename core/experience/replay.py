"""The replay: per task a ring of its newest transitions, with raw rewards.

Every task adds one transition at a time with all others, so that one count
serves all rings. A large replay lies in files that are mapped into memory: they
outlive the process, and a checkpoint needs to hold the count alone.
"""

import os
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np

from core.errors import UserError
from core.types import EnvSpec, Transitions

_COUNT = 'num_written'


class Replay:
  """Rings of the transitions of n tasks.

  Of features only a task's own are kept, not their padding. Actions are kept
  whole: the policy drew their padding too, and its log pi counts it.

  Attributes:
    num_tasks: n.
    count: transitions that each task ever added.
    capacity: newest ones that can be drawn.
    spare: rows beyond those; that many more may be added before one is
      overwritten that could be drawn `spare` additions ago. Files that are
      `spare` ahead of a checkpoint still hold all that it needs.
  """

  def __init__(
    self,
    env_spec: EnvSpec,
    capacity: int,
    folder: str | None = None,
    spare: int = 0,
  ):
    """Begins empty.

    Args:
      env_spec: of the tasks.
      capacity: transitions per task.
      folder: where the files of a mapped replay lie, or are created; None:
        it is in memory.
      spare: as above.

    Raises:
      UserError: the files cannot be created.
    """
    self.count = 0
    self.capacity = capacity
    self.spare = spare
    self._num_rows = capacity + spare
    self.num_tasks = len(env_spec.task_names)
    self._num_features = env_spec.num_features
    self._groups = _groups_by_size(env_spec)
    shapes = array_shapes(env_spec, self._num_rows)
    self._mapped_count = None
    if folder is None:
      self._arrays = {n: np.zeros(s, d) for n, (s, d) in shapes.items()}
    else:
      shapes[_COUNT] = ((1,), np.int64)
      self._arrays = {
        name: _map_file(os.path.join(folder, name), *shape)
        for name, shape in shapes.items()
      }
      self._mapped_count = self._arrays.pop(_COUNT)

  @property
  def size(self) -> int:
    """Transitions of each task that can be drawn."""
    return min(self.count, self.capacity)

  @property
  def is_mapped(self) -> bool:
    """Whether it lies in files."""
    return self._mapped_count is not None

  def add(
    self,
    features: np.ndarray,
    action: np.ndarray,
    reward: np.ndarray,
    next_features: np.ndarray,
    goes_on: np.ndarray,
  ) -> None:
    """Adds a transition of every task.

    Args:
      features: float32 [n, F], padded.
      action: float32 [n, D].
      reward: float32 [n].
      next_features: float32 [n, F], padded.
      goes_on: bool or float32 [n].
    """
    row = self.count % self._num_rows
    for size, tasks in self._groups.items():
      self._arrays[f'features_{size}'][:, row] = features[tasks, :size]
      self._arrays[f'next_features_{size}'][:, row] = next_features[
        tasks, :size
      ]
    self._arrays['action'][:, row] = action
    self._arrays['reward'][:, row] = reward
    self._arrays['goes_on'][:, row] = goes_on
    self.count += 1
    if self.is_mapped:
      self._mapped_count[0] = self.count

  def gather(self, task_id: np.ndarray, index: np.ndarray) -> Transitions:
    """Reads transitions.

    Args:
      task_id: int [K].
      index: int [K], counted since the very first one; `count` - 1 is the
        newest, `count` - `size` the oldest.

    Returns:
      Transitions [K, ...] in arrays of their own.
    """
    rows = index % self._num_rows
    shape = [len(rows), self._num_features]
    features, next_features = (np.zeros(shape, np.float32) for _ in range(2))
    for size, tasks in self._groups.items():
      place = np.full(self.num_tasks, -1)
      place[tasks] = np.arange(len(tasks))
      (chosen,) = np.nonzero(place[task_id] >= 0)
      where = place[task_id[chosen]], rows[chosen]
      features[chosen, :size] = self._arrays[f'features_{size}'][where]
      next_features[chosen, :size] = self._arrays[f'next_features_{size}'][
        where
      ]
    return Transitions(
      task_id=np.asarray(task_id, np.int32),
      features=features,
      action=self._arrays['action'][task_id, rows],
      reward=self._arrays['reward'][task_id, rows],
      next_features=next_features,
      goes_on=self._arrays['goes_on'][task_id, rows].astype(np.float32),
    )

  def get_state(self) -> dict[str, Any]:
    """Returns what `set_state` needs: all rows, or of files only the count."""
    state: dict[str, Any] = dict(count=np.int64(self.count))
    if self.is_mapped:
      for array in self._arrays.values():
        array.flush()
      return state
    used = min(self.count, self._num_rows)
    return state | {n: array[:, :used] for n, array in self._arrays.items()}

  def set_state(self, state: Mapping[str, np.ndarray]) -> None:
    """Goes on from `get_state`.

    Raises:
      UserError: the state, or a file, is of another replay.
    """
    self.count = int(state['count'])
    if self.is_mapped:
      self._check_files()
      return
    used = min(self.count, self._num_rows)
    for name, array in self._arrays.items():
      found = state.get(name)
      wanted = (array.shape[0], used, *array.shape[2:])
      if found is None or found.shape != wanted or found.dtype != array.dtype:
        raise UserError(
          f'the replay of the checkpoint has no array {name} of shape {wanted}'
        )
      array[:, :used] = found

  def _check_files(self):
    """Compares how far the files are with the count."""
    ahead = int(self._mapped_count[0]) - self.count
    if ahead < 0:
      raise UserError(
        'the files of the replay hold less than the checkpoint says: put them '
        'back into the logdir, or move its checkpoints away to start anew'
      )
    if ahead > self.spare:
      print(
        f'warning: the replay is {ahead:,} steps ahead of the checkpoint; the '
        'run will differ from one that was never stopped',
        flush=True,
      )


def array_shapes(
  env_spec: EnvSpec, num_rows: int
) -> dict[str, tuple[tuple[int, ...], Any]]:
  """Returns shape and dtype of each array of a replay, by name."""
  n, num_numbers = len(env_spec.task_names), len(env_spec.action_box.low)
  shapes: dict[str, tuple[tuple[int, ...], Any]] = dict(
    action=((n, num_rows, num_numbers), np.float32),
    reward=((n, num_rows), np.float32),
    goes_on=((n, num_rows), np.bool_),
  )
  for size, tasks in _groups_by_size(env_spec).items():
    shape = (len(tasks), num_rows, size)
    for name in ('features', 'next_features'):
      shapes[f'{name}_{size}'] = (shape, np.float32)
  return shapes


def num_bytes(env_spec: EnvSpec, num_rows: int) -> int:
  """Returns how many bytes a replay of so many rows per task takes."""
  return sum(
    int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    for shape, dtype in array_shapes(env_spec, num_rows).values()
  )


def make_replay(
  env_spec: EnvSpec, capacity: int, memory_gb: float, logdir: str
) -> Replay:
  """Builds a replay in memory or, if it is larger than that, in files.

  Args:
    env_spec: of the tasks.
    capacity: transitions per task.
    memory_gb: GB above which it lies in files, `<logdir>/replay`.
    logdir: folder of the run.

  Raises:
    UserError: it is larger than the memory or the disk.
  """
  folder, spare = os.path.join(logdir, 'replay'), 0
  needed = num_bytes(env_spec, capacity)
  if needed <= memory_gb * 1e9:
    room = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    where, advice = 'memory', ' or, to keep it in files, --replay_memory_gb'
  else:
    spare = capacity // 10 + 1
    needed = num_bytes(env_spec, capacity + spare)
    room, where, advice = _disk_room(folder), f'disk of {logdir}', ''
  if needed > room:
    raise UserError(
      f'the replay takes {needed:,} bytes, the {where} has room for {room:,}: '
      f'lower --replay_capacity{advice}'
    )
  return Replay(env_spec, capacity, folder if spare else None, spare)


def _disk_room(folder):
  """Returns the bytes that the folder's files have or could have."""
  taken = 0
  if os.path.isdir(folder):
    with os.scandir(folder) as entries:
      taken = sum(entry.stat().st_blocks * 512 for entry in entries)
  while not os.path.isdir(folder):
    folder = os.path.dirname(os.path.abspath(folder))
  return shutil.disk_usage(folder).free + taken


def _groups_by_size(env_spec):
  """Returns the tasks [n_size] of each number of features."""
  n = len(env_spec.task_names)
  sizes = np.array(env_spec.task_num_features or [env_spec.num_features] * n)
  return {int(size): np.flatnonzero(sizes == size) for size in np.unique(sizes)}


def _map_file(path, shape, dtype):
  """Maps a file, which is created if there is none of that size."""
  size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
  try:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    is_there = os.path.isfile(path) and os.path.getsize(path) == size
    return np.memmap(path, dtype, 'r+' if is_there else 'w+', shape=shape)
  except OSError as error:
    reason = error.strerror or error
    raise UserError(f'cannot write {path}: {reason}') from error
