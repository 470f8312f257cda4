"""Environments by name, behind one interface: gymnasium's VectorEnv.

Actors want two things more than gymnasium promises: to send actions and fetch
the results later (`step_async`, `step_wait`), and several tasks side by side.
`TaskEnvironments` adds both to any vector environment.
"""

import dataclasses
import difflib
import importlib
import os
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from core import atari, atari57, catch, dmlab, dmlab30, two_rooms
from core.atari import AtariProtocol
from core.dmlab import DmLabProtocol
from core.errors import UserError
from core.types import EnvSpec, Observation

Protocol = AtariProtocol | DmLabProtocol


def task_names(level_name: str) -> tuple[str, ...]:
  """Lists the tasks that a level name stands for.

  Args:
    level_name: 'atari57' or 'dmlab30'; or one or more, separated by commas, of:
      a game's ALE id, a level of DeepMind Lab (`dmlab.is_level`), 'catch',
      a goal in two rooms (`two_rooms.parse_task`), 'package.module:function'.

  Returns:
    Their names, in the order of task ids.

  Raises:
    UserError: for an unknown game, level, goal or module, or a name given
      twice.
  """
  if level_name == 'atari57':
    return tuple(atari57.GAMES)
  if level_name == 'dmlab30':
    return tuple(dmlab30.LEVEL_MAPPING)
  names = tuple(
    name.strip().removeprefix(dmlab.SUITE_FOLDER)
    for name in level_name.split(',')
  )
  for name in names:
    if two_rooms.is_task(name):
      two_rooms.parse_task(name)
    elif ':' in name and not dmlab.is_level(name):
      _import_function(name)
    elif is_atari(name):
      _check_game(name)
  if len(set(names)) < len(names):
    raise UserError(f'--level_name={level_name} names a task twice')
  return names


def is_atari(task_name: str) -> bool:
  """Tells whether a task is an Atari game."""
  is_other = (
    task_name == 'catch' or ':' in task_name or two_rooms.is_task(task_name)
  )
  return not is_other and not dmlab.is_level(task_name)


def suite(tasks: Sequence[str]) -> str:
  """Returns 'dmlab30' for levels of DeepMind Lab, 'atari57' for other tasks."""
  return 'dmlab30' if dmlab.is_level(tasks[0]) else 'atari57'


def make_protocol(config: Any, tasks: Sequence[str]) -> Protocol:
  """Returns how to play, as a paper's config says.

  Args:
    config: a paper's Config.
    tasks: names from `task_names`.

  Returns:
    A DmLabProtocol for levels of DeepMind Lab, else an AtariProtocol.

  Raises:
    UserError: some tasks are of DeepMind Lab and some are not.
  """
  if not any(dmlab.is_level(task) for task in tasks):
    return AtariProtocol(
      num_action_repeats=config.num_action_repeats,
      full_action_space=config.full_action_space,
    )
  for task in tasks:
    if not dmlab.is_level(task):
      raise UserError(
        f'{task} is no level of DeepMind Lab, and --level_name has such '
        'levels: one agent needs the same frames and actions'
      )
  return DmLabProtocol(
    width=config.width,
    height=config.height,
    num_action_repeats=config.num_action_repeats,
    action_set=config.action_set,
    dataset_path=config.dataset_path,
    level_cache_dir=config.level_cache_dir,
  )


def env_spec(tasks: Sequence[str], protocol: Protocol) -> EnvSpec:
  """Describes the frames and actions that the tasks share.

  Args:
    tasks: names from `task_names`.
    protocol: how they are played.

  Returns:
    EnvSpec.

  Raises:
    UserError: if the tasks differ in frames or actions.
  """
  if isinstance(protocol, DmLabProtocol):
    return EnvSpec(
      frame_shape=(protocol.height, protocol.width, 3),
      channels_first=False,
      num_actions=len(dmlab.ACTION_SETS[protocol.action_set]),
      instruction_length=dmlab.MAX_INSTRUCTION_WORDS,
      task_names=tuple(tasks),
    )
  specs = {task: _task_spec(task, protocol) for task in tasks}
  shared = next(iter(specs.values()))
  for task, spec in specs.items():
    if spec != shared:
      hint = ''
      if spec.frame_shape == shared.frame_shape:
        hint = '; for Atari add --full_action_space'
      raise UserError(
        f'{task} has frames {spec.frame_shape} and {spec.num_actions} actions, '
        f'{tasks[0]} {shared.frame_shape} and {shared.num_actions}: one agent '
        f'needs the same{hint}'
      )
  return shared._replace(task_names=tuple(tasks))


def assign_tasks(num_environments: int, num_tasks: int) -> np.ndarray:
  """Deals tasks to environments in turn, as scalable_agent does to actors.

  Args:
    num_environments: environments of all actors.
    num_tasks: number of tasks.

  Returns:
    int32 [num_environments], environment i plays task i modulo `num_tasks`.

  Raises:
    UserError: if a task would get no environment.
  """
  if num_environments < num_tasks:
    raise UserError(
      f'{num_tasks} tasks need at least as many environments, not '
      f'{num_environments}: raise --num_environments'
    )
  return np.arange(num_environments, dtype=np.int32) % num_tasks


def as_observation(observation: Any) -> Observation:
  """Names the parts of what a vector environment returns.

  Args:
    observation: frames, or a dict of `frame` and `instruction`.

  Returns:
    Observation.
  """
  if isinstance(observation, dict):
    return Observation(**observation)
  return Observation(observation)


class TaskEnvironments(VectorEnv):
  """Environments of several tasks as one, with sending apart from receiving.

  Attributes:
    task_id: int32 [N], the task of each row; rows are ordered by task.
  """

  metadata = {'autoreset_mode': AutoresetMode.SAME_STEP}

  def __init__(
    self,
    tasks: Sequence[str],
    task_id: np.ndarray,
    protocol: Protocol,
    is_training: bool,
  ):
    """Builds one vector environment per task that occurs.

    Args:
      tasks: names from `task_names`.
      task_id: int32 [N], tasks of the rows.
      protocol: how they are played.
      is_training: whether lost lives end what the learner sees, and levels
        that are held out for tests are refused.

    Raises:
      UserError: if an environment of the user's does not reset in the step
        that ends an episode, or DeepMind Lab cannot play.
    """
    self.task_id = np.sort(task_id)
    self.num_envs = len(task_id)
    if isinstance(protocol, DmLabProtocol):
      # One for all levels, so that they start at the same time.
      levels = [tasks[i] for i in self.task_id]
      self._slices = [slice(0, self.num_envs)]
      self._envs = [dmlab.DmLabVectorEnv(levels, protocol, is_training)]
    else:
      self._make_tasks(tasks, protocol, is_training)
    self._actions = [None] * len(self._envs)
    first = self._envs[0]
    self.single_observation_space = first.single_observation_space
    self.single_action_space = first.single_action_space

  def _make_tasks(self, tasks, protocol, is_training):
    ids, starts = np.unique(self.task_id, return_index=True)
    self._slices = [
      slice(start, stop)
      for start, stop in zip(starts, [*starts[1:], self.num_envs], strict=True)
    ]
    num_threads = max(1, (os.cpu_count() or 1) // len(ids))
    self._envs = [
      _make_task(tasks[i], s.stop - s.start, protocol, is_training, num_threads)
      for i, s in zip(ids, self._slices, strict=True)
    ]

  def reset(
    self, *, seed: int | None = None, options: dict[str, Any] | None = None
  ) -> tuple[np.ndarray, dict[str, Any]]:
    """Starts all episodes; row i is seeded with `seed` + i."""
    results = []
    for env, rows in zip(self._envs, self._slices, strict=True):
      row_seed = None if seed is None else int(seed + rows.start)
      results.append(env.reset(seed=row_seed, options=options))
    infos = [info for _, info in results]
    frames = _concatenate([frame for frame, _ in results])
    return frames, self._merge_infos(infos, None)

  def step_async(self, actions: np.ndarray) -> None:
    """Sends int32 actions [N] and returns at once where that is possible."""
    for i, (env, rows) in enumerate(zip(self._envs, self._slices, strict=True)):
      self._actions[i] = actions[rows]
      if hasattr(env, 'step_async'):
        env.step_async(actions[rows])

  def step_wait(self) -> tuple[np.ndarray, ...]:
    """Waits for all rows.

    Returns:
      frames uint8 [N, ...] (or a dict: `as_observation`), raw rewards float32
      [N], terminations and truncations bool [N], and infos whose `episode_done`
      bool [N] tells where a whole episode ended.
    """
    results = []
    for env, actions in zip(self._envs, self._actions, strict=True):
      is_async = hasattr(env, 'step_async')
      results.append(env.step_wait() if is_async else env.step(actions))
    columns = list(zip(*results, strict=True))
    arrays = [_concatenate(column) for column in columns[:4]]
    arrays[1] = arrays[1].astype(np.float32)
    dones = [
      terminated | truncated
      for terminated, truncated in zip(columns[2], columns[3], strict=True)
    ]
    return (*arrays, self._merge_infos(columns[4], dones))

  def step(self, actions: np.ndarray) -> tuple[np.ndarray, ...]:
    """Steps all rows; see `step_wait`."""
    self.step_async(actions)
    return self.step_wait()

  def get_state(self) -> list[Any] | None:
    """Returns the state of every environment, or None if one cannot say it."""
    stateful = self._stateful()
    if not all(hasattr(env, 'get_state') for env in stateful):
      return None
    return [env.get_state() for env in stateful]

  def set_state(self, states: list[Any]) -> None:
    """Goes on from `get_state`; call it after `reset`."""
    for env, state in zip(self._stateful(), states, strict=True):
      env.set_state(state)

  def _stateful(self):
    """Lists what holds state: vector environments or, where they do, rows."""
    return [
      getattr(row, 'unwrapped', row)
      for env in self._envs
      for row in ([env] if hasattr(env, 'get_state') else _rows(env))
    ]

  def close_extras(self, **kwargs: Any) -> None:
    """Closes every environment."""
    for env in self._envs:
      env.close(**kwargs)

  def _merge_infos(self, infos, dones):
    """Keeps of the infos what actors and evaluation read."""
    merged = {}
    if dones is not None:
      merged['episode_done'] = _concatenate(
        [
          info.get('episode_done', done)
          for info, done in zip(infos, dones, strict=True)
        ]
      )
    if all('episode_frame_number' in info for info in infos):
      merged['episode_frame_number'] = _concatenate(
        [info['episode_frame_number'] for info in infos]
      )
    return merged


def _make_task(task, num_envs, protocol, is_training, num_threads):
  if is_atari(task):
    life_loss_is_done = protocol.life_loss_is_done and is_training
    protocol = dataclasses.replace(
      protocol, life_loss_is_done=life_loss_is_done
    )
    return atari.AtariEnv(task, num_envs, protocol, num_threads)
  if two_rooms.is_task(task):
    return two_rooms.make_vector_env(task, num_envs)
  make_vector_env = catch.make_vector_env
  if task != 'catch':
    make_vector_env = _import_function(task)
  env = make_vector_env(num_envs, is_training)
  if env.metadata.get('autoreset_mode') != AutoresetMode.SAME_STEP:
    raise UserError(
      f'{task}: build the vector environment with '
      'autoreset_mode=AutoresetMode.SAME_STEP'
    )
  return env


def _task_spec(task, protocol):
  if is_atari(task):
    shape = (
      protocol.num_stacked_frames,
      protocol.frame_height,
      protocol.frame_width,
    )
    num_actions = len(atari.action_table(task, protocol.full_action_space))
    return EnvSpec(shape, True, num_actions, 0, (task,))._replace(task_names=())
  env = _make_task(task, 1, protocol, True, 1)
  frames, actions = env.single_observation_space, env.single_action_space
  env.close()
  if (
    not isinstance(frames, gymnasium.spaces.Box)
    or len(frames.shape) != 3
    or frames.dtype != np.uint8
    or not isinstance(actions, gymnasium.spaces.Discrete)
  ):
    raise UserError(
      f'{task}: observations must be uint8 [H, W, C] and actions discrete, '
      f'not {frames} and {actions}'
    )
  return EnvSpec(frames.shape, False, int(actions.n), 0, ())


def _check_game(name):
  levels = difflib.get_close_matches(name, dmlab30.ALL_LEVELS, n=3, cutoff=0.7)
  if levels:
    raise UserError(
      f'unknown level {name!r}; did you mean {" or ".join(sorted(levels))}?'
    )
  try:
    atari57.check_game(name)
  except UserError as error:
    raise UserError(
      f'{error} (Levels of DeepMind Lab: dmlab30, its levels, lab:NAME.)'
    ) from error


def _import_function(name):
  module_name, _, function_name = name.partition(':')
  try:
    return getattr(importlib.import_module(module_name), function_name)
  except (ImportError, AttributeError) as error:
    raise UserError(f'--level_name={name}: {error}') from error


def _rows(env):
  return getattr(env, 'envs', [None])


def _concatenate(arrays):
  return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
