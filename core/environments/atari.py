"""Atari through ale-py's vector environment, with every option set explicitly.

ale-py's defaults are not the papers' protocol; `AtariProtocol` is, and it is
printed and saved with every run.
"""

import dataclasses
import functools
from typing import Any

import ale_py
import gymnasium
import numpy as np
from ale_py import roms
from ale_py.vector_env import AtariVectorEnv
from gymnasium.vector import AutoresetMode, VectorEnv

NUM_FULL_ACTIONS = 18


@dataclasses.dataclass(frozen=True)
class AtariProtocol:
  """How Atari is played: Espeholt et al. 2018, appendix G.1 (the 2018 way).

  Attributes:
    frame_height: pixels after resizing (area interpolation).
    frame_width: pixels after resizing.
    grayscale: luminance only.
    num_action_repeats: emulator frames per agent step.
    max_pool: maximum over the last two of the repeated frames.
    num_stacked_frames: newest last.
    noop_max: no-ops before the agent acts, at most. Training draws 0 to
      `noop_max`; evaluation discards games that drew 0 (D2 in impala/README).
    life_loss_is_done: a lost life ends what the learner sees as an episode (the
      game goes on); training only.
    use_fire_reset: press FIRE after a reset.
    repeat_action_probability: sticky actions; 0 in this protocol.
    max_frames_per_episode: emulator frames, 30 minutes.
    full_action_space: 18 actions in every game instead of the game's own.
  """

  frame_height: int = 84
  frame_width: int = 84
  grayscale: bool = True
  num_action_repeats: int = 4
  max_pool: bool = True
  num_stacked_frames: int = 4
  noop_max: int = 30
  life_loss_is_done: bool = True
  use_fire_reset: bool = False
  repeat_action_probability: float = 0.0
  max_frames_per_episode: int = 108_000
  full_action_space: bool = False


@functools.cache  # Starting an emulator to ask it takes 0.1 s.
def action_table(game: str, full_action_space: bool) -> np.ndarray:
  """Maps agent actions to indices into the action set ale-py offers.

  Args:
    game: ALE id such as 'pong'.
    full_action_space: whether the agent has all 18 actions. Skiing knows no
      fire button and offers 9: actions with fire map to those without.

  Returns:
    int32 [A], index into the set of the game's legal actions (full) or minimal
    actions (otherwise); read-only.
  """
  ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
  ale = ale_py.ALEInterface()
  ale.loadROM(roms.get_rom_path(game))
  if not full_action_space:
    return _read_only(range(len(ale.getMinimalActionSet())))
  legal = [action.name for action in ale.getLegalActionSet()]
  everything = [ale_py.Action(i).name for i in range(NUM_FULL_ACTIONS)]
  without_fire = [name.replace('FIRE', '') or 'NOOP' for name in everything]
  table = [
    legal.index(name if name in legal else other)
    for name, other in zip(everything, without_fire, strict=True)
  ]
  return _read_only(table)


def factored_controls(game: str, full_action_space: bool) -> np.ndarray:
  """Says what each action presses: fire, horizontal and vertical.

  Mujika 2016 (arXiv:1611.01457), section 4.4: [1, -1, 0] is fire and left.

  Args:
    game: ALE id such as 'pong'.
    full_action_space: as for `action_table`.

  Returns:
    int32 [A, 3] by the agent's action: fire 0 or 1, horizontal -1 (left), 0 or
    1 (right), vertical -1 (down), 0 or 1 (up); read-only.
  """
  ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
  actions = [ale_py.Action(i) for i in range(NUM_FULL_ACTIONS)]
  if not full_action_space:
    ale = ale_py.ALEInterface()
    ale.loadROM(roms.get_rom_path(game))
    actions = ale.getMinimalActionSet()
  return _read_only(
    [
      (
        'FIRE' in action.name,
        ('RIGHT' in action.name) - ('LEFT' in action.name),
        ('UP' in action.name) - ('DOWN' in action.name),
      )
      for action in actions
    ]
  )


@functools.cache
def counts_lives(game: str) -> bool:
  """Tells whether the emulator counts lives in a game (in Pong it does not)."""
  ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
  ale = ale_py.ALEInterface()
  ale.loadROM(roms.get_rom_path(game))
  ale.reset_game()
  return ale.lives() > 0


def _read_only(table):
  array = np.array(table, np.int32)
  array.flags.writeable = False
  return array


class AtariEnv(VectorEnv):
  """N copies of one game, in C++ threads.

  Rewards are raw. `terminations` includes lost lives if the protocol says so;
  `infos['episode_done']` tells the end of the whole game. The observation after
  a game's end is the first of the next game.
  """

  metadata = {'autoreset_mode': AutoresetMode.SAME_STEP}

  def __init__(
    self, game: str, num_envs: int, protocol: AtariProtocol, num_threads: int
  ):
    """Starts the emulators.

    Args:
      game: ALE id, known to ale-py.
      num_envs: N.
      protocol: how to play.
      num_threads: C++ threads that step them.
    """
    self._action_table = action_table(game, protocol.full_action_space)
    self._env = AtariVectorEnv(
      game,
      num_envs,
      num_threads=min(num_threads, num_envs),
      max_num_frames_per_episode=protocol.max_frames_per_episode,
      repeat_action_probability=protocol.repeat_action_probability,
      full_action_space=protocol.full_action_space,
      autoreset_mode=AutoresetMode.SAME_STEP,
      img_height=protocol.frame_height,
      img_width=protocol.frame_width,
      grayscale=protocol.grayscale,
      stack_num=protocol.num_stacked_frames,
      frameskip=protocol.num_action_repeats,
      maxpool=protocol.max_pool,
      noop_max=protocol.noop_max + 1,  # ale-py draws 0 to noop_max - 1.
      episodic_life=False,  # It would restart the game at a lost life.
      life_loss_info=protocol.life_loss_is_done,
      reward_clipping=False,  # In the loss.
      use_fire_reset=protocol.use_fire_reset,
    )
    self.num_envs = num_envs
    self.single_observation_space = self._env.single_observation_space
    self.observation_space = self._env.observation_space
    self.single_action_space = gymnasium.spaces.Discrete(
      len(self._action_table)
    )
    self.action_space = gymnasium.vector.utils.batch_space(
      self.single_action_space, num_envs
    )
    self._episode_frames = np.zeros(num_envs, np.int32)

  def reset(
    self, *, seed: int | None = None, options: dict[str, Any] | None = None
  ) -> tuple[np.ndarray, dict[str, Any]]:
    """Starts new games; row i is seeded with `seed` + i."""
    frames, infos = self._env.reset(seed=seed, options=options)
    self._episode_frames = infos['episode_frame_number']
    return frames, infos

  def step_async(self, actions: np.ndarray) -> None:
    """Sends int actions [N] to the emulators and returns at once."""
    self._env.send(self._action_table[actions])

  def step_wait(self) -> tuple[np.ndarray, ...]:
    """Waits for the emulators.

    Returns:
      frames uint8 [N, stack, H, W], rewards float32 [N], terminations bool [N],
      truncations bool [N], and infos with `episode_done` bool [N].
    """
    frames, rewards, terminations, truncations, infos = self._env.recv()
    # A game that goes on counts its frames up; a new one starts over.
    episode_frames = infos['episode_frame_number']
    is_new_game = episode_frames <= self._episode_frames
    infos['episode_done'] = truncations | (terminations & is_new_game)
    self._episode_frames = episode_frames
    return frames, rewards.astype(np.float32), terminations, truncations, infos

  def step(self, actions: np.ndarray) -> tuple[np.ndarray, ...]:
    """Steps all games; see `step_wait`."""
    self.step_async(actions)
    return self.step_wait()

  def close_extras(self, **kwargs: Any) -> None:
    """Ends the emulator threads."""
    self._env.close()
