"""What a sweep will cost on this machine, from a short real benchmark.

Every distinct configuration is trained for some seconds in temporary logdirs,
as many copies at once as will run side by side. Settings that differ only in
numbers with a decimal point (learning rates, costs) cost the same: one of them
is measured.
"""

import dataclasses
import glob
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping
from typing import Any

import pandas as pd
import rich.console
import rich.table

from core.errors import UserError
from core.interrupt import Interrupt
from experiments import run_process, sweeps

MEASURED_SECS = 20.0
MAX_SECS = 300.0  # Until a run has the rows that tell its rate.
_MIN_ROWS = 3
_POLL_SECS = 0.5


@dataclasses.dataclass(frozen=True)
class Measurement:
  """What a short run tells.

  Attributes:
    frames: environment frames of a whole run.
    frames_per_sec: environment frames per second while training.
    start_secs: from the start of the process to its first row.
    memory: bytes of all processes of a run, at most.
    record_bytes_per_frame: growth of the logdir without checkpoints.
    checkpoint_bytes: of all checkpoints that a run keeps.
  """

  frames: int
  frames_per_sec: float
  start_secs: float
  memory: int
  record_bytes_per_frame: float
  checkpoint_bytes: int

  @property
  def hours(self) -> float:
    """Hours of one run, from its start on."""
    return (self.start_secs + self.frames / self.frames_per_sec) / 3600

  @property
  def disk(self) -> float:
    """Bytes that a run leaves."""
    return self.checkpoint_bytes + self.record_bytes_per_frame * self.frames


def show(sweep: sweeps.Sweep, max_parallel: int) -> None:
  """Measures every distinct configuration and prints the table.

  Args:
    sweep: what would be run.
    max_parallel: processes at once.

  Raises:
    UserError: a run fails or is too slow to tell; Ctrl-C.
  """
  console = rich.console.Console()
  load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
  if load > cores / 2:
    console.print(
      f'other programs are at work (load {load:.1f} on {cores} cores): this '
      'will be the cost beside them',
      highlight=False,
    )
  measured = []
  for runs in distinct(sweep.runs):
    num_copies = min(max_parallel, len(sweep.runs))
    console.print(
      f'measuring {runs[0].name}, {num_copies} side by side',
      highlight=False,
    )
    measured.append((runs, measure(sweep, runs[0], num_copies)))
  console.print(make_table(measured, max_parallel))
  free = shutil.disk_usage(_existing_folder(sweep.logdir)).free
  memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
  console.print(
    f'this machine: {cores} cores, {memory / 1e9:,.1f} GB of memory, '
    f'{free / 1e9:,.1f} GB of disk free',
    highlight=False,
  )
  if any('test' in run.modes for run in sweep.runs):
    console.print('test stages come on top', highlight=False)


def distinct(runs: tuple[sweeps.Run, ...]) -> list[list[sweeps.Run]]:
  """Groups runs that cost the same: equal but for seed and decimal numbers."""
  groups = {}
  for run in runs:
    key = tuple(
      (flag, '' if isinstance(value, float) else value)
      for flag, value in run.setting.items()
    )
    groups.setdefault(key, []).append(run)
  return list(groups.values())


def make_table(
  measured: list[tuple[list[sweeps.Run], Measurement]], max_parallel: int
) -> rich.table.Table:
  """Lays out what was measured.

  Args:
    measured: per distinct configuration its runs and what one of them told.
    max_parallel: processes at once.
  """
  table = rich.table.Table(box=None)
  table.add_column('configuration', overflow='fold')
  for name in (
    *('runs', 'frames per run', 'frames/s', 'hours', 'memory', 'disk'),
  ):
    table.add_column(name, justify='right')
  for runs, one in measured:
    table.add_row(
      os.path.dirname(runs[0].name),
      *(f'{len(runs)}', f'{one.frames:,}', f'{one.frames_per_sec:,.0f}'),
      f'{one.hours * len(runs):,.2f}',
      *(_gigabytes(one.memory), _gigabytes(one.disk * len(runs))),
    )
  parallel = min(max_parallel, sum(len(runs) for runs, _ in measured))
  frames, hours, disk = (
    sum(len(runs) * getattr(one, name) for runs, one in measured)
    for name in ('frames', 'hours', 'disk')
  )
  memory = parallel * max(one.memory for _, one in measured)
  table.add_section()
  table.add_row(
    f'all, {parallel} side by side',
    str(sum(len(runs) for runs, _ in measured)),
    *(f'{frames:,}', '', f'{hours / parallel:,.2f}'),
    *(_gigabytes(memory), _gigabytes(disk)),
  )
  return table


def measure(
  sweep: sweeps.Sweep, run: sweeps.Run, num_copies: int
) -> Measurement:
  """Trains copies of a run for a short time.

  Args:
    sweep: of the run.
    run: its first stage is measured.
    num_copies: processes side by side.

  Returns:
    The mean speed of the copies, and what one of them needs.

  Raises:
    UserError: a copy fails or is too slow to tell; Ctrl-C.
  """
  if run.modes[0] != 'train':
    raise UserError('--estimate needs training as the first stage')
  with tempfile.TemporaryDirectory() as folder, Interrupt() as interrupt:
    copies = [
      _Copy(sweep, run, os.path.join(folder, str(i))) for i in range(num_copies)
    ]
    try:
      while True:
        measured = [copy.is_measured() for copy in copies]
        if all(measured):
          break
        if interrupt.requested:
          raise UserError('interrupted')
        time.sleep(_POLL_SECS)
    finally:
      for copy in copies:
        copy.end()
    found = [copy.measurement() for copy in copies]
  speed = sum(one.frames_per_sec for one in found) / len(found)
  return dataclasses.replace(found[0], frames_per_sec=speed)


class _Copy:
  """A short run in a logdir of its own."""

  def __init__(self, sweep, run, logdir):
    os.makedirs(logdir)
    arguments = [
      f'--logdir={logdir}' if a.startswith('--logdir=') else a
      for a in run.stages[0]
    ]
    self._name, self._logdir = run.name, logdir
    self._started = time.monotonic()
    self._first_row = None  # Seconds until it was there.
    self._memory = 0
    self._process = run_process.start(
      arguments, logdir, sweep.environment, 'estimate'
    )

  def is_measured(self):
    """Looks at the run once; tells whether it has told enough."""
    secs = time.monotonic() - self._started
    is_over = self._process.poll() is not None
    self._memory = max(self._memory, session_memory(self._process.pid))
    rows = self._rows()
    if len(rows) and self._first_row is None:
      self._first_row = secs
    if is_over and (self._process.returncode or len(rows) < 2):
      last = run_process.last_lines(self._logdir, 1) or ['it said nothing']
      raise UserError(f'{self._name} failed: {last[0]}')
    if secs > MAX_SECS:
      raise UserError(f'{self._name} has no {_MIN_ROWS} rows in {MAX_SECS:g} s')
    if is_over:
      return True
    enough = self._first_row is not None and len(rows) >= _MIN_ROWS
    return enough and secs - self._first_row >= MEASURED_SECS

  def end(self):
    """Ends the run with a checkpoint, whose size is of interest."""
    if self._process.poll() is None:
      self._process.send_signal(signal.SIGINT)
    self._process.wait()
    run_process.end_children(self._process)

  def measurement(self):
    """Returns what the run told."""
    with open(os.path.join(self._logdir, 'run.json'), encoding='utf-8') as file:
      config = json.load(file)['config']
    rows = self._rows()
    frames = config.get('stop_frames') or config['total_environment_frames']
    # The first row is left out: it has the compilation.
    first, last = rows.iloc[0], rows.iloc[-1]
    rate = (last.env_frames - first.env_frames) / max(
      last.wall_secs - first.wall_secs, 1e-9
    )
    checkpoints = glob.glob(os.path.join(self._logdir, 'checkpoints', '*.npz'))
    size = max((os.path.getsize(path) for path in checkpoints), default=0)
    records = _folder_bytes(self._logdir) - sum(
      map(os.path.getsize, checkpoints)
    )
    return Measurement(
      frames=frames,
      frames_per_sec=float(rate),
      start_secs=self._first_row,
      memory=self._memory,
      record_bytes_per_frame=records / last.env_frames,
      checkpoint_bytes=size * num_checkpoints(config, frames / rate),
    )

  def _rows(self):
    path = os.path.join(self._logdir, 'updates.csv')
    try:
      return pd.read_csv(path, usecols=['env_frames', 'wall_secs']).dropna()
    except (OSError, ValueError):
      return pd.DataFrame()


def num_checkpoints(config: Mapping[str, Any], secs: float) -> int:
  """Counts the checkpoints that a run keeps.

  Args:
    config: of run.json.
    secs: of the whole training.
  """
  keep = config.get('keep_checkpoints', 1)
  if config.get('checkpoint_updates') or not config.get('checkpoint_secs'):
    return keep
  return min(keep, 1 + int(secs / config['checkpoint_secs']))


def session_memory(session: int) -> int:
  """Adds up the resident memory of the processes of a session, in bytes."""
  total = 0
  for path in glob.glob('/proc/[0-9]*/stat'):
    try:
      with open(path, encoding='utf-8', errors='replace') as file:
        fields = file.read().rpartition(')')[2].split()
    except OSError:
      continue
    if int(fields[3]) == session:
      total += int(fields[21]) * os.sysconf('SC_PAGE_SIZE')
  return total


def _folder_bytes(folder):
  return sum(
    os.path.getsize(os.path.join(where, name))
    for where, _, names in os.walk(folder)
    for name in names
  )


def _existing_folder(path):
  path = os.path.abspath(path)
  while not os.path.isdir(path):
    path = os.path.dirname(path)
  return path


def _gigabytes(size):
  return f'{size / 1e9:,.2f} GB'
