"""Files that are whole or not there at all, and folders of one process."""

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from typing import BinaryIO

from core.errors import UserError


@contextlib.contextmanager
def atomic_file(path: str) -> Iterator[BinaryIO]:
  """Open a file that takes its name only when it is whole and on the disk.

  Args:
    path: name of the file; its folder is created if need be.

  Yields:
    A binary file to write to.

  Raises:
    UserError: it cannot be written; what stood at `path` is still there.
  """
  folder = os.path.dirname(path) or '.'
  temporary = path + '.tmp'
  try:
    os.makedirs(folder, exist_ok=True)
    refuse_pipe(temporary)
    with open(temporary, 'wb') as file:
      yield file
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  except BaseException as error:
    with contextlib.suppress(OSError):
      os.remove(temporary)
    if isinstance(error, OSError):
      reason = error.strerror or error
      raise UserError(f'cannot write {path}: {reason}') from error
    raise
  # Makes the new name itself durable; some network file systems cannot.
  with contextlib.suppress(OSError):
    descriptor = os.open(folder, os.O_RDONLY)
    try:
      os.fsync(descriptor)
    finally:
      os.close(descriptor)


def refuse_pipe(path: str) -> None:
  """Refuses a named pipe where a file is read: that might wait for ever.

  Raises:
    UserError: there is one.
  """
  try:
    is_pipe = stat.S_ISFIFO(os.stat(path).st_mode)
  except (OSError, ValueError):  # Whoever opens it says why.
    return
  if is_pipe:
    raise UserError(f'{path} is a named pipe, not a file')


@contextlib.contextmanager
def locked(folder: str) -> Iterator[None]:
  """Keeps other processes out of a folder during a with-block.

  The lock is the process's: a kill releases it, and processes that it started
  do not hold it.

  Args:
    folder: created if need be.

  Raises:
    UserError: another process has it, or the folder cannot be written.
  """
  path = os.path.join(folder, 'lock')
  refuse_pipe(path)
  try:
    os.makedirs(folder, exist_ok=True)
    file = open(path, 'a+')  # noqa: SIM115 - closed below.
  except OSError as error:
    reason = error.strerror or error
    raise UserError(f'cannot write to {folder}: {reason}') from error
  with file:
    try:
      fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
      file.seek(0)
      raise UserError(
        f'{folder} is in use by process {file.read().strip() or "?"}: wait for '
        'it or give another --logdir'
      ) from error
    file.truncate(0)
    file.write(f'{os.getpid()}\n')
    file.flush()
    yield
