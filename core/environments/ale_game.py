"""One Atari game at a time: whole games, start states and pictures.

ale-py's vector environment cannot restore a state or show the screen; this
environment can, and gives the same frames (a test compares them).
"""

import collections
import math
from typing import Any

import gymnasium
import numpy as np

from core.environments import ale_state
from core.environments.atari import AtariProtocol, action_table
from core.errors import UserError

_SCREEN_HEIGHT, _SCREEN_WIDTH = 210, 160


class AleGame(gymnasium.Env):
  """Whole games of one Atari game, with raw rewards.

  A game starts with 1 to `protocol.noop_max` no-ops, uniformly drawn, and a
  stack of three black frames below the first one, as in ale-py's vector
  environment. Started from a state it has no no-ops, and all frames of the
  stack show the screen that the emulator draws next; the frames that led to the
  state count towards the frame cap (van Hasselt et al. 2016, arXiv:1509.06461:
  30 minutes including the trajectory before the starting point).

  Observations are uint8 [stack, H, W], newest last; actions as in
  `core.environments.atari.action_table`.
  """

  metadata = {'render_modes': ['rgb_array']}
  render_mode = 'rgb_array'

  def __init__(self, game: str, protocol: AtariProtocol):
    """Starts the emulator.

    Args:
      game: ALE id such as 'pong'.
      protocol: how to play; `life_loss_is_done` must be off.

    Raises:
      ValueError: for a protocol that is not one of whole games in grey.
    """
    if protocol.life_loss_is_done or protocol.use_fire_reset:
      raise ValueError('AleGame plays whole games, without a FIRE reset')
    if not protocol.grayscale:
      raise ValueError('AleGame gives grey frames only')
    self.game = game
    fps = 60.0 / protocol.num_action_repeats  # In real time.
    self.metadata = {**self.metadata, 'render_fps': fps}
    self._protocol = protocol
    self._action_table = action_table(game, protocol.full_action_space)
    self._resize_rows = _area_taps(_SCREEN_HEIGHT, protocol.frame_height)
    self._resize_columns = _area_taps(_SCREEN_WIDTH, protocol.frame_width)
    self._frames = collections.deque(maxlen=protocol.num_stacked_frames)
    self.action_space = gymnasium.spaces.Discrete(len(self._action_table))
    self.observation_space = gymnasium.spaces.Box(
      0,
      255,
      (
        protocol.num_stacked_frames,
        protocol.frame_height,
        protocol.frame_width,
      ),
      np.uint8,
    )
    self._load(0)

  def reset(
    self, *, seed: int | None = None, options: dict[str, Any] | None = None
  ) -> tuple[np.ndarray, dict[str, int]]:
    """Starts a game.

    Args:
      seed: of the no-ops and the emulator; None goes on.
      options: `start_state`, bytes of `save_state`, to start from it; `name`,
        what to call it in an error.

    Returns:
      uint8 [stack, H, W], and infos as in ale-py's vector environment.

    Raises:
      UserError: if the start state is damaged, of another game, or of a game
        that is over.
    """
    super().reset(seed=seed)
    if seed is not None:
      self._load(seed)
    options = options or {}
    self._num_steps = 0
    if options.get('start_state') is not None:
      self._restore(options['start_state'], options.get('name', 'start state'))
    else:
      self._start()
    return self._stack(), self._info()

  def step(
    self, action: int
  ) -> tuple[np.ndarray, float, bool, bool, dict[str, int]]:
    """Repeats the action for `num_action_repeats` frames of the emulator."""
    action = self._actions[self._action_table[action]]
    reward, game_over = 0, False
    num_left = self._protocol.num_action_repeats
    while num_left > 0 and not game_over:
      reward += self._ale.act(action)
      game_over = self._ale.game_over()
      if num_left <= 2 and not game_over:  # As ale-py, which breaks off here.
        self._last_screens[num_left - 1] = self._ale.getScreenGrayscale()
      num_left -= 1
    self._push_frame()
    self._num_steps += 1
    num_frames = self._num_steps * self._protocol.num_action_repeats
    is_truncated = (
      self._frames_before + num_frames >= self._protocol.max_frames_per_episode
    )
    return (self._stack(), float(reward), game_over, is_truncated, self._info())

  def render(self) -> np.ndarray:
    """Returns the emulator's screen, uint8 [210, 160, 3]."""
    return self._ale.getScreenRGB()

  def save_state(self) -> bytes:
    """Returns the emulator's state, for `reset`'s `start_state`."""
    return ale_state.to_bytes(self.game, self._ale)

  def _load(self, seed):
    self._ale = ale_state.make_emulator(
      self.game, seed, self._protocol.repeat_action_probability
    )
    if self._protocol.full_action_space:
      self._actions = self._ale.getLegalActionSet()
    else:
      self._actions = self._ale.getMinimalActionSet()

  def _start(self):
    self._ale.reset_game()
    num_noops = 0
    if self._protocol.noop_max > 0:
      num_noops = self.np_random.integers(1, self._protocol.noop_max + 1)
    for _ in range(num_noops):
      self._ale.act(0)
      if self._ale.game_over():
        self._ale.reset_game()
    self._frames_before = 0  # The cap does not count no-ops, as in ale-py.
    self._show_first_frame()
    for _ in range(self._protocol.num_stacked_frames - 1):
      self._frames.appendleft(np.zeros_like(self._frames[-1]))

  def _restore(self, state, name):
    ale_state.check_states(self.game, {name: state})
    ale_state.restore(self._ale, state)
    self._frames_before = self._ale.getEpisodeFrameNumber()
    max_frames = self._protocol.max_frames_per_episode
    if self._ale.game_over() or not 0 <= self._frames_before < max_frames:
      raise UserError(
        f'{name}: the game is over there (frame {self._frames_before})'
      )
    # A state holds no screen: draw one with a frame that is then taken back.
    self._ale.act(0)
    self._show_first_frame()
    ale_state.restore(self._ale, state)
    for _ in range(self._protocol.num_stacked_frames - 1):
      self._frames.append(self._frames[-1])

  def _show_first_frame(self):
    screen = self._ale.getScreenGrayscale()
    self._last_screens = [screen, np.zeros_like(screen)]
    self._frames.clear()
    self._push_frame()

  def _push_frame(self):
    # A game over leaves older screens here, as in ale-py; nobody acts on it.
    screen = self._last_screens[0]
    if self._protocol.max_pool:
      screen = np.maximum(screen, self._last_screens[1])
      self._last_screens[0] = screen
    self._frames.append(
      _resize_area(screen, self._resize_rows, self._resize_columns)
    )

  def _stack(self):
    return np.stack(self._frames)

  def _info(self):
    return {
      'lives': self._ale.lives(),
      'frame_number': self._ale.getFrameNumber(),
      'episode_frame_number': self._ale.getEpisodeFrameNumber(),
    }


def _area_taps(num_source, num_target):
  """Returns which source pixels each target pixel averages, and their weights.

  Returns:
    int [K, num_target] and float32 [K, num_target]; unused taps weigh 0.
  """
  scale = num_source / num_target
  taps = []
  for target in range(num_target):
    start, stop = target * scale, min((target + 1) * scale, num_source)
    covered = []
    for source in range(math.floor(start), math.ceil(stop)):
      overlap = min(source + 1, stop) - max(source, start)
      if overlap > 1e-3:  # OpenCV's threshold against rounding slivers.
        covered.append((source, overlap / (stop - start)))
    taps.append(covered)
  num_taps = max(map(len, taps))
  for covered in taps:
    covered.extend([(0, 0.0)] * (num_taps - len(covered)))
  index, weight = np.array(taps).transpose(2, 1, 0)
  return index.astype(np.int64), weight.astype(np.float32)


def _resize_area(screen, row_taps, column_taps):
  """Resizes as OpenCV's INTER_AREA does, to the bit.

  float32 sums in OpenCV's order (columns first) and rounding half to even: the
  same pixels as ale-py's, without the dependency on OpenCV.
  """
  screen = screen.astype(np.float32)
  index, weight = column_taps
  wide = sum(screen[:, i] * w for i, w in zip(index, weight, strict=True))
  index, weight = row_taps
  small = sum(
    wide[i] * w[:, np.newaxis] for i, w in zip(index, weight, strict=True)
  )
  return np.rint(small).astype(np.uint8)
