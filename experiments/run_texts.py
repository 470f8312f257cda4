"""What tables say about recorded runs: command, machine, frames and hours."""

import shlex
from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiments import recorded, run_records

_MAX_NAMES = 8  # Tasks that are named; more are counted.
_LEFT_OUT = ('--logdir=', '--seed=', '--checkpoint_secs=')


def describe(name: str, results: Sequence[recorded.Result]) -> str:
  """Returns a paragraph: command, frames, hours, machine, commit and test.

  Args:
    name: '<paper>/<row>' of a recorded row.
    results: its seeds, one or more.
  """
  info = results[0].run.info
  counts = results[0].evaluation.task.value_counts()
  tasks = sorted(counts.index)
  played = f'{counts.iloc[0]} episodes of ' + 'each of ' * (len(tasks) > 1)
  played += (
    ', '.join(tasks) if len(tasks) <= _MAX_NAMES else f'{len(tasks)} tasks'
  )
  commits = dict.fromkeys(_commit(r.run.info['git']) for r in results)
  versions = info['versions']
  return (
    f'{name}: `{command(results)}`; {plural(len(results), "seed")} of '
    f'{format_frames(mean_frames(results))} frames and '
    f'{format_hours(mean_hours(results))} on {hardware(results)}; commit '
    f'{", ".join(commits)}, ale-py {versions.get("ale-py", "-")}. Test: '
    f'{played}; {recorded.evaluation_protocol(results[0])}.'
  )


def command(results: Sequence[recorded.Result]) -> str:
  """Returns the recorded command without where it wrote and which seed."""
  words = shlex.split(results[0].run.info['command'])
  return shlex.join(w for w in words if not w.startswith(_LEFT_OUT))


def hardware(results: Sequence[recorded.Result]) -> str:
  """Returns the machines of some results, such as '2 cores AMD EPYC'."""
  machines = [describe_hardware(r.run.info['hardware']) for r in results]
  return ' / '.join(dict.fromkeys(machines))


def describe_hardware(info: dict) -> str:
  """Returns one machine of a run.json: cores and what it computed on."""
  devices = ', '.join(info['accelerators']) or info['cpu']
  return f'{info["cpu_cores"]} cores {devices}'


def mean_frames(results: Sequence[recorded.Result]) -> int:
  """Returns environment frames of training, mean of seeds."""
  return round(np.mean([result.run.frames for result in results]))


def mean_hours(results: Sequence[recorded.Result]) -> float:
  """Returns hours of training by the wall clock, mean of seeds."""
  return float(np.mean([result.wall_secs for result in results])) / 3600


def format_hours(hours: float) -> str:
  """Returns '1.4 h', or minutes or seconds where they are few."""
  if hours >= 1:
    return f'{hours:.1f} h'
  minutes = 60 * hours
  return f'{minutes:.2g} min' if minutes >= 1 else f'{60 * minutes:.0f} s'


def _commit(git):
  return git['commit'][:7] + ' with changes' * bool(git['dirty'])


def plural(count: int, noun: str) -> str:
  """Returns '1 seed' or '2 seeds'."""
  return f'{count} {noun}' + 's' * (count != 1)


def format_frames(frames: int | None) -> str:
  """Returns '35.0M'; '-' where a paper does not say how many."""
  return '-' if pd.isna(frames) else run_records.format_frames(frames)
