"""Minutes of training four Atari games, whose memory must stay flat."""

import time
from typing import NamedTuple

import numpy as np
import psutil

from tools.forked import Process
from tools.torture import cases
from tools.torture.cases import Case, Workshop

GAMES = 'pong,breakout,seaquest,space_invaders'
MB = 1e6
# What memory may grow by after the warm-up: by the minute, and in all where
# the soak is too short to tell growth from noise.
BOUND_MB_PER_MIN, NOISE_MB = 2.0, 10.0
_WARM_UP = 0.4  # Of the time.
_FLAGS = (
  '--preset=atari_expert_shallow',
  '--num_environments=8',
  '--batch_size=8',
  '--log_updates=1',
  '--full_action_space',
  '--checkpoint_secs=15',
)


class Sample(NamedTuple):
  """What a run and all that it started hold at one moment."""

  secs: float
  memory_mb: float
  threads: int
  files: int


def soak(
  seed: int, workshop: Workshop, secs: float, level_name: str = GAMES
) -> Case:
  """Trains for a time; the seed is the run's.

  Args:
    seed: of the run.
    workshop: where its logdir goes.
    secs: from the first update on.
    level_name: what is trained.
  """
  case = Case(seed, f'soak {secs:.0f} s')
  logdir = workshop.fresh(f'soak_{seed}')
  process = Process(
    'impala.experiment',
    *(*_FLAGS, f'--level_name={level_name}', f'--seed={seed % 2**30}'),
    f'--logdir={logdir}',
    cwd=logdir,
  )
  path = logdir / 'updates.csv'
  process.wait_until(lambda: path.exists() and path.stat().st_size > 0)
  samples, began = [], time.monotonic()
  while process.wait(0) is None and time.monotonic() < began + secs:
    samples.append(_take(process.pid, time.monotonic() - began))
    process.wait(min(1.0, secs / 20))
  if process.wait(0) is None:
    process.signal(15)
  case.problems += cases.complaints(process.finish(cases.TIMEOUT_SECS), (0,))
  if not case.problems:
    case.problems += growth(samples)
    later = _after_warm_up(samples)
    case.counts = {
      'minutes': secs / 60,
      'gb': later[-1].memory_mb / 1e3,
      'mb_per_min': _slope(later),
    }
  return case


def growth(samples: list[Sample]) -> list[str]:
  """Returns what has grown after the warm-up, a line each."""
  later = _after_warm_up(samples)
  minutes = (later[-1].secs - later[0].secs) / 60
  slope = _slope(later)
  found = []
  if slope * minutes > max(BOUND_MB_PER_MIN * minutes, NOISE_MB):
    found.append(f'memory grows by {slope:.1f} MB/min in {minutes:.1f} min')
  third = max(1, len(later) // 3)
  for name in ('threads', 'files'):
    numbers = [getattr(sample, name) for sample in later]
    # The least of each end: some are opened for a moment.
    first, last = min(numbers[:third]), min(numbers[-third:])
    if last > first:
      found.append(f'{name} grew from {first} to {last}')
  return found


def _after_warm_up(samples):
  start = samples[0].secs + _WARM_UP * (samples[-1].secs - samples[0].secs)
  return [sample for sample in samples if sample.secs >= start]


def _slope(samples):
  """Returns the slope of memory in MB per minute."""
  if len(samples) < 2:
    return 0.0
  secs, memory = ([s[i] for s in samples] for i in (0, 1))
  return float(np.polyfit(np.asarray(secs) / 60, memory, 1)[0])


def _take(pid, secs):
  main = psutil.Process(pid)
  found = [main, *main.children(recursive=True)]
  memory = sum(p.memory_info().rss for p in found) / MB
  threads = sum(p.num_threads() for p in found)
  return Sample(secs, memory, threads, sum(p.num_fds() for p in found))
