"""The player: steps an environment of every task and fills the replay."""

import contextlib
from typing import Any

import numpy as np

from core import checkpointing
from core.errors import UserError
from core.experience import frame_replay
from core.experience import replay as feature_replay
from core.experience.frame_replay import FrameReplay
from core.experience.replay import Replay
from core.experience.timing import Timer
from core.interrupt import ignored_by_children
from core.run_config import ReplayConfig
from core.suites.task_environments import TaskEnvironments
from core.suites.tasks import Tasks
from core.types import Episode


class Player:
  """One environment of each of n tasks, all of which step together.

  Attributes:
    replay: what it fills.
    num_steps: steps of all environments so far.
    first_update: step on which learning begins.
  """

  def __init__(
    self,
    config: ReplayConfig,
    agent: Any,
    tasks: Tasks,
    timer: Timer,
    state: dict[str, Any],
  ):
    """Builds environments and replay, as the checkpoint left them.

    Args:
      config: a paper's Config.
      agent: that explores and observes.
      tasks: what is played.
      timer: where inference and environments are counted.
      state: a checkpoint's metadata with its `arrays`; empty without one.

    Raises:
      UserError: the replay does not fit, or the checkpoint does not.
    """
    self._config, self._agent, self._timer = config, agent, timer
    self._task_id = np.arange(len(tasks.names), dtype=np.int32)
    self.num_steps = state.get('source', {}).get('num_steps', 0)
    self.first_update = config.warm_up_steps
    # What may be refused comes before environments are built.
    self.replay = make_replay(
      agent,
      config.replay_capacity,
      config.replay_memory_gb,
      config.logdir,
    )
    self._seen_in = 'frame' if agent.env_spec.frame_shape else 'features'
    with contextlib.ExitStack() as built:
      with ignored_by_children():
        self._environments = TaskEnvironments(
          tasks, self._task_id, is_training=True, keeps_last=True
        )
      built.callback(self._environments.close)
      # A resumed run must not begin with the episodes of the first start.
      seed = (1_000_003 * config.seed + 7 * self.num_steps) % 2**30
      observation, _ = self._environments.reset(seed=seed)
      self._seen = self._part(observation)
      self._returns = np.zeros(len(self._task_id))
      self._lengths = np.zeros(len(self._task_id), np.int64)
      self._successes = np.zeros(len(self._task_id), np.float32)
      if state:
        self._restore(state)
      built.pop_all()

  def step(self) -> list[Episode]:
    """Steps every environment once, at first with random actions.

    Returns:
      The episodes that ended, their env_frames still 0.
    """
    self.num_steps += 1
    with self._timer.phase('inference'):
      action = self._choose_actions()
    with self._timer.phase('environment'):
      box = self._agent.env_spec.action_box
      observation, reward, terminated, truncated, infos = (
        self._environments.step(box.stretch(action) if box else action)
      )
    last = self._part(infos.get('last_observation', observation))
    # Whole episodes: a lost life is no end of one.
    ends = infos['episode_done']
    if ends.any() and 'last_observation' not in infos:
      raise UserError(
        'an environment does not tell the last observation of an episode '
        '(`final_obs`), which a replay needs'
      )
    # An episode that is both counts as truncated (BRC's official code).
    step = (self._seen, action, reward, last, ~terminated | truncated)
    if self._seen_in == 'frame':
      self.replay.add(*step, terminated | truncated, ends)
    else:
      self.replay.add(*step)
    self._agent.observe(self._task_id, reward, terminated, truncated, last)
    self._seen = self._part(observation)
    if 'success' in infos:  # NaN of a task that cannot, and stays it.
      self._successes = np.maximum(self._successes, infos['success'])
    return self._finish_episodes(reward, ends)

  def _part(self, observation):
    """Returns the part of an observation that the agent sees."""
    return getattr(observation, self._seen_in)

  def _choose_actions(self):
    """Returns actions: float32 [n, D] between -1 and 1, or int32 [n]."""
    seed, step = self._config.seed, self.num_steps
    if step < self._config.warm_up_steps:
      spec, num_tasks = self._agent.env_spec, len(self._task_id)
      rng = np.random.default_rng([seed, step, 2])
      if spec.action_box is None:
        return rng.integers(spec.num_actions, size=num_tasks, dtype=np.int32)
      shape = [num_tasks, len(spec.action_box.low)]
      return rng.uniform(-1.0, 1.0, shape).astype(np.float32)
    return self._agent.explore(
      self._task_id, self._seen, np.array([seed, step], np.int32)
    )

  def _finish_episodes(self, reward, ends):
    self._returns += reward
    self._lengths += 1
    repeats = self._config.num_action_repeats
    episodes = [
      Episode(
        env_frames=0,
        task_name=self._agent.env_spec.task_names[task],
        episode_return=float(self._returns[task]),
        episode_length=int(self._lengths[task]) * repeats,
        episode_success=self._success(task),
      )
      for task in np.flatnonzero(ends)
    ]
    for running in (self._returns, self._lengths, self._successes):
      running[ends] = 0
    return episodes

  def _success(self, task):
    """Tells whether a step of the episode succeeded; None if none can."""
    success = self._successes[task]
    if not self._agent.env_spec.has_success or np.isnan(success):
      return None
    return bool(success)

  def get_state(self) -> dict[str, Any]:
    """Returns what a resumed run goes on from."""
    arrays = dict(agent=self._agent.get_state(), **self._running())
    if self._config.save_replay:
      arrays['replay'] = self.replay.get_state()
    return dict(
      arrays=arrays,
      environments=self._environments.get_state(),
      num_steps=self.num_steps,
    )

  def _running(self):
    """Returns what is known of the episodes that are being played."""
    return {
      self._seen_in: self._seen,
      'returns': self._returns,
      'lengths': self._lengths,
      'successes': self._successes,
    }

  def close(self) -> None:
    """Closes the environments."""
    self._environments.close()

  def _restore(self, state):
    """Goes on from a checkpoint; says in a line if it cannot."""
    try:
      restore_replay(self.replay, self._agent, state)
      environments = state['source']['environments']
      like = {'source': self._running()}
      found = checkpointing.unflatten(like, state['arrays'])['source']
      if environments is None:  # They start anew.
        self._agent.begin_episodes()
        if isinstance(self.replay, FrameReplay):
          self.replay.cut_off(found['frame'])
      else:
        self._environments.set_state(environments)
        self._seen = found[self._seen_in]
        self._returns, self._lengths = found['returns'], found['lengths']
        self._successes = found['successes']
    except UserError:
      raise
    except Exception as error:  # Anything, depending on what is wrong with it.
      reason = ' '.join(f'{type(error).__name__}: {error}'.split())
      raise UserError(
        f'the run cannot go on from the checkpoint ({reason}): move the newest '
        'checkpoint away'
      ) from error
    if not self.replay.count:  # Filled anew, by the policy.
      steps = self.num_steps + self._config.warm_up_steps
      self.first_update = max(self.first_update, steps)


class OfflinePlayer:
  """Stands in for a Player where a recorded replay is learned from.

  Attributes:
    replay: that of the recorded run.
    num_steps: steps so far, of nothing.
    first_update: learning begins at once.
  """

  first_update = 0

  def __init__(self, config: ReplayConfig, agent: Any, state: dict[str, Any]):
    """Loads the replay of the newest checkpoint in `offline_replay`.

    Raises:
      UserError: there is none, or it is of other tasks.
    """
    self._agent = agent
    self.num_steps = state.get('source', {}).get('num_steps', 0)
    directory = checkpointing.directory_of(config.offline_replay)
    recorded = checkpointing.restore_latest(directory, print)
    if recorded is None:
      raise UserError(f'no checkpoint in {directory}, whose replay is needed')
    arrays, metadata, _ = recorded
    names = list(agent.env_spec.task_names)
    if metadata.get('task_names') != names:
      raise UserError(
        f'the replay in {config.offline_replay} is of the tasks '
        f'{", ".join(metadata.get("task_names", []))}, not {", ".join(names)}'
      )
    theirs = metadata['config']
    if theirs.get('n_step', 1) != getattr(agent, 'n_step', 1):
      raise UserError(
        f'the replay in {config.offline_replay} was written with --n_step='
        f'{theirs.get("n_step", 1)}'
      )
    self.replay = make_replay(
      agent,
      theirs['replay_capacity'],
      theirs['replay_memory_gb'],
      config.offline_replay,
    )
    restore_replay(self.replay, agent, {**metadata, 'arrays': arrays})
    if not self.replay.count:
      raise UserError(f'{config.offline_replay} was not run with --save_replay')

  def step(self) -> list[Episode]:
    """Counts a step, in which nothing is played."""
    self.num_steps += 1
    return []

  def get_state(self) -> dict[str, Any]:
    """Returns what a resumed run goes on from."""
    return dict(
      arrays=dict(agent=self._agent.get_state()),
      environments=None,
      num_steps=self.num_steps,
    )

  def close(self) -> None:
    """Has nothing to close."""


def make_replay(
  agent: Any, capacity: int, memory_gb: float, logdir: str
) -> Replay | FrameReplay:
  """Builds the replay that an agent's tasks need; see the modules' own.

  Args:
    agent: with `env_spec`; where tasks are seen in frames, also `n_step`, the
      steps that a transition spans.
    capacity: transitions per task.
    memory_gb: GB above which it lies in files of the logdir.
    logdir: folder of the run.

  Raises:
    UserError: it is larger than the memory or the disk.
  """
  spec, where = agent.env_spec, (memory_gb, logdir)
  if spec.frame_shape:
    return frame_replay.make_replay(spec, capacity, agent.n_step, *where)
  return feature_replay.make_replay(spec, capacity, *where)


def restore_replay(
  replay: Replay | FrameReplay, agent: Any, state: dict[str, Any]
) -> None:
  """Sets the replay, if it was saved, and what the agent observed.

  Args:
    replay: a fresh one.
    agent: with `set_state`.
    state: a checkpoint's metadata with its `arrays`.
  """
  if saved := _named(state['arrays'], 'source/replay/'):
    replay.set_state(saved)
  agent.set_state(_named(state['arrays'], 'source/agent/'))


def _named(arrays, prefix):
  """Returns the arrays whose names begin so, by the rest of their names."""
  return {
    name.removeprefix(prefix): array
    for name, array in arrays.items()
    if name.startswith(prefix)
  }
