"""Collects a block: games are played by chance or by the planner.

The emulators of Atari cannot save their state. But equal actions lead to equal
games: a killed collection plays its recorded actions again, which needs no
planning, and goes on where it was.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import tensorflow as tf

from core.errors import UserError
from core.experience.timing import Timer
from core.interrupt import Interrupt, ignored_by_children
from core.suites.task_environments import TaskEnvironments, as_observation
from core.suites.tasks import Tasks, suite_of
from core.types import EnvOutput, Episode
from prl import config as configs
from prl.blocks import BlockSpec, BlockWriter
from prl.config import Config
from prl.labels import RULES, events_of
from prl.planner import Plan


def label_rule(config: Config, task: str) -> str:
  """Returns by which rule a game's deaths are told (D1).

  Raises:
    UserError: the flag names no rule, or lives where there are none.
  """
  has_lives = suite_of(task).counts_lives(task)
  default = 'lives' if has_lives else 'rewards'
  given = configs.by_game('label_rules', config.label_rules)
  rule = given.get(task, default)
  if rule not in RULES:
    raise UserError(
      f'--label_rules: {rule} is no rule; there are {", ".join(RULES)}'
    )
  if rule == 'lives' and not has_lives:
    raise UserError(
      f'--label_rules: {task} counts no lives; with {task}=rewards, its '
      'default, a negative reward is a death'
    )
  return rule


def block_spec(config: Config, tasks: Tasks, iteration: int) -> BlockSpec:
  """Returns what an iteration collects.

  Raises:
    UserError: games cannot be dealt evenly, or a label rule does not fit.
  """
  num_tasks = len(tasks.names)
  per_task, rest = divmod(
    config.num_environments, num_tasks * config.num_groups
  )
  if rest or not per_task:
    raise UserError(
      f'--num_environments={config.num_environments} cannot be dealt evenly to '
      f'{num_tasks} tasks in --num_groups={config.num_groups}'
    )
  spec = tasks.env_spec
  rows_per_task = per_task * config.num_groups
  one_group = np.repeat(np.arange(num_tasks), per_task)
  cases = config.random_cases if iteration == 1 else config.cases
  is_stack = spec.channels_first
  return BlockSpec(
    iteration=iteration,
    task_names=list(tasks.names),
    row_tasks=np.tile(one_group, config.num_groups).tolist(),
    rules=[label_rule(config, name) for name in tasks.names],
    protocol={
      **tasks.describe_protocol(),
      'fire_games': config.fire_games,
    },
    seed=config.seed,
    frame_shape=list(spec.frame_shape[1:] if is_stack else spec.frame_shape),
    num_stacked=spec.frame_shape[0] if is_stack else 1,
    horizon=config.horizon,
    num_cases=-(-cases // rows_per_task),
    num_held_out=-(-config.held_out_cases // rows_per_task),
  )


def fire_action(config: Config, tasks: Tasks, task: str) -> int | None:
  """Returns the action that is pressed after a game's deaths; None: none is.

  Raises:
    UserError: the flag names a game that has no such action.
  """
  if task not in config.fire_games.replace(' ', '').split(','):
    return None
  table = tasks.controls(task).tolist()
  if [1, 0, 0] not in table:
    raise UserError(f'--fire_games: no action of {task} presses fire alone')
  return table.index([1, 0, 0])


class PressingFire(gymnasium.vector.VectorEnv):
  """Presses fire at the start and after every death (appendix A).

  Else the model learns that it is safest not to begin a new life.

  Attributes:
    sent: int32 [N], the actions of the step under way.
  """

  def __init__(
    self, env: gymnasium.vector.VectorEnv, needs_fire: np.ndarray, fire: int
  ):
    """Wraps environments.

    Args:
      env: N rows; lost lives must show as terminations.
      needs_fire: bool [N], rows in which fire is pressed.
      fire: the action that presses it.
    """
    self._env, self._needs_fire, self._fire = env, needs_fire, fire
    self.num_envs = env.num_envs

  def reset(
    self, *, seed: int | None = None, options: dict[str, Any] | None = None
  ) -> tuple[Any, dict[str, Any]]:
    """Starts new games, in which fire is due."""
    self._is_due = self._needs_fire
    return self._env.reset(seed=seed, options=options)

  def step_async(self, actions: np.ndarray) -> None:
    """Sends actions [N], or fire where it is due."""
    self.sent = np.where(self._is_due, self._fire, actions).astype(np.int32)
    self._env.step_async(self.sent)

  def step_wait(self) -> tuple[Any, ...]:
    """Waits for all rows; see TaskEnvironments."""
    result = self._env.step_wait()
    _, _, terminated, truncated, infos = result
    ended = terminated | truncated | infos['episode_done']
    self._is_due = self._needs_fire & ended
    return result

  def step(self, actions: np.ndarray) -> tuple[Any, ...]:
    """Steps all rows; see `step_wait`."""
    self.step_async(actions)
    return self.step_wait()

  def close_extras(self, **kwargs: Any) -> None:
    """Closes the environments."""
    self._env.close(**kwargs)


class _Group:
  """Games that step together, while others' are planned."""

  def __init__(self, spec, env, rows, rules, seed, plan):
    self._spec, self.env, self.rows, self._rules = spec, env, rows, rules
    self.task_id = np.array(spec.row_tasks, np.int32)[rows]
    self.plan = plan
    observation, _ = env.reset(seed=seed + rows.start)
    self.frames = as_observation(observation).frame
    num_rows = len(self.task_id)
    self.done = np.ones(num_rows, bool)
    self._returns = np.zeros(num_rows)
    self._lengths = np.zeros(num_rows, np.int64)
    self._pending = None

  def send(self, t, actions):
    """Begins step t."""
    self._pending = t
    self.env.step_async(actions)

  def receive(self, writer):
    """Ends the step that was begun, if one was; returns finished episodes."""
    if self._pending is None:
      return []
    t, self._pending = self._pending, None
    observation, rewards, terminated, _, infos = self.env.step_wait()
    self.frames = as_observation(observation).frame
    self.done = infos['episode_done']
    events = [events_of(r, rewards, terminated) for r in ('lives', 'rewards')]
    deaths, points = (
      np.where(self._rules[self.task_id] == 'lives', *pair)
      for pair in zip(*events, strict=True)
    )
    writer.add_step(t, self.rows, self.env.sent, deaths, points, self.done)
    return self._finish(t, rewards)

  def _finish(self, t, rewards):
    self._returns += rewards
    self._lengths += 1
    episodes = [
      Episode(
        env_frames=t + 1,
        task_name=self._spec.task_names[self.task_id[row]],
        episode_return=float(self._returns[row]),
        episode_length=int(self._lengths[row]),
      )
      for row in np.flatnonzero(self.done)
    ]
    self._returns[self.done] = 0.0
    self._lengths[self.done] = 0
    return episodes


class Collection:
  """One block under way.

  Attributes:
    spec: what is collected.
    num_steps: steps of all rows so far, those that were played again included.
    is_whole: whether all are on the disk.
  """

  def __init__(
    self,
    config: Config,
    agent: Any,
    tasks: Tasks,
    spec: BlockSpec,
    folder: str,
    fingerprint: int | None,
    timer: Timer,
  ):
    """Opens the block and starts the games.

    Args:
      config: a Config.
      agent: that plans, from iteration 2 on.
      tasks: of the run.
      spec: from `block_spec`.
      folder: of the block.
      fingerprint: of the weights that plan: a block that was begun by others is
        refused. None: nothing new may be planned, what was recorded is played
        again.
      timer: where emulators, planning and writing are counted.

    Raises:
      UserError: the folder holds other data.
    """
    self._config, self._agent, self._timer = config, agent, timer
    self.spec, self._folder = spec, folder
    self._fingerprint = fingerprint or 0
    self._writer = BlockWriter(folder, spec, config.collection_memory_mb * 1e6)
    self.num_steps = 0
    state = self._writer.state
    is_other = state and fingerprint not in (None, state['weights'])
    is_part = fingerprint is None and self._writer.num_steps < spec.num_steps
    if is_other or (is_part and spec.iteration > 1):
      self._writer.close()
      raise UserError(
        f'{folder} was begun by a planner with other weights: give another '
        '--data_dir or --logdir'
      )
    self._recorded = self._writer.actions
    self._num_kept = self._writer.num_steps
    with contextlib.ExitStack() as built:
      built.callback(self._writer.close)
      self._groups = []
      built.callback(self._close_games)
      with ignored_by_children():
        for i in range(config.num_groups):
          self._groups.append(self._make_group(tasks, i))
      built.pop_all()

  def _make_group(self, tasks, index):
    num_rows = self.spec.num_rows // self._config.num_groups
    rows = slice(index * num_rows, (index + 1) * num_rows)
    task_id = np.array(self.spec.row_tasks, np.int32)[rows]
    env = TaskEnvironments(tasks, task_id, is_training=True)
    actions = [fire_action(self._config, tasks, name) for name in tasks.names]
    fires = [-1 if action is None else action for action in actions]
    needs_fire = np.array([fire >= 0 for fire in fires])[task_id]
    seeds = np.random.SeedSequence([self.spec.seed, self.spec.iteration])
    return _Group(
      self.spec,
      PressingFire(env, needs_fire, max(fires)),
      rows,
      np.array(self.spec.rules),
      int(seeds.generate_state(1)[0] % 2**30),
      self._agent.initial_state(num_rows),
    )

  @property
  def is_whole(self) -> bool:
    """Whether all steps are on the disk."""
    writer = self._writer
    return min(writer.num_steps, writer.num_frames) == self.spec.num_steps

  def steps(self, interrupt: Interrupt) -> Iterator[list[Episode]]:
    """Plays what is missing.

    Args:
      interrupt: ends it early, with a commit.

    Yields:
      After each step of all rows, the episodes whose end has been seen; their
      lengths, and when they ended, are steps.

    Raises:
      UserError: what is played again differs from what was recorded, or the
        disk is full.
    """
    writer = self._writer
    for t in range(self.spec.num_steps):
      episodes = []
      for group in self._groups:
        episodes += self._receive(group)
        writer.add_frames(t, group.rows, self._newest(group.frames))
        group.send(t, self._choose(group, t))
      self.num_steps = t + 1
      is_new = self.num_steps > min(self._num_kept, writer.num_frames)
      if is_new and (writer.is_due(t + 1) or interrupt.requested):
        for group in self._groups:
          episodes += self._receive(group)
        with self._timer.phase('writing'):
          writer.commit(t + 1, self._state())
      yield episodes
      if interrupt.requested:
        return

  def _receive(self, group):
    with self._timer.phase('environment'):
      return group.receive(self._writer)

  def _choose(self, group, t):
    """Returns the actions of step t, played again, random or planned."""
    if t < self._num_kept:
      if t == self._num_kept - 1:
        self._check_replayed(group, t)
      return self._recorded[t, group.rows]
    seeds = np.random.SeedSequence(
      [self.spec.seed, self.spec.iteration, t, group.rows.start]
    )
    if self.spec.iteration == 1:
      num_actions = self._agent.env_spec.num_actions
      rng = np.random.default_rng(seeds)
      return rng.integers(num_actions, size=len(group.task_id), dtype=np.int32)
    with self._timer.phase('inference'):
      env_output = EnvOutput(
        reward=(),
        info=(),
        done=tf.constant(group.done),
        observation=as_observation(tf.constant(group.frames)),
      )
      output, group.plan = self._agent.act(
        tf.constant(group.task_id),
        (),
        env_output,
        group.plan,
        tf.constant(seeds.generate_state(2).astype(np.int32)),
      )
      return output.action.numpy()

  def _check_replayed(self, group, t):
    """Compares the last frames that were played again; restores the plan."""
    if self._writer.num_frames > t:
      recorded = self._writer.read_frames(t)[group.rows]
      if not np.array_equal(recorded, self._newest(group.frames)):
        raise UserError(
          f'{self._folder}: the same actions led to other frames than those '
          'recorded, so the games cannot be gone on with (another version of '
          'the emulator?); move the folder away'
        )
    sequences = np.array(self._writer.state['sequences'], np.int32)
    like = self._agent.initial_state(len(group.task_id))
    group.plan = Plan(tf.constant(sequences[group.rows]), like.probabilities)

  def _newest(self, frames):
    return frames[:, -1] if self.spec.num_stacked > 1 else frames

  def _state(self):
    sequences = np.concatenate([g.plan.sequence for g in self._groups])
    return dict(weights=self._fingerprint, sequences=sequences.tolist())

  def close(self) -> None:
    """Closes files and games."""
    self._writer.close()
    self._close_games()

  def _close_games(self):
    for group in self._groups:
      group.env.close()
