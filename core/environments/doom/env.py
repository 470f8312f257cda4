"""A task of Doom as an environment, in the process that plays it."""

import dataclasses
import sys
from typing import Any

import gymnasium
import numpy as np

from core.environments.doom import engine, pictures
from core.environments.doom.engine import Engine, EngineDied
from core.environments.doom.frames import Reducer
from core.environments.doom.scene import Scene, text_map
from core.environments.doom.tasks import PLAYABLE
from core.errors import UserError

MAX_INSTRUCTION_BYTES = 64

# Buttons: forward, backward, left, right, degrees a tic to the right and up,
# fire. A pixel a frame of DeepMind Lab is 0.11 degrees here.
ACTION_SETS = {
  # Espeholt et al. 2018 (arXiv:1802.01561), appendix D.1: 20 pixels.
  'impala': (
    (1, 0, 0, 0, 0, 0, 0),  # Forward.
    (0, 1, 0, 0, 0, 0, 0),  # Backward.
    (0, 0, 1, 0, 0, 0, 0),  # Strafe left.
    (0, 0, 0, 1, 0, 0, 0),  # Strafe right.
    (0, 0, 0, 0, -2.2, 0, 0),  # Look left.
    (0, 0, 0, 0, 2.2, 0, 0),  # Look right.
    (1, 0, 0, 0, -2.2, 0, 0),  # Look left and forward.
    (1, 0, 0, 0, 2.2, 0, 0),  # Look right and forward.
    (0, 0, 0, 0, 0, 0, 1),  # Fire.
  ),
  # Hessel et al. 2018 (arXiv:1809.04474), table 2: 10 and 60 pixels.
  'popart': (
    (1, 0, 0, 0, 0, 0, 0),  # Forward.
    (0, 1, 0, 0, 0, 0, 0),  # Backward.
    (0, 0, 1, 0, 0, 0, 0),  # Strafe left.
    (0, 0, 0, 1, 0, 0, 0),  # Strafe right.
    (0, 0, 0, 0, -1.1, 0, 0),  # Look left a little.
    (0, 0, 0, 0, 1.1, 0, 0),  # Look right a little.
    (0, 0, 0, 0, -6.6, 0, 0),  # Look left.
    (0, 0, 0, 0, 6.6, 0, 0),  # Look right.
    (0, 0, 0, 0, 0, -1.1, 0),  # Look down.
    (0, 0, 0, 0, 0, 1.1, 0),  # Look up.
    (1, 0, 0, 0, -1.1, 0, 0),  # Look left a little and forward.
    (1, 0, 0, 0, 1.1, 0, 0),  # Look right a little and forward.
    (1, 0, 0, 0, -6.6, 0, 0),  # Look left and forward.
    (1, 0, 0, 0, 6.6, 0, 0),  # Look right and forward.
    (0, 0, 0, 0, 0, 0, 1),  # Fire.
  ),
}


@dataclasses.dataclass(frozen=True)
class DoomProtocol:
  """How the tasks are played.

  Attributes:
    width: pixels, at most 160.
    height: pixels, at most 120.
    num_action_repeats: tics (35 a second) per agent step; rewards add up.
    action_set: key of `ACTION_SETS`.
  """

  width: int = 96
  height: int = 72
  num_action_repeats: int = 4
  action_set: str = 'impala'


class DoomEnv(gymnasium.Env):
  """One task.

  Observations are bytes [height * width * 3 + 64]: a frame, uint8 [height,
  width, 3], and an instruction in UTF-8, padded with 0.

  Attributes:
    scene: where the player is, for those that may know.
    seen: what the engine said last, likewise.
  """

  metadata = {'render_modes': ['rgb_array']}

  def __init__(
    self,
    task: str,
    protocol: DoomProtocol,
    textures: pictures.Textures,
    num_tics: int = 0,
    tells_players: bool = False,
  ):
    """Starts no engine yet; `reset` does.

    Args:
      task: key of `PLAYABLE`.
      protocol: how to play.
      textures: of `pictures.textures`.
      num_tics: of an episode; 0: the task's.
      tells_players: whether `seen` has other players.
    """
    self._name = task
    self._task = PLAYABLE[task]
    self._rules = self._task.make_rules()
    self._protocol = protocol
    self._num_tics = num_tics or self._task.num_tics
    self._actions = ACTION_SETS[protocol.action_set]
    self._engine = Engine(textures, self._task.num_bots, tells_players)
    self._reduce = Reducer(
      engine.HEIGHT, engine.WIDTH, protocol.height, protocol.width
    )
    self._rng = np.random.default_rng()
    self._num_deaths = 0
    self.scene: Scene | None = None
    self.seen: engine.Seen | None = None
    size = protocol.width * protocol.height * 3 + MAX_INSTRUCTION_BYTES
    self.observation_space = gymnasium.spaces.Box(0, 255, (size,), np.uint8)
    self.action_space = gymnasium.spaces.Discrete(len(self._actions))

  def reset(
    self, *, seed: int | None = None, options: dict[str, Any] | None = None
  ) -> tuple[np.ndarray, dict[str, Any]]:
    """Begins an episode; of equal seeds all that follows is equal.

    Raises:
      UserError: something is missing, or the engine died twice.
    """
    del options
    if seed is not None:
      self._rng = np.random.default_rng(seed)
      if self._task.num_bots:  # They go on drawing in a running engine.
        self._engine.close()
    self._begun = self._rng.bit_generator.state
    self._taken: list[int] = []
    self._rules.begin(self._rng)
    self._next_scene()
    return self._observe(), {}

  def step(
    self, action: int
  ) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
    """Repeats an action; the reward is the sum over its tics.

    An engine that died is started again, once: the episode is truncated.
    """
    self._taken.append(int(action))
    repeats = self._protocol.num_action_repeats
    try:
      seen = self._engine.step(self._actions[action], repeats)
    except EngineDied as error:
      self._excuse(error)
      return self._observe(), 0.0, False, True, {}
    reward, is_over = self._rules.judge(self.scene, self.seen, seen)
    self.seen = seen
    is_last = len(self._taken) * repeats >= self._num_tics
    if is_over and not is_last:
      self._next_scene()
    return self._observe(), reward, is_last, False, {}

  def get_state(self) -> dict[str, Any] | None:
    """Returns how the episode began and what was done since.

    None in laser-tag: the other players' chance cannot be told.
    """
    if self._task.num_bots:
      return None
    return {'begun': self._begun, 'actions': list(self._taken)}

  def set_state(self, state: dict[str, Any]) -> None:
    """Plays to where `get_state` was."""
    self._rng.bit_generator.state = state['begun']
    self.reset()
    for action in state['actions']:
      self.step(action)

  def render(self) -> np.ndarray:
    """Returns what the engine drew, uint8 [120, 160, 3]."""
    return self.seen.screen

  def close(self) -> None:
    """Ends the engine."""
    self._engine.close()

  def _next_scene(self):
    self.scene = self._rules.scene(self._rng)
    text = text_map(self.scene)
    # Drawn whether it is needed or not, so that the draws to come are equal.
    seed = int(self._rng.integers(2**31))
    try:
      if not self._engine.is_running():
        self._engine.start(text, seed)
      self.seen = self._engine.load(text)
    except EngineDied as error:
      self._excuse(error)
      self._engine.start(text, seed)
      self.seen = self._engine.load(text)

  def _excuse(self, error):
    """Says that the engine died; raises if it did so before."""
    self._engine.close()
    self._num_deaths += 1
    if self._num_deaths > 1:
      raise UserError(
        f'doom:{self._name}: the engine died twice; the second time: {error}'
      ) from error
    print(
      f'doom:{self._name}: the engine died and is started again: {error}',
      file=sys.stderr,
      flush=True,
    )

  def _observe(self):
    frame = self._reduce(self.seen.screen)
    text = self.scene.instruction.encode()
    words = np.frombuffer(text.ljust(MAX_INSTRUCTION_BYTES, b'\0'), np.uint8)
    return np.concatenate([frame.reshape(-1), words])
