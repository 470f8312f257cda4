"""A run as a process: starting it, finding it again, reading how far it is.

<logdir>/launch.json holds what a launcher knows of a run: the stages that are
done, the seconds they took, and the process that is at work. Needs Linux: /proc
and prctl.
"""

import contextlib
import csv
import ctypes
import dataclasses
import datetime
import fcntl
import functools
import glob
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence

from core import checkpointing
from core.errors import UserError

_PR_SET_PDEATHSIG = 1  # From linux/prctl.h.
_TAIL_BYTES = 16384


@dataclasses.dataclass
class State:
  """The content of launch.json.

  Attributes:
    done: commands of the stages that ended with status 0, without logdir.
    secs: seconds of all processes so far.
    pid: of the process at work, 0 if none.
    start_ticks: when it started, since boot; tells it from a later process of
      the same pid.
  """

  done: list[str] = dataclasses.field(default_factory=list)
  secs: float = 0.0
  pid: int = 0
  start_ticks: int = 0


@dataclasses.dataclass(frozen=True)
class Progress:
  """How far a run is.

  Attributes:
    env_frames: environment frames of the newest row of updates.csv, 0 if none.
    total: environment frames at which training ends, 0 if not yet known.
    frames_per_sec: of the newest row.
  """

  env_frames: int = 0
  total: int = 0
  frames_per_sec: float = 0.0


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
    UserError: the file is damaged.
  """
  path = os.path.join(logdir, 'launch.json')
  try:
    with open(path, encoding='utf-8') as file:
      return State(**json.load(file))
  except FileNotFoundError:
    return State()
  except (OSError, ValueError, TypeError) as error:
    raise UserError(f'{path} cannot be read ({error}): move it away') from error


def write_state(logdir: str, state: State) -> None:
  """Writes launch.json, whole or not at all.

  Raises:
    UserError: it cannot be written.
  """
  text = json.dumps(dataclasses.asdict(state), indent=2) + '\n'
  with checkpointing.atomic_file(os.path.join(logdir, 'launch.json')) as file:
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
      preexec_fn=functools.partial(
        _end_with_parent, ctypes.CDLL(None).prctl, os.getpid()
      ),
    )


def end_children(process: subprocess.Popen) -> None:
  """Kills what a run that was killed has left, such as its environments."""
  try:
    os.killpg(process.pid, signal.SIGKILL)
  except (ProcessLookupError, PermissionError):
    return


def start_ticks(pid: int) -> int:
  """Returns when a living process started, in clock ticks; 0 if none lives."""
  try:
    with open(f'/proc/{pid}/stat', encoding='utf-8', errors='replace') as file:
      # The name in parentheses may hold spaces and parentheses.
      fields = file.read().rpartition(')')[2].split()
  except OSError:
    return 0
  return 0 if fields[0] in 'ZX' else int(fields[19])


def is_alive(state: State) -> bool:
  """Tells whether the process of launch.json still lives."""
  return state.pid > 0 and start_ticks(state.pid) == state.start_ticks


def read_progress(logdir: str) -> Progress:
  """Reads run.json and the end of updates.csv, as far as they are there."""
  total = _total_frames(logdir)
  row = _last_row(os.path.join(logdir, 'updates.csv'))
  try:
    return Progress(
      int(float(row['env_frames'])), total, float(row['frames_per_sec'])
    )
  except (KeyError, ValueError):
    return Progress(total=total)


def missing_frames(logdir: str) -> str | None:
  """Tells whether training ended early although its status was 0.

  A run that gets SIGINT or SIGTERM writes a checkpoint and ends with status 0,
  as a finished one does; only the frames of its newest checkpoint tell them
  apart. They are in its name, and it takes its name when it is whole.

  Args:
    logdir: of a training stage that ended with status 0.

  Returns:
    A line about what is missing, or None. Also None for a run without
    checkpoints or run.json: there the status is believed.
  """
  total = _total_frames(logdir)
  names = glob.glob(os.path.join(logdir, 'checkpoints', 'checkpoint_*.npz'))
  frames = [int(re.sub(r'\D', '', os.path.basename(name))) for name in names]
  if not total or not frames or max(frames) >= total:
    return None
  return f'ended early, at frame {max(frames):,} of {total:,}'


def last_lines(logdir: str, count: int) -> list[str]:
  """Returns the last lines that the newest process wrote to the log."""
  text = _tail(os.path.join(logdir, 'log'))
  lines = [line.rstrip() for line in re.split(r'[\r\n]+', text) if line.strip()]
  starts = [i for i, line in enumerate(lines) if line.startswith('launch: ')]
  own = lines[starts[-1] + 1 :] if starts else lines
  return own[-count:]


def _end_with_parent(prctl, parent):
  # The launcher's handler would lose what comes before exec.
  signal.signal(signal.SIGTERM, signal.SIG_DFL)
  prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
  if os.getppid() != parent:  # It died before the line above.
    os._exit(1)


def _total_frames(logdir):
  """Returns where the run's config says that training ends, 0 if unknown."""
  try:
    with open(os.path.join(logdir, 'run.json'), encoding='utf-8') as file:
      config = json.load(file)['config']
    return config.get('stop_frames') or config['total_environment_frames']
  except (OSError, ValueError, KeyError, TypeError):
    return 0


def _last_row(path):
  """Returns the last whole row of a CSV file, {} if there is none."""
  try:
    with open(path, encoding='utf-8') as file:
      header = file.readline().strip()
  except (OSError, ValueError):
    return {}
  # A row that is being written has no line end yet.
  whole = _tail(path).rpartition('\n')[0].splitlines()
  if not whole or whole[-1] == header:
    return {}
  return next(csv.DictReader([header, whole[-1]]), {})


def _tail(path):
  try:
    with open(path, 'rb') as file:
      file.seek(max(0, os.path.getsize(path) - _TAIL_BYTES))
      return file.read().decode(errors='replace')
  except OSError:
    return ''
