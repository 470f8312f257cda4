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
import sys
from collections.abc import Callable, Iterator
from typing import Any

from core.errors import UserError
from core.experience import cluster
from experiments.launch import gang, process, remote, sweeps

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
    slots: runs at once; None: two, or as many as the cluster has room for.

  Raises:
    UserError: Ray is missing, its head cannot be reached, no machine has the
      resources, or one does not see what this one sees.
  """
  if where.cluster == 'local':
    start = gang.starter(sweep.learners, process.start, gang.start_here)
    yield Place(slots or DEFAULT_SLOTS, start)
    return
  cluster.require_ray()
  if sweep.learners > 1 and not sweep.resources:
    raise UserError('LEARNERS on a cluster need RESOURCES, such as {"CPU": 1}')
  root = os.getcwd()
  variables = {**_WORKER_ENVIRONMENT, 'PYTHONPATH': root}
  with cluster.connected(where.address, {'env_vars': variables}):
    import ray

    nodes = [node for node in ray.nodes() if node['Alive']]
    capacity = _capacity(nodes, sweep.resources, sweep.learners)
    _probe(ray, nodes, sweep.logdir, root)
    starter = remote.Starter(sweep.resources, root)
    start = gang.starter(sweep.learners, starter.start, starter.start_gang)
    yield Place(min(slots or capacity, capacity), start)


def _capacity(nodes, resources, learners=1):
  """Returns how many runs the machines have room for at once.

  Raises:
    UserError: they have none for one.
  """
  capacity = sum(
    min(
      (int(node['Resources'].get(n, 0) / a) for n, a in resources.items()),
      default=1,
    )
    for node in nodes
  )
  if 0 < capacity < learners:
    raise UserError(
      f'the cluster has room for {capacity} learners of {dict(resources)}; '
      f'LEARNERS is {learners}'
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
  return capacity // learners


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
