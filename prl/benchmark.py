"""How fast PRL collects, learns and plans here, and what data cost."""

import contextlib
import tempfile
import time
from typing import Any

import numpy as np
import tensorflow as tf

from core.experience.timing import Timer
from core.interrupt import Interrupt
from core.suites.tasks import Tasks
from core.types import EnvOutput, Observation
from prl.blocks import Block
from prl.collection import Collection, block_spec
from prl.config import Config
from prl.dataset import Dataset

_ROUNDS = 3
_NUM_CASES = 4000
_NUM_UPDATES = 20
_NUM_GAMES = 16


def benchmark(config: Config, agent: Any, tasks: Tasks) -> dict[str, float]:
  """Measures and prints; medians of three rounds, each of all things in turn.

  Args:
    config: a Config.
    agent: untrained.
    tasks: the games.

  Returns:
    By name, what is printed: per second, or bytes per case.
  """
  measured: dict[str, list[float]] = {}
  with tempfile.TemporaryDirectory() as folder:
    spec = block_spec(config, tasks, 1)
    rows = spec.num_rows
    spec = spec._replace(num_cases=max(1, _NUM_CASES // rows), num_held_out=0)
    for i in range(_ROUNDS):
      found = _collect(config, agent, tasks, spec, f'{folder}/{i}')
      dataset = Dataset([Block(f'{folder}/{i}', spec)], 1.0, 1)
      found |= _learn(config, agent, dataset)
      for k_s in (25, 200):
        found |= _plan(agent, k_s)
      for name, value in found.items():
        measured.setdefault(name, []).append(value)
  medians = {name: float(np.median(of)) for name, of in measured.items()}
  medians |= {
    'bytes on disk per case': spec.frame_bytes / rows + 2,
    'bytes in memory per case': 2.0,
  }
  for name, value in medians.items():
    print(f'{name}: {value:,.1f}')
  return medians


def _collect(config, agent, tasks, spec, folder):
  """Random play, written as in training."""
  timer = Timer()
  collection = Collection(config, agent, tasks, spec, folder, 0, timer)
  with contextlib.closing(collection):
    start = time.perf_counter()
    for _ in collection.steps(Interrupt()):
      pass
    secs = time.perf_counter() - start
  phases = timer.take()
  return {
    'cases/s, random play': spec.num_steps * spec.num_rows / secs,
    '  of it waiting for emulators, %': 100 * phases['environment'] / secs,
    '  of it writing, %': 100 * phases['writing'] / secs,
  }


def _learn(config, agent, dataset):
  def update(i):
    cases = dataset.batch([i], config.batch_size)
    ready = time.perf_counter()
    agent.update(*map(tf.constant, cases), tf.constant(0.0))
    return ready

  update(0)  # Compiles.
  start, building = time.perf_counter(), 0.0
  for i in range(_NUM_UPDATES):
    begun = time.perf_counter()
    building += update(i) - begun
  secs = time.perf_counter() - start
  return {
    'updates/s, batches built before each': _NUM_UPDATES / secs,
    '  of it building batches, %': 100 * building / secs,
  }


def _plan(agent, k_s):
  """Decisions of 16 games, in one call and one after the other."""
  rates = []
  for num_games in (_NUM_GAMES, 1):
    frames = np.zeros([num_games, *agent.env_spec.frame_shape], np.uint8)
    env_output = EnvOutput(
      (), (), tf.zeros([num_games], bool), Observation(tf.constant(frames))
    )
    task_id = tf.zeros([num_games], tf.int32)
    state, num_calls = agent.initial_state(num_games), 0
    start = None
    while start is None or time.perf_counter() - start < 1.0 or num_calls < 3:
      seed = tf.constant([k_s, num_calls])
      _, state = agent.act(task_id, (), env_output, state, seed, k_s)
      if start is None:  # That compiled.
        start, num_calls = time.perf_counter(), 0
      num_calls += 1
    secs = time.perf_counter() - start
    rates.append((num_calls - 1) * num_games / secs)
  return {
    f'decisions/s at k_s = {k_s}, {_NUM_GAMES} games a call': rates[0],
    f'decisions/s at k_s = {k_s}, one game a call': rates[1],
    f'  ratio at k_s = {k_s}': rates[0] / rates[1],
  }
