"""Parts of a batch that are worked on at the same time, and their sums."""

import abc
import collections
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from core.types import Unroll


class Parts(abc.ABC):
  """The parts of a batch, each of which a device or some cores work on.

  For updates that need a sum over the whole batch before they can go on. What
  lies between two sums is the caller's: `map` returns it by part and takes it
  again.

  Attributes:
    batch_size: B, the columns of all parts.
  """

  batch_size: int

  @abc.abstractmethod
  def map(self, function: Callable[..., tuple[Any, ...]], *args: Any) -> Any:
    """Calls a function for every part.

    Args:
      function: of the part's Unroll and its part of each of `args`; it returns
        a tuple.
      *args: results of earlier calls, or tensors that are the same for all.

    Returns:
      A tuple as long as the function's; each element is by part.
    """

  @abc.abstractmethod
  def sum(self, values: Any) -> Any:
    """Adds up what is by part: a nest of tensors, or None."""


class _ByPart(list):
  """One value per part."""


class LocalParts(Parts):
  """Parts on one device."""

  def __init__(self, unrolls: Sequence[Unroll]):
    """Starts with the unrolls of the parts."""
    self._unrolls = unrolls
    self.batch_size = sum(unroll.task_id.shape[0] for unroll in unrolls)

  def map(self, function: Callable[..., tuple[Any, ...]], *args: Any) -> Any:
    """Calls a function for every part."""
    results = [
      function(unroll, *(x[i] if isinstance(x, _ByPart) else x for x in args))
      for i, unroll in enumerate(self._unrolls)
    ]
    return tuple(map(_ByPart, zip(*results, strict=True)))

  def sum(self, values: Any) -> Any:
    """Adds up what is by part."""
    return map_parts(tf.add_n, values)


class ReplicaParts(Parts):
  """A part on each replica."""

  def __init__(
    self, strategy: tf.distribute.Strategy, unrolls: Unroll, num_workers: int
  ):
    """Starts with the unrolls by replica, of W workers with as many each."""
    self._strategy = strategy
    self._unrolls = unrolls
    tasks = strategy.experimental_local_results(unrolls.task_id)
    self.batch_size = num_workers * sum(x.shape[0] for x in tasks)

  def map(self, function: Callable[..., tuple[Any, ...]], *args: Any) -> Any:
    """Calls a function for every part."""
    return self._strategy.run(function, args=(self._unrolls, *args))

  def sum(self, values: Any) -> Any:
    """Adds up what is by part."""
    return sum_replicas(self._strategy, values)


def sum_replicas(strategy: tf.distribute.Strategy, values: Any) -> Any:
  """Adds up what is by replica, in one message per dtype.

  Args:
    strategy: of the replicas.
    values: a nest of tensors by replica, or None.

  Returns:
    The nest of sums.
  """
  leaves = tf.nest.flatten(values)
  of_dtype = collections.defaultdict(list)
  for index, leaf in enumerate(leaves):
    if leaf is not None:
      first = strategy.experimental_local_results(leaf)[0]
      of_dtype[first.dtype].append((index, first.shape))
  for chosen in of_dtype.values():
    packed = strategy.run(_pack, args=([leaves[i] for i, _ in chosen],))
    total = strategy.reduce('SUM', packed, axis=None)
    sizes = [shape.num_elements() for _, shape in chosen]
    for (index, shape), part in zip(
      chosen, tf.split(total, sizes), strict=True
    ):
      leaves[index] = tf.reshape(part, shape)
  return tf.nest.pack_sequence_as(values, leaves)


def _pack(tensors):
  return tf.concat([tf.reshape(x, [-1]) for x in tensors], axis=0)


def map_parts(join: Callable[[Any], tf.Tensor], parts: Sequence[Any]) -> Any:
  """Joins the leaves of each part; None where the first part has None."""
  return tf.nest.map_structure(
    lambda *leaves: None if leaves[0] is None else join(leaves), *parts
  )
