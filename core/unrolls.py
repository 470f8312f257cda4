"""Batches of unrolls: choosing, cutting, joining and collecting columns."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from core.types import Unroll


class Batcher:
  """Cuts unrolls of any width into batches of B, in arrival order."""

  def __init__(self, batch_size: int):
    """Starts empty; `batch_size` is B."""
    self._batch_size = batch_size
    self.pending: list[Unroll] = []

  def add(self, unroll: Unroll) -> list[Unroll]:
    """Takes in an unroll of any number of columns.

    Args:
      unroll: [T + 1, N, ...].

    Returns:
      The batches [T + 1, B, ...] that are complete with it, perhaps none.
    """
    self.pending.append(unroll)
    batches = []
    while sum(len(u.task_id) for u in self.pending) >= self._batch_size:
      batches.append(self._take())
    return batches

  def _take(self):
    taken, missing = [], self._batch_size
    while missing:
      unroll = self.pending.pop(0)
      width = len(unroll.task_id)
      if width > missing:
        self.pending.insert(0, select_columns(unroll, slice(missing, None)))
        unroll = select_columns(unroll, slice(0, missing))
      taken.append(unroll)
      missing -= len(unroll.task_id)
    return join_unrolls(taken)


def select_columns(unroll: Unroll, columns: slice) -> Unroll:
  """Returns some columns of a batch of unrolls.

  Args:
    unroll: [T + 1, B, ...].
    columns: which of the B.

  Returns:
    The Unroll of these columns.
  """
  batch_major = (unroll.task_id, unroll.policy_version, unroll.core_state)
  time_major = (unroll.env_outputs, unroll.agent_outputs)
  batch_major = tf.nest.map_structure(lambda x: x[columns], batch_major)
  time_major = tf.nest.map_structure(lambda x: x[:, columns], time_major)
  return Unroll(*batch_major, *time_major)


def split_unroll(unroll: Unroll, num_parts: int) -> list[Unroll]:
  """Cuts a batch of unrolls into equal parts along B.

  Args:
    unroll: [T + 1, B, ...].
    num_parts: R.

  Returns:
    R unrolls of B / R columns.

  Raises:
    ValueError: if R does not divide B.
  """
  batch_size = np.shape(unroll.task_id)[0]
  if batch_size % num_parts:
    raise ValueError(
      f'{num_parts} replicas do not divide a batch of {batch_size}'
    )
  width = batch_size // num_parts
  slices = [slice(i * width, (i + 1) * width) for i in range(num_parts)]
  return [select_columns(unroll, columns) for columns in slices]


def take_turns(unroll: Unroll) -> Unroll:
  """Orders the columns of an unroll so that its tasks alternate.

  A batch that is cut from it then has as many of each task as can be; which
  tasks meet in one with fewer columns than tasks, impala/README.md says (D12).

  Args:
    unroll: [T + 1, N, ...].

  Returns:
    The Unroll with columns of tasks 0, 1, 2, ..., 0, 1, 2, ...
  """
  task_id = np.asarray(unroll.task_id)
  rounds = np.array([np.sum(task_id[:i] == x) for i, x in enumerate(task_id)])
  order = np.lexsort((task_id, rounds))
  if np.array_equal(order, np.arange(len(order))):
    return unroll
  return select_columns(unroll, order)


def join_in_time(unrolls: Sequence[Unroll], num_new: int) -> Unroll:
  """Puts unrolls of the same columns one after the other.

  Args:
    unrolls: each [T + 1, B, ...], entry 0 the last of the one before.
    num_new: how many of them, the last ones, nobody has seen yet. Episodes that
      ended in the others are not marked as such again.

  Returns:
    Unroll [K T + 1, B, ...] of K unrolls, with core state and policy version
    with which the first one began.
  """
  parts = []
  for age, unroll in enumerate(reversed(unrolls)):
    env_outputs, agent_outputs = unroll.env_outputs, unroll.agent_outputs
    if age >= num_new:
      info = env_outputs.info
      info = info._replace(episode_done=np.zeros_like(info.episode_done))
      env_outputs = env_outputs._replace(info=info)
    parts.insert(0, (env_outputs, agent_outputs))

  def join(first, *others):
    return np.concatenate([first, *(x[1:] for x in others)])

  env_outputs, agent_outputs = tf.nest.map_structure(join, *parts)
  return unrolls[0]._replace(
    env_outputs=env_outputs, agent_outputs=agent_outputs
  )


def join_unrolls(unrolls: list[Unroll]) -> Unroll:
  """Puts unrolls of the same T side by side.

  Args:
    unrolls: each [T + 1, N_i, ...].

  Returns:
    Unroll [T + 1, sum of N_i, ...].
  """
  if len(unrolls) == 1:
    return unrolls[0]

  def join(axis, *parts):
    return tf.nest.map_structure(
      lambda *arrays: np.concatenate(arrays, axis), *parts
    )

  task_id, policy_version, core_state, env_outputs, agent_outputs = zip(
    *unrolls, strict=True
  )
  return Unroll(
    join(0, *task_id),
    join(0, *policy_version),
    join(0, *core_state),
    join(1, *env_outputs),
    join(1, *agent_outputs),
  )
