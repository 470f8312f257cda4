"""Several learners of one run as one process of a launcher.

A sweep with LEARNERS = k trains each run with k processes, which have the same
flags, --strategy=multi_worker among them, and a TF_CONFIG each; see
experiments/learners.md. When one is lost, the others end with status 75, and
the launcher starts all of them again.
"""

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from experiments.launch import process

FLAG = '--strategy=multi_worker'
# Learners end within their --collective_timeout of a lost one; one that is
# frozen does not.
_LAST_SECS = 600.0


class Seat(NamedTuple):
  """Where a learner will run.

  Attributes:
    address: HOST:PORT on which it will listen.
    start: starts it, as `process.start`.
  """

  address: str
  start: Callable[..., Any]


def seats_here(count: int) -> list[Seat]:
  """Returns so many seats on this machine.

  Their ports are free now. If another program takes one before its learner
  does, the run fails with a line about it, and the next launch tries again.
  """
  with contextlib.ExitStack() as stack:
    sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
    for each in sockets:
      each.bind(('127.0.0.1', 0))
    ports = [each.getsockname()[1] for each in sockets]
  return [Seat(f'127.0.0.1:{port}', process.start) for port in ports]


class Gang:
  """The learners of a run, as far as a launcher uses a process.

  Attributes:
    pid: of the chief, which writes the records; 0 on another machine.
  """

  def __init__(
    self,
    seats: Sequence[Seat],
    arguments: Sequence[str],
    logdir: str,
    environment: Mapping[str, str],
    name: str,
  ):
    """Starts them all.

    Args:
      seats: of the learners, the chief's first.
      arguments: what stands after `python`, of each.
      logdir: of the run; what the others print is in `worker_<i>/log` there.
      environment: variables beside this process's own; TF_CONFIG is added.
      name: of the stage.

    Raises:
      OSError: one could not be started; none is left then.
    """
    addresses = [seat.address for seat in seats]
    self._logdir = logdir
    self._workers: list[Any] = []
    self._statuses: list[int | None] = [None] * len(seats)
    self._killing_time: float | None = None
    try:
      for index, seat in enumerate(seats):
        folder = os.path.join(logdir, _folder(index))
        os.makedirs(folder, exist_ok=True)
        config = {
          'cluster': {'worker': addresses},
          'task': {'type': 'worker', 'index': index},
        }
        variables = {**environment, 'TF_CONFIG': json.dumps(config)}
        self._workers.append(seat.start(arguments, folder, variables, name))
    except OSError:
      for worker in self._workers:
        worker.kill()
      raise
    self.pid = self._workers[0].pid

  def poll(self) -> int | None:
    """Returns the status of all together; None while one runs.

    That is 0 if all ended so, else that of a learner that ended in an error of
    its own, else EX_TEMPFAIL: learners were lost, and nothing is wrong with the
    run.
    """
    for index, worker in enumerate(self._workers):
      if self._statuses[index] is None:
        self._statuses[index] = worker.poll()
        if self._statuses[index] is not None:
          process.end_children(worker)
          self._note_end(index)
    if None in self._statuses:
      self._kill_late_ones()
      return None
    errors = [s for s in self._statuses if s > 0 and s != os.EX_TEMPFAIL]
    if errors:
      return errors[0]
    return os.EX_TEMPFAIL if any(self._statuses) else 0

  def _note_end(self, index):
    """Says in the chief's log whose error it was; the chief does not know."""
    status = self._statuses[index]
    if index and status not in (0, os.EX_TEMPFAIL):
      with open(os.path.join(self._logdir, 'log'), 'a') as log:
        log.write(
          f'worker {index} ended with status {status}: {_folder(index)}/log\n'
        )

  def _kill_late_ones(self):
    """Ends those that still run long after another was lost.

    Not after one that is done: the chief may be writing its last checkpoint.
    """
    if not any(self._statuses):
      return
    now = time.monotonic()
    self._killing_time = self._killing_time or now + _LAST_SECS
    if now > self._killing_time:
      for worker, status in zip(self._workers, self._statuses, strict=True):
        if status is None:
          worker.kill()

  def send_signal(self, number: int) -> None:
    """Sends all of them a signal."""
    for worker, status in zip(self._workers, self._statuses, strict=True):
      if status is None and worker.poll() is None:
        worker.send_signal(number)


def _folder(index):
  """Returns where a learner's log is, from the logdir of the run."""
  return f'worker_{index}' if index else ''


def starter(
  count: int, start: Callable[..., Any], start_gang: Callable[..., Any]
) -> Callable[..., Any]:
  """Returns what starts a stage: a gang where it trains, else one process.

  Args:
    count: of learners.
    start: starts a process, as `process.start`.
    start_gang: the same with the count before its arguments.
  """

  def start_stage(arguments, *args):
    if FLAG in arguments:
      return start_gang(count, arguments, *args)
    return start(arguments, *args)

  return start if count == 1 else start_stage


def start_here(count: int, *args: Any) -> Gang:
  """Starts a gang on this machine; the other arguments are those of Gang."""
  return Gang(seats_here(count), *args)


def wait(gang: Gang) -> int:
  """Waits for the end, passes Ctrl-C on, and returns the status."""
  while True:
    try:
      status = gang.poll()
      if status is not None:
        return status
      time.sleep(0.2)
    except KeyboardInterrupt:
      gang.send_signal(signal.SIGINT)
