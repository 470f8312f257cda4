"""Evaluation from start states: folders of `<game>/<index>.bin`.

Human starts (Nair et al. 2015, arXiv:1507.04296) begin where a person left a
game. Those states were never published; folders of one's own have this form,
and `save_start_states` fills them from an agent's games. The files are the
bytes that `save_state` of the suite's game returns.
"""

import os
from collections.abc import Iterator

import numpy as np

from core.errors import UserError
from core.evaluation.episodes import EvaluationRow, Policy, play_game
from core.files import atomic_file, refuse_pipe
from core.suites.tasks import Tasks, suite_of


def load_start_states(folder: str, game: str) -> dict[str, bytes]:
  """Reads and checks the start states of one game.

  Args:
    folder: holds `<game>/*.bin`.
    game: name of the task.

  Returns:
    Path to bytes, in the order of the names, integers by size.

  Raises:
    UserError: if there are none, or naming the first bad one.
  """
  game_folder = os.path.join(folder, game)
  states = {}
  try:
    names = [n for n in os.listdir(game_folder) if n.endswith('.bin')]
    for name in sorted(names, key=lambda n: (len(n), n)):
      path = os.path.join(game_folder, name)
      refuse_pipe(path)
      with open(path, 'rb') as file:
        states[path] = file.read()
  except OSError as error:
    raise UserError(
      f'cannot read start states of {game}: {error.filename}: {error.strerror}'
    ) from error
  if not states:
    raise UserError(f'no start states (*.bin) in {game_folder}')
  suite_of(game).check_start_states(game, states)
  return states


def play_start_states(
  tasks: Tasks,
  game: str,
  states: dict[str, bytes],
  policy: Policy,
  protocol: str,
  num_action_repeats: int,
  seed: int,
) -> Iterator[EvaluationRow]:
  """Plays one game from each start state.

  Only rewards after the start count; the frames before it count towards the
  frame cap (van Hasselt et al. 2016, arXiv:1509.06461).

  Args:
    tasks: of the run; they know how the game is played.
    game: one of them.
    states: from `load_start_states`.
    policy: called with N = 1.
    protocol: what the rows say about how they came about.
    num_action_repeats: environment frames per step.
    seed: of action sampling.

  Yields:
    A row per state, `length` in environment frames since the start.

  Raises:
    UserError: if a state is of a game that is over.
  """
  environment = tasks.make_game(game)
  for index, (name, state) in enumerate(states.items()):
    steps = play_game(
      environment,
      policy,
      seed + index,
      {'start_state': state, 'name': name},
    )
    rewards = [reward for reward, _ in steps]
    yield {
      'task': game,
      'episode': index,
      'return': float(np.sum(rewards)),
      'length': (len(rewards) - 1) * num_action_repeats,
      'protocol': protocol,
    }


def save_start_states(
  folder: str,
  tasks: Tasks,
  game: str,
  policy: Policy,
  num_start_states: int,
  seed: int,
  num_states_per_game: int = 10,
) -> Iterator[str]:
  """Plays games and writes states from uniformly random times within them.

  Args:
    folder: where `<game>/<index>.bin` are written.
    tasks: of the run; they know how the game is played.
    game: one of them.
    policy: called with N = 1.
    num_start_states: files to write.
    seed: of games, action sampling and the choice of times.
    num_states_per_game: states from one game, at most; more are cheaper and
      more alike.

  Yields:
    Paths, as they are written.

  Raises:
    UserError: if the folder has states already or cannot be written.
  """
  game_folder = os.path.join(folder, game)
  if os.path.isdir(game_folder) and any(
    name.endswith('.bin') for name in os.listdir(game_folder)
  ):
    raise UserError(f'{game_folder} has start states already; give another one')
  environment = tasks.make_game(game)
  rng = np.random.default_rng(seed)
  num_written = num_games = 0
  while num_written < num_start_states:
    steps = play_game(environment, policy, seed + num_games)
    num_wanted = min(num_states_per_game, num_start_states - num_written)
    for state in _sample_states(environment, steps, num_wanted, rng):
      path = os.path.join(game_folder, f'{num_written:04d}.bin')
      with atomic_file(path) as file:
        file.write(state)
      num_written += 1
      yield path
    num_games += 1


def _sample_states(environment, steps, num_states, rng):
  """Plays to the end; returns states before `num_states` of its steps.

  Reservoir sampling: every step is equally likely, and no more states than
  asked for are kept though nobody knows how long the game will be.
  """
  states = []
  for num_steps, (_, is_over) in enumerate(steps):
    if is_over:
      break
    place = num_steps if num_steps < num_states else rng.integers(num_steps + 1)
    if place < num_states:
      states[place : place + 1] = [environment.save_state()]
  return states
