"""Evaluation: whole games, raw rewards, the sampled policy."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import tensorflow as tf
import tree

from core.suites.task_environments import as_observation
from core.types import EnvOutput


class Policy(NamedTuple):
  """How an agent plays.

  Attributes:
    act: function of last action [N], EnvOutput [N], core state and seed, int32
      [2], that returns AgentOutput [N] and the next core state.
    initial_state: maps N to the core state of N rows.
    zero_actions: maps N to the actions before the first ones.
  """

  act: Callable[..., Any]
  initial_state: Callable[[int], Any]
  zero_actions: Callable[[int], np.ndarray]


def policy_of(agent: Any, task_id: int) -> Policy:
  """Returns how an agent plays one task in all rows."""

  def act(last_action, *inputs):
    task_ids = tf.fill([tf.shape(last_action)[0]], task_id)
    return agent.act(task_ids, last_action, *inputs)

  return Policy(act, agent.initial_state, agent.env_spec.zero_actions)


def name_policy(line: str, agent: Any) -> str:
  """Says in a line of a suite's protocol how the agent chooses actions."""
  name = getattr(agent, 'policy_name', 'sampled policy')
  return line.replace('sampled policy', name)


EvaluationRow = dict[str, Any]
"""task, episode, return, length, protocol, success where a task can succeed, to
which test mode adds preset and checkpoint: see `core.training.records`."""


def play_episodes(
  environment: gymnasium.vector.VectorEnv,
  policy: Policy,
  num_episodes_per_task: int,
  task_of_row: np.ndarray,
  task_names: Sequence[str],
  protocol: str,
  seed: int,
  num_action_repeats: int,
  require_noops: bool = False,
) -> Iterator[EvaluationRow]:
  """Plays exactly `num_episodes_per_task` whole episodes of each task.

  How many episodes a row plays is settled beforehand. Taking whichever finish
  first would prefer short episodes, and in most games those are the bad ones.

  Args:
    environment: N rows, autoreset in the same step, raw rewards.
      `infos['episode_done']`, bool [N], tells the end of a whole episode; where
      it is missing, terminations and truncations do.
    policy: it sees the end of whole episodes as `done`.
    num_episodes_per_task: at least 1.
    task_of_row: int [N], index into `task_names`.
    task_names: each needs a row at least.
    protocol: what the rows say about how they came about.
    seed: of environments and action sampling.
    num_action_repeats: environment frames per step.
    require_noops: count only episodes that began with a no-op. ale-py draws 0
      to 30, the papers 1 to 30: without the 0 those are equally likely. Needs
      `infos['episode_frame_number']`.

  Yields:
    A row as each episode ends, `length` in environment frames. Episodes of a
    task are numbered by the environment that plays them, not by when they end.

  Raises:
    ValueError: if a task has no row, or no-ops cannot be told.
  """
  tally = _Tally(num_episodes_per_task, np.asarray(task_of_row), task_names)
  player = _Player(policy, len(task_of_row), seed)
  observation, infos = environment.reset(seed=seed)
  is_counted = _may_count(infos, require_noops)
  rewards = np.zeros(len(task_of_row), np.float32)
  dones = np.ones(len(task_of_row), bool)
  while not tally.is_complete():
    actions = player.act(observation, rewards, dones)
    observation, rewards, terminated, truncated, infos = environment.step(
      actions
    )
    dones = np.asarray(infos.get('episode_done', terminated | truncated))
    success = infos.get('success', np.full(len(dones), np.nan))
    for row in tally.add(rewards, dones, is_counted, success):
      row['length'] *= num_action_repeats
      yield {**row, 'protocol': protocol}
    if dones.any():
      is_counted = np.where(dones, _may_count(infos, require_noops), is_counted)


def play_game(
  environment: gymnasium.Env,
  policy: Policy,
  seed: int,
  options: dict[str, Any] | None = None,
) -> Iterator[tuple[float, bool]]:
  """Plays one episode, step by step, so that the caller can look on.

  Args:
    environment: one episode at a time.
    policy: called with N = 1.
    seed: of environment and action sampling.
    options: for the environment's reset.

  Yields:
    Reward of the step and whether the episode ended with it: (0, False) after
    the reset, then once per step.
  """
  player = _Player(policy, 1, seed)
  observation, _ = environment.reset(seed=seed, options=options)
  yield 0.0, False
  reward, is_first, is_over = 0.0, True, False
  while not is_over:
    (action,) = player.act(
      tree.map_structure(lambda x: np.asarray(x)[np.newaxis], observation),
      np.array([reward], np.float32),
      np.array([is_first]),
    )
    observation, reward, terminated, truncated, _ = environment.step(action)
    is_first, is_over = False, bool(terminated or truncated)
    yield float(reward), is_over


class _Player:
  """What a policy remembers between steps: core state and last action."""

  def __init__(self, policy, num_rows, seed):
    self._act = policy.act
    self._core_state = policy.initial_state(num_rows)
    self._last_action = policy.zero_actions(num_rows)
    self._seed = seed
    self._num_steps = 0

  def act(self, observation, rewards, dones):
    env_output = EnvOutput(
      reward=np.asarray(rewards, np.float32),
      info=(),
      done=np.asarray(dones, bool),
      observation=as_observation(observation),
    )
    seed = np.array([self._seed, self._num_steps], np.int32)
    inputs = tf.nest.map_structure(
      tf.convert_to_tensor,
      (self._last_action, env_output, self._core_state, seed),
    )
    output, self._core_state = self._act(*inputs)
    self._last_action = output.action.numpy()
    self._num_steps += 1
    return self._last_action


class _Tally:
  """Deals the episodes of each task to its rows and counts them."""

  def __init__(self, num_episodes, task_of_row, task_names):
    self._task_of_row = [task_names[i] for i in task_of_row]
    self._next_episode = np.zeros(len(task_of_row), np.int64)
    self._end_episode = np.zeros(len(task_of_row), np.int64)
    for task_id, task_name in enumerate(task_names):
      rows = np.flatnonzero(task_of_row == task_id)
      if not len(rows):
        raise ValueError(f'{task_name} has no environment')
      # As even as can be, and settled before anything happens.
      bounds = -(-np.arange(len(rows) + 1) * num_episodes // len(rows))
      self._next_episode[rows] = bounds[:-1]
      self._end_episode[rows] = bounds[1:]
    self._returns = np.zeros(len(task_of_row))
    self._lengths = np.zeros(len(task_of_row), np.int64)
    self._successes = np.zeros(len(task_of_row))

  def is_complete(self):
    return np.all(self._next_episode == self._end_episode)

  def add(self, rewards, dones, is_counted, success):
    """Adds a step [N]; returns the episodes that it ends."""
    self._returns += rewards
    self._lengths += 1
    self._successes = np.maximum(self._successes, success)
    is_wanted = self._next_episode < self._end_episode
    episodes = [
      {
        'task': self._task_of_row[row],
        'episode': int(self._next_episode[row]),
        'return': float(self._returns[row]),
        'length': int(self._lengths[row]),
        **self._success(row),
      }
      for row in np.flatnonzero(dones & is_counted & is_wanted)
    ]
    self._next_episode += dones & is_counted & is_wanted
    self._returns[dones] = 0.0
    self._lengths[dones] = 0
    self._successes[dones] = 0.0
    return episodes

  def _success(self, row):
    """Returns whether a step of the episode succeeded, if there is success."""
    success = self._successes[row]
    return {} if np.isnan(success) else {'success': int(success)}


def _may_count(infos, require_noops):
  """Returns bool [N] or True: shall the episodes that now start be counted?"""
  if not require_noops:
    return True
  if 'episode_frame_number' not in infos:
    raise ValueError("no-ops cannot be told without 'episode_frame_number'")
  return np.asarray(infos['episode_frame_number']) > 0
