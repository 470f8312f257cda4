"""Which learners make one run together: what TF_CONFIG says."""

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from core.errors import UserError

_EXAMPLE = (
  '{"cluster": {"worker": ["host0:port", "host1:port"]}, '
  '"task": {"type": "worker", "index": 0}}'
)


class Cluster(NamedTuple):
  """The learners of a run, and which one this is.

  Attributes:
    addresses: 'host:port' of each; the first is the chief.
    index: of this one.
  """

  addresses: tuple[str, ...]
  index: int

  @classmethod
  def from_environment(
    cls, environment: Mapping[str, str] = os.environ
  ) -> 'Cluster':
    """Reads TF_CONFIG, as TensorFlow does.

    Raises:
      UserError: it is missing, or not what TensorFlow documents.
    """
    text = environment.get('TF_CONFIG', '')
    if not text:
      raise UserError(
        '--strategy=multi_worker needs TF_CONFIG in the environment of every '
        f'worker, such as {_EXAMPLE}'
      )
    try:
      return cls(*_parse(json.loads(text)))
    except (ValueError, RecursionError) as error:
      raise UserError(
        f'TF_CONFIG is wrong ({error}); it should be such as {_EXAMPLE}'
      ) from error

  @property
  def is_chief(self) -> bool:
    """Whether this learner writes what all have learned."""
    return self.index == 0

  def host_and_port(self, index: int) -> tuple[str, int]:
    """Returns where one of the learners listens."""
    host, _, port = self.addresses[index].rpartition(':')
    return host.strip('[]'), int(port)


def _parse(content: Any) -> tuple[tuple[str, ...], int]:
  """Returns addresses and index; raises ValueError naming what is wrong."""
  cluster, task = _entry(content, 'cluster'), _entry(content, 'task')
  for job in cluster:
    if job not in ('chief', 'worker'):
      raise ValueError(f'its cluster has a {job}: learners are workers')
  addresses = []
  for job in ('chief', 'worker'):
    found = cluster.get(job, [])
    if not isinstance(found, list) or not all(map(_is_address, found)):
      raise ValueError(f'its {job} is not a list of "host:port"')
    addresses += found
  if len(cluster.get('chief', [])) > 1:
    raise ValueError('it has more than one chief')
  if not addresses:
    raise ValueError('its cluster has no worker')
  if len(set(addresses)) < len(addresses):
    raise ValueError('two of its workers have the same address')
  job, index = task.get('type'), task.get('index')
  num_of_job = len(cluster.get(job, [])) if isinstance(job, str) else 0
  if not num_of_job:
    raise ValueError(f'its task has the type {job}, which the cluster has not')
  if type(index) is not int or not 0 <= index < num_of_job:
    raise ValueError(f'its task has the index {index} of {num_of_job} {job}s')
  if job == 'worker':
    index += len(cluster.get('chief', []))
  return tuple(addresses), index


def _entry(content, name):
  found = content.get(name) if isinstance(content, dict) else None
  if not isinstance(found, dict):
    raise ValueError(f'it has no {name}')
  return found


def _is_address(text):
  if not isinstance(text, str):
    return False
  host, _, port = text.rpartition(':')
  return bool(host) and port.isdecimal() and 0 < int(port) < 65536
