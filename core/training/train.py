"""Training of actor-critics: actors that play, a learner that updates.

Knows nothing of a paper: the agent brings `act`, `update`, `learning_rate`,
`initial_state`, `variables` and `env_spec`.
"""

import collections
import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from core.errors import UserError
from core.experience import sources
from core.experience.timing import Timer
from core.files import locked
from core.interrupt import Interrupt
from core.run_config import ActorLearnerConfig
from core.strategies.gang import Gang
from core.suites.tasks import Tasks
from core.training import resume, run_info
from core.training.clock import Clock
from core.training.learner import Learner
from core.training.progress import Progress
from core.training.records import Records
from core.types import Episode


def train(
  config: ActorLearnerConfig,
  agent: Any,
  tasks: Tasks,
  gang: Gang | None = None,
) -> int:
  """Trains until the config's last frame, resuming what is in the logdir.

  Args:
    config: a paper's Config.
    agent: the agent to train.
    tasks: what it is trained on.
    gang: the learners that train it together, each from its own actors; the
      chief alone writes to the logdir, which all must see.

  Returns:
    The frame counter at the end; less than the total after Ctrl-C.

  Raises:
    UserError: the loss is not finite, or the logdir holds another config.
    WorkerLost: another learner is gone.
  """
  gang = gang or Gang()
  timer = Timer()
  learner = Learner(config, agent, timer)
  acting = dataclasses.replace(config, batch_size=_own_part(config, gang))
  with contextlib.ExitStack() as stack:

    def closing(thing):
      return stack.enter_context(contextlib.closing(thing))

    # What may be refused comes before anything is built or written.
    if gang.is_chief:
      stack.enter_context(locked(config.logdir))
      run_info.check(config.logdir)
    state = resume.restore(config, agent)
    if gang.is_chief:
      Records.check(config.logdir, state.get('records'))
    learner.set_state(state)
    _check_same_start(config, learner, gang)
    print(f'building {config.all_environments} environments', flush=True)
    num_actors = config.all_environments // config.num_environments
    if gang.count > 1:  # The checkpoint is the chief's: games begin anew.
      state = {**state, 'source': {}}
    source = closing(
      sources.make_source(
        acting, agent, tasks, timer, state, gang.index * num_actors
      )
    )
    scribe = None
    if gang.is_chief:
      scribe = closing(_Scribe(config, learner, source, tasks, state, gang))
    print('compiling: the first update takes longest', flush=True)
    interrupt = stack.enter_context(Interrupt())
    _loop(config, learner, source, scribe, interrupt, gang)
  return learner.env_frames


def _own_part(config, gang):
  """Returns how many of the batch's unrolls one learner gives."""
  size, rest = divmod(config.batch_size, gang.count)
  if rest or not size:
    raise UserError(
      f'--batch_size={config.batch_size} is of all workers together: needs a '
      f'multiple of {gang.count}'
    )
  return size


def _check_same_start(config, learner, gang):
  """Refuses learners that read different checkpoints."""
  counters = gang.exchange(learner.get_state())
  for index, found in enumerate(counters):
    if found != counters[0]:
      raise UserError(
        f'worker {index} begins at frame {found["env_frames"]:,}, worker 0 at '
        f'{counters[0]["env_frames"]:,}: {config.logdir} must be the same '
        'folder on every machine'
      )


def _loop(config, learner, source, scribe, interrupt, gang):
  """Consumes batches until the frames are spent or a learner is to stop."""
  last_frame = config.stop_frames or config.total_environment_frames
  while learner.env_frames < last_frame:
    batch = source.next_batch(learner.num_updates, interrupt)
    note = None
    if batch is not None:
      versions = batch.policy_version.tolist()
      episodes = learner.finished_episodes(batch)
      note = (interrupt.requested, versions, episodes)
    with learner.timer.phase('waiting'):
      notes = gang.exchange(note)
    if None in notes:  # One was interrupted: none makes this update.
      break
    stops, versions, episodes = zip(*notes, strict=True)
    with gang.explained():
      metrics, task_metrics = learner.step(batch, np.concatenate(versions))
    if scribe:
      scribe.write(metrics, task_metrics, sum(episodes, []))
    if any(stops) or (gang.count == 1 and interrupt.requested):
      break
    if scribe and scribe.checkpoint_is_due():
      scribe.save()
  if scribe:
    scribe.finish()


class _Scribe:
  """Shows and writes what a run does, and saves it."""

  def __init__(self, config, learner, source, tasks, state, gang):
    self._config, self._learner, self._source = config, learner, source
    self._is_alone = gang.count == 1
    run_info.write(config.logdir, run_info.describe(config, tasks))
    has_success = learner.agent.env_spec.has_success
    self._records = Records(config.logdir, state.get('records'), has_success)
    last_frame = config.stop_frames or config.total_environment_frames
    self._progress = Progress(last_frame, tasks.names)
    # Of suites all of whose tasks are trained.
    found = (
      suite.training_score(tasks.names) for suite in dict.fromkeys(tasks.suites)
    )
    self._scores = [score for score in found if score is not None]
    self._returns = collections.defaultdict(
      lambda: collections.deque(maxlen=100)
    )
    self._clock = Clock(config, learner)
    self._row = None
    self.checkpoint_is_due = self._clock.checkpoint_is_due

  def write(
    self,
    metrics: dict[str, float],
    task_metrics: dict[str, dict[str, float]],
    episodes: Sequence[Episode],
  ) -> None:
    """Records an update and the episodes that ended in its batch."""
    learner, records = self._learner, self._records
    episodes = [
      Episode(*episode)._replace(env_frames=learner.env_frames)
      for episode in episodes
    ]
    records.episodes(episodes, learner.env_frames)
    for score in self._scores:
      records.scalars(learner.env_frames, score.add(episodes))
    for episode in episodes:
      self._returns[episode.task_name].append(episode.episode_return)
    frames_per_sec = self._clock.frames_per_sec()
    self._row = {**metrics, **self._source.counters()}
    if learner.num_updates % self._config.log_updates == 0:
      records.update({**self._row, **self._clock.lap()})
      records.tasks(learner.env_frames, task_metrics)
    lag = f'policy lag {metrics["policy_lag_mean"]:.1f}'
    self._progress.update(
      learner.env_frames, frames_per_sec, self._returns, lag
    )

  def save(self) -> None:
    """Writes a checkpoint, also where the records are gone; then says so."""
    source = self._source if self._is_alone else None
    resume.save(self._config, self._learner, source, self._records)
    self._records.check_files()

  def finish(self) -> None:
    """Saves, and sees to it that a run has a row."""
    self.save()
    if self._row and not self._records.has_updates:  # Of few updates.
      self._records.update({**self._row, **self._clock.lap()})

  def close(self) -> None:
    """Shows the last state and closes the files."""
    self._progress.close()
    self._records.close()
