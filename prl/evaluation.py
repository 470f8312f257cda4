"""Held-out cases, and how games are played in tests."""

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import tensorflow as tf
from gymnasium.vector import VectorEnv

from core.files import atomic_file
from core.suites.tasks import Tasks
from prl.blocks import Block
from prl.collection import PressingFire, fire_action
from prl.config import Config
from prl.labels import auc

_MAX_CASES = 4000  # Of a game, that are measured: more change no digit.
_BATCH = 256
_SPREAD_CASES, _SPREAD_CANDIDATES = 200, 25
OUTPUTS = ('death', 'point')
HELD_OUT = 'held_out.csv'


def measure_iteration(
  config: Config,
  agent: Any,
  blocks: Sequence[Block],
  returns: Mapping[str, Sequence[float]],
) -> dict[str, dict[str, float]]:
  """Measures a trained iteration; writes its rows of held_out.csv.

  Args:
    config: a Config.
    agent: after the iteration's updates.
    blocks: all so far.
    returns: by task, number, sum and sum of squares of the returns that the
      newest block was collected with, by the weights of the iteration before.

  Returns:
    By task name, the columns of tasks.csv.
  """
  newest = blocks[-1].spec
  measured, lines = {}, []
  for task, name in enumerate(newest.task_names):
    number, total, squares = returns[name]
    mean = total / number if number else math.nan
    error = math.nan
    if number > 1:
      variance = max(0.0, (squares - number * mean**2) / (number - 1))
      error = math.sqrt(variance / number)
    curves = held_out_curves(agent, blocks, task)
    lines += _rows_of(newest.iteration, name, curves)
    spread = candidate_spread(agent, blocks, task, config.seed)
    measured[name] = dict(
      iteration=newest.iteration,
      games=number,
      episode_return=mean,
      episode_return_error=error,
      deaths=blocks[-1].counts(task)['deaths'],
      points=blocks[-1].counts(task)['points'],
      held_out_loss=float(curves['loss'].sum()),
      frequency_loss=float(curves['frequency_loss'].sum()),
      death_auc=float(curves['auc'][-1, 0]),
      point_auc=float(curves['auc'][-1, 1]),
      death_spread=float(spread[0]),
      point_spread=float(spread[1]),
    )
  if newest.num_held_out:
    _write_held_out(config.logdir, newest.iteration, lines)
  return measured


def _write_held_out(logdir, iteration, lines):
  """Adds an iteration's rows to held_out.csv, whole or not at all."""
  path = os.path.join(logdir, HELD_OUT)
  kept = []
  if iteration > 1 and os.path.exists(path):
    with open(path, newline='', encoding='utf-8') as file:
      rows = csv.DictReader(file)
      # A run that was killed here measures again.
      kept = [row for row in rows if int(row['iteration']) < iteration]
  text = io.StringIO()
  table = csv.DictWriter(text, list(lines[0]), lineterminator='\n')
  table.writeheader()
  table.writerows([*kept, *lines])
  with atomic_file(path) as file:
    file.write(text.getvalue().encode())


def held_out_curves(
  agent: Any, blocks: Sequence[Block], task: int
) -> dict[str, np.ndarray]:
  """Measures a game's held-out cases, step by step.

  Args:
    agent: with `predict`.
    blocks: all so far.
    task: an index.

  Returns:
    Each float64 [horizon, 2], of death and point: `loss`, mean cross-entropy;
    `frequency_loss`, that of always saying how often it came; `frequency`;
    `auc`. NaN without held-out cases.
  """
  horizon = blocks[-1].spec.horizon
  logits, labels = [], []
  for cases in _held_out_cases(blocks, task, _MAX_CASES, _BATCH):
    logits.append(agent.predict(*map(tf.constant, cases[:2])).numpy())
    labels.append(cases.labels)
  if not logits:
    empty = np.full([horizon, 2], math.nan)
    names = ('loss', 'frequency_loss', 'frequency', 'auc')
    return dict.fromkeys(names, empty)
  logits, labels = np.concatenate(logits), np.concatenate(labels)
  frequency = labels.mean(axis=0)
  areas = [
    [auc(logits[:, j, o], labels[:, j, o]) for o in range(2)]
    for j in range(horizon)
  ]
  return dict(
    loss=cross_entropy(logits, labels).mean(axis=0),
    frequency_loss=_entropy(frequency),
    frequency=frequency,
    auc=np.array(areas),
  )


def candidate_spread(
  agent: Any, blocks: Sequence[Block], task: int, seed: int
) -> np.ndarray:
  """Measures how much the choice of a sequence changes what is predicted.

  A model may predict well on average and yet tell no candidate from another.

  Args:
    agent: with `predict`.
    blocks: all so far.
    task: an index.
    seed: of the sequences.

  Returns:
    float64 [2], of death and point: the largest less the smallest probability
    at the end of the horizon, of 25 random sequences, mean over 200 held-out
    cases. NaN without held-out cases.
  """
  rng = np.random.default_rng(seed)
  spreads = [np.empty([0, 2])]
  num_candidates, num_actions = _SPREAD_CANDIDATES, agent.env_spec.num_actions
  batch = _BATCH // num_candidates
  for cases in _held_out_cases(blocks, task, _SPREAD_CASES, batch):
    frames = np.repeat(cases.frames, num_candidates, axis=0)
    shape = (len(frames), cases.actions.shape[1])
    actions = rng.integers(num_actions, size=shape, dtype=np.int32)
    logits = agent.predict(tf.constant(frames), tf.constant(actions))
    last = tf.sigmoid(logits[:, -1]).numpy().astype(np.float64)
    by_case = last.reshape(-1, num_candidates, 2)
    spreads.append(np.ptp(by_case, axis=1))
  spreads = np.concatenate(spreads)
  return spreads.mean(axis=0) if len(spreads) else np.full([2], math.nan)


def _held_out_cases(blocks, task, max_cases, batch):
  """Yields a game's held-out cases of all blocks, evenly thinned."""
  places = [(b, t, row) for b in blocks for t, row in zip(*b.held_out(task))]  # noqa: B905
  places = places[:: max(1, -(-len(places) // max_cases))]
  for block in blocks:
    own = np.array([place[1:] for place in places if place[0] is block])
    for part in np.array_split(own, max(1, -(-len(own) // batch))):
      if len(part):
        yield block.at(part[:, 0], part[:, 1])


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Returns -[r log y + (1 - r) log(1 - y)] of each element, float64."""
  signed = np.where(labels, logits, -logits).astype(np.float64)
  return np.logaddexp(0.0, -signed)


def _entropy(p):
  with np.errstate(divide='ignore', invalid='ignore'):
    terms = -p * np.log(p) - (1 - p) * np.log(1 - p)
  return np.where((p == 0) | (p == 1), 0.0, terms)


def _rows_of(iteration, task, curves):
  return [
    dict(
      iteration=iteration,
      task=task,
      step=j + 1,
      output=output,
      **{name: float(curve[j, o]) for name, curve in curves.items()},
    )
    for o, output in enumerate(OUTPUTS)
    for j in range(len(curves['loss']))
  ]


class PlayedTasks(Tasks):
  """Tasks as tests play them: fire pressed, the planner's view shown."""

  def __init__(self, names: Sequence[str], config: Config, agent: Any):
    """Takes the names of the tasks and the agent whose plans are shown."""
    super().__init__(names, config)
    self._agent = agent

  def for_test(self) -> 'PlayedTasks':
    """Returns the tasks that test what was trained on these."""
    return PlayedTasks(super().for_test().names, self._config, self._agent)

  def make(
    self, rows: Sequence[str], is_training: bool, num_threads: int
  ) -> list[VectorEnv]:
    """Builds environments that press fire; whole games, as in tests."""
    del is_training  # Lost lives must be seen; games go on after them.
    made, start = [], 0
    for env in super().make(rows, True, num_threads):
      fire = fire_action(self._config, self, rows[start])
      start += env.num_envs
      if fire is not None:
        env = PressingFire(env, np.ones(env.num_envs, bool), fire)
      made.append(env)
    return made

  def make_game(self, task: str) -> gymnasium.Env:
    """Builds one game that presses fire and shows the planner's view."""
    game = super().make_game(task)
    return WatchedGame(game, fire_action(self._config, self, task), self._agent)


class WatchedGame(gymnasium.Wrapper):
  """One game; fire is pressed, and the plan is drawn beside the screen.

  Upper half, red: the probability of a death at each step of the horizon, of
  the sequence that was chosen; lower half, green: that of a point. The lines
  are at 0, one half and 1.
  """

  def __init__(self, game: gymnasium.Env, fire: int | None, agent: Any):
    """Takes the action that presses fire, None if it need not be."""
    super().__init__(game)
    self._fire, self._agent = fire, agent

  def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
    """Starts a game, in which fire is due."""
    observation, info = self.env.reset(**kwargs)
    self._lives, self._is_due = info.get('lives'), True
    return observation, info

  def step(self, action: int) -> tuple[Any, float, bool, bool, dict]:
    """Plays the action, or fire where it is due."""
    if self._is_due and self._fire is not None:
      action = self._fire
    result = self.env.step(action)
    lives = result[-1].get('lives')
    self._is_due, self._lives = lives != self._lives, lives
    return result

  def save_state(self) -> bytes:
    """Returns the emulator's state."""
    return self.env.unwrapped.save_state()

  def render(self) -> np.ndarray:
    """Returns the screen with the plan at its right, uint8 [H, 2 W, 3]."""
    screen = self.env.render()
    plan = self._agent.latest_plan
    probabilities = np.zeros([1, 2])
    if plan is not None:
      probabilities = plan.probabilities[0].numpy()
    return np.concatenate([screen, draw_plan(probabilities, screen)], axis=1)


def draw_plan(probabilities: np.ndarray, screen: np.ndarray) -> np.ndarray:
  """Draws probabilities [horizon, 2] as bars on a picture as large."""
  picture = np.zeros_like(screen)
  height, width, _ = screen.shape
  half, margin = height // 2, 8
  columns = np.linspace(margin, width - margin, len(probabilities) + 1)
  columns = columns.round().astype(int)
  colours = ((220, 60, 60), (60, 200, 90))
  for output, colour in enumerate(colours):
    bottom = half * (output + 1) - margin
    full = half - 2 * margin
    for level in (0.0, 0.5, 1.0):
      line = bottom - round(level * full)
      picture[line, margin : width - margin] = 90
    for j, value in enumerate(probabilities[:, output]):
      top = bottom - round(float(value) * full)
      picture[
        top:bottom, columns[j] : max(columns[j] + 1, columns[j + 1] - 1)
      ] = colour
  return picture
