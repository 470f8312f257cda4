"""Training from a replay: step every environment, learn, in turn.

Knows nothing of a paper: the agent brings `explore`, `observe`, `update`,
`measure`, `describe_tasks`, `variables`, `get_state`, `set_state`,
`begin_episodes`, `env_spec` and, where tasks are seen in frames, `n_step`.
"""

import collections
import contextlib
import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from core import checkpointing
from core.errors import UserError
from core.experience.batches import Batches
from core.experience.player import OfflinePlayer, Player
from core.experience.timing import Timer
from core.files import locked
from core.interrupt import Interrupt
from core.run_config import ReplayConfig
from core.suites.tasks import Tasks
from core.training import records as run_records
from core.training import resume, run_info
from core.training.clock import Clock
from core.training.progress import Progress
from core.training.records import Records
from core.types import FrameTransitions, Transitions

Evaluate = Callable[[], list[dict[str, Any]]]
"""Plays whole episodes of every task; returns the rows of evaluation.csv."""


class ReplayLearner:
  """Makes gradient steps and counts.

  Attributes:
    agent: that learns.
    timer: where its time is counted.
    env_frames: environment frames of all tasks together.
    num_updates: gradient steps made.
  """

  def __init__(self, config: ReplayConfig, agent: Any, timer: Timer):
    """Starts at frame 0."""
    self.agent = agent
    self.timer = timer
    self.env_frames = 0
    self.num_updates = 0
    self._config = config
    self._metrics: dict[str, Any] = {}

  def count_step(self) -> None:
    """Counts a step of every environment."""
    num_tasks = len(self.agent.env_spec.task_names)
    self.env_frames += num_tasks * self._config.num_action_repeats

  def step(self, batches: Transitions | FrameTransitions) -> None:
    """Makes a gradient step with each of the batches [U, B, ...]."""
    with self.timer.phase('learner'):
      self._metrics = self.agent.update(batches, self.num_updates)
    self.num_updates += self._config.updates_per_step

  def row(self) -> dict[str, Any]:
    """Returns the row of updates.csv of the last step.

    Raises:
      UserError: the loss or the gradient is not finite.
    """
    metrics = {name: float(value) for name, value in self._metrics.items()}
    for name in ('total_loss', 'gradient_norm'):
      if not math.isfinite(metrics.get(name, 0.0)):
        raise UserError(
          f'update {self.num_updates} at frame {self.env_frames}: {name} is '
          f'{metrics[name]}; stopped, the last good checkpoint is kept in '
          f'{checkpointing.directory_of(self._config.logdir)}'
        )
    counts = dict(num_updates=self.num_updates, env_frames=self.env_frames)
    return {**counts, **metrics}

  def get_state(self) -> dict[str, int]:
    """Returns the counters."""
    return dict(env_frames=self.env_frames, num_updates=self.num_updates)

  def set_state(self, state: dict[str, Any]) -> None:
    """Goes on from `get_state`; an empty dict changes nothing."""
    self.env_frames = state.get('env_frames', 0)
    self.num_updates = state.get('num_updates', 0)


def train(
  config: ReplayConfig,
  agent: Any,
  tasks: Tasks,
  make_evaluation: Callable[..., contextlib.AbstractContextManager[Evaluate]],
) -> int:
  """Trains until the config's last frame, resuming what is in the logdir.

  Args:
    config: a paper's Config.
    agent: the agent to train.
    tasks: what it is trained on.
    make_evaluation: a function of config, agent and Tasks; what the context
      gives is called for each evaluation.

  Returns:
    The frame counter at the end; less than the total after Ctrl-C.

  Raises:
    UserError: the loss is not finite, the replay does not fit, or the logdir
      holds another config.
  """
  timer = Timer()
  learner = ReplayLearner(config, agent, timer)
  last_frame = config.stop_frames or config.total_environment_frames
  _check_batch(config, len(tasks.names))
  with contextlib.ExitStack() as stack:

    def closing(thing):
      return stack.enter_context(contextlib.closing(thing))

    # What may be refused comes before anything is built or written.
    stack.enter_context(locked(config.logdir))
    run_info.check(config.logdir)
    state = resume.restore(config, agent)
    Records.check(config.logdir, state.get('records'))
    learner.set_state(state)
    if config.offline_replay:
      player = closing(OfflinePlayer(config, agent, state))
    else:
      player = closing(Player(config, agent, tasks, timer, state))
    run_info.write(config.logdir, run_info.describe(config, tasks))
    has_success = agent.env_spec.has_success
    records = closing(Records(config.logdir, state.get('records'), has_success))
    progress = closing(Progress(last_frame, tasks.names))
    evaluate = stack.enter_context(make_evaluation(config, agent, tasks))
    interrupt = stack.enter_context(Interrupt())
    loop = _Loop(config, learner, player, records, evaluate)
    closing(loop.batches)
    loop.run(last_frame, progress, interrupt)
  return learner.env_frames


def _check_batch(config, num_tasks):
  """Refuses batches of more transitions than there are."""
  kept = num_tasks * config.replay_capacity
  if config.batch_size > kept:
    raise UserError(
      f'--batch_size={config.batch_size} is more than the replay holds, '
      f'{kept} transitions: raise --replay_capacity'
    )


class _Loop:
  """The parts of a run, and what is done in turn."""

  def __init__(self, config, learner, player, records, evaluate):
    self._config, self._learner, self._player = config, learner, player
    self._records, self._evaluate = records, evaluate
    self._saved_steps = player.num_steps
    self.batches = Batches(
      player.replay, config.updates_per_step, config.batch_size, config.seed
    )

  def run(self, last_frame, progress, interrupt):
    """Steps, learns and records until the frames are spent or Ctrl-C."""
    learner, clock = self._learner, Clock(self._config, self._learner)
    returns = collections.defaultdict(lambda: collections.deque(maxlen=100))
    while learner.env_frames < last_frame and not interrupt.requested:
      episodes = self._step()
      self._record_episodes(episodes, returns)
      is_learning = self._learn()
      num_updates = learner.num_updates
      every = self._config.log_updates
      if is_learning and num_updates % every < self._config.updates_per_step:
        self._records.update({**learner.row(), **clock.lap()})
      steps = self._config.evaluation_steps
      if steps and self._player.num_steps % steps == 0:
        self._evaluate_all()
      rate = clock.frames_per_sec()
      note = '' if is_learning else 'random actions, before learning begins'
      progress.update(learner.env_frames, rate, returns, note)
      if (is_learning and clock.checkpoint_is_due()) or self._is_far_ahead():
        self._save()
    self._save()
    if learner.num_updates and not self._records.has_updates:
      self._records.update({**learner.row(), **clock.lap()})

  def _step(self):
    episodes = self._player.step()
    self._learner.count_step()
    return episodes

  def _learn(self):
    """Makes this step's updates, if learning has begun."""
    player = self._player
    if player.num_steps < player.first_update:
      return False
    with self._learner.timer.phase('waiting'):
      batches = self.batches.take(player.num_steps)
    if not self._config.offline_replay:
      # Read while the update runs.
      self.batches.prepare(player.num_steps + 1)
    self._learner.step(batches)
    return True

  def _record_episodes(self, episodes, returns):
    frames = self._learner.env_frames
    episodes = [episode._replace(env_frames=frames) for episode in episodes]
    if episodes:
      self._records.episodes(episodes, frames)
    for episode in episodes:
      returns[episode.task_name].append(episode.episode_return)

  def _evaluate_all(self):
    """Plays every task; writes evaluation.csv and a row per task."""
    agent, config = self._learner.agent, self._config
    names = agent.env_spec.task_names
    rows = self._evaluate()
    path = os.path.join(config.logdir, 'evaluation.csv')
    run_records.write_evaluation(path, rows)
    described = {name: _means(rows, name) for name in names}
    for name, metrics in agent.describe_tasks().items():
      described[name] |= metrics
    if config.measure_tasks:
      self._measure(described)
    self._records.tasks(self._learner.env_frames, described)

  def _measure(self, described):
    """Adds the agent's measures of each task; shows those of all."""
    agent, replay = self._learner.agent, self._player.replay
    names = agent.env_spec.task_names
    step = self._player.num_steps
    if not replay.count:
      return
    batches = self.batches.of_each_task(step, len(names))
    of_all, of_each = agent.measure(batches, step)
    for i, name in enumerate(names):
      described[name] |= {n: float(values[i]) for n, values in of_each.items()}
      described[name] |= of_all
    self._records.scalars(self._learner.env_frames, of_all)

  def _is_far_ahead(self):
    """Tells whether files of the replay leave a checkpoint behind soon."""
    replay = self._player.replay
    steps = self._player.num_steps - self._saved_steps
    return replay.is_mapped and steps >= replay.spare

  def _save(self):
    """Writes a checkpoint, also where the records are gone; then says so."""
    self._learner.row()  # Nothing that is not finite.
    resume.save(self._config, self._learner, self._player, self._records)
    self._saved_steps = self._player.num_steps
    self._records.check_files()


def _means(rows, task):
  """Returns the mean return, and share of successes, of a task's rows."""
  own = [row for row in rows if row['task'] == task]
  means = dict(evaluation_return=float(np.mean([r['return'] for r in own])))
  if any('success' in row for row in rows):
    success = [row.get('success', math.nan) for row in own]
    means['evaluation_success'] = float(np.mean(success))
  return means
