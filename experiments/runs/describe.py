"""What tables say about the seeds of a recorded row."""

import shlex
from collections.abc import Sequence

import numpy as np

from experiments.runs import recorded, wording
from experiments.runs.reader import Run

_MAX_NAMES = 8  # Tasks that are named; more are counted.


def paragraph(name: str, runs: Sequence[Run]) -> str:
  """Returns command, frames, hours, machine, commit and test.

  Args:
    name: '<paper>/<row>' of a recorded row.
    runs: its seeds, one or more.
  """
  counts = runs[0].evaluation.task.value_counts()
  tasks = sorted(counts.index)
  played = f'{counts.iloc[0]} episodes of '
  if len(tasks) > 1:
    played += 'each of '
  named = ', '.join(tasks)
  played += named if len(tasks) <= _MAX_NAMES else f'{len(tasks)} tasks'
  gits = [run.info.get('git') for run in runs]
  commits = dict.fromkeys(map(wording.describe_commit, gits))
  version = runs[0].versions.get('ale-py') or wording.NONE
  return (
    f'{name}: `{command(runs)}`; {wording.plural(len(runs), "seed")} of '
    f'{wording.format_frames(mean_frames(runs))} frames and '
    f'{wording.format_hours(mean_hours(runs))} on {hardware(runs)}; commit '
    f'{", ".join(commits)}, ale-py {version}. Test: {played}; '
    f'{runs[0].test_protocol}.'
  )


def command(runs: Sequence[Run]) -> str:
  """Returns the recorded command without where it wrote and which seed."""
  left_out = tuple(f'--{name}=' for name in recorded.fields_of_machine())
  words = shlex.split(runs[0].info.get('command') or '')
  return shlex.join(w for w in words if not w.startswith(left_out))


def hardware(runs: Sequence[Run]) -> str:
  """Returns the machines of some runs, such as '2 cores AMD EPYC'."""
  machines = [wording.describe_hardware(r.info.get('hardware')) for r in runs]
  return ' / '.join(dict.fromkeys(machines))


def mean_frames(runs: Sequence[Run]) -> int:
  """Returns environment frames of training, mean of seeds."""
  return round(np.mean([run.frames for run in runs]))


def mean_hours(runs: Sequence[Run]) -> float:
  """Returns hours of training by the wall clock, mean of seeds."""
  return float(np.mean([run.wall_secs for run in runs])) / 3600
