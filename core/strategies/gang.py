"""Learners on several machines that make every update together."""

import contextlib
import json
import logging
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from core.errors import UserError, WorkerLost
from core.strategies.tf_config import Cluster

# What TensorFlow raises where another worker ended or does not take part.
_LOST = (
  tf.errors.UnavailableError,
  tf.errors.DeadlineExceededError,
  tf.errors.AbortedError,
  tf.errors.CancelledError,
)
# What any operation between workers says after the first that failed.
_ABORTED = 'Collective ops'
_SMALLEST_WORDS = 1024


class Gang:
  """The learners that make one run, seen from one of them.

  Alone, as by default, it exchanges nothing.

  Attributes:
    index: of this learner; 0 is the chief, which writes the records.
    count: how many there are.
  """

  def __init__(
    self, index: int = 0, count: int = 1, strategy: Any = None
  ) -> None:
    """Starts with nothing exchanged.

    Args:
      index: of this learner.
      count: how many there are.
      strategy: that connects them; None alone.
    """
    self.index = index
    self.count = count
    self._strategy = strategy
    self._num_words = _SMALLEST_WORDS

  @property
  def is_chief(self) -> bool:
    """Whether this learner writes records and checkpoints."""
    return self.index == 0

  def exchange(self, value: Any) -> list[Any]:
    """Tells all others a value; all must call it as often.

    Args:
      value: what JSON can hold.

    Returns:
      Every learner's value, in their order.

    Raises:
      WorkerLost: one of them is gone or silent.
    """
    if self.count == 1:
      return [value]
    text = json.dumps(value).encode()
    text += b' ' * (-len(text) % 4)
    words = np.frombuffer(text, np.int32)
    with self.explained():
      table = self._sum_tables(words)
      longest = int(table[:, 0].max())
      if longest >= self._num_words:  # All see it, and go on alike.
        while longest >= self._num_words:
          self._num_words *= 2
        table = self._sum_tables(words)
    return [json.loads(row[1 : 1 + row[0]].tobytes()) for row in table]

  def _sum_tables(self, words):
    """Adds up tables that are zero but for their own learner's row.

    A row is a length and so many words, or as many as it has room for. Sums,
    not lists: their shape is always the same, so nothing is traced again.
    """
    table = np.zeros([self.count, self._num_words], np.int32)
    table[self.index, 0] = len(words)
    if len(words) < self._num_words:
      table[self.index, 1 : 1 + len(words)] = words
    others = np.zeros_like(table)
    num_local = self._strategy.num_replicas_in_sync // self.count

    def own(context):
      is_first = context.replica_id_in_sync_group % num_local == 0
      return tf.constant(table if is_first else others)

    tables = self._strategy.experimental_distribute_values_from_function(own)
    return self._sum(tables).numpy()

  @tf.function(autograph=False)
  def _sum(self, tables):
    return self._strategy.reduce('SUM', tables, axis=None)

  @contextlib.contextmanager
  def explained(self) -> Iterator[None]:
    """Says in a line that a learner is gone, where TensorFlow says pages.

    Raises:
      WorkerLost: instead of what TensorFlow raises then.
    """
    try:
      yield
    except tf.errors.OpError as error:
      is_lost = isinstance(error, _LOST) or _ABORTED in str(error)
      if self.count == 1 or not is_lost:
        raise
      silent = isinstance(error, tf.errors.DeadlineExceededError)
      how = 'said nothing for --collective_timeout' if silent else 'is gone'
      raise WorkerLost(
        f'worker {self.index} of {self.count} stops: another one {how}; start '
        'all of them again, and they go on from the last checkpoint'
      ) from error


def connect(cluster: Cluster, timeout_secs: float) -> Any:
  """Connects this process with the other learners.

  To be called after they met, once in a process, before TensorFlow runs an
  operation.

  Args:
    cluster: who they are.
    timeout_secs: after which an operation that not all take part in fails.

  Returns:
    A MultiWorkerMirroredStrategy.

  Raises:
    UserError: TensorFlow cannot.
  """
  options = tf.distribute.experimental.CommunicationOptions(
    timeout_seconds=timeout_secs
  )
  # It would say what it does with every sum.
  logging.getLogger('tensorflow').setLevel(logging.WARNING)
  name = f'worker {cluster.index} of {len(cluster.addresses)}'
  print(f'{name} connects', flush=True)
  try:
    # One that dies now leaves the others waiting in TensorFlow, where no
    # Python runs: the kernel ends them.
    with _ended_after(timeout_secs):
      return tf.distribute.MultiWorkerMirroredStrategy(
        communication_options=options
      )
  except (tf.errors.OpError, RuntimeError, ValueError) as error:
    reason = ' '.join(str(error).split())
    raise UserError(f'{name} cannot connect: {reason}') from error
  finally:
    # TensorFlow takes SIGTERM for itself, and does nothing with it here.
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))


@contextlib.contextmanager
def _ended_after(secs):
  """Lets SIGALRM end the process if a with-block takes longer."""
  previous = signal.signal(signal.SIGALRM, signal.SIG_DFL)
  signal.setitimer(signal.ITIMER_REAL, secs)
  try:
    yield
  finally:
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    signal.signal(signal.SIGALRM, previous)
