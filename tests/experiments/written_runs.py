"""Writes records of runs that never happened, with numbers known beforehand."""

import csv
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

TOTAL_FRAMES = 400_000
PERIOD = 51_200  # Frames between two rows of updates.csv.
PROTOCOL = dict(num_action_repeats=4, full_action_space=True)


def write_run(
  folder: str,
  means: Mapping[str, float],
  seed: int = 1,
  env_frames: int = TOTAL_FRAMES,
  num_episodes: int = 40,
  num_tests: int = 4,
  evaluation_protocol: str = 'whole games',
  **info: Any,
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
    **info: replaces parts of run.json; None leaves one out.

  Returns:
    The folder.
  """
  os.makedirs(folder, exist_ok=True)
  content = _run_info(means, seed, info)
  with open(os.path.join(folder, 'run.json'), 'w') as file:
    json.dump(content, file)
  ends = np.linspace(0, env_frames, num_episodes + 1)[1:].astype(int)
  _write(
    *(folder, 'episodes.csv'),
    ['env_frames', 'task', 'episode_return', 'episode_length', 'wall_secs'],
    [
      [end, task, 2 * mean * end / TOTAL_FRAMES, 1000, 1.0]
      for end in ends
      for task, mean in means.items()
    ],
  )
  _write(
    *(folder, 'tasks.csv', ['env_frames', 'task', 'shift', 'scale']),
    [[e, t, mean, 2.0] for e in ends[::10] for t, mean in means.items()],
  )
  _write(
    *(folder, 'updates.csv', ['env_frames', 'frames_per_sec', 'wall_secs']),
    [[f, 5000.0, f / 5000] for f in range(PERIOD, env_frames + 1, PERIOD)],
  )
  if num_tests:
    _write(
      *(folder, 'evaluation.csv'),
      ['task', 'episode', 'return', 'length', 'protocol'],
      [
        [task, i, mean + (-1) ** i, 1000, evaluation_protocol]
        for task, mean in means.items()
        for i in range(num_tests)
      ],
    )
  return folder


def _run_info(means, seed, info):
  config = dict(
    seed=seed, total_environment_frames=TOTAL_FRAMES, stop_frames=0,
    log_updates=20, batch_size=32, unroll_length=20, num_action_repeats=4,
    level_name=','.join(means),
  )  # fmt: skip
  content = dict(
    config=config,
    protocol=PROTOCOL,
    command='python -m popart.experiment --flagfile=a.flags',
    start_time='2026-01-02T03:04:05+00:00',
    git=dict(commit='0123456789abcdef', dirty=False),
    versions={'ale-py': '0.12.1'},
    hardware=dict(cpu='A CPU', cpu_cores=2, memory_gib=1, accelerators=[]),
  )
  return {k: v for k, v in (content | info).items() if v is not None}


def _write(folder, name, header, rows):
  with open(os.path.join(folder, name), 'w', newline='') as file:
    csv.writer(file, lineterminator='\n').writerows([header, *rows])
