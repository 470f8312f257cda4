"""The learner: updates, and counts of frames and episodes."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from core import checkpointing
from core.errors import UserError
from core.experience.timing import Timer
from core.run_config import ActorLearnerConfig
from core.training import resume
from core.types import Episode, Unroll


class Learner:
  """Applies updates and counts frames.

  Attributes:
    env_frames: environment frames learned from.
    num_updates: updates made.
  """

  def __init__(self, config: ActorLearnerConfig, agent: Any, timer: Timer):
    """Starts at frame 0."""
    self.agent = agent
    self.timer = timer
    self.env_frames = 0
    self.num_updates = 0
    self._config = config
    self._lineage: list[dict[str, Any]] = []

  def step(
    self, batch: Unroll, versions: Sequence[int] | None = None
  ) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Makes one update.

    Args:
      batch: [T + 1, B, ...].
      versions: the policies' versions of all columns that the update is made
        from; by default those of the batch. Several learners each have some.

    Returns:
      The row of updates.csv; and by task name what the agent reports per task
      (its metrics of shape [N]), empty if nothing.

    Raises:
      UserError: the loss or the gradient is not finite.
    """
    config = self._config
    learning_rate = self.agent.learning_rate(self.env_frames)
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
    versions = batch.policy_version if versions is None else versions
    lags = self.num_updates - np.asarray(versions)
    num_steps = config.new_steps * len(lags)
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
    """Lists the episodes that ended in entries 1 to T of the last batch.

    Args:
      batch: that the last update was made from; scalable_agent too records
        episodes with the frame counter after it.
    """
    info = batch.env_outputs.info
    episodes = []
    for t, column in np.argwhere(info.episode_done[1:]):
      task_name = self.agent.env_spec.task_names[batch.task_id[column]]
      num_steps = int(info.episode_step[t + 1, column])
      success = None
      if len(info.episode_success):
        value = info.episode_success[t + 1, column]
        success = None if np.isnan(value) else bool(value)
      episodes.append(
        Episode(
          env_frames=self.env_frames,
          task_name=task_name,
          episode_return=float(info.episode_return[t + 1, column]),
          episode_length=num_steps * self._config.num_action_repeats,
          episode_success=success,
        )
      )
    return episodes

  def get_state(self) -> dict[str, Any]:
    """Returns the counters, and of a population's member the lineage."""
    state = dict(env_frames=self.env_frames, num_updates=self.num_updates)
    return {**state, 'lineage': self._lineage} if self._lineage else state

  def set_state(self, state: dict[str, Any]) -> None:
    """Goes on from `get_state`; an empty dict is that of a new run."""
    self.env_frames = state.get('env_frames', 0)
    self.num_updates = state.get('num_updates', 0)
    self._lineage = resume.extend_lineage(self._config, state)

  def _check_finite(self, metrics):
    for name in ('total_loss', 'gradient_norm'):
      if not math.isfinite(metrics[name]):
        raise UserError(
          f'update {self.num_updates + 1} at frame {self.env_frames}: {name} '
          f'is {metrics[name]}; stopped, the last good checkpoint is kept in '
          f'{checkpointing.directory_of(self._config.logdir)}'
        )
