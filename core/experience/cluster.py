"""A Ray cluster: what is asked of it before a run, and the way into it.

Ray waits for minutes, or for ever and silently, for a machine that does not
answer, a label that nobody has, CPUs that are not there. So all of that is
looked at first. Ray is imported where it is used: a run without it needs none.
"""

import contextlib
import dataclasses
import importlib.util
import logging
import os
import pathlib
import socket
import time
from collections.abc import Iterator
from typing import Any

from core.errors import UserError
from core.interrupt import ignored_by_children
from core.run_config import ActorLearnerConfig

INSTALL = "pip install 'ray>=2.60,<2.61'"

_OF_RAY_ALONE = (
  *('ray_address', 'num_remote_actors', 'actor_cpus', 'actor_label'),
  *('actor_timeout', 'min_actors'),
)
_CONNECT_SECS = 5.0
_SPILL_CHECK_SECS = 60.0
# What begins any HTTP/2 connection, Ray's too, and the frame of settings with
# which the other side must answer (RFC 9113, section 3.4).
_GREETING = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0'
_SETTINGS = 4
# Room for what is under way, times this: an object store that is full spills
# to the disk without a word.
_STORE_FACTOR = 4
# What actors on other machines do not need of the repository.
_EXCLUDED = [
  *('.git', '.venv', 'runs', 'experiments', 'tests', 'tools'),
  *('**/__pycache__', '.pytest_cache', '.ruff_cache'),
]


def check(config: ActorLearnerConfig) -> None:
  """Refuses what makes no sense, before anything is started.

  Args:
    config: a paper's Config.

  Raises:
    UserError: flags contradict each other, or Ray is not installed.
  """
  if config.cluster == 'local':
    for f in dataclasses.fields(config):
      if f.name in _OF_RAY_ALONE and getattr(config, f.name) != f.default:
        raise UserError(f'--{f.name} does nothing without --cluster=ray')
    return
  require_ray()
  if config.actor_mode == 'sync':
    raise UserError(
      '--cluster=ray acts beside the learner: give --actor_mode=async'
    )
  if config.num_actors != 1:
    raise UserError(
      f'--num_actors={config.num_actors} counts actors of this process, which '
      '--cluster=ray has none of: give --num_remote_actors'
    )
  if config.min_actors > config.num_remote_actors:
    raise UserError(
      f'--min_actors={config.min_actors} exceeds --num_remote_actors='
      f'{config.num_remote_actors}'
    )
  read_label(config.actor_label)


def require_ray() -> None:
  """Refuses to go on without Ray.

  Raises:
    UserError: it is not installed; with the command that does it.
  """
  if importlib.util.find_spec('ray') is None:
    raise UserError(f'--cluster=ray needs Ray, which is missing: {INSTALL}')


def read_label(label: str) -> dict[str, str]:
  """Reads NAME=VALUE; nothing of an empty one.

  Raises:
    UserError: it is written otherwise.
  """
  if not label:
    return {}
  name, _, value = label.partition('=')
  if not name or not value:
    raise UserError(f'--actor_label={label} is not NAME=VALUE, as role=actor')
  return {name: value}


@contextlib.contextmanager
def connected(
  address: str, runtime_env: dict[str, Any] | None = None
) -> Iterator[None]:
  """Connects this process with a Ray cluster for a with-block.

  One that is connected already stays it.

  Args:
    address: HOST:PORT, auto, or empty to start a cluster on this machine, which
      ends with the block.
    runtime_env: Ray's, for what runs on other machines; None: this repository
      is brought there.

  Raises:
    UserError: nobody answers there, or does not let us in.
  """
  os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
  import ray

  if ray.is_initialized():
    yield
    return
  options = dict(log_to_driver=False, logging_level=logging.ERROR)
  try:
    if address:
      runtime_env = runtime_env or _repository()
      options |= dict(address=_resolve(address), runtime_env=runtime_env)
    else:
      options |= dict(include_dashboard=False)
      # Ray's own 15 would let any other program of the machine go first.
      os.environ.setdefault('RAY_worker_niceness', '0')
    with ignored_by_children():
      ray.init(**options)
  except (ConnectionError, OSError, RuntimeError, ValueError) as error:
    raise UserError(
      f'no way into the Ray cluster {address or "of this machine"}: '
      f'{one_line(error)}'
    ) from error
  try:
    yield
  finally:
    ray.shutdown()


def _repository():
  """Returns what Ray must bring to other machines: the code that runs here."""
  root = pathlib.Path(__file__).resolve().parents[2]
  return {'working_dir': str(root), 'excludes': _EXCLUDED}


def _resolve(address):
  """Returns HOST:PORT, where a Ray answers: it would retry for minutes."""
  if address == 'auto':
    from ray._private import services

    address = services.canonicalize_bootstrap_address_or_die('auto')
  host, _, port = address.rpartition(':')
  if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
    raise UserError(
      f'--ray_address={address} is not HOST:PORT, as 10.0.0.1:6379, nor auto'
    )
  try:
    with socket.create_connection((host, int(port)), _CONNECT_SECS) as there:
      there.settimeout(_CONNECT_SECS)
      there.sendall(_GREETING)
      answer = there.recv(9)
  except OSError as error:
    raise UserError(
      f'no Ray answers at {address} ({error.strerror or error}): start one '
      f'there with `ray start --head --port={port}`'
    ) from error
  if len(answer) < 9 or answer[3] != _SETTINGS:
    raise UserError(f'what answers at {address} is not a Ray')
  return address


def check_room(config: ActorLearnerConfig) -> None:
  """Refuses more actors than the cluster has room for.

  Args:
    config: a paper's Config.

  Raises:
    UserError: saying what is missing.
  """
  import ray

  nodes = [node for node in ray.nodes() if node['Alive']]
  wanted = read_label(config.actor_label).items()
  chosen = [node for node in nodes if wanted <= node['Labels'].items()]
  if not chosen:
    labels = {
      f'{name}={value}'
      for node in nodes
      for name, value in node['Labels'].items()
      if not name.startswith('ray.io/')
    }
    raise UserError(
      f'no machine of the Ray cluster has the label {config.actor_label}; '
      f'there are: {", ".join(sorted(labels)) or "none"}'
    )
  cpus = [node['Resources'].get('CPU', 0.0) for node in chosen]
  room = sum(int(count / config.actor_cpus + 1e-6) for count in cpus)
  if room < config.num_remote_actors:
    where = f' with the label {config.actor_label}' * bool(wanted)
    raise UserError(
      f'{config.num_remote_actors} remote actors of {config.actor_cpus:g} CPUs '
      f'do not fit: the cluster has {len(chosen)} machines{where}, with '
      f'{sum(cpus):g} CPUs, room for {room}; lower --num_remote_actors or '
      '--actor_cpus, or add machines'
    )


def check_store(num_unrolls: int, unroll_bytes: int, weight_bytes: int) -> None:
  """Refuses an object store, on this machine, that would be full.

  Args:
    num_unrolls: that are under way at most.
    unroll_bytes: size of one.
    weight_bytes: size of the weights, three versions of which may be in use.

  Raises:
    UserError: it is smaller than four times what is under way.
  """
  needed = _STORE_FACTOR * (num_unrolls * unroll_bytes + 3 * weight_bytes)
  found = int(own_node()['Resources'].get('object_store_memory', 0))
  if found < needed:
    raise UserError(
      f"the object store of Ray on the learner's machine has {found / 1e6:.0f} "
      f'MB, but {num_unrolls} unrolls of {unroll_bytes / 1e6:.1f} MB under way '
      f'need {needed / 1e6:.0f} MB: start Ray there with '
      f'--object-store-memory={needed}, or lower --num_remote_actors or '
      '--num_environments'
    )


class Spills:
  """Tells when Ray moves objects to this machine's disk, which it does not."""

  def __init__(self):
    """Begins with what is there."""
    self._spilled = _spilled_bytes()
    self._next_look = 0.0

  def warn_now_and_then(self) -> None:
    """Does what `warn` does, once a minute."""
    if time.monotonic() > self._next_look:
      self._next_look = time.monotonic() + _SPILL_CHECK_SECS
      self.warn()

  def warn(self) -> None:
    """Prints a line if there is more than at the last look."""
    spilled = _spilled_bytes()
    if spilled > self._spilled:
      print(
        f'warning: Ray has written {spilled / 1e6:.0f} MB of its object store '
        "to this machine's disk, which slows everything down: start it with "
        'more --object-store-memory',
        flush=True,
      )
    self._spilled = spilled


def _spilled_bytes():
  """Returns how much Ray has written; it tells so in no public place."""
  from ray._private.internal_api import node_stats

  node = own_node()
  address = node['NodeManagerAddress'], node['NodeManagerPort']
  stats = node_stats(*address, include_memory_info=False).store_stats
  return stats.spilled_bytes_total


def own_node() -> dict[str, Any]:
  """Returns what Ray knows of this machine."""
  import ray

  own = ray.get_runtime_context().get_node_id()
  return next(node for node in ray.nodes() if node['NodeID'] == own)


def one_line(error: BaseException, max_length: int = 300) -> str:
  """Returns what an error says, in a line that is not too long."""
  text = ' '.join(str(error).split())
  return text if len(text) <= max_length else f'{text[:max_length]}...'
