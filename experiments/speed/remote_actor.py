"""Measures what a core yields to an actor of this process and to a remote one.

    python -m experiments.speed.remote_actor --num_environments=32 --rounds=5

Both play the same game with the same network on one and the same core, in turn,
so that whatever else the machine does hits both alike. The remote one gets new
weights for every unroll, as if each made an update, and this process copies its
unrolls out of Ray's store; on a machine of one core that takes its time away.
"""

import argparse
import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
import psutil
import rich.console
import rich.table

from core import start
from core.errors import UserError
from impala.config import ATARI_EXPERT_SHALLOW, Config

with start.quiet_tensorflow():
  import tensorflow as tf

  from core.device import Device
  from core.experience.actors import make_actor
  from core.experience.remote import RemoteSource
  from core.experience.timing import Timer
  from core.interrupt import Interrupt
  from core.suites.tasks import Tasks
  from impala.agent import Agent


def measure(config: Config, num_rounds: int, secs: float) -> np.ndarray:
  """Lets a local and a remote actor play in turn.

  Args:
    config: with one remote actor and batches of its unrolls.
    num_rounds: R.
    secs: of each actor in each round.

  Returns:
    float64 [R, 2], environment frames per second, local and remote.

  Raises:
    UserError: the remote actor does not start.
  """
  cores = sorted(os.sched_getaffinity(0))
  tasks = Tasks.of(config)
  agent = Agent(config, tasks.env_spec, Device.from_config(config))
  with contextlib.ExitStack() as stack:
    local = make_actor(config, agent, tasks, Timer(), num_cores=1)
    stack.callback(local.close)
    source = RemoteSource(config, agent, Timer(), {})
    stack.callback(source.close)
    for process in psutil.Process().children(recursive=True):
      if 'ray::RemoteActor' in ' '.join(process.cmdline()):
        _pin(process.pid, cores[:1])
    updates = iter(range(10**9))

    def play_here():
      return local.collect(0)

    def play_there():
      return source.next_batch(next(updates), Interrupt())

    rates = []
    for round_index in range(-1, num_rounds):  # The first warms up.
      _pin(os.getpid(), cores[:1])
      here = _rate(play_here, secs)
      _pin(os.getpid(), cores[1:] or cores)
      for _ in range(2):  # What was played in the meantime.
        play_there()
      there = _rate(play_there, secs)
      time.sleep(min(secs, 2.0))  # For these to end.
      if round_index >= 0:
        rates.append((here, there))
  steps = config.num_environments * config.unroll_length
  return np.array(rates) * steps * config.num_action_repeats


def _rate(play: Callable[[], object], secs: float) -> float:
  """Returns how many unrolls per second there are."""
  start_secs, count = time.monotonic(), 0
  while time.monotonic() - start_secs < secs:
    play()
    count += 1
  return count / (time.monotonic() - start_secs)


def _pin(pid: int, cores: Sequence[int]) -> None:
  """Holds all threads of a process to some cores."""
  for thread in psutil.Process(pid).threads():
    with contextlib.suppress(ProcessLookupError):  # Ended meanwhile.
      os.sched_setaffinity(thread.id, cores)


def main(argv: Sequence[str] | None = None) -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--level_name', default='pong')
  parser.add_argument('--num_environments', type=int, default=32)
  parser.add_argument('--unroll_length', type=int, default=20)
  parser.add_argument('--rounds', type=int, default=5)
  parser.add_argument('--secs', type=float, default=10.0)
  options = parser.parse_args(argv)
  if options.rounds < 1 or options.secs <= 0:
    parser.error('--rounds and --secs must be positive')
  config = dataclasses.replace(
    ATARI_EXPERT_SHALLOW,
    level_name=options.level_name,
    num_environments=options.num_environments,
    batch_size=options.num_environments,
    unroll_length=options.unroll_length,
    num_groups=1,
    cluster='ray',
    logdir='',
  )
  tf.config.threading.set_intra_op_parallelism_threads(1)
  tf.config.threading.set_inter_op_parallelism_threads(1)
  rates = measure(config, options.rounds, options.secs)
  table = rich.table.Table('actor', 'frames/s per core, median', 'range')
  for name, column in zip(('local', 'remote'), rates.T, strict=True):
    spread = f'{column.min():,.0f} to {column.max():,.0f}'
    table.add_row(name, f'{np.median(column):,.0f}', spread)
  console = rich.console.Console()
  console.print(table)
  ratio = np.median(rates[:, 1] / rates[:, 0])
  console.print(f'remote / local, median over the rounds: {ratio:.3f}')


if __name__ == '__main__':
  try:
    main()
  except UserError as error:
    sys.exit(f'error: {error}')
