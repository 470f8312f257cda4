"""Plays many episodes of the tasks of Doom at once, and looks for leaks.

  python -m experiments.doom_soak --episodes=1000

A row per task in few processes, whose engines live from the first episode to
the last; each row is played by chance and by the scripted player in turn. It
tells how processes and engines grow in memory and open files, which engines
died, and what is left at the end. The exit status is 1 if something is wrong.
"""

import argparse
import functools
import glob
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import psutil

from core.environments.doom import engine, pictures
from core.environments.doom.env import DoomProtocol
from core.environments.doom.scripted import start_played
from core.environments.doom.tasks import TASKS
from core.environments.workers import WorkerVectorEnv
from core.errors import UserError
from experiments.doom_scores import PLAYERS

MAX_GROWTH_MB = 10.0  # Of a process, from the first episodes to the last.
_WAIT_SECS = 10.0
_MEGABYTE = 2**20


class Sizes(NamedTuple):
  """What the processes hold.

  Attributes:
    workers: MB of each.
    engines: MB of all engines.
    num_engines: how many run.
    num_files: that the workers have open.
  """

  workers: list[float]
  engines: float
  num_engines: int
  num_files: int


class Soak:
  """Episodes of all rows, and what was seen of the processes.

  Attributes:
    returns: of whole episodes by task and player.
    num_died: episodes that ended because the engine did.
    num_tics: played.
  """

  def __init__(self, tasks: Sequence[str], num_workers: int, num_tics: int):
    """Starts processes and engines.

    Args:
      tasks: one row each.
      num_workers: processes.
      num_tics: of an episode; 0: the task's.

    Raises:
      UserError: a package is missing, or an engine does not start.
    """
    engine.check_installation()
    self._tasks = tasks
    textures = pictures.textures()
    env_fns = [
      functools.partial(start_played, task, textures, num_tics, i % 2 == 1)
      for i, task in enumerate(tasks)
    ]
    self._env = WorkerVectorEnv(env_fns, num_workers)
    self._pids = [process.pid for process in self._env.processes]
    self._env.reset(seed=0)
    self._sums = np.zeros(len(tasks))
    self._players = np.arange(len(tasks)) % 2
    self.returns = {(task, name): [] for task in tasks for name in PLAYERS}
    self.num_died = self.num_tics = 0

  def step(self) -> int:
    """Steps all rows; returns how many episodes ended."""
    actions = np.zeros(len(self._tasks), np.int64)
    _, rewards, terminated, truncated, _ = self._env.step(actions)
    self.num_tics += len(self._tasks) * DoomProtocol().num_action_repeats
    self._sums += rewards
    for i in np.flatnonzero(terminated):
      key = self._tasks[i], PLAYERS[self._players[i] % 2]
      self.returns[key].append(self._sums[i])
    has_ended = terminated | truncated
    self._sums[has_ended] = 0.0
    self._players[has_ended] += 1
    self.num_died += int(truncated.sum())
    return int(has_ended.sum())

  def measure(self) -> Sizes:
    """Looks at the processes."""
    workers = [psutil.Process(pid) for pid in self._pids]
    engines = [one for worker in workers for one in _engines(worker)]
    return Sizes(
      [_megabytes(worker) for worker in workers],
      sum(map(_megabytes, engines)),
      len(engines),
      sum(worker.num_fds() for worker in workers),
    )

  def close(self) -> tuple[int, int]:
    """Ends all; returns how many processes and files are left of them."""
    workers = [psutil.Process(pid) for pid in self._pids]
    all_of_them = [*workers, *(e for w in workers for e in _engines(w))]
    self._env.close()
    _, alive = psutil.wait_procs(all_of_them, _WAIT_SECS)
    files = [
      path
      for pid in self._pids
      for path in glob.glob(f'{tempfile.gettempdir()}/doom_{pid}_*')
    ]
    return len(alive), len(files)


def table(returns: dict[tuple[str, str], list[float]]) -> str:
  """Returns lines of mean returns, their standard errors and episodes."""
  lines = []
  for task, player in returns:
    values = np.array(returns[task, player])
    text = 'none'
    if len(values):
      text = f'{values.mean():.1f}'
    if len(values) > 1:
      text += f' +- {values.std(ddof=1) / len(values) ** 0.5:.1f}'
    lines.append(f'{task} {player}: {text} ({len(values)} episodes)')
  return '\n'.join(lines)


def soak(
  tasks: Sequence[str], num_episodes: int, num_workers: int, num_tics: int = 0
) -> list[str]:
  """Plays until enough episodes have ended; prints what it sees.

  Args:
    tasks: keys of `TASKS`.
    num_episodes: of all rows together, at least two of each row.
    num_workers: processes.
    num_tics: of an episode; 0: the task's.

  Returns:
    What is wrong, a line each; none if all is well.

  Raises:
    UserError: a package is missing, or an engine died twice.
  """
  # Growth counts from when every row has begun a second episode.
  wanted = max(num_episodes, 2 * len(tasks))
  first_at = max(wanted // 10, len(tasks))
  played = Soak(tasks, num_workers, num_tics)
  num_ended, reported, first = 0, 0, None
  start = time.monotonic()
  try:
    while num_ended < wanted:
      num_ended += played.step()
      if first is None and num_ended >= first_at:
        first = played.measure()
      if num_ended >= reported + first_at:
        reported = num_ended
        rate = played.num_tics / (time.monotonic() - start)
        print(_line(num_ended, wanted, rate, played.measure()), flush=True)
    last = played.measure()
  finally:
    num_left, num_files = played.close()
  print(table(played.returns))
  growth = _growth(first, last)
  print(
    f'{num_ended} episodes of {len(tasks)} tasks; engines that died: '
    f'{played.num_died}; from episode {first_at} to the end: workers '
    f'{growth[0]:+.1f} MB at most, engines {growth[1]:+.1f} MB each, open '
    f'files {last.num_files - first.num_files:+d}; left at the end: '
    f'{num_left} processes, {num_files} files'
  )
  wrong = {
    f'{played.num_died} engines died': played.num_died,
    f'{num_left} processes are left': num_left,
    f'{num_files} files are left': num_files,
    f'{last.num_engines} engines play {len(tasks)} rows': (
      last.num_engines != len(tasks)
    ),
    'open files grow': last.num_files > first.num_files + len(tasks),
    'memory grows': max(growth) > MAX_GROWTH_MB,
  }
  return [text for text, is_so in wrong.items() if is_so]


def _line(num_ended, wanted, rate, sizes):
  workers = ', '.join(f'{size:.0f}' for size in sizes.workers)
  return (
    f'{num_ended}/{wanted} episodes, {rate:,.0f} tics/s, workers {workers} MB, '
    f'{sizes.num_engines} engines {sizes.engines:.0f} MB, '
    f'{sizes.num_files} open files'
  )


def _growth(first, last):
  """Returns MB by which the worst worker and the mean engine grew."""
  workers = np.subtract(last.workers, first.workers).max()
  return float(workers), (last.engines - first.engines) / last.num_engines


def _engines(worker):
  return [
    child
    for child in worker.children(recursive=True)
    if child.name() == 'vizdoom'
  ]


def _megabytes(process):
  return process.memory_info().rss / _MEGABYTE


def main() -> None:
  """Does what the command line asks for."""
  parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
  parser.add_argument('--tasks', default=','.join(TASKS), help='names')
  parser.add_argument('--episodes', type=int, default=1000, help='in all')
  parser.add_argument(
    '--workers', type=int, default=os.cpu_count() or 1, help='processes'
  )
  parser.add_argument('--tics', type=int, default=0, help='0: whole episodes')
  args = parser.parse_args()
  tasks = args.tasks.split(',')
  unknown = [task for task in tasks if task not in TASKS]
  if unknown:
    parser.error(f'unknown tasks: {", ".join(unknown)}')
  if args.episodes < 1 or args.workers < 1 or args.tics < 0:
    parser.error('--episodes and --workers must be 1 or more, --tics 0 or more')
  try:
    wrong = soak(tasks, args.episodes, args.workers, args.tics)
  except UserError as error:
    sys.exit(f'error: {error}')
  if wrong:
    sys.exit(f'error: {"; ".join(wrong)}')


if __name__ == '__main__':
  main()
