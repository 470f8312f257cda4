"""The replay of tasks that are seen in frames: each frame is stored once.

A stack of frames and a return over n steps are put together when they are
read. What lies between two lives or two games never mixes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from core.experience import rings
from core.types import EnvSpec, FrameTransitions


class FrameReplay:
  """Rings of the steps of n tasks; a transition spans up to n_step of them.

  Where `frame_shape` is [C, H, W], C is the stack of the last C frames: the
  newest one is stored, those from before a game began are 0. A frame [H, W, C]
  is stored whole.

  A transition can be read when the step after its last one was added, because
  that step brings the observation that it leads to.

  Attributes:
    num_tasks: n.
    capacity: newest transitions of each task that can be drawn.
    spare: rows beyond those; see Rings.
  """

  def __init__(
    self,
    env_spec: EnvSpec,
    capacity: int,
    n_step: int,
    folder: str | None = None,
    spare: int = 0,
  ):
    """Begins empty.

    Args:
      env_spec: of the tasks.
      capacity: transitions per task.
      n_step: steps that a transition spans, fewer where an episode ends.
      folder: where the files of a mapped replay lie, or are created; None:
        it is in memory.
      spare: as above.

    Raises:
      UserError: the files cannot be created.
    """
    self.capacity = capacity
    self.spare = spare
    self.num_tasks = len(env_spec.task_names)
    self._n_step = n_step
    self._stack_size = _stack_size(env_spec)
    shapes = array_shapes(env_spec, capacity + spare, n_step)
    self._rings = rings.Rings(shapes, folder, spare)
    # Frames of its game that the next stack has before its newest one.
    self._age = np.zeros(self.num_tasks, np.uint8)
    # By task and step: the last frame of an episode that was cut off.
    self._last_frames: dict[tuple[int, int], np.ndarray] = {}

  @property
  def count(self) -> int:
    """Transitions of each task that could ever be read."""
    return max(0, self._rings.count - self._n_step)

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
    frame: np.ndarray,
    action: np.ndarray,
    reward: np.ndarray,
    last_frame: np.ndarray,
    goes_on: np.ndarray,
    is_last: np.ndarray,
    ends_game: np.ndarray,
  ) -> None:
    """Adds a step of every task.

    Args:
      frame: uint8 [n, *frame_shape], what was seen.
      action: int [n].
      reward: float32 [n], raw.
      last_frame: uint8 [n, *frame_shape], what the step led to; read where an
        episode was cut off.
      goes_on: bool [n], False where the episode terminated.
      is_last: bool [n], whether the episode ended, or was cut off.
      ends_game: bool [n], whether the next frames are of another game. A lost
        life ends an episode, but no game.
    """
    self._rings.add(
      dict(
        frame=self._newest(frame),
        action=action,
        reward=reward,
        goes_on=goes_on,
        is_last=is_last,
        age=self._age,
      )
    )
    step = self._rings.count - 1
    for task in np.flatnonzero(is_last & goes_on):
      self._last_frames[int(task), step] = self._newest(last_frame)[task].copy()
    while self._last_frames:
      oldest = next(iter(self._last_frames))
      if oldest[1] > step - self._rings.num_rows:
        break
      del self._last_frames[oldest]
    older = np.minimum(self._age + 1, max(self._stack_size - 1, 0))
    self._age = np.where(ends_game, 0, older).astype(np.uint8)

  def cut_off(self, frame: np.ndarray) -> None:
    """Ends the episodes that are being played: other games come next.

    Args:
      frame: uint8 [n, *frame_shape], what was seen last.
    """
    self._age[:] = 0
    if not self._rings.count:
      return
    step = self._rings.count - 1
    is_last = self._rings.arrays['is_last'][:, step % self._rings.num_rows]
    for task in np.flatnonzero(~is_last):
      self._last_frames[int(task), step] = self._newest(frame)[task].copy()
    is_last[:] = True

  def gather(self, task_id: np.ndarray, index: np.ndarray) -> FrameTransitions:
    """Reads transitions.

    Args:
      task_id: int [K].
      index: int [K], counted since the very first one; `count` - 1 is the
        newest, `count` - `size` the oldest.

    Returns:
      FrameTransitions [K, ...] in arrays of their own.
    """
    n = self._n_step
    ends = self._read('is_last', task_id, index, np.arange(n))  # [K, n]
    is_cut = ends.any(axis=1)
    num_steps = np.where(is_cut, ends.argmax(axis=1) + 1, n)
    is_in = np.arange(n) < num_steps[:, None]
    last = index + num_steps - 1
    goes_on = self._read('goes_on', task_id, last)
    next_frame = self._stacks(task_id, last + ~is_cut)
    for k in np.flatnonzero(is_cut & goes_on):
      final = self._last_frames[int(task_id[k]), int(last[k])]
      next_frame[k] = self._push(next_frame[k], final)
    return FrameTransitions(
      task_id=np.asarray(task_id, np.int32),
      frame=self._stacks(task_id, index),
      action=self._read('action', task_id, index),
      rewards=self._read('reward', task_id, index, np.arange(n)) * is_in,
      next_frame=next_frame,
      num_steps=num_steps.astype(np.int32),
      goes_on=goes_on.astype(np.float32),
    )

  def _read(self, name, task_id, index, offsets=None):
    """Reads an array's rows, [K, ...], or [K, O, ...] with offsets [O]."""
    if offsets is not None:
      task_id, index = task_id[:, None], index[:, None] + offsets
    return self._rings.arrays[name][task_id, index % self._rings.num_rows]

  def _stacks(self, task_id, index):
    """Returns what was seen at some steps, uint8 [K, *frame_shape]."""
    if not self._stack_size:
      return self._read('frame', task_id, index)
    back = np.arange(1 - self._stack_size, 1)
    stacks = self._read('frame', task_id, index, back)
    age = self._read('age', task_id, index)
    if age.min(initial=self._stack_size) < self._stack_size - 1:
      stacks[-back > age[:, None]] = 0
    return stacks

  def _newest(self, frames):
    """Returns what is stored of observations [n, *frame_shape]."""
    return frames[:, -1] if self._stack_size else frames

  def _push(self, stack, newest):
    """Returns a stack [C, H, W] one frame later."""
    if not self._stack_size:
      return newest
    return np.concatenate([stack[1:], newest[None]])

  def get_state(self) -> dict[str, Any]:
    """Returns what `set_state` needs: all rows, or of files only the count.

    Of both also the last frames of episodes that were cut off.
    """
    shape = self._rings.arrays['frame'].shape[2:]
    frames = list(self._last_frames.values())
    keys = np.array(list(self._last_frames), np.int64)
    return self._rings.get_state() | dict(
      next_age=self._age,
      last_keys=keys.reshape(-1, 2),
      last_frames=np.array(frames, np.uint8).reshape(-1, *shape),
    )

  def set_state(self, state: Mapping[str, np.ndarray]) -> None:
    """Goes on from `get_state`.

    Raises:
      UserError: the state, or a file, is of another replay.
    """
    self._rings.set_state(state)
    self._age = np.array(state['next_age'], np.uint8)
    self._last_frames = {
      (int(task), int(step)): np.array(frame)
      for (task, step), frame in zip(
        state['last_keys'], state['last_frames'], strict=True
      )
    }


def _stack_size(env_spec):
  """Returns the frames of a stack; 0 where frames are stored whole."""
  return env_spec.frame_shape[0] if env_spec.channels_first else 0


def array_shapes(
  env_spec: EnvSpec, num_transitions: int, n_step: int
) -> rings.Shapes:
  """Returns shape and dtype of each array of a replay, by name."""
  n, stack_size = len(env_spec.task_names), _stack_size(env_spec)
  frame_shape = env_spec.frame_shape[1 if stack_size else 0 :]
  # An oldest stack, and the steps that a newest transition waits for.
  num_rows = num_transitions + n_step + stack_size
  shapes = dict(
    frame=(frame_shape, np.uint8),
    action=((), np.int32),
    reward=((), np.float32),
    goes_on=((), np.bool_),
    is_last=((), np.bool_),
    age=((), np.uint8),
  )
  return {
    name: ((n, num_rows, *shape), dtype)
    for name, (shape, dtype) in shapes.items()
  }


def make_replay(
  env_spec: EnvSpec,
  capacity: int,
  n_step: int,
  memory_gb: float,
  logdir: str,
) -> FrameReplay:
  """Builds a replay in memory or, if it is larger than that, in files.

  Args:
    env_spec: of the tasks.
    capacity: transitions per task.
    n_step: steps that a transition spans.
    memory_gb: GB above which it lies in files, `<logdir>/replay`.
    logdir: folder of the run.

  Raises:
    UserError: it is larger than the memory or the disk.
  """
  folder, spare = rings.place(
    lambda num_transitions: array_shapes(env_spec, num_transitions, n_step),
    *(capacity, memory_gb, logdir),
  )
  return FrameReplay(env_spec, capacity, n_step, folder, spare)
