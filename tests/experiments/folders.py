"""The working directory of tests."""

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def working_in(path: str | os.PathLike) -> Iterator[None]:
  """Changes the working directory for a while."""
  previous = os.getcwd()
  os.chdir(path)
  try:
    yield
  finally:
    os.chdir(previous)
