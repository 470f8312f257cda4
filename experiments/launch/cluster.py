"""Where the processes of a sweep run: here, or on machines of a Ray cluster.

Ray chooses a machine and nothing else: there a task starts the same process
that would run here, in the same logdir, which must lie on storage that all
machines see. Ray is imported only if it is asked for.
"""

import argparse
import contextlib
import dataclasses
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from core.errors import UserError
from core.experience import cluster
from experiments.launch import process, sweeps

DEFAULT_SLOTS = 2
_PROBE_SECS = 60.0
# Else Ray kills what a worker started when the worker ends: with the launcher
# gone, a run would have no time for its checkpoint.
_WORKER_ENVIRONMENT = {'RAY_kill_child_processes_on_worker_exit': '0'}


@dataclasses.dataclass(frozen=True)
class Where:
  """Where processes are to run.

  Attributes:
    cluster: 'local' or 'ray'.
    address: of Ray's head: HOST:PORT, or 'auto' for the one on this machine.
  """

  cluster: str = 'local'
  address: str = 'auto'


HERE = Where()


@dataclasses.dataclass(frozen=True)
class Place:
  """Where processes run.

  Attributes:
    slots: how many at once.
    start: starts one, as `process.start`.
  """

  slots: int
  start: Callable[..., Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds --cluster and --ray_address."""
  parser.add_argument(
    '--cluster', choices=('local', 'ray'), default='local', help='where to run'
  )
  parser.add_argument(
    '--ray_address', default='', help="HOST:PORT of Ray's head, or auto"
  )


def where_of(arguments: argparse.Namespace) -> Where:
  """Returns what the command line says.

  Raises:
    UserError: an address without --cluster=ray.
  """
  if arguments.ray_address and arguments.cluster != 'ray':
    raise UserError('--ray_address does nothing without --cluster=ray')
  return Where(arguments.cluster, arguments.ray_address or 'auto')


@contextlib.contextmanager
def open_place(
  where: Where, sweep: sweeps.Sweep, slots: int | None
) -> Iterator[Place]:
  """Opens the place where the processes of a sweep will run.

  Args:
    where: here or a cluster.
    sweep: its LOGDIR and the resources of a run.
    slots: processes at once; None: two, or as many as the cluster has room for.

  Raises:
    UserError: Ray is missing, its head cannot be reached, no machine has the
      resources, or one does not see what this one sees.
  """
  if where.cluster == 'local':
    yield Place(slots or DEFAULT_SLOTS, process.start)
    return
  cluster.require_ray()
  root = os.getcwd()
  variables = {**_WORKER_ENVIRONMENT, 'PYTHONPATH': root}
  with cluster.connected(where.address, {'env_vars': variables}):
    import ray

    nodes = [node for node in ray.nodes() if node['Alive']]
    capacity = _capacity(nodes, sweep.resources)
    _probe(ray, nodes, sweep.logdir, root)
    starter = _RayStarter(ray, sweep.resources, root)
    yield Place(min(slots or capacity, capacity), starter.start)


def _capacity(nodes, resources):
  """Returns how many runs the machines have room for at once.

  Raises:
    UserError: none has room for one.
  """
  capacity = sum(
    min(
      (int(node['Resources'].get(n, 0) / a) for n, a in resources.items()),
      default=1,
    )
    for node in nodes
  )
  if not capacity:
    most = {
      name: max((n['Resources'].get(name, 0) for n in nodes), default=0)
      for name in resources
    }
    raise UserError(
      f'no machine of the cluster has room for a run: RESOURCES is '
      f'{dict(resources)}, the most that one has is {most}'
    )
  return capacity


def _probe(ray, nodes, logdir, root):
  """Checks that every machine sees and can write what this one does.

  Raises:
    UserError: naming the machines that do not.
  """
  from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

  word = secrets.token_hex(8)
  path = os.path.join(logdir, f'probe_{word}')
  try:
    os.makedirs(logdir, exist_ok=True)
    with open(path, 'w', encoding='utf-8') as file:
      file.write(word)
  except OSError as error:
    raise UserError(f'cannot write to {logdir}: {error.strerror}') from error

  # Nested, so that it travels by value: the machine may lack this repository.
  def look(path, word, needed):
    import os

    try:
      with open(path, encoding='utf-8') as file:
        if file.read() != word:
          return f'{path} is another file'
      with open(path, 'a', encoding='utf-8'):
        pass
    except OSError as error:
      return f'{path}: {error.strerror}'
    missing = [name for name in needed if not os.path.exists(name)]
    return f'there is no {missing[0]}' if missing else ''

  task = ray.remote(num_cpus=0)(look)
  needed = (sys.executable, os.path.join(root, 'experiments', 'launch'))
  try:
    asked = [
      task.options(
        scheduling_strategy=NodeAffinitySchedulingStrategy(
          node['NodeID'], soft=False
        )
      ).remote(os.path.abspath(path), word, needed)
      for node in nodes
    ]
    problems = []
    for node, reference in zip(nodes, asked, strict=True):
      try:
        answer = ray.get(reference, timeout=_PROBE_SECS)
      except ray.exceptions.RayError as error:
        answer = f'no answer ({type(error).__name__})'
      if answer:
        problems.append(f'{node["NodeManagerHostname"]}: {answer}')
  finally:
    with contextlib.suppress(OSError):
      os.remove(path)
  if problems:
    raise UserError(
      'LOGDIR, this repository and its Python must be on storage that all '
      f'machines see under the same path; {"; ".join(problems)}'
    )


class _RayStarter:
  """Starts processes on the machines of a cluster."""

  def __init__(self, ray: Any, resources: Mapping[str, float], root: str):
    self._ray = ray
    self._root = root
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
    # Tried again by the launcher, which looks at the checkpoint first.
    self._task = ray.remote(max_retries=0)(run_on_node).options(
      **{'num_cpus': 0, **options}, resources=amounts
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


class RemoteProcess:
  """A process on another machine, as far as a launcher uses one.

  Attributes:
    pid: 0: it is none of this machine's.
  """

  pid = 0

  def __init__(self, ray: Any, reference: Any, logdir: str):
    """Watches a task of `run_on_node`."""
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
      # Its machine is lost, or the task could not start.
      reason = ' '.join(str(error).split())[-300:]
      with open(os.path.join(self._logdir, 'log'), 'a') as log:
        log.write(f'Ray: {type(error).__name__}: {reason}\n')
      return 1

  def send_signal(self, number: int) -> None:
    """Asks it to write a checkpoint and end, whatever the signal."""
    del number
    self._ray.cancel(self._reference)


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
    ends; so it does when the task's worker dies.
  """
  os.chdir(root)
  with process.only_one(logdir) as descriptor:
    child = process.start(
      arguments, logdir, environment, name, held=(descriptor,)
    )
    while True:
      try:
        status = child.wait()
        process.end_children(child)
        return status
      except KeyboardInterrupt:
        child.send_signal(signal.SIGINT)
        time.sleep(0.01)
