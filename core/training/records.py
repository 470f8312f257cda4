"""A run's records: CSV files and TensorBoard events.

A checkpoint holds the length of each file. Resuming cuts the files back to it,
so that what is played again is not recorded twice and nothing is lost.
"""

import contextlib
import csv
import io
import os
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from core.errors import UserError
from core.files import atomic_file
from core.training.event_file import EventFile
from core.types import Episode

_EPISODES, _UPDATES, _TASKS = 'episodes.csv', 'updates.csv', 'tasks.csv'
_EPISODE_COLUMNS = (
  'env_frames',
  'task',
  'episode_return',
  'episode_length',
  'wall_secs',
)
_SUCCESS_COLUMN = 'episode_success'  # Of runs on tasks that can succeed.
_EVALUATION_COLUMNS = (
  *('task', 'episode', 'return', 'length', 'protocol'),
  *('preset', 'checkpoint'),
)
# The tags that scalable_agent shows per update; and those of remote actors.
_UPDATE_TAGS = ('learning_rate', 'total_loss')
_CLUSTER_TAGS = (
  *('actor_restarts', 'unrolls_lost', 'actors_alive'),
  'policy_lag_mean',
)


class Records:
  """Writes episodes.csv, updates.csv and TensorBoard events of one run.

  Where a task can succeed, episodes.csv has a last column episode_success, 0 or
  1, empty of tasks that cannot; TensorBoard has <task>/episode_success.

  An agent that reports something per task (PopArt's statistics) also has a
  tasks.csv: env_frames, task, and a column per quantity.

  TensorBoard's tags and steps are scalable_agent's: learning_rate, total_loss,
  <task>/episode_return and <task>/episode_frames against env_frames; and
  <task>/<quantity> of what is reported per task.
  """

  def __init__(
    self,
    logdir: str,
    resume_state: Mapping[str, Any] | None,
    has_success: bool = False,
  ):
    """Open the records, anew or where a checkpoint left them.

    Args:
      logdir: folder of the run; created if need be.
      resume_state: from `state`, or None. Files that stand there already are
        then of a run that had no checkpoint, and are begun anew.
      has_success: whether a task tells if an episode succeeded.

    Raises:
      UserError: a file is shorter than the checkpoint says, or not writable.
    """
    self._logdir = logdir
    self._has_success = has_success
    state = {_EPISODES: 0, _UPDATES: 0, _TASKS: 0, **(resume_state or {})}
    self._earlier_secs = state.get('wall_secs', 0.0)
    self._env_frames = state.get('env_frames', 0)
    self._started = time.monotonic()
    with _explained(logdir):
      os.makedirs(logdir, exist_ok=True)
      for name in self.check(logdir, resume_state):
        print(
          f'warning: {os.path.join(logdir, name)} is gone, and with it what '
          f'was recorded up to frame {self._env_frames:,}; going on with a new '
          'one',
          flush=True,
        )
        state[name] = 0
      self._lengths = {n: state[n] for n in (_EPISODES, _UPDATES, _TASKS)}
      self._episodes = self._open(_EPISODES)
      self._updates = self._open(_UPDATES)
      self._tasks = self._open(_TASKS) if state[_TASKS] else None
      if self._tasks is None:  # One there is of a run without checkpoint.
        with contextlib.suppress(FileNotFoundError):
          os.remove(os.path.join(logdir, _TASKS))
      if not state[_EPISODES]:
        columns = [*_EPISODE_COLUMNS, *[_SUCCESS_COLUMN] * has_success]
        csv.writer(self._episodes, lineterminator='\n').writerow(columns)
      self._columns = self._read_columns() if state[_UPDATES] else None
      first_step = self._env_frames + 1 if resume_state else 0
      self._events = EventFile(logdir, first_step)

  @staticmethod
  def check(logdir: str, resume_state: Mapping[str, Any] | None) -> list[str]:
    """Refuses files that a run cannot go on in; changes none.

    Args:
      logdir: folder of the run.
      resume_state: as for the constructor.

    Returns:
      The files that the checkpoint knows and that are gone.

    Raises:
      UserError: a file is not what the checkpoint says, or no file.
    """
    state, gone = resume_state or {}, []
    for name in (_EPISODES, _UPDATES, _TASKS):
      path = os.path.join(logdir, name)
      if not os.path.exists(path):
        gone += [name] * bool(state.get(name))
        continue
      if not os.path.isfile(path):
        raise UserError(f'{path} is not a file: move it away')
      if state.get(name):
        checksum = state.get('checksums', {}).get(name)
        with _explained(logdir):
          _check_earlier(path, state[name], checksum)
    return gone

  def episodes(self, episodes: Sequence[Episode], env_frames: int) -> None:
    """Record finished episodes.

    Args:
      episodes: that ended in the batch of an update.
      env_frames: the learner's frame counter after that update, as in the
        episodes; TensorBoard's step: a resumed run takes back all points after
        its checkpoint's.
    """
    secs = self.wall_secs
    rows = csv.writer(self._episodes, lineterminator='\n')
    with _explained(self._logdir):
      for e in episodes:
        *row, success = e
        success = '' if success is None else int(success)
        rows.writerow([*row, secs, *[success] * self._has_success])
        values = {
          f'{e.task_name}/episode_return': e.episode_return,
          f'{e.task_name}/episode_frames': e.episode_length,
        }
        if success != '':
          values[f'{e.task_name}/episode_success'] = success
        self._add_scalars(env_frames, values)
      self._episodes.flush()

  def update(self, row: Mapping[str, Any]) -> None:
    """Record a learner update.

    Args:
      row: scalars by column, env_frames among them. The first row of a run
        fixes the columns; wall_secs, counted over resumes, is added.

    Raises:
      ValueError: the columns are not those of the first row.
    """
    row = {**row, 'wall_secs': self.wall_secs}
    with _explained(self._logdir):
      if self._columns is None:
        self._columns = list(row)
        csv.writer(self._updates, lineterminator='\n').writerow(row)
      if self._columns != list(row):
        raise ValueError(
          f'the columns of {_UPDATES} are {self._columns}, not {list(row)}'
        )
      csv.writer(self._updates, lineterminator='\n').writerow(row.values())
      self._updates.flush()
      tags = _UPDATE_TAGS + _CLUSTER_TAGS * ('actors_alive' in row)
      values = {tag: row[tag] for tag in tags if tag in row}
      self._add_scalars(row['env_frames'], values)
      self._events.flush()

  @property
  def has_updates(self) -> bool:
    """Whether updates.csv has a row."""
    return self._columns is not None

  def tasks(
    self, env_frames: int, task_metrics: Mapping[str, Mapping[str, float]]
  ) -> None:
    """Record what the agent reports per task.

    Args:
      env_frames: the learner's frame counter.
      task_metrics: by task name, scalars by column; may be empty.
    """
    if not task_metrics:
      return
    with _explained(self._logdir):
      if self._tasks is None:
        self._tasks = self._open(_TASKS)
        columns = next(iter(task_metrics.values()))
        csv.writer(self._tasks, lineterminator='\n').writerow(
          ['env_frames', 'task', *columns]
        )
      rows = csv.writer(self._tasks, lineterminator='\n')
      values = {}
      for task, metrics in task_metrics.items():
        rows.writerow([env_frames, task, *metrics.values()])
        values |= {f'{task}/{name}': value for name, value in metrics.items()}
      self._tasks.flush()
      self._add_scalars(env_frames, values)

  def scalars(self, env_frames: int, values: Mapping[str, float]) -> None:
    """Show scalars in TensorBoard alone; there may be none."""
    if values:
      with _explained(self._logdir):
        self._add_scalars(env_frames, values)

  def state(self) -> dict[str, Any]:
    """Return what a checkpoint must hold; all before it is on the disk.

    Returns:
      Byte length and checksum of each CSV file, wall_secs so far, and
      env_frames of the last record.
    """
    state = {
      'wall_secs': self.wall_secs,
      'env_frames': self._env_frames,
      'checksums': {},
    }
    with _explained(self._logdir):
      for name, file in self._open_files().items():
        file.flush()
        os.fsync(file.fileno())
        state[name] = os.fstat(file.fileno()).st_size
        state['checksums'][name] = _checksum(file.fileno(), state[name])
      self._events.flush()
    return state

  def check_files(self) -> None:
    """Notices files that somebody removed or replaced during the run.

    Raises:
      UserError: naming the first one.
    """
    for name, file in self._open_files().items():
      path = os.path.join(self._logdir, name)
      written = os.fstat(file.fileno())
      if not os.path.exists(path) or not os.path.samestat(
        os.stat(path), written
      ):
        raise UserError(
          f'{path} was removed, moved or replaced during the run; stopped. The '
          f'newest checkpoint is in {self._logdir}: the same command goes on '
          'from it'
        )

  def close(self) -> None:
    """Flush and close all files."""
    with _explained(self._logdir):
      for file in self._open_files().values():
        file.close()
      self._events.close()

  def _open_files(self) -> dict[str, io.TextIOBase]:
    files = {_EPISODES: self._episodes, _UPDATES: self._updates}
    return {**files, _TASKS: self._tasks} if self._tasks else files

  @property
  def wall_secs(self) -> float:
    """Seconds since the run first started, over resumes."""
    return round(self._earlier_secs + time.monotonic() - self._started, 3)

  def _open(self, name: str) -> io.TextIOBase:
    path = os.path.join(self._logdir, name)
    file = open(path, 'a+', newline='', encoding='utf-8')  # noqa: SIM115
    file.truncate(self._lengths[name])
    return file

  def _read_columns(self) -> list[str]:
    path = os.path.join(self._logdir, _UPDATES)
    with open(path, newline='', encoding='utf-8') as file:
      return next(csv.reader(file))

  def _add_scalars(self, env_frames: int, values: Mapping[str, float]) -> None:
    self._env_frames = max(self._env_frames, int(env_frames))
    self._events.scalars(env_frames, values)


@contextlib.contextmanager
def _explained(logdir: str) -> Iterator[None]:
  try:
    yield
  except OSError as error:
    reason = error.strerror or error
    raise UserError(
      f'cannot write the records in {logdir}: {reason}'
    ) from error


def _check_earlier(path: str, length: int, checksum: int | None) -> None:
  """Compares the first bytes of a file with what a checkpoint says."""
  found = os.path.getsize(path)
  if found < length:
    raise UserError(
      f'{path} has {found} bytes, but {length} when the checkpoint was '
      'written: put the whole file back or give another --logdir'
    )
  with open(path, 'rb') as file:
    found = _checksum(file.fileno(), length)
  if checksum not in (None, found):
    raise UserError(
      f'{path} is damaged: it is not what the run wrote before the checkpoint. '
      'Put the file back, or move it away to go on with a new one'
    )


def _checksum(descriptor: int, length: int) -> int:
  """Returns the CRC of the first bytes of an open file."""
  checksum, position = 0, 0
  while position < length:
    block = os.pread(descriptor, min(2**20, length - position), position)
    if not block:
      break
    checksum = zlib.crc32(block, checksum)
    position += len(block)
  return checksum


def write_evaluation(path: str, rows: Sequence[Mapping[str, Any]]) -> None:
  """Write evaluation.csv, whole or not at all.

  Args:
    path: the file; one that stands there is replaced.
    rows: one dict per episode: task (str), episode (int, counted from 0 per
      task), return (float, raw), length (int, environment frames), protocol,
      and the preset and the checkpoint of the policy (str); of a task that can
      succeed also success (1 or 0), which is the last column if a row has it.

  Raises:
    UserError: it cannot be written.
  """
  text = io.StringIO()
  columns = [*_EVALUATION_COLUMNS]
  columns += ['success'] * any('success' in row for row in rows)
  table = csv.DictWriter(text, columns, lineterminator='\n')
  table.writeheader()
  table.writerows(rows)
  with atomic_file(path) as file:
    file.write(text.getvalue().encode())
