"""Training of actor-critics: actors that play, a learner that updates.

Knows nothing of a paper: the agent brings `act`, `update`, `learning_rate`,
`initial_state`, `variables` and `env_spec`.
"""

import collections
import contextlib
from typing import Any

from core.experience import sources
from core.experience.timing import Timer
from core.files import locked
from core.interrupt import Interrupt
from core.run_config import ActorLearnerConfig
from core.suites.suite import TrainingScore
from core.suites.tasks import Tasks
from core.training import resume, run_info
from core.training.clock import Clock
from core.training.learner import Learner
from core.training.progress import Progress
from core.training.records import Records


def train(config: ActorLearnerConfig, agent: Any, tasks: Tasks) -> int:
  """Trains until the config's last frame, resuming what is in the logdir.

  Args:
    config: a paper's Config.
    agent: the agent to train.
    tasks: what it is trained on.

  Returns:
    The frame counter at the end; less than the total after Ctrl-C.

  Raises:
    UserError: the loss is not finite, or the logdir holds another config.
  """
  timer = Timer()
  learner = Learner(config, agent, timer)
  last_frame = config.stop_frames or config.total_environment_frames
  with contextlib.ExitStack() as stack:

    def closing(thing):
      return stack.enter_context(contextlib.closing(thing))

    # What may be refused comes before anything is built or written.
    stack.enter_context(locked(config.logdir))
    run_info.check(config.logdir)
    state = resume.restore(config, agent)
    Records.check(config.logdir, state.get('records'))
    learner.set_state(state)
    print(f'building {config.all_environments} environments', flush=True)
    source = closing(sources.make_source(config, agent, tasks, timer, state))
    run_info.write(config.logdir, run_info.describe(config, tasks))
    has_success = agent.env_spec.has_success
    records = closing(Records(config.logdir, state.get('records'), has_success))
    progress = closing(Progress(last_frame, tasks.names))
    scores = _training_scores(tasks)
    print('compiling: the first update takes longest', flush=True)
    interrupt = stack.enter_context(Interrupt())
    _loop(config, learner, source, records, progress, scores, interrupt)
  return learner.env_frames


def _training_scores(tasks: Tasks) -> list[TrainingScore]:
  """Returns the scores of suites all of whose tasks are trained."""
  suites = dict.fromkeys(tasks.suites)
  found = (suite.training_score(tasks.names) for suite in suites)
  return [score for score in found if score is not None]


def _loop(config, learner, source, records, progress, scores, interrupt):
  """Consumes batches until the frames are spent or Ctrl-C."""
  returns = collections.defaultdict(lambda: collections.deque(maxlen=100))
  clock = Clock(config, learner)
  last_frame = config.stop_frames or config.total_environment_frames
  row = None
  while learner.env_frames < last_frame:
    batch = source.next_batch(learner.num_updates, interrupt)
    if batch is None:
      break
    metrics, task_metrics = learner.step(batch)
    episodes = learner.finished_episodes(batch)
    records.episodes(episodes, learner.env_frames)
    for score in scores:
      records.scalars(learner.env_frames, score.add(episodes))
    for episode in episodes:
      returns[episode.task_name].append(episode.episode_return)
    frames_per_sec = clock.frames_per_sec()
    row = {**metrics, **source.counters()}
    if learner.num_updates % config.log_updates == 0:
      records.update({**row, **clock.lap()})
      records.tasks(learner.env_frames, task_metrics)
    lag = f'policy lag {metrics["policy_lag_mean"]:.1f}'
    progress.update(learner.env_frames, frames_per_sec, returns, lag)
    if interrupt.requested:
      break
    if clock.checkpoint_is_due():
      _save(config, learner, source, records)
  _save(config, learner, source, records)
  if row and not records.has_updates:  # A run of less than --log_updates.
    records.update({**row, **clock.lap()})


def _save(config, learner, source, records):
  """Writes a checkpoint, also where the records are gone; then says so."""
  resume.save(config, learner, source, records)
  records.check_files()
