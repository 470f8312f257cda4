"""Where the time goes: environments alone, phases, training, memory.

Everything is measured in one process, one thing after the other; frames are
environment frames (agent steps x action repeats).
"""

import dataclasses
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import rich.console
import rich.table

from core import sources
from core.actor_learner import Learner
from core.environments import Protocol, TaskEnvironments, assign_tasks
from core.interrupt import Interrupt
from core.timing import Timer

PHASES = ('environment', 'inference', 'learner', 'waiting')


def benchmark(
  config: Any,
  agent: Any,
  protocol: Protocol,
  secs: float = 15.0,
) -> dict[str, float]:
  """Measures and prints frames/s of environments, acting, learning, training.

  Args:
    config: a paper's Config; both actor modes are measured.
    agent: that acts and learns; its weights change.
    protocol: how tasks are played.
    secs: wall seconds per measurement, after warm-up.

  Returns:
    Environment frames per second by name, and peak memory in GB.
  """
  table = _empty_table(config)
  results = {}

  def add(name, frames_per_sec, secs_by_phase, elapsed):
    results[name] = frames_per_sec
    share = frames_per_sec / results['environments alone']
    phases = [f'{secs_by_phase.get(p, 0.0) / elapsed:.0%}' for p in PHASES]
    table.add_row(name, f'{frames_per_sec:,.0f}', f'{share:.0%}', *phases)

  add(
    'environments alone',
    _environments_alone(config, agent, protocol, secs),
    {'environment': secs},
    secs,
  )
  for mode in ('sync', 'async'):
    mode_config = dataclasses.replace(config, actor_mode=mode, num_actors=1)
    timer = Timer()
    source = sources.make_source(mode_config, agent, protocol, timer, {})
    try:
      rate, phases, elapsed, batch = _training(
        mode_config, agent, source, timer, secs
      )
    finally:
      source.close()
    add(f'training, {mode}', rate, phases, elapsed)
  learner = Learner(config, agent, Timer())
  add('learner alone', *_repeat(config, lambda: learner.step(batch), secs / 2))
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
  results['peak memory, GB'] = peak
  table.caption = (
    'Share: of the environments alone. Phases in % of wall time, actor and '
    f'learner overlap in async mode. Peak memory {peak:.2f} GB.'
  )
  rich.console.Console().print(table)
  return results


def _empty_table(config):
  table = rich.table.Table(
    title=(
      f'{config.level_name}, {config.torso} {config.precision}, '
      f'N={config.num_environments}, B={config.batch_size}, '
      f'T={config.unroll_length}'
    )
  )
  table.add_column('measured')
  for name in ('frames/s', 'share', 'env', 'infer', 'learn', 'wait'):
    table.add_column(name, justify='right')
  return table


def _environments_alone(config, agent, protocol, secs):
  """Steps all environments with random actions, as training would."""
  tasks = agent.env_spec.task_names
  n = config.num_environments
  environments = TaskEnvironments(
    tasks, assign_tasks(n, len(tasks)), protocol, is_training=True
  )
  environments.reset(seed=config.seed)
  rng = np.random.default_rng(config.seed)
  actions = rng.integers(
    agent.env_spec.num_actions, size=[1000, n], dtype=np.int32
  )

  def measure(duration):
    start, num_steps = time.monotonic(), 0
    while time.monotonic() - start < duration:
      environments.step(actions[num_steps % len(actions)])
      num_steps += 1
    return num_steps * n / (time.monotonic() - start)

  measure(secs / 10)
  steps_per_sec = measure(secs)
  environments.close()
  return steps_per_sec * config.num_action_repeats


def _training(config, agent, source, timer, secs):
  """Trains for a while; returns frames/s, seconds by phase, wall seconds."""
  learner = Learner(config, agent, timer)
  with Interrupt() as interrupt:

    def update():
      batch = source.next_batch(learner.num_updates, interrupt)
      if batch is None:
        raise KeyboardInterrupt
      learner.step(batch)
      return batch

    for _ in range(5):
      update()
    timer.take()
    start, num_updates, batch = time.monotonic(), 0, None
    while time.monotonic() - start < secs:
      batch = update()
      num_updates += 1
    elapsed = time.monotonic() - start
  frames = num_updates * _frames_per_update(config)
  return frames / elapsed, timer.take(), elapsed, batch


def _repeat(config: Any, update: Callable[[], Any], secs: float):
  """Calls `update`; returns frames/s, seconds by phase, wall seconds."""
  update()
  start, num_updates = time.monotonic(), 0
  while time.monotonic() - start < secs:
    update()
    num_updates += 1
  elapsed = time.monotonic() - start
  frames = num_updates * _frames_per_update(config)
  return frames / elapsed, {'learner': elapsed}, elapsed


def _frames_per_update(config):
  return config.batch_size * config.unroll_length * config.num_action_repeats
