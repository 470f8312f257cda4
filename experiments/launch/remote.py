"""Processes of a launcher on the machines of a Ray cluster.

Ray is imported where a cluster was asked for, never here.
"""

import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.launch import gang, process

_GROUP_SECS = 120.0


class Starter:
  """Starts processes on the machines of the cluster that is connected."""

  def __init__(
    self, resources: Mapping[str, float], root: str, seat: Any = None
  ):
    """Remembers what a process needs.

    Args:
      resources: amounts by Ray's names.
      root: folder of the repository.
      seat: Ray's scheduling strategy; None lets Ray choose a machine.
    """
    import ray

    self._ray, self._root, self._all_resources = ray, root, dict(resources)
    amounts = dict(resources)
    options = {
      option: amounts.pop(name)
      for name, option in (
        ('CPU', 'num_cpus'),
        ('GPU', 'num_gpus'),
        ('memory', 'memory'),
      )
      if name in amounts
    }
    self._where = {} if seat is None else dict(scheduling_strategy=seat)
    # Tried again by the launcher, which looks at the checkpoint first.
    self._task = ray.remote(max_retries=0)(run_on_node).options(
      **{'num_cpus': 0, **options}, resources=amounts, **self._where
    )

  def start(
    self,
    arguments: Sequence[str],
    logdir: str,
    environment: Mapping[str, str],
    name: str,
  ) -> 'RemoteProcess':
    """Starts a process, as `process.start`."""
    reference = self._task.remote(
      list(arguments),
      os.path.abspath(logdir),
      dict(environment),
      name,
      self._root,
    )
    return RemoteProcess(self._ray, reference, logdir)

  def start_gang(
    self,
    count: int,
    arguments: Sequence[str],
    logdir: str,
    environment: Mapping[str, str],
    name: str,
  ) -> 'RemoteProcess':
    """Starts so many learners, on different machines as far as there are."""
    task = self._ray.remote(max_retries=0, num_cpus=0)(run_gang)
    reference = task.remote(
      count,
      self._all_resources,
      self._root,
      (list(arguments), os.path.abspath(logdir), dict(environment), name),
    )
    return RemoteProcess(self._ray, reference, logdir)

  def address(self) -> Any:
    """Returns the future of a HOST:PORT that is free on the seat's machine."""
    task = self._ray.remote(num_cpus=0)(find_address)
    return task.options(**self._where).remote()


class RemoteProcess:
  """A process on another machine, as far as a launcher uses one.

  Attributes:
    pid: 0: it is none of this machine's.
  """

  pid = 0

  def __init__(self, ray: Any, reference: Any, logdir: str):
    """Watches a task of `run_on_node` or `run_gang`."""
    self._ray = ray
    self._reference = reference
    self._logdir = logdir

  def poll(self) -> int | None:
    """Returns its status; None while it runs."""
    ready, _ = self._ray.wait([self._reference], timeout=0)
    if not ready:
      return None
    try:
      return self._ray.get(self._reference)
    except self._ray.exceptions.TaskCancelledError:
      return -signal.SIGINT
    except self._ray.exceptions.RayError as error:
      reason = ' '.join(str(error).split())[-300:]
      with open(os.path.join(self._logdir, 'log'), 'a') as log:
        log.write(f'Ray: {type(error).__name__}: {reason}\n')
      errors = self._ray.exceptions
      is_lost = isinstance(
        error,
        (
          errors.WorkerCrashedError,
          errors.NodeDiedError,
          errors.OwnerDiedError,
        ),
      )
      return os.EX_TEMPFAIL if is_lost else 1

  def send_signal(self, number: int) -> None:
    """Asks it to write a checkpoint and end, whatever the signal."""
    del number
    # Not what it started itself: that would hear it twice.
    self._ray.cancel(self._reference, recursive=False)

  def kill(self) -> None:
    """Asks it to end, and the second time ends it without a checkpoint."""
    self.send_signal(signal.SIGINT)


def run_on_node(
  arguments: Sequence[str],
  logdir: str,
  environment: Mapping[str, str],
  name: str,
  root: str,
) -> int:
  """Runs a process to its end on the machine of this task.

  Args:
    arguments: what stands after `python`.
    logdir: of the run.
    environment: variables beside the task's own.
    name: of the stage.
    root: folder of the repository.

  Returns:
    Its status. When the task is cancelled, the process writes a checkpoint and
    ends; so it does when the task's worker dies. Cancelled again, it is killed.
  """
  os.chdir(root)
  with process.only_one(logdir) as descriptor:
    child = process.start(
      arguments, logdir, environment, name, held=(descriptor,)
    )
    was_asked = False
    while True:
      try:
        status = child.wait()
        process.end_children(child)
        return status
      except KeyboardInterrupt:
        if was_asked:
          process.end_children(child)
        else:
          was_asked = True
          child.send_signal(signal.SIGINT)
        time.sleep(0.01)


def run_gang(
  count: int,
  resources: Mapping[str, float],
  root: str,
  arguments: tuple[Any, ...],
) -> int:
  """Forms the learners of a run and waits for their end.

  Args:
    count: of learners.
    resources: of each.
    root: folder of the repository.
    arguments: of `gang.Gang` after the seats.

  Returns:
    The status of all together.

  Raises:
    RuntimeError: machines that were there are not, or are taken.
  """
  import ray
  from ray.util import placement_group, remove_placement_group
  from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

  os.chdir(root)
  bundles = [dict(resources) for _ in range(count)]
  group = placement_group(bundles, strategy='SPREAD')
  try:
    if not group.wait(timeout_seconds=_GROUP_SECS):
      raise RuntimeError(f'the cluster has no room for {count} learners now')
    starters = [
      Starter(resources, root, PlacementGroupSchedulingStrategy(group, i))
      for i in range(count)
    ]
    addresses = ray.get([starter.address() for starter in starters])
    seats = [
      gang.Seat(address, starter.start)
      for address, starter in zip(addresses, starters, strict=True)
    ]
    return gang.wait(gang.Gang(seats, *arguments))
  finally:
    remove_placement_group(group)


def find_address() -> str:
  """Returns this machine's address in the cluster and a port that is free."""
  import ray

  with socket.socket() as free:
    free.bind(('', 0))
    return f'{ray.util.get_node_ip_address()}:{free.getsockname()[1]}'
