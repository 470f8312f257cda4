"""Writes recorded runs for tests, in the schema of experiments/recorded.py."""

import copy
import csv
import gzip
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

ATARI = (
  'whole games; sampled policy; raw rewards; start: 1-30 no-ops; action repeat '
  '4; minimal actions; sticky actions 0; at most 108000 frames'
)
LAB = 'test levels, whole episodes; sampled policy; raw rewards'
FRAMES_PER_UPDATE = 32 * 20 * 4
LOG_UPDATES = 20

INFO = {
  'config': {
    'total_environment_frames': 200_000_000,
    'stop_frames': 0,
    'log_updates': LOG_UPDATES,
    'batch_size': 32,
    'unroll_length': 20,
    'num_action_repeats': 4,
    'learning_rate': 0.0006,
  },
  'protocol': {'full_action_space': False, 'noop_max': 30},
  'command': 'python -m impala.experiment --flagfile=a.flags',
  'start_time': '2026-11-21T02:52:06+00:00',
  'git': {'commit': '0123456789', 'dirty': False},
  'versions': {'python': '3.11.7', 'ale-py': '0.12.1'},
  'hardware': {'cpu': 'A CPU', 'cpu_cores': 2, 'accelerators': []},
}


def write(
  results: str,
  name: str,
  returns: Mapping[str, Sequence[float]],
  seed: int = 1,
  frames: int = 5_120_000,
  line: str = ATARI,
  changes: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
  """Writes one seed that was trained to its end and tested.

  Args:
    results: folder of all results.
    name: '<paper>/<row>'.
    returns: of test episodes by task.
    seed: of the run.
    frames: trained; a multiple of the frames between two lines of the log.
    line: protocol of the test episodes.
    changes: of run.json, {part: {key: value}}.

  Returns:
    The folder.
  """
  folder = os.path.join(results, name, f'seed_{seed}')
  os.makedirs(folder)
  info = copy.deepcopy(INFO)
  info['config'] |= dict(
    seed=seed, stop_frames=frames, level_name=','.join(returns)
  )
  for part, values in (changes or {}).items():
    info[part] |= values
  with open(os.path.join(folder, 'run.json'), 'w') as file:
    json.dump(info, file)
  step = LOG_UPDATES * FRAMES_PER_UPDATE
  updates = [
    [done // FRAMES_PER_UPDATE, done, 1000.0, done / 1000]
    for done in range(step, frames + 1, step)
  ]
  header = ['num_updates', 'env_frames', 'frames_per_sec', 'wall_secs']
  write_csv(os.path.join(folder, 'updates.csv.gz'), [header, *updates])
  header = ['env_frames', 'task', 'episode_return', 'episode_length']
  episodes = [[frames, task, 1.0, 100, 60.0] for task in returns]
  write_csv(
    os.path.join(folder, 'episodes.csv.gz'), [[*header, 'wall_secs'], *episodes]
  )
  header = ['task', 'episode', 'return', 'length', 'protocol']
  tests = [
    [task, i, value, 100, line]
    for task, values in returns.items()
    for i, value in enumerate(values)
  ]
  write_csv(os.path.join(folder, 'evaluation.csv'), [header, *tests])
  with open(os.path.join(folder, 'evaluation.md'), 'w') as file:
    file.write('| task |\n')
  return folder


def write_csv(path: str, rows: Sequence[Sequence]) -> None:
  """Writes rows, compressed if the path says so."""
  open_file = gzip.open if path.endswith('.gz') else open
  with open_file(path, 'wt', newline='') as file:
    csv.writer(file, lineterminator='\n').writerows(rows)


def read_text(path: str) -> str:
  """Returns a file of `write`, compressed or not."""
  with (gzip.open if path.endswith('.gz') else open)(path, 'rt') as file:
    return file.read()


def write_text(path: str, text: str) -> None:
  """Replaces a file of `write`, compressed or not."""
  with (gzip.open if path.endswith('.gz') else open)(path, 'wt') as file:
    file.write(text)
