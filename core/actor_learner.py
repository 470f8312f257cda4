"""The runtime: actors that play, a learner that updates, and a loop over both.

Knows nothing of a paper: the agent brings `act`, `update`, `initial_state`,
`variables` and `env_spec`.
"""

import collections
import dataclasses
import json
import math
import os
import time
from typing import Any

import numpy as np
import tensorflow as tf

from core import checkpointing, dmlab30, optimizers, sources
from core.environments import Protocol
from core.errors import UserError
from core.interrupt import Interrupt
from core.progress import Progress
from core.records import Records
from core.timing import Timer
from core.types import Episode, Unroll

# Fields that may differ between a checkpoint and the run that resumes it.
MAY_CHANGE = (
  'logdir',
  'mode',
  'stop_frames',
  'checkpoint_secs',
  'checkpoint_updates',
  'keep_checkpoints',
  'log_updates',
  'test_num_episodes',
  'start_states',
  'num_start_states',
  'record_video',
  'dataset_path',
  'level_cache_dir',
)


def train(config: Any, agent: Any, protocol: Protocol) -> int:
  """Trains until the config's last frame, resuming what is in the logdir.

  Args:
    config: a paper's Config.
    agent: the agent to train.
    protocol: how tasks are played.

  Returns:
    The frame counter at the end; less than the total after Ctrl-C.

  Raises:
    UserError: the loss is not finite, or the logdir holds another config.
  """
  timer = Timer()
  learner = Learner(config, agent, timer)
  resume = restore(config, agent)
  records = Records(config.logdir, resume.get('records'))
  learner.set_state(resume)
  source = sources.make_source(config, agent, protocol, timer, resume)
  progress = Progress(
    config.stop_frames or config.total_environment_frames,
    agent.env_spec.task_names,
  )
  try:
    with Interrupt() as interrupt:
      _loop(config, learner, source, records, progress, interrupt)
  finally:
    source.close()
    records.close()
    progress.close()
  return learner.env_frames


def _loop(config, learner, source, records, progress, interrupt):
  """Consumes batches until the frames are spent or Ctrl-C."""
  returns = collections.defaultdict(lambda: collections.deque(maxlen=100))
  clock = _Clock(config, learner)
  suite_score = dmlab30.TrainingScore(learner.agent.env_spec.task_names)
  last_frame = config.stop_frames or config.total_environment_frames
  while learner.env_frames < last_frame:
    batch = source.next_batch(learner.num_updates, interrupt)
    if batch is None:
      break
    episodes = learner.finished_episodes(batch)
    metrics, task_metrics = learner.step(batch)
    records.episodes(episodes)
    records.scalars(learner.env_frames, suite_score.add(episodes))
    for episode in episodes:
      returns[episode.task_name].append(episode.episode_return)
    frames_per_sec = clock.frames_per_sec()
    if learner.num_updates % config.log_updates == 0:
      records.update({**metrics, **clock.lap()})
      records.tasks(learner.env_frames, task_metrics)
    lag = f'policy lag {metrics["policy_lag_mean"]:.1f}'
    progress.update(learner.env_frames, frames_per_sec, returns, lag)
    if interrupt.requested:
      break
    if clock.checkpoint_is_due():
      save(config, learner, source, records)
  save(config, learner, source, records)


class Learner:
  """Applies updates and counts frames.

  Attributes:
    env_frames: environment frames learned from.
    num_updates: updates made.
  """

  def __init__(self, config: Any, agent: Any, timer: Timer):
    """Starts at frame 0."""
    self.agent = agent
    self.timer = timer
    self.env_frames = 0
    self.num_updates = 0
    self._config = config

  def step(
    self, batch: Unroll
  ) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Makes one update.

    Args:
      batch: [T + 1, B, ...].

    Returns:
      The row of updates.csv; and by task name what the agent reports per task
      (its metrics of shape [N]), empty if nothing.

    Raises:
      UserError: the loss or the gradient is not finite.
    """
    config = self._config
    learning_rate = optimizers.linear_decay(
      config.learning_rate,
      self.env_frames,
      config.total_environment_frames,
      config.final_learning_rate_fraction,
    )
    with self.timer.phase('learner'):
      inputs = batch._replace(
        policy_version=(), env_outputs=batch.env_outputs._replace(info=())
      )
      inputs = tf.nest.map_structure(tf.convert_to_tensor, inputs)
      metrics = self.agent.update(
        inputs, tf.constant(learning_rate, tf.float32)
      )
      metrics, task_metrics = self._split(metrics)
    self._check_finite(metrics)
    lags = self.num_updates - batch.policy_version
    num_steps = config.unroll_length * len(batch.task_id)
    self.num_updates += 1
    self.env_frames += num_steps * config.num_action_repeats
    row = dict(
      num_updates=self.num_updates,
      env_frames=self.env_frames,
      **metrics,
      learning_rate=learning_rate,
      policy_lag_mean=float(lags.mean()),
      policy_lag_max=int(lags.max()),
    )
    return row, task_metrics

  def _split(self, metrics):
    """Fetches metrics and tells scalars from those that are per task."""
    metrics = {name: value.numpy() for name, value in metrics.items()}
    scalars = {n: float(v) for n, v in metrics.items() if v.ndim == 0}
    vectors = {n: v for n, v in metrics.items() if v.ndim == 1}
    if not vectors:
      return scalars, {}
    task_metrics = {
      task: {name: float(vector[i]) for name, vector in vectors.items()}
      for i, task in enumerate(self.agent.env_spec.task_names)
    }
    return scalars, task_metrics

  def finished_episodes(self, batch: Unroll) -> list[Episode]:
    """Lists the episodes that ended in entries 1 to T of a batch."""
    info = batch.env_outputs.info
    episodes = []
    for t, column in np.argwhere(info.episode_done[1:]):
      task_name = self.agent.env_spec.task_names[batch.task_id[column]]
      num_steps = int(info.episode_step[t + 1, column])
      episodes.append(
        Episode(
          env_frames=self.env_frames,
          task_name=task_name,
          episode_return=float(info.episode_return[t + 1, column]),
          episode_length=num_steps * self._config.num_action_repeats,
        )
      )
    return episodes

  def get_state(self) -> dict[str, int]:
    """Returns the counters."""
    return dict(env_frames=self.env_frames, num_updates=self.num_updates)

  def set_state(self, state: dict[str, Any]) -> None:
    """Goes on from `get_state`; an empty dict changes nothing."""
    self.env_frames = state.get('env_frames', 0)
    self.num_updates = state.get('num_updates', 0)

  def _check_finite(self, metrics):
    for name in ('total_loss', 'gradient_norm'):
      if not math.isfinite(metrics[name]):
        raise UserError(
          f'update {self.num_updates + 1} at frame {self.env_frames}: {name} '
          f'is {metrics[name]}; stopped, the last good checkpoint is kept in '
          f'{checkpoint_directory(self._config.logdir)}'
        )


class _Clock:
  """Rates and reminders of the training loop."""

  def __init__(self, config, learner):
    self._config = config
    self._learner = learner
    self._rate_start = self._lap_start = (time.monotonic(), learner.env_frames)
    self._rate = 0.0
    self._last_save = time.monotonic()

  def frames_per_sec(self):
    """Returns environment frames per second of the last ten seconds or so."""
    secs, frames = self._since(self._rate_start)
    if secs > 10.0:
      self._rate = frames / secs
      self._rate_start = (time.monotonic(), self._learner.env_frames)
    return self._rate or frames / secs

  def lap(self):
    """Returns the rate and the seconds per phase since the last lap."""
    secs, frames = self._since(self._lap_start)
    self._lap_start = (time.monotonic(), self._learner.env_frames)
    phases = collections.defaultdict(float, self._learner.timer.take())
    row = dict(frames_per_sec=round(frames / secs, 1))
    for name in ('environment', 'inference', 'learner', 'waiting'):
      row[f'{name}_secs'] = round(phases[name], 4)
    return row

  def checkpoint_is_due(self):
    """Tells whether it is time for a checkpoint, by updates or by the clock."""
    if self._config.checkpoint_updates:
      return self._learner.num_updates % self._config.checkpoint_updates == 0
    if time.monotonic() - self._last_save < self._config.checkpoint_secs:
      return False
    self._last_save = time.monotonic()
    return True

  def _since(self, start):
    secs = max(time.monotonic() - start[0], 1e-9)
    return secs, self._learner.env_frames - start[1]


def checkpoint_directory(logdir: str) -> str:
  """Returns the folder of a run's checkpoints."""
  return os.path.join(logdir, 'checkpoints')


def save(config: Any, learner: Learner, source: Any, records: Records) -> None:
  """Writes a checkpoint of everything that a resumed run needs.

  Args:
    config: a paper's Config.
    learner: counters and the agent's variables.
    source: the actors' state, where it can be saved.
    records: their lengths, so that a resume neither repeats nor loses a row.
  """
  variables = learner.agent.variables()
  arrays = {f'agent/{name}': v.numpy() for name, v in variables.items()}
  source_state = source.get_state()
  arrays |= checkpointing.flatten({'source': source_state.pop('arrays')})
  metadata = dict(
    config=dataclasses.asdict(config),
    task_names=learner.agent.env_spec.task_names,
    records=records.state(),
    source=source_state,
    **learner.get_state(),
  )
  checkpointing.save(
    checkpoint_directory(config.logdir),
    learner.env_frames,
    arrays,
    metadata,
    config.keep_checkpoints,
  )


def restore(config: Any, agent: Any) -> dict[str, Any]:
  """Loads the newest checkpoint into the agent.

  Args:
    config: must equal the checkpoint's but for the fields in MAY_CHANGE.
    agent: whose variables are set.

  Returns:
    The checkpoint's metadata, with `arrays` beside it; empty without one.

  Raises:
    UserError: the config differs, or an array does not fit the network.
  """
  directory = checkpoint_directory(config.logdir)
  restored = checkpointing.restore_latest(directory, _warn)
  if restored is None:
    return {}
  arrays, metadata, path = restored
  # A field that is younger than the checkpoint had its default.
  defaults = dataclasses.asdict(type(config)())
  checkpointing.check_config(
    {**defaults, **metadata['config']},
    json.loads(json.dumps(dataclasses.asdict(config))),
    MAY_CHANGE,
  )
  load_variables(agent, arrays)
  print(f'resuming {path} at frame {metadata["env_frames"]:,}', flush=True)
  return {**metadata, 'arrays': arrays}


def load_variables(agent: Any, arrays: dict[str, np.ndarray]) -> None:
  """Sets the agent's variables to a checkpoint's.

  Args:
    agent: whose variables are set.
    arrays: those of a checkpoint.

  Raises:
    UserError: an array is missing or has another shape.
  """
  variables = {f'agent/{n}': v for n, v in agent.variables().items()}
  for name, variable in variables.items():
    found = arrays.get(name)
    if found is None or found.shape != tuple(variable.shape):
      shape = 'missing' if found is None else f'of shape {found.shape}'
      raise UserError(
        f'checkpoint: {name} is {shape}, the network has {variable.shape}: '
        'give the flags it was trained with'
      )
    variable.assign(found)


def _warn(message):
  print(f'warning: {message}', flush=True)
