"""run.json: what a reader needs to repeat a run."""

import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from core import config as configs
from core.errors import UserError
from core.files import atomic_file, refuse_pipe
from core.run_config import RunConfig
from core.suites.tasks import Tasks

_PACKAGES = ('tensorflow', 'dm-sonnet', 'gymnasium', 'numpy')
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))


def describe(config: RunConfig, tasks: Tasks) -> dict[str, Any]:
  """Return what a reader needs to repeat this run.

  Args:
    config: resolved config.
    tasks: what is played, and how.

  Returns:
    A dict that JSON can hold.
  """
  suites = dict.fromkeys(tasks.suites)
  packages = [package for suite in suites for package in suite.packages]
  return describe_command(config, tasks.describe_protocol(), packages)


def describe_command(
  config: Any, protocol: dict[str, Any], packages: Sequence[str] = ()
) -> dict[str, Any]:
  """Return what a reader needs to repeat any command of this repository.

  Never the process environment: it holds secrets.

  Args:
    config: a dataclass.
    protocol: how tasks are played.
    packages: distributions whose version decides how they play.

  Returns:
    A dict that JSON can hold.
  """
  return {
    'config': configs.describe(config),
    'protocol': protocol,
    'command': command(),
    'start_time': datetime.datetime.now()
    .astimezone()
    .isoformat('T', 'seconds'),
    'git': git_commit(),
    'versions': {
      'python': platform.python_version(),
      **{package: _version(package) for package in (*_PACKAGES, *packages)},
    },
    'hardware': _hardware(),
  }


def write(logdir: str, info: dict[str, Any]) -> str:
  """Write `<logdir>/run.json`, keeping earlier starts under 'starts'.

  Args:
    logdir: folder of the run; created if need be.
    info: from `describe`.

  Returns:
    The path of the file.

  Raises:
    UserError: the folder or the file cannot be written.
  """
  path = os.path.join(logdir, 'run.json')
  content = _add_starts(path, info)
  with atomic_file(path) as file:
    file.write(content)
  return path


def check(logdir: str) -> None:
  """Refuses a logdir whose run.json is not what `write` writes.

  Raises:
    UserError: naming what is wrong.
  """
  _add_starts(os.path.join(logdir, 'run.json'), {})


def _add_starts(path, info):
  """Returns what to write into a file, its earlier starts included."""
  refuse_pipe(path)
  try:
    starts = _read_starts(path) if os.path.exists(path) else []
    text = json.dumps({**info, 'starts': starts}, indent=2) + '\n'
  except OSError as error:
    raise UserError(f'cannot read {path}: {error.strerror}') from error
  except (ValueError, RecursionError) as error:
    reason = ' '.join(str(error).split())
    raise UserError(f'{path} is damaged ({reason}); move it away') from error
  return text.encode()


def _read_starts(path):
  """Returns the earlier starts of a run, the last one included.

  Raises:
    ValueError: the file does not hold what `write` writes.
  """
  if not os.path.isfile(path):
    raise ValueError('not a file')
  with open(path, encoding='utf-8') as file:
    last = json.load(file)
  if not isinstance(last, dict):
    raise ValueError('not an object')
  starts = last.pop('starts', [])
  if not isinstance(starts, list) or not all(
    isinstance(start, dict) for start in starts
  ):
    raise ValueError('its starts are not a list of objects')
  return [*starts, last]


def command() -> str:
  """Return the command line, free of the machine's paths."""
  spec = getattr(sys.modules['__main__'], '__spec__', None)
  script = ['-m', spec.name] if spec else [os.path.basename(sys.argv[0])]
  return shlex.join(['python', *script, *sys.argv[1:]])


def _version(package: str) -> str | None:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None


def git_commit() -> dict[str, Any] | None:
  """Return the commit of this checkout; None outside one."""

  def git(*arguments: str) -> str:
    # A kill may not leave the lock of an index that is refreshed meanwhile.
    return subprocess.run(
      ['git', '--no-optional-locks', '-C', _ROOT, *arguments],
      check=True,
      capture_output=True,
      text=True,
    ).stdout.strip()

  try:
    changed = git('status', '--porcelain', '--untracked-files=no')
    return {'commit': git('rev-parse', 'HEAD'), 'dirty': bool(changed)}
  except (OSError, subprocess.CalledProcessError):
    return None


def _hardware() -> dict[str, Any]:
  # Here because it takes seconds, and importing a config needs no devices.
  import tensorflow as tf

  model = platform.machine()
  if os.path.exists('/proc/cpuinfo'):
    with open('/proc/cpuinfo', encoding='utf-8') as file:
      names = [line for line in file if line.startswith('model name')]
    if names:
      model = names[0].split(':', 1)[1].strip()
  accelerators = []
  for device in tf.config.list_physical_devices():
    if device.device_type != 'CPU':
      details = tf.config.experimental.get_device_details(device)
      accelerators.append(details.get('device_name', device.name))
  if hasattr(os, 'sched_getaffinity'):
    cores = len(os.sched_getaffinity(0))
  else:
    cores = os.cpu_count()
  memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
  return {
    'cpu': model,
    'cpu_cores': cores,
    'memory_gib': round(memory / 2**30, 1),
    'accelerators': accelerators,
  }
