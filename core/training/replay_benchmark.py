"""Where the time of a run with a replay goes: environments, updates, both.

Everything is measured in one process, one thing after the other, in rounds.
Frames are environment frames of all tasks together.
"""

import contextlib
import dataclasses
import json
import os
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import rich.console
import rich.table

from core import config as configs
from core.experience.batches import Batches
from core.experience.player import Player
from core.experience.timing import Timer
from core.files import atomic_file
from core.run_config import ReplayConfig
from core.suites.tasks import Tasks
from core.training import run_info
from core.training.replay_train import ReplayLearner

NAMES = ('environments alone', 'training', 'learner alone')
NUM_ROUNDS = 3
_NUM_WARM_UP_STEPS = 50


def benchmark(
  config: ReplayConfig, agent: Any, tasks: Tasks, secs: float = 15.0
) -> dict[str, list[float]]:
  """Measures frames/s of environments, training, and learning.

  The replay is small and in memory; the paper's large one costs more where it
  is read from a disk. Prints a table and writes <logdir>/benchmark.json.

  Args:
    config: a paper's Config.
    agent: that explores and learns; its weights change.
    tasks: what is played.
    secs: wall seconds per measurement, over all rounds and after warm-ups.

  Returns:
    By name, environment frames per second of every round.
  """
  small = dataclasses.replace(
    config, replay_capacity=10_000, replay_memory_gb=1e9, warm_up_steps=1
  )
  learner = ReplayLearner(small, agent, Timer())
  per_step = len(tasks.names) * config.num_action_repeats
  with contextlib.ExitStack() as stack:
    player = Player(small, agent, tasks, learner.timer, {})
    stack.enter_context(contextlib.closing(player))
    batches = Batches(
      player.replay, config.updates_per_step, config.batch_size, config.seed
    )
    stack.enter_context(contextlib.closing(batches))

    def train():
      player.step()
      batch = batches.take(player.num_steps)
      batches.prepare(player.num_steps + 1)
      learner.step(batch)

    def learn():
      learner.step(batches.take(player.num_steps))
      learner.row()  # Waits for it.

    for _ in range(_NUM_WARM_UP_STEPS):
      player.step()
    train()  # Compiles.
    rounds = [
      [
        per_step * _rate(step, secs / NUM_ROUNDS)
        for step in (player.step, train, learn)
      ]
      for _ in range(NUM_ROUNDS)
    ]
  rates = dict(zip(NAMES, zip(*rounds, strict=True), strict=True))
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
  _write(config, rates, peak)
  rich.console.Console().print(_make_table(config, rates, peak))
  return {name: list(of_rounds) for name, of_rounds in rates.items()}


def _rate(step: Callable[[], Any], secs: float) -> float:
  """Returns how often per second a function can be called."""
  start, num_calls = time.monotonic(), 0
  while time.monotonic() - start < secs:
    step()
    num_calls += 1
  return num_calls / (time.monotonic() - start)


def _write(config, rates, peak):
  """Writes benchmark.json into the logdir: rates of all rounds by name."""
  content = {
    'command': run_info.command(),
    'config': configs.describe(config),
    'frames_per_sec': rates,
    'peak_memory_gb': peak,
  }
  path = os.path.join(config.logdir, 'benchmark.json')
  with atomic_file(path) as file:
    file.write((json.dumps(content, indent=2) + '\n').encode())


def _make_table(config, rates, peak):
  """Returns the table of medians and ranges."""
  table = rich.table.Table(
    title=f'{config.level_name}, {config.precision}, B={config.batch_size}',
    caption=(
      f'Medians of {NUM_ROUNDS} rounds, range in % of the median. '
      f'{config.updates_per_step} updates per step of all tasks. Environments '
      f'alone: with the policy. Peak memory {peak:.2f} GB.'
    ),
  )
  table.add_column('measured')
  for name in ('frames/s', 'range', 'share'):
    table.add_column(name, justify='right')
  alone = np.median(rates[NAMES[0]])
  for name, of_rounds in rates.items():
    median = np.median(of_rounds)
    spread = np.ptp(of_rounds) / median
    table.add_row(
      name, f'{median:,.0f}', f'{spread:.0%}', f'{median / alone:.0%}'
    )
  return table
