"""The actor: steps environments with batched inference and cuts unrolls."""

from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any

import numpy as np
import tensorflow as tf
import tree

from core.experience.timing import Timer
from core.suites.task_environments import TaskEnvironments
from core.types import AgentOutput, EnvOutput, EnvSpec, EpisodeInfo, Unroll
from core.unrolls import join_in_time, select_columns


class Actor:
  """Plays groups of environments.

  Each group can be played in a thread of its own: while the emulators of one
  work, another is in inference.

  Attributes:
    groups: one Group per element of the constructor's `groups`.
  """

  def __init__(
    self,
    act: tf.types.experimental.PolymorphicFunction,
    initial_state: Callable[[int], tuple[Any, ...]],
    groups: list[TaskEnvironments],
    env_spec: EnvSpec,
    unroll_length: int,
    seed: int,
    timer: Timer,
    num_joined: int = 1,
  ):
    """Resets all environments.

    Args:
      act: tf.function of task id, last action, EnvOutput, core state and seed
        [2] that returns AgentOutput and core state.
      initial_state: maps N to the core's initial state.
      groups: environments that step together.
      env_spec: of these environments.
      unroll_length: T.
      seed: of environments and action sampling.
      timer: where inference and waiting for environments are counted.
      num_joined: K; from the second on, an unroll begins with the last K - 1 of
        K parts of T steps that the one before it had.
    """
    self.groups: list[Group] = []
    first_row = 0
    for index, environments in enumerate(groups):
      self.groups.append(
        Group(
          act,
          initial_state(environments.num_envs),
          environments,
          env_spec,
          unroll_length,
          action_seed=[seed, index],
          environment_seed=seed + first_row,
          timer=timer,
          num_joined=num_joined,
        )
      )
      first_row += environments.num_envs
    self._pool = futures.ThreadPoolExecutor(len(groups))

  def collect(
    self, policy_version: int, groups: Sequence['Group'] | None = None
  ) -> list[Unroll]:
    """Plays T steps in every environment.

    Args:
      policy_version: learner updates behind the weights in use.
      groups: those of this actor that play; all without it.

    Returns:
      One Unroll per group, [K T + 1, ...]; nobody writes to its arrays.
    """
    groups = self.groups if groups is None else groups
    unrolls = [self._pool.submit(g.collect, policy_version) for g in groups]
    # If one fails, the others would first play on to their unrolls' ends.
    done, _ = futures.wait(unrolls, return_when=futures.FIRST_EXCEPTION)
    for unroll in done:
      unroll.result()
    return [unroll.result() for unroll in unrolls]

  def get_state(self) -> dict[str, Any]:
    """Returns what `set_state` needs to go on between two unrolls.

    Returns:
      `arrays`, a nest of numpy arrays, and `environments`, one JSON value per
      group, None where the environments cannot save their state.
    """
    return dict(
      arrays=[group.get_arrays() for group in self.groups],
      environments=[group.environments.get_state() for group in self.groups],
    )

  def set_state(self, state: dict[str, Any]) -> None:
    """Goes on from `get_state`."""
    for group, arrays, environments in zip(
      self.groups, state['arrays'], state['environments'], strict=True
    ):
      if environments is not None:
        group.environments.set_state(environments)
        group.set_arrays(arrays)

  def empty_unroll(self, width: int) -> Unroll:
    """Returns an Unroll of `width` columns with the shapes of this actor's."""
    columns = np.zeros(width, np.intp)
    return select_columns(self.groups[0].empty_unroll(), columns)

  def reads(self, variable: tf.Variable) -> bool:
    """Tells whether acting reads a variable of this process."""
    return self.groups[0].reads(variable)

  def close(self) -> None:
    """Ends what is being played and closes all environments."""
    for group in self.groups:
      group.is_stopped = True
    self._pool.shutdown()
    for group in self.groups:
      group.environments.close()


class Group:
  """Environments that step together, and their unroll in the making.

  Attributes:
    environments: the TaskEnvironments.
    unroll: what `collect` fills.
    is_stopped: set by anyone to end `collect` before the unroll is full.
  """

  def __init__(
    self,
    act: tf.types.experimental.PolymorphicFunction,
    core_state: tuple[tf.Tensor, ...],
    environments: TaskEnvironments,
    env_spec: EnvSpec,
    unroll_length: int,
    action_seed: list[int],
    environment_seed: int,
    timer: Timer,
    num_joined: int = 1,
  ):
    """Resets the environments.

    Args:
      act: as for Actor.
      core_state: the core's initial state, [N, ...].
      environments: N of them.
      env_spec: of these environments.
      unroll_length: T.
      action_seed: two integers; the second counts up by 64 per action.
      environment_seed: of the first environment.
      timer: as for Actor.
      num_joined: as for Actor.
    """
    self.environments = environments
    self.unroll = None
    self.is_stopped = False
    self._unroll_length = unroll_length
    self._timer = timer
    self._act = act
    self._task_id = tf.constant(environments.task_id)
    self._action_seed = np.array(action_seed, np.int32)
    self._num_acts = np.zeros([], np.int32)
    n = environments.num_envs
    observation, _ = environments.reset(seed=environment_seed)
    zeros, nowhere = np.zeros(n, np.float32), np.zeros(n, bool)
    # What an unroll repeats before anything happened (spec of the originals:
    # done is true, everything else 0).
    success = zeros if env_spec.has_success else ()
    self._running = EpisodeInfo(zeros, np.zeros(n, np.int32), nowhere, success)
    self._env_output = EnvOutput(
      reward=zeros,
      info=self._running,
      done=np.ones(n, bool),
      observation=observation,
      truncated=nowhere if env_spec.has_time_limit else (),
    )
    self._core_state = core_state
    self._traced_act = self._trace(env_spec.zero_actions(n))
    output, _ = self._traced_act.structured_outputs
    self._agent_output = AgentOutput(
      *(np.zeros(x.shape, x.dtype.as_numpy_dtype) for x in output)
    )
    # What the next unroll begins with, and how much of it was played.
    self.begin_unroll(0)
    nothing = tf.nest.map_structure(np.zeros_like, self.unroll)
    self._parts = [nothing] * (num_joined - 1)
    self._num_parts = np.zeros([], np.int32)

  def collect(self, policy_version: int) -> Unroll:
    """Plays T steps, at first K T.

    Args:
      policy_version: learner updates behind the weights in use.

    Returns:
      Unroll [K T + 1, N, ...], arrays that nobody writes to.
    """
    self._play(policy_version)
    if not self._parts:
      return self.unroll
    num_new = 1
    while self._num_parts < len(self._parts) and not self.is_stopped:
      self._keep_part()
      self._play(policy_version)
      num_new += 1
    unroll = join_in_time([*self._parts, self.unroll], num_new)
    self._keep_part()
    return unroll

  def _keep_part(self):
    self._parts = [*self._parts[1:], self.unroll]
    self._num_parts = self._num_parts + 1  # Not in place: see get_arrays.

  def empty_unroll(self) -> Unroll:
    """Returns an Unroll of this group's shapes, without content."""
    self.begin_unroll(0)
    return join_in_time([self.unroll] * (1 + len(self._parts)), num_new=1)

  def _play(self, policy_version):
    """Plays T steps into `unroll`."""
    self.begin_unroll(policy_version)
    for t in range(1, self._unroll_length + 1):
      with self._timer.phase('inference'):
        self.act(t)
      with self._timer.phase('environment'):
        self.receive(t)
      if self.is_stopped:
        break

  def begin_unroll(self, policy_version: int) -> None:
    """Allocates arrays [T + 1, N, ...] whose entry 0 is the last one seen."""

    def allocate(last):
      last = np.asarray(last)
      array = np.empty([self._unroll_length + 1, *last.shape], last.dtype)
      array[0] = last
      return array

    n = self.environments.num_envs
    self.unroll = Unroll(
      task_id=self.environments.task_id,
      policy_version=np.full(n, policy_version, np.int64),
      core_state=tree.map_structure(np.asarray, self._core_state),
      env_outputs=tf.nest.map_structure(allocate, self._env_output),
      agent_outputs=tf.nest.map_structure(allocate, self._agent_output),
    )

  def act(self, t: int) -> None:
    """Samples action t from environment output t - 1 and sends it."""
    inputs = self._inputs(self._agent_output.action)
    self._num_acts = self._num_acts + 1  # Not in place: see get_arrays.
    # Actions and core state stay tensors for the next call.
    self._agent_output, self._core_state = _call(self._traced_act, inputs)
    self.environments.step_async(self._agent_output.action.numpy())
    for array, value in zip(
      self.unroll.agent_outputs, self._agent_output, strict=True
    ):
      array[t] = value.numpy()

  def _inputs(self, last_action):
    seed = self._action_seed.copy()
    seed[1] += self._num_acts * 64  # At most 64 groups.
    inputs = (
      self._task_id,
      last_action,
      self._env_output._replace(info=(), truncated=()),
      self._core_state,
      seed,
    )
    return tree.map_structure(_as_tensor, inputs)

  def _trace(self, zero_actions):
    """Returns the concrete function that acts in this group's rows."""
    return self._act.get_concrete_function(*self._inputs(zero_actions))

  def reads(self, variable: tf.Variable) -> bool:
    """Tells whether `act` reads a variable."""
    return any(variable.handle is x for x in self._traced_act.captured_inputs)

  def receive(self, t: int) -> None:
    """Fetches environment output t."""
    observation, rewards, terminations, truncations, infos = (
      self.environments.step_wait()
    )
    episode_done = infos['episode_done']
    episode_return = self._running.episode_return + rewards
    episode_step = self._running.episode_step + 1
    success = running_success = ()
    if 'success' in infos:
      success = np.maximum(self._running.episode_success, infos['success'])
      running_success = np.where(episode_done, np.float32(0.0), success)
    self._running = EpisodeInfo(
      np.where(episode_done, np.float32(0.0), episode_return),
      np.where(episode_done, np.int32(0), episode_step),
      episode_done,
      running_success,
    )
    truncated = self._env_output.truncated
    if not isinstance(truncated, tuple):
      truncated = truncations & ~terminations
    self._env_output = EnvOutput(
      reward=rewards,
      info=EpisodeInfo(episode_return, episode_step, episode_done, success),
      done=terminations | truncations,
      observation=observation,
      truncated=truncated,
    )
    arrays = tf.nest.flatten(self.unroll.env_outputs)
    for array, value in zip(
      arrays, tf.nest.flatten(self._env_output), strict=True
    ):
      array[t] = value

  def get_arrays(self) -> dict[str, Any]:
    """Returns a nest of numpy arrays that `set_arrays` goes on from."""
    arrays = dict(
      env_output=self._env_output,
      agent_output=self._agent_output,
      core_state=self._core_state,
      running=self._running,
      action_seed=self._action_seed,
      num_acts=self._num_acts,
    )
    if self._parts:
      arrays |= dict(parts=self._parts, num_parts=self._num_parts)
    return tree.map_structure(np.asarray, arrays)

  def set_arrays(self, arrays: dict[str, Any]) -> None:
    """Goes on from `get_arrays`."""
    self._env_output = arrays['env_output']
    self._agent_output = arrays['agent_output']
    self._core_state = arrays['core_state']
    self._running = arrays['running']
    self._action_seed = arrays['action_seed']
    self._num_acts = arrays['num_acts']
    if self._parts:
      self._parts, self._num_parts = arrays['parts'], arrays['num_parts']


def _as_tensor(value):
  """Does what tf.convert_to_tensor does, which takes longer."""
  return value if isinstance(value, tf.Tensor) else tf.constant(value)


def _call(function, inputs):
  """Calls a concrete function without what its own call does for gradients.

  Acting has none, and at every step that work is part of the time it takes.
  """
  return function.inference_fn.call_preflattened(
    [*tf.nest.flatten(inputs), *function.captured_inputs]
  )
