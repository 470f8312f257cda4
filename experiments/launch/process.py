"""A run as a process: starting it, and finding it again.

<logdir>/launch.json holds what a launcher knows of a run: the stages that are
done, the seconds they took, and the process that is at work. Needs Linux, whose
prctl lets a run end with its launcher.
"""

import contextlib
import ctypes
import dataclasses
import datetime
import fcntl
import functools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psutil

from core.errors import UserError
from core.files import atomic_file, refuse_pipe
from experiments.runs import csv_files, json_files

_PR_SET_PDEATHSIG = 1  # From linux/prctl.h.
_CLOCK_SECS = 2.0
_MAX_NUMBER = 2**53  # Of a process, or of seconds.


@dataclasses.dataclass
class State:
  """The content of launch.json.

  Attributes:
    done: commands of the stages that ended with status 0, without logdir.
    secs: seconds of all processes so far.
    pid: of the process at work, 0 if none.
    create_time: when it was created; tells it from a later process of the same
      pid.
  """

  done: list[str] = dataclasses.field(default_factory=list)
  secs: float = 0.0
  pid: int = 0
  create_time: float = 0.0


@contextlib.contextmanager
def lock(logdir: str) -> Iterator[None]:
  """Keeps other launchers away from a sweep's LOGDIR.

  The kernel frees the lock when this process ends, however it ends.

  Args:
    logdir: of the sweep; created if need be.

  Raises:
    UserError: another launcher holds it, or it cannot be written.
  """
  path = os.path.join(logdir, 'launch.lock')
  refuse_pipe(path)
  try:
    os.makedirs(logdir, exist_ok=True)
    file = open(path, 'a+', encoding='utf-8')  # noqa: SIM115
  except OSError as error:
    raise UserError(f'cannot write to {logdir}: {error.strerror}') from error
  with file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      file.seek(0)
      pid = file.read().strip() or 'unknown'
      raise UserError(
        f'another launcher, process {pid}, is at work in {logdir}'
      ) from None
    file.truncate(0)
    file.write(f'{os.getpid()}\n')
    file.flush()
    yield


def read_state(logdir: str) -> State:
  """Reads launch.json; a fresh State where there is none.

  Raises:
    UserError: the file is damaged, or the log could not be written to.
  """
  refuse_pipe(os.path.join(logdir, 'log'))
  path = os.path.join(logdir, 'launch.json')
  content = json_files.read(path, if_missing={})
  content.pop('start_ticks', None)  # Instead of create_time, once.
  problem = _find_problem(content)
  if problem:
    raise UserError(f'cannot use {path} ({problem}): move it away')
  return State(**content)


def write_state(logdir: str, state: State) -> None:
  """Writes launch.json, whole or not at all.

  Raises:
    UserError: it cannot be written.
  """
  text = json.dumps(dataclasses.asdict(state), indent=2) + '\n'
  with atomic_file(os.path.join(logdir, 'launch.json')) as file:
    file.write(text.encode())


def identity(arguments: Sequence[str]) -> str:
  """Returns a stage's command without the logdir, which may be moved."""
  return shlex.join(a for a in arguments if not a.startswith('--logdir='))


def num_done(state: State, stages: Sequence[Sequence[str]]) -> int:
  """Counts the stages, from the first on, that are done as they stand."""
  count = 0
  for done, arguments in zip(state.done, stages, strict=False):
    if done != identity(arguments):
      break
    count += 1
  return count


def start(
  arguments: Sequence[str],
  logdir: str,
  environment: Mapping[str, str],
  name: str,
  held: Sequence[int] = (),
) -> subprocess.Popen:
  """Starts a stage of a run, which ends when this process ends.

  When the launcher dies, the kernel sends the run SIGTERM (PR_SET_PDEATHSIG):
  it writes a checkpoint and ends, so even SIGKILL of the launcher loses nothing
  and leaves nothing behind. The run itself must ask for it, between fork and
  exec; a wrapper that does so would cost an interpreter's start per run, and
  this process has no threads of its own that would make it unsafe. The signal
  comes with the end of the thread that forked: call this from the main one.

  Args:
    arguments: what stands after `python`.
    logdir: of the run; the output is appended to <logdir>/log.
    environment: variables beside this process's own.
    name: of the stage, for the log.
    held: file descriptors that it holds too, to the end of its life.

  Returns:
    The process, leader of a session of its own: a terminal's Ctrl-C reaches the
    launcher alone.
  """
  now = datetime.datetime.now().astimezone().isoformat(' ', 'seconds')
  command = shlex.join(['python', *arguments])
  with open(os.path.join(logdir, 'log'), 'a', encoding='utf-8') as log:
    log.write(f'launch: {now} {name}: {command}\n')
    log.flush()
    return subprocess.Popen(
      [sys.executable, *arguments],
      stdin=subprocess.DEVNULL,
      stdout=log,
      stderr=subprocess.STDOUT,
      env={**os.environ, **environment},
      start_new_session=True,
      pass_fds=tuple(held),
      preexec_fn=functools.partial(
        _end_with_parent, ctypes.CDLL(None).prctl, os.getpid()
      ),
    )


@contextlib.contextmanager
def only_one(logdir: str) -> Iterator[int]:
  """Waits until no process that holds the logdir is left, then holds it.

  For machines that do not see each other's processes: one whose launcher, or
  whose machine's connection, was lost may still be writing its checkpoint.

  Args:
    logdir: of a run; created if need be.

  Yields:
    A file descriptor: as long as a process has it, others wait.
  """
  path = os.path.join(logdir, 'process.lock')
  refuse_pipe(path)
  os.makedirs(logdir, exist_ok=True)
  with open(path, 'a') as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    yield file.fileno()


def end_children(process: Any) -> None:
  """Kills what a run that was killed has left, such as its environments."""
  if not process.pid:  # On another machine, which does so itself.
    return
  try:
    os.killpg(process.pid, signal.SIGKILL)
  except (ProcessLookupError, PermissionError):
    return


def create_time(pid: int) -> float:
  """Returns when a living process was created; 0 if none lives."""
  try:
    process = psutil.Process(pid)
    is_dead = process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    return 0.0 if is_dead else process.create_time()
  except psutil.NoSuchProcess:
    return 0.0


def is_alive(state: State) -> bool:
  """Tells whether the process of launch.json still lives."""
  created = create_time(state.pid) if state.pid else 0.0
  # The kernel counts from the boot, whose time follows the clock's corrections.
  return created > 0 and abs(created - state.create_time) < _CLOCK_SECS


def last_lines(logdir: str, count: int) -> list[str]:
  """Returns the last lines that the newest process wrote to the log."""
  text = csv_files.read_tail(os.path.join(logdir, 'log'))
  lines = [line.rstrip() for line in re.split(r'[\r\n]+', text) if line.strip()]
  starts = [i for i, line in enumerate(lines) if line.startswith('launch: ')]
  own = lines[starts[-1] + 1 :] if starts else lines
  return own[-count:]


def _find_problem(content):
  """Returns what is wrong with launch.json, None if nothing is."""
  fresh = dataclasses.asdict(State())
  for name, value in content.items():
    if name not in fresh:
      return f'{json_files.shorten(name)} is unknown'
    if name == 'done':
      is_good = isinstance(value, list) and all(
        isinstance(command, str) for command in value
      )
    else:
      is_good = json_files.is_number(value) and 0 <= value <= _MAX_NUMBER
    if name == 'pid':
      is_good = is_good and isinstance(value, int)
    if not is_good:
      return f'{name} is {json_files.shorten(json.dumps(value))}'
  return None


def _end_with_parent(prctl, parent):
  # The launcher's handler would lose what comes before exec.
  signal.signal(signal.SIGTERM, signal.SIG_DFL)
  prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
  if os.getppid() != parent:  # It died before the line above.
    os._exit(1)
