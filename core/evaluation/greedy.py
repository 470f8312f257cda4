"""Evaluation while training: whole episodes of every task, side by side."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from core.evaluation import episodes
from core.evaluation.episodes import EvaluationRow, Policy
from core.interrupt import ignored_by_children
from core.run_config import ReplayConfig
from core.suites.task_environments import TaskEnvironments
from core.suites.tasks import Tasks, suite_of

_SEED_OFFSET = 42  # Other episodes than those that are learned from.


class _Evaluation:
  """Environments of their own, one per task, built at the first call."""

  def __init__(self, config, agent, tasks):
    self._config, self._agent, self._tasks = config, agent, tasks
    self._environments = None

  def __call__(self) -> list[EvaluationRow]:
    """Plays `evaluation_episodes` episodes of each task."""
    config, tasks = self._config, self._tasks
    task_id = np.arange(len(tasks.names), dtype=np.int32)
    if self._environments is None:
      with ignored_by_children():
        self._environments = TaskEnvironments(tasks, task_id, False)
    rows = episodes.play_episodes(
      self._environments,
      self._policy(task_id),
      config.evaluation_episodes,
      task_id,
      tasks.names,
      '',
      (config.seed + _SEED_OFFSET) % 2**30,
      config.num_action_repeats,
    )
    lines = {name: self._line(name) for name in tasks.names}
    return [{**row, 'protocol': lines[row['task']]} for row in rows]

  def _policy(self, task_id):
    agent = self._agent

    def act(last_action, *inputs):
      return agent.act(task_id, last_action, *inputs)

    return Policy(act, agent.initial_state, agent.env_spec.zero_actions)

  def _line(self, task):
    line = suite_of(task).evaluation_line(self._tasks.protocol(task))
    return episodes.name_policy(line, self._agent)

  def close(self):
    if self._environments is not None:
      self._environments.close()


@contextlib.contextmanager
def make_evaluation(
  config: ReplayConfig, agent: Any, tasks: Tasks
) -> Iterator[_Evaluation]:
  """Lets `core.training.replay_train` evaluate in a with-block.

  The same episodes are begun each time: a resumed run then evaluates as one
  that was never stopped.

  Args:
    config: a paper's Config.
    agent: with `act`.
    tasks: that are trained; a suite may test on others.

  Yields:
    A function that returns a row per episode.
  """
  evaluation = _Evaluation(config, agent, tasks.for_test())
  try:
    yield evaluation
  finally:
    evaluation.close()
