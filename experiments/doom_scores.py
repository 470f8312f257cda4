"""Measures random and scripted play of the tasks of Doom.

  python -m experiments.doom_scores --out=runs/doom_episodes.csv
  python -m experiments.doom_scores --out=runs/doom_episodes.csv --table

The first plays and writes a line per episode; started again, it goes on where
it was ended. The second prints from them what `core/suites/doom.csv` holds.
"""

import argparse
import collections
import csv
import os
from collections.abc import Iterator

import numpy as np

from core.environments.doom import pictures
from core.environments.doom.env import ACTION_SETS, DoomEnv, DoomProtocol
from core.environments.doom.scripted import ScriptedPlayer
from core.environments.doom.tasks import PLAYABLE, TASKS

_FIELDS = ('task', 'player', 'episode', 'return')
PLAYERS = ('random', 'scripted')


def play(task: str, player: str, episode: int) -> float:
  """Plays one episode in this process; returns its return.

  Args:
    task: key of `PLAYABLE`.
    player: of `PLAYERS`.
    episode: its seed.
  """
  is_scripted = player == 'scripted'
  env = DoomEnv(
    task, DoomProtocol(), pictures.textures(), tells_players=is_scripted
  )
  try:
    env.reset(seed=episode)
    rng = np.random.default_rng(episode)
    scripted = ScriptedPlayer(task, env)
    episode_return, is_over = 0.0, False
    while not is_over:
      action = scripted.act() if is_scripted else draw(rng)
      _, reward, terminated, truncated, _ = env.step(action)
      episode_return += reward
      is_over = terminated or truncated
  finally:
    env.close()
  return episode_return


def draw(rng: np.random.Generator) -> int:
  """Returns one of IMPALA's actions, all equally likely."""
  return int(rng.integers(len(ACTION_SETS['impala'])))


def read(path: str) -> dict[tuple[str, str], dict[int, float]]:
  """Returns returns by task and player, by episode; none without a file."""
  found = collections.defaultdict(dict)
  if os.path.exists(path):
    with open(path, newline='', encoding='utf-8') as file:
      for row in csv.DictReader(file):
        key = row['task'], row['player']
        found[key][int(row['episode'])] = float(row['return'])
  return found


def table(path: str) -> Iterator[str]:
  """Yields the lines of the table: mean and standard error of both players."""
  found = read(path)
  yield 'task,random,random_error,scripted,scripted_error'
  for task in PLAYABLE:
    cells = [task]
    for player in PLAYERS:
      returns = np.array(list(found[task, player].values()))
      if len(returns) < 2:
        cells += ['', '']
        continue
      error = returns.std(ddof=1) / len(returns) ** 0.5
      cells += [f'{returns.mean():.2f}', f'{error:.2f}']
    yield ','.join(cells)


def main() -> None:
  """Plays what is missing, or prints the table."""
  parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
  parser.add_argument('--out', required=True, help='a line per episode')
  parser.add_argument('--table', action='store_true', help='print, play not')
  parser.add_argument('--tasks', default=','.join(TASKS), help='names')
  parser.add_argument('--random', type=int, default=32, help='episodes a task')
  parser.add_argument('--scripted', type=int, default=8, help='episodes a task')
  args = parser.parse_args()
  if args.table:
    print('\n'.join(table(args.out)))
    return
  tasks = args.tasks.split(',')
  unknown = [task for task in tasks if task not in PLAYABLE]
  if unknown:
    parser.error(f'unknown tasks: {", ".join(unknown)}')
  done = read(args.out)
  os.makedirs(os.path.dirname(args.out) or '.', exist_ok=True)
  with open(args.out, 'a', newline='', encoding='utf-8') as file:
    writer = csv.writer(file)
    if not done:
      writer.writerow(_FIELDS)
    # Episode by episode, so that every task soon has some.
    for episode in range(max(args.random, args.scripted)):
      for player in PLAYERS:
        for task in tasks:
          is_due = episode < getattr(args, player)
          if is_due and episode not in done[task, player]:
            episode_return = play(task, player, episode)
            writer.writerow([task, player, episode, episode_return])
            file.flush()


if __name__ == '__main__':
  main()
