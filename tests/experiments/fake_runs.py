"""Writes records of runs that never happened, with numbers known beforehand."""

import csv
import gzip
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

TOTAL_FRAMES = 400_000
LOG_UPDATES = 20
FRAMES_PER_UPDATE = 32 * 20 * 4
PERIOD = LOG_UPDATES * FRAMES_PER_UPDATE  # Between two rows of updates.csv.
ATARI = (
  'whole games; sampled policy; raw rewards; start: 1-30 no-ops; action repeat '
  '4; minimal actions; sticky actions 0; at most 108000 frames'
)
LAB = 'test levels, whole episodes; sampled policy; raw rewards'
INFO = dict(
  config=dict(
    total_environment_frames=TOTAL_FRAMES,
    stop_frames=0,
    log_updates=LOG_UPDATES,
    batch_size=32,
    unroll_length=20,
    num_action_repeats=4,
    learning_rate=0.0006,
  ),
  protocol=dict(num_action_repeats=4, full_action_space=False),
  command='python -m popart.experiment --flagfile=a.flags',
  start_time='2026-01-02T03:04:05+00:00',
  git=dict(commit='0123456789abcdef', dirty=False),
  versions={'ale-py': '0.12.1'},
  hardware=dict(cpu='A CPU', cpu_cores=2, accelerators=[]),
)


def write_run(
  folder: str,
  means: Mapping[str, float],
  seed: int = 1,
  env_frames: int = TOTAL_FRAMES,
  num_episodes: int = 40,
  num_tests: int = 4,
  evaluation_protocol: str = ATARI,
  tests: Mapping[str, Sequence[float]] | None = None,
  **changes: Mapping[str, Any] | None,
) -> str:
  """Writes a run whose returns rise in a line from 0 to twice a task's mean.

  Args:
    folder: of the run; created.
    means: by task; evaluation has `num_tests` returns around it, at -1, 1, ...
    seed: of the config.
    env_frames: where the run stands; it is complete at TOTAL_FRAMES.
    num_episodes: of training per task, evenly spaced.
    num_tests: even number of evaluation episodes; 0 for no evaluation.csv.
    evaluation_protocol: its line.
    tests: returns of the evaluation by task, instead.
    **changes: keys by part of run.json that are added; None removes the part.

  Returns:
    The folder.
  """
  os.makedirs(folder, exist_ok=True)
  info = INFO | dict(
    config=INFO['config'] | dict(seed=seed, level_name=','.join(means))
  )
  for part, values in changes.items():
    info[part] = None if values is None else info[part] | values
  info = {part: values for part, values in info.items() if values is not None}
  write_text(os.path.join(folder, 'run.json'), json.dumps(info))
  write_text(os.path.join(folder, 'evaluation.md'), '| task |\n')
  _write_training(folder, means, env_frames, num_episodes)
  if tests is None:
    signs = [(-1) ** i for i in range(num_tests)]
    tests = {task: [mean + s for s in signs] for task, mean in means.items()}
  if any(tests.values()):
    write_csv(
      f'{folder}/evaluation.csv',
      ['task', 'episode', 'return', 'length', 'protocol'],
      [
        [task, i, value, 100, evaluation_protocol]
        for task, returns in tests.items()
        for i, value in enumerate(returns)
      ],
    )
  return folder


def _write_training(folder, means, env_frames, num_episodes):
  """Writes episodes.csv, tasks.csv and updates.csv."""
  ends = np.linspace(0, env_frames, num_episodes + 1)[1:].astype(int)
  write_csv(
    f'{folder}/episodes.csv',
    ['env_frames', 'task', 'episode_return', 'episode_length', 'wall_secs'],
    [
      [end, task, 2 * mean * end / TOTAL_FRAMES, 1000, 1.0]
      for end in ends
      for task, mean in means.items()
    ],
  )
  write_csv(
    f'{folder}/tasks.csv',
    ['env_frames', 'task', 'shift', 'scale'],
    [[e, t, mean, 2.0] for e in ends[::10] for t, mean in means.items()],
  )
  write_csv(
    f'{folder}/updates.csv',
    ['num_updates', 'env_frames', 'frames_per_sec', 'wall_secs'],
    [
      [frames // FRAMES_PER_UPDATE, frames, 5000.0, frames / 1000]
      for frames in range(PERIOD, env_frames + 1, PERIOD)
    ],
  )


def write_recorded(
  results: str,
  name: str,
  tests: Mapping[str, Sequence[float]],
  seed: int = 1,
  env_frames: int = 100 * PERIOD,
  line: str = ATARI,
  **changes: Mapping[str, Any],
) -> str:
  """Writes a recorded seed that was trained to its end and tested.

  Args:
    results: folder of all results.
    name: '<paper>/<row>'.
    tests: returns of the test episodes by task.
    seed: of the run.
    env_frames: trained; a multiple of the frames between two lines of the log.
    line: protocol of the test episodes.
    **changes: as in `write_run`.

  Returns:
    The folder.
  """
  config = dict(total_environment_frames=200_000_000, stop_frames=env_frames)
  folder = write_run(
    os.path.join(results, name, f'seed_{seed}'),
    dict.fromkeys(tests, 1.0),
    seed,
    env_frames,
    num_episodes=1,
    evaluation_protocol=line,
    tests=tests,
    **changes | dict(config=config | changes.get('config', {})),
  )
  for table in ('episodes', 'tasks', 'updates'):
    path = f'{folder}/{table}.csv'
    write_text(f'{path}.gz', read_text(path))
    os.remove(path)
  return folder


def write_csv(
  path: str, header: Sequence[str], rows: Sequence[Sequence]
) -> None:
  """Writes a table."""
  with open(path, 'w', newline='') as file:
    csv.writer(file, lineterminator='\n').writerows([header, *rows])


def read_text(path: str) -> str:
  """Returns the content of a file, compressed or not."""
  with (gzip.open if path.endswith('.gz') else open)(path, 'rt') as file:
    return file.read()


def write_text(path: str, text: str) -> None:
  """Writes a file, compressed if its name says so."""
  with (gzip.open if path.endswith('.gz') else open)(path, 'wt') as file:
    file.write(text)
