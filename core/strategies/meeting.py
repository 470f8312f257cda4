"""Where the learners of a run meet before TensorFlow connects them.

TensorFlow would wait for a missing worker for an hour without a word, deaf to
every signal, and workers that do not fit each other would end in an error of
its collectives. So they first tell the chief, on its own port, who they are.
"""

import contextlib
import json
import select
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any

from core.errors import UserError, WorkerLost
from core.strategies.tf_config import Cluster

_MAX_BYTES = 1_000_000  # Of what one may say of itself.
_RETRY_SECS = 0.2


def meet(
  cluster: Cluster, description: dict[str, Any], timeout_secs: float
) -> None:
  """Waits until all learners are there and have said the same of themselves.

  Args:
    cluster: who they are.
    description: what must be equal in all; JSON values by name.
    timeout_secs: for how long to wait.

  Raises:
    UserError: they differ, or this one's port is not free.
    WorkerLost: some did not come.
  """
  description = json.loads(json.dumps(description))
  deadline = time.monotonic() + timeout_secs
  with _listener(cluster) as listener:
    if cluster.is_chief:
      answer = _receive(cluster, description, listener, deadline)
    else:
      answer = _send(cluster, description, deadline)
  if answer['missing']:
    raise WorkerLost(
      f'{answer["missing"]} within --collective_timeout={timeout_secs:g} '
      'seconds: start all workers again'
    )
  if answer['error']:
    raise UserError(answer['error'])


def differences(descriptions: Sequence[dict[str, Any]]) -> str:
  """Returns what differs between learners, '' if nothing does.

  Args:
    descriptions: what each says of itself; the first is the chief's.
  """
  chief, *others = descriptions
  for index, other in enumerate(others, start=1):
    differing = [
      f'{name} {other.get(name)}, not {chief.get(name)}'
      for name in dict.fromkeys([*chief, *other])
      if (name in chief, chief.get(name)) != (name in other, other.get(name))
    ]
    if differing:
      return (
        f'worker {index} is not as worker 0: {", ".join(differing)}; start '
        'all workers with the same flags and the same commit'
      )
  return ''


@contextlib.contextmanager
def _listener(cluster: Cluster) -> Iterator[socket.socket]:
  """Takes this learner's port, which TensorFlow takes afterwards."""
  _, port = cluster.host_and_port(cluster.index)
  with socket.socket() as listener:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
      listener.bind(('', port))
      if cluster.is_chief:
        listener.listen(len(cluster.addresses) + 16)
    except OSError as error:
      raise UserError(
        f'cannot listen on port {port}, which TF_CONFIG gives to this worker: '
        f'{error.strerror}'
      ) from error
    yield listener


def _receive(cluster, description, listener, deadline):
  """Hears all others out and answers them; the chief's part."""
  said = {0: description}
  error = ''
  with contextlib.ExitStack() as stack:
    connections = []
    while len(said) < len(cluster.addresses) and not error:
      left = deadline - time.monotonic()
      if left <= 0 or not select.select([listener], [], [], left)[0]:
        break
      connection = stack.enter_context(listener.accept()[0])
      # Who connects by mistake, or died meanwhile, is nobody.
      with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        connection.settimeout(5.0)
        message = _read(connection)
        index, found = int(message['index']), dict(message['description'])
        connections.append(connection)
        if index in said:
          error = f'two processes are worker {index} in their TF_CONFIG'
        elif not 0 <= index < len(cluster.addresses):
          error = f'worker 0 has no worker {index} in its TF_CONFIG'
        said[index] = found
    missing = [i for i in range(len(cluster.addresses)) if i not in said]
    answer = dict(error=error, missing='')
    if not error and missing:
      names = ', '.join(f'{i} ({cluster.addresses[i]})' for i in missing)
      answer['missing'] = f'worker {names} did not come'
    elif not error:
      answer['error'] = differences([said[i] for i in sorted(said)])
    for connection in connections:
      with contextlib.suppress(OSError):
        connection.sendall(json.dumps(answer).encode() + b'\n')
  return answer


def _send(cluster, description, deadline):
  """Tells the chief who this is and returns its answer."""
  message = dict(index=cluster.index, description=description)
  while True:
    left = deadline - time.monotonic()
    if left <= 0:
      address = cluster.addresses[0]
      return dict(error='', missing=f'worker 0 ({address}) did not answer')
    try:
      connection = socket.create_connection(cluster.host_and_port(0), left)
    except OSError:
      time.sleep(min(_RETRY_SECS, max(0.0, left)))
      continue
    with connection, contextlib.suppress(OSError, ValueError):
      connection.sendall(json.dumps(message).encode() + b'\n')
      # The chief answers at its own deadline, which may be later.
      connection.settimeout(max(0.1, deadline - time.monotonic()) + 1.0)
      return _read(connection)
    time.sleep(_RETRY_SECS)


def _read(connection):
  """Reads one line of JSON."""
  text = b''
  while not text.endswith(b'\n'):
    block = connection.recv(65536)
    if not block or len(text) > _MAX_BYTES:
      raise ValueError('not a line')
    text += block
  return json.loads(text)
