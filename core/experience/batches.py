"""Batches of a replay, drawn uniformly and read while the update runs."""

from concurrent import futures

import numpy as np

from core.experience.frame_replay import FrameReplay
from core.experience.replay import Replay
from core.types import FrameTransitions, Transitions


class Batches:
  """Draws the batches of each step from a replay.

  What is drawn depends on the seed and the number of the step alone, so that a
  resumed run needs no state for it, and can be drawn before the step's own
  transitions are there. They are read last.
  """

  def __init__(
    self,
    replay: Replay | FrameReplay,
    num_batches: int,
    batch_size: int,
    seed: int,
  ):
    """Starts with nothing prepared.

    Args:
      replay: to draw from.
      num_batches: U, per step.
      batch_size: B.
      seed: of the drawing.
    """
    self._replay = replay
    self._shape = (num_batches, batch_size)
    self._seed = seed
    self._pool = futures.ThreadPoolExecutor(1, 'batches')
    self._prepared: tuple[int, int, futures.Future] | None = None

  def prepare(self, step: int) -> None:
    """Begins to read the batches of a step that will add one transition more.

    Nothing but the next addition may change the replay until they are taken.
    """
    count = self._replay.count + 1
    future = self._pool.submit(self._read_old, step, count)
    self._prepared = (step, count, future)

  def take(self, step: int) -> Transitions | FrameTransitions:
    """Returns the batches of a step, [U, B, ...].

    Args:
      step: its number; what is drawn is the same whether it was prepared or
        not.
    """
    count = self._replay.count
    if self._prepared and self._prepared[:2] == (step, count):
      task_id, index, batch = self._prepared[2].result()
      (missing,) = np.nonzero(index == count - 1)
      newest = self._replay.gather(task_id[missing], index[missing])
      for array, values in zip(batch, newest, strict=True):
        array[missing] = values
    else:
      batch = self._replay.gather(*self._draw(step, count))
    self._prepared = None
    return batch._make(x.reshape(*self._shape, *x.shape[1:]) for x in batch)

  def of_each_task(
    self, step: int, num_tasks: int
  ) -> Transitions | FrameTransitions:
    """Returns one batch of every task, [n, B, ...], to measure on."""
    rng = np.random.default_rng([self._seed, step, 1])
    shape = (num_tasks, self._shape[1])
    index = self._replay.count - 1 - rng.integers(self._replay.size, size=shape)
    task_id = np.repeat(np.arange(num_tasks), shape[1])
    batch = self._replay.gather(task_id, index.ravel())
    return batch._make(x.reshape(*shape, *x.shape[1:]) for x in batch)

  def close(self) -> None:
    """Ends the thread."""
    self._pool.shutdown()

  def _draw(self, step, count):
    """Draws task ids and indices, uniform over all pairs, [U B] each."""
    rng = np.random.default_rng([self._seed, step])
    size = min(count, self._replay.capacity)
    num = self._shape[0] * self._shape[1]
    task_id = rng.integers(self._replay.num_tasks, size=num)
    return task_id, count - 1 - rng.integers(size, size=num)

  def _read_old(self, step, count):
    """Reads all of a step's batches but what is still to come."""
    task_id, index = self._draw(step, count)
    # The row before stands in for the newest one.
    batch = self._replay.gather(task_id, np.minimum(index, count - 2))
    return task_id, index, batch
