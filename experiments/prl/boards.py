"""Three games on boards of 10 x 10, with one set of actions.

catch: balls fall one after the other. breakout: a ball bounces between paddle
and bricks. shooter: an alien moves to and fro and drops bombs. In each a point
is +1, a death -1 and the end of the game, as are 300 steps. A frame shows the
board now and one step before, so that it tells where things go.

    python -m prl.experiment --flagfile=experiments/prl/boards.flags \\
      --logdir=runs/prl_boards
"""

import functools
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

SIZE = 10
PIXELS = 2  # Per cell, each way: a frame is [20, 20, 2].
MAX_STEPS = 300
CONTROLS = [[fire, move, 0] for fire in (0, 1) for move in (-1, 0, 1)]
PADDLE, BALL, BRICK, ALIEN, SHOT = 200, 255, 100, 150, 50  # Grey levels.
BRICK_ROWS = slice(1, 4)
ALIEN_ROW = 1
NUM_BOMBS, BOMB_PROBABILITY = 2, 0.2


class Board(gymnasium.Env):
  """What the three games share: actions, frames and ends."""

  metadata = {'controls': CONTROLS}
  action_space = gymnasium.spaces.Discrete(len(CONTROLS))
  observation_space = gymnasium.spaces.Box(
    0, 255, (PIXELS * SIZE, PIXELS * SIZE, 2), np.uint8
  )

  def reset(
    self, *, seed: int | None = None, options: dict[str, Any] | None = None
  ) -> tuple[np.ndarray, dict[str, Any]]:
    """Starts a game."""
    super().reset(seed=seed)
    self._num_steps = 0
    self.start()
    self._before = self.draw()
    return self._frame(), {}

  def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
    """Plays one of CONTROLS."""
    fire, move, _ = CONTROLS[action]
    self._num_steps += 1
    reward = self.play(bool(fire), move)
    is_dead = reward < 0
    is_late = not is_dead and self._num_steps == MAX_STEPS
    return self._frame(), reward, is_dead, is_late, {}

  def _frame(self):
    board = self.draw()
    both = np.stack([board, self._before], axis=-1)
    self._before = board
    return both.repeat(PIXELS, axis=0).repeat(PIXELS, axis=1)


class Catch(Board):
  """A paddle of two cells, and balls that fall for nine steps."""

  def start(self) -> None:
    """Puts the paddle in the middle and drops a ball."""
    self.paddle = SIZE // 2 - 1  # Its left cell.
    self._drop()

  def play(self, fire: bool, move: int) -> float:
    """Moves the paddle, then the ball."""
    del fire
    self.paddle = int(np.clip(self.paddle + move, 0, SIZE - 2))
    self.ball[0] += 1
    if self.ball[0] < SIZE - 1:
      return 0.0
    if not self.paddle <= self.ball[1] <= self.paddle + 1:
      return -1.0
    self._drop()
    return 1.0

  def draw(self) -> np.ndarray:
    """Returns the board, uint8 [10, 10]."""
    board = np.zeros([SIZE, SIZE], np.uint8)
    board[SIZE - 1, self.paddle : self.paddle + 2] = PADDLE
    board[tuple(self.ball)] = BALL
    return board

  def _drop(self):
    self.ball = [0, int(self.np_random.integers(SIZE))]


class Breakout(Board):
  """A paddle of two cells, a ball that moves in diagonals, rows of bricks.

  The left cell of the paddle sends the ball to the left, the right one to the
  right. Bricks come back when none is left.
  """

  def start(self) -> None:
    """Lets the ball fall from below the bricks."""
    self.paddle = SIZE // 2 - 1
    self.ball = [BRICK_ROWS.stop, int(self.np_random.integers(SIZE))]
    self.way = [1, int(self.np_random.choice((-1, 1)))]
    self._build()

  def play(self, fire: bool, move: int) -> float:
    """Moves the paddle, then the ball."""
    del fire
    self.paddle = int(np.clip(self.paddle + move, 0, SIZE - 2))
    if not 0 <= self.ball[1] + self.way[1] < SIZE:
      self.way[1] *= -1
    if self.ball[0] + self.way[0] < 0:
      self.way[0] = 1
    row, column = (x + dx for x, dx in zip(self.ball, self.way, strict=True))
    reward = 0.0
    if self.bricks[row, column]:
      self.bricks[row, column] = False
      reward, self.way[0] = 1.0, -self.way[0]
      row = self.ball[0]
      if not self.bricks.any():
        self._build()
    elif row == SIZE - 1:
      if not self.paddle <= column <= self.paddle + 1:
        reward = -1.0
      else:
        self.way = [-1, -1 if column == self.paddle else 1]
        row = self.ball[0]
    self.ball = [row, column]
    return reward

  def draw(self) -> np.ndarray:
    """Returns the board, uint8 [10, 10]."""
    board = np.where(self.bricks, BRICK, 0).astype(np.uint8)
    board[SIZE - 1, self.paddle : self.paddle + 2] = PADDLE
    board[tuple(self.ball)] = BALL
    return board

  def _build(self):
    self.bricks = np.zeros([SIZE, SIZE], bool)
    self.bricks[BRICK_ROWS] = True


class Shooter(Board):
  """One shot at a time may rise; one alien at a time drops up to two bombs."""

  def start(self) -> None:
    """Puts the player in the middle, and an alien anywhere."""
    self.player = SIZE // 2
    self.shot: list[int] | None = None
    self.bombs: list[list[int]] = []
    self._enter()

  def play(self, fire: bool, move: int) -> float:
    """Moves the player, the alien, the shot and the bombs."""
    self.player = int(np.clip(self.player + move, 0, SIZE - 1))
    if not 0 <= self.alien + self.way < SIZE:
      self.way *= -1
    self.alien += self.way
    reward = self._shoot(fire)
    self.bombs = [[row + 1, column] for row, column in self.bombs]
    if [SIZE - 1, self.player] in self.bombs:
      reward = -1.0  # Outweighs a point of the same step.
    self.bombs = [bomb for bomb in self.bombs if bomb[0] < SIZE - 1]
    is_willing = self.np_random.random() < BOMB_PROBABILITY
    if is_willing and len(self.bombs) < NUM_BOMBS:
      self.bombs.append([ALIEN_ROW + 1, self.alien])
    return reward

  def draw(self) -> np.ndarray:
    """Returns the board, uint8 [10, 10]."""
    board = np.zeros([SIZE, SIZE], np.uint8)
    board[ALIEN_ROW, self.alien] = ALIEN
    board[SIZE - 1, self.player] = PADDLE
    if self.shot:
      board[tuple(self.shot)] = SHOT
    for bomb in self.bombs:
      board[tuple(bomb)] = BALL
    return board

  def _shoot(self, fire):
    """Moves the shot, or fires one; returns 1 where it hits."""
    if self.shot is None:
      if fire:
        self.shot = [SIZE - 2, self.player]
      return 0.0
    self.shot[0] -= 1
    if self.shot[0] > ALIEN_ROW:
      return 0.0
    is_hit = self.shot[1] == self.alien
    self.shot = None
    if is_hit:
      self._enter()
    return float(is_hit)

  def _enter(self):
    self.alien = int(self.np_random.integers(SIZE))
    self.way = int(self.np_random.choice((-1, 1)))


def _make_vector_env(game, num_envs: int, is_training: bool) -> VectorEnv:
  """Builds N games, the same in training and evaluation."""
  del is_training
  return SyncVectorEnv(
    [game] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP
  )


catch = functools.partial(_make_vector_env, Catch)
breakout = functools.partial(_make_vector_env, Breakout)
shooter = functools.partial(_make_vector_env, Shooter)
