"""Environments of several tasks behind one interface: gymnasium's VectorEnv.

Actors want two things more than gymnasium promises: to send actions and fetch
the results later (`step_async`, `step_wait`), and several tasks side by side.
`TaskEnvironments` adds both to any vector environments.
"""

import contextlib
import itertools
import os
import signal
import time
import traceback
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from core.errors import EnvironmentFailure, UserError
from core.suites.tasks import Tasks, suite_of
from core.types import Observation


def as_observation(observation: Any) -> Observation:
  """Names the parts of what a vector environment returns.

  Args:
    observation: uint8 frames, float32 features, a dict of the fields of
      Observation, or one.

  Returns:
    Observation.
  """
  if isinstance(observation, Observation):
    return observation
  if isinstance(observation, dict):
    return Observation(**observation)
  if observation.dtype == np.float32:
    return Observation(features=observation)
  return Observation(observation)


class TaskEnvironments(VectorEnv):
  """Environments of several tasks as one, with sending apart from receiving.

  Where tasks have vectors of different lengths, features are padded with zeros
  and of an action each task gets the numbers that it reads.

  Attributes:
    task_id: int32 [N], the task of each row; rows are ordered by task.
  """

  metadata = {'autoreset_mode': AutoresetMode.SAME_STEP}

  def __init__(
    self,
    tasks: Tasks,
    task_id: np.ndarray,
    is_training: bool,
    keeps_last: bool = False,
    num_cores: int | None = None,
  ):
    """Builds the environments of the tasks that occur.

    Args:
      tasks: those of the run.
      task_id: int32 [N], tasks of the rows.
      is_training: whether lost lives end what the learner sees, and levels
        that are held out for tests are refused.
      keeps_last: whether `step` tells the last observation of an episode.
      num_cores: that engines may use; None: all of the machine.

    Raises:
      UserError: if an environment of the user's does not reset in the step
        that ends an episode, or an engine is missing.
    """
    self.task_id = np.sort(task_id)
    self.num_envs = len(task_id)
    self._names = tasks.names
    self._has_failed = False
    self._keeps_last = keeps_last
    self._spec = tasks.env_spec
    rows = [tasks.names[i] for i in self.task_id]
    num_cores = num_cores or os.cpu_count() or 1
    num_threads = max(1, num_cores // len(set(rows)))
    self._envs = []
    try:
      for _, group in itertools.groupby(rows, key=suite_of):
        self._envs += tasks.make(list(group), is_training, num_threads)
    except BaseException:
      self.close()
      raise
    ends = list(itertools.accumulate(env.num_envs for env in self._envs))
    self._slices = [
      slice(start, stop) for start, stop in zip([0, *ends], ends, strict=False)
    ]
    self._actions = [None] * len(self._envs)

  def reset(
    self, *, seed: int | None = None, options: dict[str, Any] | None = None
  ) -> tuple[Observation, dict[str, Any]]:
    """Starts all episodes; row i is seeded with `seed` + i."""
    results = []
    for env, rows in zip(self._envs, self._slices, strict=True):
      row_seed = None if seed is None else int(seed + rows.start)
      with self._described(env, rows):
        results.append(env.reset(seed=row_seed, options=options))
    observations, infos = zip(*results, strict=True)
    return self._join(observations), _merge_infos(infos)

  def step_async(self, actions: np.ndarray) -> None:
    """Sends actions, [N] or [N, D]; returns at once where that is possible."""
    for i, (env, rows) in enumerate(zip(self._envs, self._slices, strict=True)):
      self._actions[i] = self._cut(actions[rows], rows)
      if hasattr(env, 'step_async'):
        with self._described(env, rows):
          env.step_async(self._actions[i])

  def step_wait(self) -> tuple[Any, ...]:
    """Waits for all rows.

    Returns:
      Observation, each [N, ...]; raw rewards float32 [N], terminations and
      truncations bool [N], and infos: `episode_done` bool [N] tells where a
      whole episode ended; if a task can succeed, `success` float32 [N] is 1
      where the step did and 0 where not, NaN of tasks that cannot.
      With `keeps_last`, `last_observation` is the Observation that the step
      itself led to, before any reset; missing where no episode ended, or where
      an environment does not say it.
    """
    results = []
    for env, actions, rows in zip(
      self._envs, self._actions, self._slices, strict=True
    ):
      is_async = hasattr(env, 'step_async')
      with self._described(env, rows):
        results.append(env.step_wait() if is_async else env.step(actions))
    observations, rewards, terminated, truncated, infos = zip(
      *results, strict=True
    )
    dones = [a | b for a, b in zip(terminated, truncated, strict=True)]
    merged = _merge_infos(infos, dones, self._spec.has_success)
    if self._keeps_last:
      ends = [
        info.get('episode_done', done)
        for info, done in zip(infos, dones, strict=True)
      ]
      last = _last_observations(observations, infos, ends)
      if last is not None:
        merged['last_observation'] = self._join(last)
    return (
      self._join(observations),
      _concatenate(rewards).astype(np.float32),
      _concatenate(terminated),
      _concatenate(truncated),
      merged,
    )

  def step(self, actions: np.ndarray) -> tuple[Any, ...]:
    """Steps all rows; see `step_wait`."""
    self.step_async(actions)
    return self.step_wait()

  def get_state(self) -> list[Any] | None:
    """Returns the state of every environment, or None if one cannot say it."""
    stateful = self._stateful()
    if not all(hasattr(env, 'get_state') for env in stateful):
      return None
    states = [env.get_state() for env in stateful]
    return None if None in states else states

  def set_state(self, states: list[Any]) -> None:
    """Goes on from `get_state`; call it after `reset`."""
    for env, state in zip(self._stateful(), states, strict=True):
      env.set_state(state)

  def close_extras(self, **kwargs: Any) -> None:
    """Closes every environment."""
    for env in self._envs:
      processes = getattr(env, 'processes', ())
      if self._has_failed and processes:
        # Its close would wait for what a dead process never sends.
        for process in processes:
          process.terminate()
        env.closed = True
      else:
        env.close(**kwargs)

  @contextlib.contextmanager
  def _described(self, env, rows):
    """Says of a failure in a with-block what a user can use of it."""
    try:
      yield
    except (UserError, EnvironmentFailure):
      self._has_failed = True
      raise
    except Exception as error:
      self._has_failed = True
      task = self._name(rows)
      if isinstance(error, (EOFError, ConnectionError)):
        ended = _ended(getattr(env, 'processes', ()))
        if ended:
          raise UserError(f'a process of {task} ended: {ended}') from error
      if type(env).__module__.startswith('core.'):
        raise  # Ours: all of it matters.
      text = _own_traceback(error)
      raise EnvironmentFailure(f'{task} failed:\n{text}') from error

  def _name(self, rows):
    """Says which tasks some rows play, in a few words."""
    first, *others = dict.fromkeys(self.task_id[rows].tolist())
    name = self._names[first]
    return f'{name} (or {len(others)} others)' if others else name

  def _stateful(self):
    """Lists what holds state: vector environments or, where they do, rows."""
    return [
      getattr(row, 'unwrapped', row)
      for env in self._envs
      for row in (
        [env] if hasattr(env, 'get_state') else getattr(env, 'envs', [None])
      )
    ]

  def _cut(self, actions, rows):
    """Drops what pads the actions of all rows of an environment."""
    box = self._spec.action_box
    if box is None or not box.task_sizes:
      return actions
    size = max(box.task_sizes[task] for task in set(self.task_id[rows]))
    return actions[:, :size]

  def _join(self, observations):
    """Puts the observations of all environments together."""
    parts = [as_observation(x) for x in observations]
    if self._spec.task_num_features:
      parts = [self._pad(part) for part in parts]
    if len(parts) == 1:
      return parts[0]
    return Observation(
      *(
        _concatenate(arrays) if len(arrays[0]) else ()
        for arrays in zip(*parts, strict=True)
      )
    )

  def _pad(self, observation):
    features = observation.features
    missing = self._spec.num_features - features.shape[1]
    padded = np.pad(features, [(0, 0), (0, missing)])
    return observation._replace(features=padded)


def _ended(processes):
  """Returns how the first of some processes ended, '' if none did."""
  deadline = time.monotonic() + 1.0
  while processes and time.monotonic() < deadline:
    for process in processes:
      status = process.exitcode
      if status is not None:
        if status < 0:
          return f'killed by {signal.Signals(-status).name}'
        return f'exit status {status}'
    time.sleep(0.02)
  return ''


def _own_traceback(error):
  """Formats an error without the frames of this file and of gymnasium's loop.

  Of an environment in a process of its own nothing is left but the error:
  gymnasium has shown its traceback.
  """
  shown = traceback.TracebackException.from_exception(error)
  frames = [
    frame
    for frame in shown.stack
    if frame.filename not in (__file__, contextlib.__file__)
    and os.path.join('gymnasium', 'vector') not in frame.filename
  ]
  if not frames:
    return ''.join(shown.format_exception_only()).rstrip()
  shown.stack = traceback.StackSummary.from_list(frames)
  return ''.join(shown.format()).rstrip()


def _merge_infos(infos, dones=(), has_success=False):
  """Keeps of the infos what actors and evaluation read."""
  merged = {}
  if dones:
    merged['episode_done'] = _concatenate(
      [
        info.get('episode_done', done)
        for info, done in zip(infos, dones, strict=True)
      ]
    )
  if has_success:
    merged['success'] = _concatenate(
      [
        info.get('success', np.full(len(done), np.nan, np.float32))
        for info, done in zip(infos, dones, strict=True)
      ]
    )
  if all('episode_frame_number' in info for info in infos):
    merged['episode_frame_number'] = _concatenate(
      [info['episode_frame_number'] for info in infos]
    )
  return merged


def _last_observations(observations, infos, ends):
  """Puts observations from before a reset in the place of those after it.

  `ends`, bool [N] of each, is where whole episodes ended: nothing is reset
  where only a life was lost. Returns None where none ended, or what it ended
  with is not known.
  """
  if not any(end.any() for end in ends):
    return None
  last = []
  for observation, info, end in zip(observations, infos, ends, strict=True):
    if end.any():
      if 'final_obs' not in info or not isinstance(observation, np.ndarray):
        return None
      observation = observation.copy()
      for row in np.flatnonzero(end):
        observation[row] = info['final_obs'][row]
    last.append(observation)
  return last


def _concatenate(arrays):
  return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
