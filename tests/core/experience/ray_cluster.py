"""A Ray cluster of a test's own, which leaves nothing behind; light actors."""

import contextlib
import os
import pathlib
import tempfile
import time
from collections.abc import Iterator
from unittest import mock

# Ray's sockets lie in its folder, and a path of one has at most 107 bytes.
_PARENT = '/tmp'
STORE_BYTES = 80 * 2**20  # Near the least that Ray accepts.


@contextlib.contextmanager
def environment() -> Iterator[None]:
  """Sets what Ray reads of the environment, as no user's home is touched."""
  settings = dict(
    RAY_AUTH_MODE='token',
    RAY_AUTH_TOKEN='of-a-test-' * 4,
    RAY_USAGE_STATS_ENABLED='0',
    RAY_worker_niceness='0',
  )
  with (
    tempfile.TemporaryDirectory(
      prefix='ray', dir=_PARENT, ignore_cleanup_errors=True
    ) as folder,
    mock.patch.dict(os.environ, {**settings, 'RAY_TMPDIR': folder}),
  ):
    yield


@contextlib.contextmanager
def running(num_cpus: int) -> Iterator[str]:
  """Runs a cluster of this machine for a with-block; yields its address."""
  with environment():
    import ray

    ray.init(
      num_cpus=num_cpus,
      include_dashboard=False,
      object_store_memory=STORE_BYTES,
      log_to_driver=False,
      logging_level='ERROR',
    )
    try:
      yield ray.get_runtime_context().gcs_address
    finally:
      ray.shutdown()


class LightActor:
  """Plays nothing; goes wrong as it is told.

  A fault is a pair: the method and what happens in it, the third time in
  `collect`.
  """

  def __init__(self, index, num_before, folder, fault):
    self.name = (index, num_before)
    self.path = pathlib.Path(folder, f'{index}_{num_before}')
    self.fault = fault
    self.num_collected = 0

  def start(self):
    self.go_wrong('start')
    return f'started {self.name}'

  def collect(self, version):
    self.num_collected += 1
    if self.num_collected == 3:
      self.go_wrong('collect')
    with self.path.open('a') as file:
      file.write('.')
    return *self.name, self.num_collected, version

  def go_wrong(self, method):
    if self.fault and self.fault[0] == method:
      what = self.fault[1]
      if isinstance(what, Exception):
        raise what
      time.sleep(0.3)  # Else the last result may not have left the process.
      os.kill(os.getpid(), what)
