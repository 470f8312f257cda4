"""Rings: arrays of which every step of all tasks writes one row.

All tasks step together, so that one count serves all rings. Large ones lie in
files that are mapped into memory: they outlive the process, and a checkpoint
needs to hold the count alone.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from core.errors import UserError

Shapes = dict[str, tuple[tuple[int, ...], Any]]
"""Shape [tasks, rows, ...] and dtype of each array, by name."""

_COUNT = 'num_written'


class Rings:
  """Arrays with the same number of rows, in memory or in files.

  Attributes:
    arrays: [tasks, rows, ...], by name.
    count: rows that were ever written; row `count` of all goes to
      `count % num_rows`.
    num_rows: of each array.
    spare: rows that may be written before one is lost that could be read
      `spare` additions ago. Files that are `spare` ahead of a checkpoint still
      hold all that it needs.
  """

  def __init__(self, shapes: Shapes, folder: str | None, spare: int):
    """Begins empty.

    Args:
      shapes: of the arrays.
      folder: where files lie, or are created; None: they are in memory.
      spare: as above.

    Raises:
      UserError: the files cannot be created.
    """
    self.count = 0
    self.spare = spare
    self.num_rows = next(iter(shapes.values()))[0][1]
    self._mapped_count = None
    if folder is None:
      self.arrays = {n: np.zeros(s, d) for n, (s, d) in shapes.items()}
    else:
      shapes = {**shapes, _COUNT: ((1,), np.int64)}
      self.arrays = {
        name: _map_file(os.path.join(folder, name), *shape)
        for name, shape in shapes.items()
      }
      self._mapped_count = self.arrays.pop(_COUNT)

  @property
  def is_mapped(self) -> bool:
    """Whether they lie in files."""
    return self._mapped_count is not None

  def add(self, rows: Mapping[str, np.ndarray]) -> None:
    """Writes a row of every array, each [tasks, ...]."""
    row = self.count % self.num_rows
    for name, values in rows.items():
      self.arrays[name][:, row] = values
    self.count += 1
    if self.is_mapped:
      self._mapped_count[0] = self.count

  def get_state(self) -> dict[str, Any]:
    """Returns what `set_state` needs: all rows, or of files only the count."""
    state: dict[str, Any] = dict(count=np.int64(self.count))
    if self.is_mapped:
      for array in self.arrays.values():
        array.flush()
      return state
    used = min(self.count, self.num_rows)
    return state | {n: array[:, :used] for n, array in self.arrays.items()}

  def set_state(self, state: Mapping[str, np.ndarray]) -> None:
    """Goes on from `get_state`.

    Raises:
      UserError: the state, or a file, is of another replay.
    """
    self.count = int(state['count'])
    if self.is_mapped:
      self._check_files()
      return
    used = min(self.count, self.num_rows)
    for name, array in self.arrays.items():
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


def num_bytes(shapes: Shapes) -> int:
  """Returns how many bytes arrays take."""
  return sum(
    int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    for shape, dtype in shapes.values()
  )


def place(
  shapes_of: Callable[[int], Shapes],
  capacity: int,
  memory_gb: float,
  logdir: str,
) -> tuple[str | None, int]:
  """Decides where rings lie: in memory or, if larger than that, in files.

  Args:
    shapes_of: the arrays' shapes by the transitions per task.
    capacity: transitions per task.
    memory_gb: GB above which they lie in files, `<logdir>/replay`.
    logdir: folder of the run.

  Returns:
    The folder of the files, None in memory; and the spare rows.

  Raises:
    UserError: they are larger than the memory or the disk.
  """
  folder, spare = os.path.join(logdir, 'replay'), 0
  needed = num_bytes(shapes_of(capacity))
  if needed <= memory_gb * 1e9:
    room = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    where, advice = 'memory', ' or, to keep it in files, --replay_memory_gb'
  else:
    spare = capacity // 10 + 1
    needed = num_bytes(shapes_of(capacity + spare))
    room, where, advice = _disk_room(folder), f'disk of {logdir}', ''
  if needed > room:
    raise UserError(
      f'the replay takes {needed:,} bytes, the {where} has room for {room:,}: '
      f'lower --replay_capacity{advice}'
    )
  return folder if spare else None, spare


def _disk_room(folder):
  """Returns the bytes that the folder's files have or could have."""
  taken = 0
  if os.path.isdir(folder):
    with os.scandir(folder) as entries:
      taken = sum(entry.stat().st_blocks * 512 for entry in entries)
  while not os.path.isdir(folder):
    folder = os.path.dirname(os.path.abspath(folder))
  return shutil.disk_usage(folder).free + taken


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
