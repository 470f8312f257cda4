"""Where the time goes: environments alone, phases, training, memory.

Everything is measured in one process, one thing after the other, in rounds:
the speed of a machine that others share changes within minutes. Frames are
environment frames (agent steps x action repeats).
"""

import json
import os
import resource
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import rich.console
import rich.table

from core import config as configs
from core.experience import sources
from core.experience.timing import Timer
from core.files import atomic_file
from core.interrupt import Interrupt
from core.run_config import ActorLearnerConfig
from core.suites.task_environments import TaskEnvironments
from core.suites.tasks import Tasks, assign_tasks
from core.training import run_info
from core.training.learner import Learner

PHASES = ('environment', 'inference', 'learner', 'waiting')
NUM_ROUNDS = 3
NUM_WARM_UP_UPDATES = 3


class Measured(NamedTuple):
  """One measurement.

  Attributes:
    rate: environment frames per second.
    phases: wall seconds per phase, summed over threads, per wall second.
    lags: of every update made in training, the mean and the greatest policy lag
      of its columns.
  """

  rate: float
  phases: dict[str, float]
  lags: Sequence[tuple[float, int]] = ()


def benchmark(
  config: ActorLearnerConfig,
  agent: Any,
  tasks: Tasks,
  secs: float = 15.0,
) -> dict[str, np.ndarray]:
  """Measures frames/s of environments, training, and learning.

  Prints a table and writes <logdir>/benchmark.json.

  Args:
    config: a paper's Config.
    agent: that acts and learns; its weights change.
    tasks: what is played.
    secs: wall seconds per measurement, over all rounds and after warm-ups.

  Returns:
    By name, environment frames per second of every round; `share`, training's
    part of the environments' rate, of every round; mean and greatest policy lag
    in updates; and peak memory in GB.
  """
  rounds = [
    _measure_round(config, agent, tasks, secs / NUM_ROUNDS)
    for _ in range(NUM_ROUNDS)
  ]
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
  lags = [
    lag for measured in rounds for m in measured.values() for lag in m.lags
  ]
  means, greatest = zip(*lags, strict=True)
  lag = dict(mean=float(np.mean(means)), greatest=max(greatest))
  _write(config, rounds, peak, lag)
  rich.console.Console().print(_make_table(config, rounds, peak, lag))
  results = {
    name: np.array([measured[name].rate for measured in rounds])
    for name in rounds[0]
  }
  training = results[f'training, {config.actor_mode}']
  results['share'] = training / results['environments alone']
  results['policy lag'] = np.array(list(lag.values()))
  results['peak memory, GB'] = np.array(peak)
  return results


def _write(config, rounds, peak, lag):
  """Writes benchmark.json into the logdir: rates of all rounds by name."""
  names = ('environments alone', 'training', 'learner alone')
  rates = zip(*([m.rate for m in one.values()] for one in rounds), strict=True)
  content = {
    'command': run_info.command(),
    'config': configs.describe(config),
    'frames_per_sec': dict(zip(names, rates, strict=True)),
    'policy_lag': lag,
    'peak_memory_gb': peak,
  }
  path = os.path.join(config.logdir, 'benchmark.json')
  with atomic_file(path) as file:
    file.write((json.dumps(content, indent=2) + '\n').encode())


def _measure_round(config, agent, tasks, secs):
  """Measures everything once, `secs` each."""
  environments = _environments_alone(config, agent, tasks, secs)
  training, batch = _training(config, agent, tasks, secs)
  learner = Learner(config, agent, Timer())
  return {
    'environments alone': environments,
    f'training, {config.actor_mode}': training,
    'learner alone': _repeat(config, lambda: learner.step(batch), secs),
  }


def _make_table(config, rounds, peak, lag):
  """Returns the table of medians, ranges and phases."""
  num_environments = config.all_environments
  table = rich.table.Table(
    title=(
      f'{config.level_name}, {config.precision}, N={num_environments}, '
      f'B={config.batch_size}, T={config.unroll_length}'
    ),
    caption=(
      f'Medians of {len(rounds)} rounds, range in % of the median. Share: of '
      'the environments alone in the same round. Phases in % of wall time, '
      f'summed over threads. Policy lag {lag["mean"]:.1f} updates on average, '
      f'{lag["greatest"]} at most. Peak memory {peak:.2f} GB.'
    ),
  )
  table.add_column('measured')
  for name in ('frames/s', 'range', 'share', 'env', 'infer', 'learn', 'wait'):
    table.add_column(name, justify='right')
  for name in rounds[0]:
    rates = [measured[name].rate for measured in rounds]
    shares = [m[name].rate / m['environments alone'].rate for m in rounds]
    phases = (
      np.median([m[name].phases.get(phase, 0.0) for m in rounds])
      for phase in PHASES
    )
    table.add_row(
      name,
      f'{np.median(rates):,.0f}',
      f'{np.ptp(rates) / np.median(rates):.0%}',
      f'{np.median(shares):.0%}',
      *(f'{phase:.0%}' for phase in phases),
    )
  return table


def _environments_alone(config, agent, tasks, secs):
  """Steps all environments with random actions, as training would."""
  n = config.all_environments
  environments = TaskEnvironments(
    tasks, assign_tasks(n, len(tasks.names)), is_training=True
  )
  environments.reset(seed=config.seed)
  actions = _random_actions(config, agent.env_spec, n)

  def measure(duration):
    start, num_steps = time.monotonic(), 0
    while time.monotonic() - start < duration:
      environments.step(actions[num_steps % len(actions)])
      num_steps += 1
    return num_steps * n / (time.monotonic() - start)

  measure(secs / 10)
  steps_per_sec = measure(secs)
  environments.close()
  rate = steps_per_sec * config.num_action_repeats
  return Measured(rate, {'environment': 1.0})


def _random_actions(config, env_spec, num_rows):
  """Returns actions of 1000 steps, [1000, N] or [1000, N, D]."""
  rng = np.random.default_rng(config.seed)
  if env_spec.action_box is None:
    return rng.integers(
      env_spec.num_actions, size=[1000, num_rows], dtype=np.int32
    )
  low, high, _ = env_spec.action_box
  shape = [1000, num_rows, len(low)]
  return rng.uniform(low, high, shape).astype(np.float32)


def _training(config, agent, tasks, secs):
  """Trains for a while; returns what was measured and the last batch."""
  timer = Timer()
  learner = Learner(config, agent, timer)
  source = sources.make_source(config, agent, tasks, timer, {})
  lags = []
  try:
    with Interrupt() as interrupt:

      def update():
        batch = source.next_batch(learner.num_updates, interrupt)
        if batch is None:
          raise KeyboardInterrupt
        row, _ = learner.step(batch)
        lags.append((row['policy_lag_mean'], row['policy_lag_max']))
        return batch

      for _ in range(NUM_WARM_UP_UPDATES):
        update()
      timer.take()
      lags.clear()
      start, num_updates, batch = time.monotonic(), 0, None
      while time.monotonic() - start < secs:
        batch = update()
        num_updates += 1
      elapsed = time.monotonic() - start
      phases = {name: s / elapsed for name, s in timer.take().items()}
  finally:
    source.close()
  frames = num_updates * _frames_per_update(config)
  return Measured(frames / elapsed, phases, lags), batch


def _repeat(
  config: ActorLearnerConfig, update: Callable[[], Any], secs: float
) -> Measured:
  """Calls `update` for a while."""
  update()
  start, num_updates = time.monotonic(), 0
  while time.monotonic() - start < secs:
    update()
    num_updates += 1
  elapsed = time.monotonic() - start
  frames = num_updates * _frames_per_update(config)
  return Measured(frames / elapsed, {'learner': 1.0})


def _frames_per_update(config):
  return config.batch_size * config.new_steps * config.num_action_repeats
