"""Atari: the 57 games, how they are played, and the scores that normalise them.

On Video Pinball under human starts the random agent beats the human.
"""

import dataclasses
import difflib
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv

from core.environments import ale_state, atari
from core.environments.ale_game import AleGame
from core.environments.atari import AtariProtocol
from core.suites import suite
from core.suites.suite import Reference
from core.types import EnvSpec

_SCORES = {
  row['task']: row for row in suite.read_table(suite.FOLDER / 'atari57.csv')
}

GAMES = tuple(_SCORES)
"""Names of the games as ale-py spells them, in the order of the tables."""


ATARI_26 = (
  *('alien', 'amidar', 'assault', 'asterix', 'bank_heist', 'battle_zone'),
  *('boxing', 'breakout', 'chopper_command', 'crazy_climber', 'demon_attack'),
  *('freeway', 'frostbite', 'gopher', 'hero', 'jamesbond', 'kangaroo', 'krull'),
  *('kung_fu_master', 'ms_pacman', 'pong', 'private_eye', 'qbert'),
  *('road_runner', 'seaquest', 'up_n_down'),
)
_TRANSFER_20 = (
  *('asteroids', 'atlantis', 'beam_rider', 'berzerk', 'bowling', 'centipede'),
  *('double_dunk', 'fishing_derby', 'gravitar', 'ice_hockey'),
  *('name_this_game', 'pitfall', 'riverraid', 'star_gunner', 'time_pilot'),
  *('tutankham', 'venture', 'video_pinball', 'wizard_of_wor', 'yars_revenge'),
)

LISTS = {
  'atari57': GAMES,
  'atari26': ATARI_26,
  'atari20_transfer': _TRANSFER_20,
}
"""All; those of Atari 100k (Kaiser et al. 2020, arXiv:1903.00374); and what
Nauman et al. 2025 (arXiv:2505.23150), E.2, go on to from these."""


class Atari(suite.Suite):
  """Single games and sets of them, in ale-py's emulators."""

  name = 'atari57'
  title = 'Atari'
  examples = f'Atari games (pong) and {", ".join(LISTS)}'
  names = GAMES
  lists = tuple(LISTS)
  packages = ('ale-py',)
  has_protocol = True
  aggregate = 'median'
  reference_name = '1-30 no-ops'

  def owns(self, task: str) -> bool:
    """Tells whether a task is a game."""
    return task in _SCORES

  def expand(self, name: str) -> tuple[str, ...] | None:
    """Lists a set of games, or one."""
    if name in LISTS:
      return LISTS[name]
    return (name,) if name in _SCORES else None

  def suggest(self, name: str) -> list[str]:
    """Returns the nearest games; ALE/MsPacman-v5 finds ms_pacman."""
    bare = re.sub(r'^ALE/|(NoFrameskip)?-v\d+$', '', name)
    snake = re.sub(r'(?<=[a-z0-9])(?=[A-Z])|[\s-]+', '_', bare).lower()
    known = (*GAMES, *LISTS)
    return difflib.get_close_matches(snake, known, n=3, cutoff=0.5)

  def protocol(self, config: Any) -> AtariProtocol:
    """Returns the 2018 way to play, with the config's actions."""
    return AtariProtocol(
      num_action_repeats=config.num_action_repeats,
      full_action_space=config.full_action_space,
    )

  def env_spec(self, task: str, protocol: AtariProtocol) -> EnvSpec:
    """Describes a game without starting its emulator twice."""
    table = atari.action_table(task, protocol.full_action_space)
    return EnvSpec(
      task_names=(task,),
      num_actions=len(table),
      frame_shape=(
        protocol.num_stacked_frames,
        protocol.frame_height,
        protocol.frame_width,
      ),
      channels_first=True,
    )

  def make(
    self,
    rows: Sequence[str],
    protocol: AtariProtocol,
    is_training: bool,
    num_threads: int,
  ) -> list[VectorEnv]:
    """Builds a vector environment per game; lost lives end none in tests."""
    if not is_training:
      protocol = _without_lives(protocol)
    return [
      atari.AtariEnv(game, len(list(group)), protocol, num_threads)
      for game, group in itertools.groupby(rows)
    ]

  def evaluation_line(
    self, protocol: AtariProtocol, starts: str | None = None
  ) -> str:
    """Says how games are played; lost lives end nothing here."""
    if starts is None:
      starts = f'1-{protocol.noop_max} no-ops' if protocol.noop_max else 'reset'
    actions = 'all 18' if protocol.full_action_space else 'minimal'
    return (
      f'whole games; sampled policy; raw rewards; start: {starts}; action '
      f'repeat {protocol.num_action_repeats}; {actions} actions; sticky '
      f'actions {protocol.repeat_action_probability:g}; at most '
      f'{protocol.max_frames_per_episode} frames'
    )

  def requires_noops(self, protocol: AtariProtocol) -> bool:
    """Games that drew no no-op are left out (D2 in impala/README)."""
    return protocol.noop_max > 0

  def make_game(self, task: str, protocol: AtariProtocol) -> gymnasium.Env:
    """Builds an emulator whose state can be saved."""
    return AleGame(task, _without_lives(protocol))

  def check_start_states(self, task: str, states: Mapping[str, bytes]) -> None:
    """Refuses bytes that are no state of the game's emulator."""
    ale_state.check_states(task, states)

  def controls(self, task: str, protocol: AtariProtocol) -> np.ndarray:
    """Returns fire, horizontal and vertical of each action."""
    return atari.factored_controls(task, protocol.full_action_space)

  def counts_lives(self, task: str) -> bool:
    """Asks the emulator."""
    return atari.counts_lives(task)

  def reference(
    self, task: str, is_human_starts: bool = False
  ) -> Reference | None:
    """Returns random and human scores of a game."""
    if task not in _SCORES:
      return None
    ending = '_human_starts' if is_human_starts else ''
    row = _SCORES[task]
    return Reference(
      float(row[f'random{ending}']), float(row[f'human{ending}'])
    )


def _without_lives(protocol):
  return dataclasses.replace(protocol, life_loss_is_done=False)
