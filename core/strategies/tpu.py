"""A TPU, found within seconds or refused. Untested: none was at hand."""

import os
import socket
from typing import Any

import tensorflow as tf

from core.errors import UserError

_TRY_SECS = 5.0


def make_strategy(tpu: str) -> Any:
  """Connects to a TPU.

  Args:
    tpu: 'local' on a TPU VM, 'grpc://host:port', or a name that Google Cloud
      knows.

  Returns:
    A TPUStrategy.

  Raises:
    UserError: there is none.
  """
  if tpu == 'local':
    if not tf.config.list_physical_devices('TPU'):
      raise UserError(
        '--strategy=tpu: TensorFlow sees no TPU on this machine; --tpu names '
        'another'
      )
  else:
    # TensorFlow itself would try for minutes.
    _check_reachable(tpu)
  resolvers = tf.distribute.cluster_resolver
  try:
    resolver = resolvers.TPUClusterResolver.connect(tpu)
    return tf.distribute.TPUStrategy(resolver)
  except Exception as error:  # Anything, depending on what it met on the way.
    reason = ' '.join(f'{type(error).__name__}: {error}'.split())
    raise UserError(f'--tpu={tpu} cannot be used: {reason}') from error


def _check_reachable(tpu):
  """Refuses an address, or a cloud, that does not answer."""
  if tpu.startswith('grpc://'):
    host, _, port = tpu.removeprefix('grpc://').rpartition(':')
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
      raise UserError(f'--tpu={tpu} should be grpc://host:port')
  else:
    # What says which project and zone the name belongs to.
    host = os.environ.get('GCE_METADATA_IP', 'metadata.google.internal')
    port = '80'
  try:
    socket.create_connection((host, int(port)), _TRY_SECS).close()
  except OSError as error:
    raise UserError(
      f'--tpu={tpu} cannot be reached: {host}:{port}: {error}'
    ) from error
