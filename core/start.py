"""The first seconds of a process: TensorFlow starts without its own lines."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

_GPU_DRIVER = '/proc/driver/nvidia/version'


@contextlib.contextmanager
def quiet_tensorflow() -> Iterator[None]:
  """Holds back what TensorFlow says while it starts in a with-block.

  On a machine without a GPU that is up to seven lines, none of which matters to
  a user. They are shown if the block fails (unless by Ctrl-C), if there is a
  GPU's driver, or if TF_CPP_MIN_LOG_LEVEL is set to 0.
  """
  level = os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  if level == '0' or os.path.exists(_GPU_DRIVER):
    yield
    return
  with tempfile.TemporaryFile() as held, _redirected_stderr(held):
    yield
    if tensorflow := sys.modules.get('tensorflow'):
      tensorflow.config.list_physical_devices()  # Else it tells of them later.


@contextlib.contextmanager
def _redirected_stderr(held):
  """Sends file descriptor 2 to a file; after a failure copies it back."""
  sys.stderr.flush()
  stderr = os.dup(2)
  os.dup2(held.fileno(), 2)
  failed = True
  try:
    yield
    failed = False
  except KeyboardInterrupt:
    failed = False
    raise
  finally:
    sys.stderr.flush()
    os.dup2(stderr, 2)
    os.close(stderr)
    if failed:
      held.seek(0)
      with open(2, 'wb', closefd=False) as shown:
        shown.write(held.read())
