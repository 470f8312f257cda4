"""The replay: per task a ring of its newest transitions, with raw rewards.

Every task adds one transition at a time with all others. Where they lie, and
what a checkpoint holds of them, says `core.experience.rings`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from core.experience import rings
from core.types import EnvSpec, Transitions


class Replay:
  """Rings of the transitions of n tasks.

  Of features only a task's own are kept, not their padding. Actions are kept
  whole: the policy drew their padding too, and its log pi counts it.

  Attributes:
    num_tasks: n.
    capacity: newest transitions of each task that can be drawn.
    spare: rows beyond those; see Rings.
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
    self.capacity = capacity
    self.spare = spare
    self.num_tasks = len(env_spec.task_names)
    self._num_features = env_spec.num_features
    self._groups = _groups_by_size(env_spec)
    shapes = array_shapes(env_spec, capacity + spare)
    self._rings = rings.Rings(shapes, folder, spare)

  @property
  def count(self) -> int:
    """Transitions that each task ever added."""
    return self._rings.count

  @property
  def size(self) -> int:
    """Transitions of each task that can be drawn."""
    return min(self.count, self.capacity)

  @property
  def is_mapped(self) -> bool:
    """Whether it lies in files."""
    return self._rings.is_mapped

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
    rows = dict(action=action, reward=reward, goes_on=goes_on)
    for size, tasks in self._groups.items():
      rows[f'features_{size}'] = features[tasks, :size]
      rows[f'next_features_{size}'] = next_features[tasks, :size]
    self._rings.add(rows)

  def gather(self, task_id: np.ndarray, index: np.ndarray) -> Transitions:
    """Reads transitions.

    Args:
      task_id: int [K].
      index: int [K], counted since the very first one; `count` - 1 is the
        newest, `count` - `size` the oldest.

    Returns:
      Transitions [K, ...] in arrays of their own.
    """
    arrays, rows = self._rings.arrays, index % self._rings.num_rows
    shape = [len(rows), self._num_features]
    features, next_features = (np.zeros(shape, np.float32) for _ in range(2))
    for size, tasks in self._groups.items():
      place = np.full(self.num_tasks, -1)
      place[tasks] = np.arange(len(tasks))
      (chosen,) = np.nonzero(place[task_id] >= 0)
      where = place[task_id[chosen]], rows[chosen]
      features[chosen, :size] = arrays[f'features_{size}'][where]
      next_features[chosen, :size] = arrays[f'next_features_{size}'][where]
    return Transitions(
      task_id=np.asarray(task_id, np.int32),
      features=features,
      action=arrays['action'][task_id, rows],
      reward=arrays['reward'][task_id, rows],
      next_features=next_features,
      goes_on=arrays['goes_on'][task_id, rows].astype(np.float32),
    )

  def get_state(self) -> dict[str, Any]:
    """Returns what `set_state` needs: all rows, or of files only the count."""
    return self._rings.get_state()

  def set_state(self, state: Mapping[str, np.ndarray]) -> None:
    """Goes on from `get_state`.

    Raises:
      UserError: the state, or a file, is of another replay.
    """
    self._rings.set_state(state)


def array_shapes(env_spec: EnvSpec, num_rows: int) -> rings.Shapes:
  """Returns shape and dtype of each array of a replay, by name."""
  n, num_numbers = len(env_spec.task_names), len(env_spec.action_box.low)
  shapes: rings.Shapes = dict(
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
  return rings.num_bytes(array_shapes(env_spec, num_rows))


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
  folder, spare = rings.place(
    lambda num_rows: array_shapes(env_spec, num_rows),
    *(capacity, memory_gb, logdir),
  )
  return Replay(env_spec, capacity, folder, spare)


def _groups_by_size(env_spec):
  """Returns the tasks [n_size] of each number of features."""
  n = len(env_spec.task_names)
  sizes = np.array(env_spec.task_num_features or [env_spec.num_features] * n)
  return {int(size): np.flatnonzero(sizes == size) for size in np.unique(sizes)}
