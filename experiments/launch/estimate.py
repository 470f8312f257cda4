"""What a sweep will cost on this machine, from the benchmark of its runs.

Every distinct configuration is run with --mode=benchmark in temporary logdirs,
as many copies at once as will run side by side. Settings that differ only in
numbers with a decimal point (learning rates, costs) cost the same: one of them
is measured.
"""

import dataclasses
import math
import os
import signal
import statistics
import tempfile
import time

import psutil
import rich.console
import rich.table

from core.errors import UserError
from core.interrupt import Interrupt
from experiments.launch import process, sweeps
from experiments.launch.sweeps import PlannedRun
from experiments.runs import json_files

_POLL_SECS = 0.5


@dataclasses.dataclass(frozen=True)
class Measurement:
  """What the benchmark of a run tells.

  Attributes:
    frames: environment frames of a whole run.
    frames_per_sec: environment frames per second while training.
    memory_gb: peak memory of one run.
  """

  frames: int
  frames_per_sec: float
  memory_gb: float

  @property
  def hours(self) -> float:
    """Hours of training of one run."""
    return self.frames / self.frames_per_sec / 3600


def show(sweep: sweeps.Sweep, max_parallel: int) -> None:
  """Measures every distinct configuration and prints the table.

  Args:
    sweep: what would be run.
    max_parallel: processes at once.

  Raises:
    UserError: a benchmark fails; Ctrl-C.
  """
  console = rich.console.Console(highlight=False)
  load, cores = psutil.getloadavg()[0], len(psutil.Process().cpu_affinity())
  if load > cores / 2:
    console.print(
      f'other programs are at work (load {load:.1f} on {cores} cores): this '
      'will be the cost beside them'
    )
  measured = []
  for runs in distinct(sweep.runs):
    num_copies = min(max_parallel, len(sweep.runs))
    console.print(f'measuring {runs[0].name}, {num_copies} side by side')
    measured.append((runs, measure(sweep, runs[0], num_copies)))
  console.print(make_table(measured, max_parallel))
  memory = psutil.virtual_memory().total / 1e9
  console.print(f'this machine: {cores} cores, {memory:,.1f} GB of memory')
  if any('test' in run.modes for run in sweep.runs):
    console.print('test stages come on top')


def distinct(runs: tuple[PlannedRun, ...]) -> list[list[PlannedRun]]:
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
  measured: list[tuple[list[PlannedRun], Measurement]], max_parallel: int
) -> rich.table.Table:
  """Lays out what was measured.

  Args:
    measured: per distinct configuration its runs and what one of them told.
    max_parallel: processes at once.
  """
  table = rich.table.Table(box=None)
  table.add_column('configuration', overflow='fold')
  for name in ('runs', 'frames per run', 'frames/s', 'hours', 'memory'):
    table.add_column(name, justify='right')
  for runs, one in measured:
    table.add_row(
      os.path.dirname(runs[0].name),
      f'{len(runs)}',
      f'{one.frames:,}',
      f'{one.frames_per_sec:,.0f}',
      f'{one.hours * len(runs):,.2f}',
      f'{one.memory_gb:,.2f} GB',
    )
  num_runs = sum(len(runs) for runs, _ in measured)
  frames = sum(one.frames * len(runs) for runs, one in measured)
  hours = sum(one.hours * len(runs) for runs, one in measured)
  parallel = min(max_parallel, num_runs)
  memory = parallel * max(one.memory_gb for _, one in measured)
  table.add_section()
  table.add_row(
    f'all, {parallel} side by side',
    f'{num_runs}',
    f'{frames:,}',
    '',
    f'{hours / parallel:,.2f}',
    f'{memory:,.2f} GB',
  )
  return table


def measure(
  sweep: sweeps.Sweep, run: PlannedRun, num_copies: int
) -> Measurement:
  """Benchmarks copies of a run.

  Args:
    sweep: of the run.
    run: its first stage is measured.
    num_copies: processes side by side.

  Returns:
    The mean speed of the copies, and what the first of them needs.

  Raises:
    UserError: a copy fails; Ctrl-C.
  """
  if run.modes[0] != 'train':
    raise UserError('--estimate needs training as the first stage')
  with tempfile.TemporaryDirectory() as folder, Interrupt() as interrupt:
    logdirs = [os.path.join(folder, str(i)) for i in range(num_copies)]
    copies = [_start(sweep, run, logdir) for logdir in logdirs]
    try:
      while any(copy.poll() is None for copy in copies):
        if interrupt.requested:
          raise UserError('interrupted')
        if any(copy.poll() for copy in copies):
          break
        time.sleep(_POLL_SECS)
      for copy, logdir in zip(copies, logdirs, strict=True):
        if copy.poll():
          last = process.last_lines(logdir, 1) or ['it said nothing']
          raise UserError(f'{run.name} failed: {last[0]}')
    finally:
      for copy in copies:
        _end(copy)
    found = [_read(logdir) for logdir in logdirs]
  speed = statistics.mean(one.frames_per_sec for one in found)
  return dataclasses.replace(found[0], frames_per_sec=speed)


def _start(sweep, run, logdir):
  """Starts the benchmark of a run in a logdir of its own."""
  os.makedirs(logdir)
  path = os.path.join(logdir, 'run.flags')
  module, flags = run.stages[0][1], run.stages[0][2:]
  # From a file, as only there flags may be without effect in a mode.
  with open(path, 'w', encoding='utf-8') as file:
    file.write('\n'.join(flags))
  arguments = ['-m', module, f'--flagfile={path}']
  arguments += ['--mode=benchmark', f'--logdir={logdir}']
  return process.start(arguments, logdir, sweep.environment, 'estimate')


def _end(copy):
  if copy.poll() is None:
    copy.send_signal(signal.SIGTERM)
  copy.wait()
  process.end_children(copy)


def _read(logdir):
  """Returns what a benchmark wrote."""
  path = os.path.join(logdir, 'benchmark.json')
  found = json_files.read(path)
  json_files.check_run(path, found)
  try:
    config = found['config']
    numbers = (
      config['stop_frames'] or config['total_environment_frames'],
      statistics.median(found['frames_per_sec']['training']),
      found['peak_memory_gb'],
    )
    for number in numbers:
      if not json_files.is_number(number) or not 0 < number < math.inf:
        raise ValueError(f'{json_files.shorten(number)} is not positive')
  except (KeyError, TypeError, ValueError) as error:
    raise UserError(f'{path} is not of a benchmark: {error}') from error
  return Measurement(*numbers)
