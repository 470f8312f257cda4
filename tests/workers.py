"""Several learners of one run, as processes of this machine."""

import contextlib
import json
import os
import socket
from typing import Any
from unittest import mock

from tests import runs


def free_ports(count: int) -> list[int]:
  """Returns ports that nobody listens on now."""
  with contextlib.ExitStack() as stack:
    sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
    for each in sockets:
      each.bind(('127.0.0.1', 0))
    return [each.getsockname()[1] for each in sockets]


def tf_config(ports: list[int], index: int) -> str:
  """Returns the TF_CONFIG of a worker."""
  addresses = [f'127.0.0.1:{port}' for port in ports]
  return json.dumps(
    dict(cluster=dict(worker=addresses), task=dict(type='worker', index=index))
  )


def environment(ports: list[int], index: int) -> Any:
  """Returns a context in which processes start as a worker."""
  return mock.patch.dict(os.environ, TF_CONFIG=tf_config(ports, index))


def start(*configs: Any) -> list[runs.Run]:
  """Starts a worker of each config."""
  ports = free_ports(len(configs))
  started = []
  for index, config in enumerate(configs):
    with environment(ports, index):
      started.append(runs.Run(config))
  return started


def finish(workers: list[runs.Process]) -> list[runs.Finished]:
  """Waits for all of them."""
  return [worker.finish() for worker in workers]
