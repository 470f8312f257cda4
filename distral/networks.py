"""Distral's networks: a column per task, a shared one, or both (figure 2)."""

from typing import Any, NamedTuple

import sonnet as snt
import tensorflow as tf

from core.errors import UserError
from core.networks.recurrent import LSTM
from core.networks.torsos import ShallowTorso, scale_frames
from core.types import EnvOutput, EnvSpec, Observation

LSTM_SIZE = 256  # D5.


class ColumnOutput(NamedTuple):
  """What columns compute.

  Attributes:
    logits: float32 [T, B, A].
    values: float32 [T, B], or () from a column without values.
    core_state: the LSTM's, each float32 [B, 256]; () without one.
  """

  logits: Any
  values: Any
  core_state: Any


class Network(snt.Module):
  """Task columns, of which each row passes its task's, and a shared column.

  Attributes:
    task_columns: a Column per task, or none.
    shared_column: a Column that all rows pass, or None.
  """

  def __init__(
    self,
    env_spec: EnvSpec,
    torso: str,
    use_lstm: bool,
    has_task_columns: bool,
    has_shared_column: bool,
    has_shared_values: bool,
    precision: str = 'float32',
    compile_parts: bool = True,
    name: str = 'distral',
  ):
    """Declares the columns; the variables appear with `create_variables`.

    Args:
      env_spec: frames, actions and tasks.
      torso: 'conv', that of A3C, or 'mlp', for grids.
      use_lstm: whether columns are recurrent.
      has_task_columns: whether each task has a column.
      has_shared_column: whether there is a column for all tasks.
      has_shared_values: whether that column has values.
      precision: 'float32' or 'bfloat16', of the convolutions alone.
      compile_parts: whether XLA compiles the scaling of frames by itself.
      name: name of the module.

    Raises:
      UserError: actions are continuous, or there are no frames.
    """
    super().__init__(name=name)
    if not (env_spec.num_actions and env_spec.frame_shape):
      raise UserError(
        f'{env_spec.task_names[0]}: Distral needs frames and discrete actions'
      )
    self._env_spec = env_spec
    self._use_lstm = use_lstm
    self._scale_frames = tf.function(
      scale_frames, autograph=False, jit_compile=compile_parts
    )
    dtype = tf.dtypes.as_dtype(precision)
    kind = (env_spec.num_actions, torso, use_lstm, dtype)
    self.task_columns = []
    if has_task_columns:
      self.task_columns = [
        Column(*kind, has_values=True, name=f'task_{i}')
        for i in range(len(env_spec.task_names))
      ]
    self.shared_column = None
    if has_shared_column:
      self.shared_column = Column(*kind, has_shared_values, name='shared')

  def initial_state(self, batch_size: int) -> tuple[Any, Any]:
    """Returns the zero states of task columns and shared column."""
    zeros = tf.zeros([batch_size, LSTM_SIZE])
    state = (zeros, zeros) if self._use_lstm else ()
    return (
      state if self.task_columns else (),
      state if self.shared_column else (),
    )

  def __call__(
    self,
    task_id: tf.Tensor,
    env_outputs: EnvOutput,
    core_state: tuple[Any, Any],
    rows_per_task: int | None = None,
  ) -> tuple[ColumnOutput | None, ColumnOutput | None]:
    """Processes a sequence, resetting the cores where an episode begins.

    Args:
      task_id: int32 [B].
      env_outputs: EnvOutput, each [T, B, ...]; only frames and `done` are read.
      core_state: states of task columns and shared column before step 0.
      rows_per_task: how many of the B rows each task has, if that is known when
        the graph is built; then all its shapes are static.

    Returns:
      Outputs of the task columns, each row from its task's; and of the shared
      column. None where there is none.
    """
    num_steps, batch_size = env_outputs.done.shape
    spec = self._env_spec
    frames = tf.reshape(env_outputs.observation.frame, [-1, *spec.frame_shape])
    frames = self._scale_frames(frames, spec.channels_first)
    frames = tf.reshape(frames, [num_steps, batch_size, *frames.shape[1:]])
    task_state, shared_state = core_state
    task_output = shared_output = None
    if self.task_columns:
      task_output = self._route(
        task_id, frames, env_outputs.done, task_state, rows_per_task
      )
    if self.shared_column:
      shared_output = self.shared_column(frames, env_outputs.done, shared_state)
    return task_output, shared_output

  def create_variables(self) -> None:
    """Creates all variables, by a call of each column on zeros."""
    columns = [*self.task_columns]
    columns += [self.shared_column] if self.shared_column else []
    observation = Observation(tf.zeros([1, *self._env_spec.frame_shape]))
    frames = scale_frames(observation.frame, self._env_spec.channels_first)
    zeros = tf.zeros([1, LSTM_SIZE])
    for column in columns:
      state = (zeros, zeros) if self._use_lstm else ()
      column(frames[None], tf.ones([1, 1], tf.bool), state)

  def _route(self, task_id, frames, done, state, rows_per_task):
    """Hands each row to its task's column and puts the results in its place.

    Rows are sorted by task and cut, so a column computes its own rows only.
    """
    num_tasks = len(self.task_columns)
    order = tf.argsort(task_id, stable=True)
    sizes = tf.math.bincount(task_id, minlength=num_tasks)
    if rows_per_task is not None:
      tf.debugging.assert_equal(
        *(sizes, rows_per_task), 'a batch needs as many rows of each task'
      )
      sizes = [rows_per_task] * num_tasks

    def cut(axis, x):
      return tf.split(tf.gather(x, order, axis=axis), sizes, axis, num_tasks)

    states = [()] * num_tasks
    if self._use_lstm:
      states = zip(*(cut(0, x) for x in state), strict=True)
    parts = zip(
      self.task_columns, cut(1, frames), cut(1, done), states, strict=True
    )
    if rows_per_task is None:
      outputs = [column.call_unless_empty(*inputs) for column, *inputs in parts]
    else:
      outputs = [column(*inputs) for column, *inputs in parts]
    place = tf.math.invert_permutation(order)

    def join(axis, *leaves):
      return tf.gather(tf.concat(leaves, axis), place, axis=axis)

    logits, values, states = zip(*outputs, strict=True)
    return ColumnOutput(
      logits=join(1, *logits),
      values=join(1, *values),
      core_state=tuple(join(0, *x) for x in zip(*states, strict=True)),
    )


class Column(snt.Module):
  """One network: torso, LSTM, policy logits and value (appendix B.2)."""

  def __init__(
    self,
    num_actions: int,
    torso: str,
    use_lstm: bool,
    dtype: tf.DType,
    has_values: bool,
    name: str,
  ):
    """Declares the layers; the variables appear with the first call."""
    super().__init__(name=name)
    self._num_actions = num_actions
    self._convolutions = ShallowTorso(dtype) if torso == 'conv' else None
    sizes = [256] if torso == 'conv' else [64, 64]
    self._layers = [
      snt.Linear(size, name=f'layer_{i}') for i, size in enumerate(sizes)
    ]
    self._core = LSTM(LSTM_SIZE, name='core') if use_lstm else None
    self._policy_head = snt.Linear(num_actions, name='policy_logits')
    self._value_head = snt.Linear(1, name='baseline') if has_values else None

  def __call__(
    self, frames: tf.Tensor, done: tf.Tensor, core_state: tuple[Any, ...]
  ) -> ColumnOutput:
    """Processes a sequence.

    Args:
      frames: float32 [T, B, H, W, C] between 0 and 1.
      done: bool [T, B]; where true the core is reset before the step.
      core_state: (cell, hidden) before step 0, or ().

    Returns:
      ColumnOutput.
    """
    num_steps = frames.shape[0]
    x = tf.reshape(frames, [-1, *frames.shape[2:]])
    if self._convolutions is not None:
      x = tf.cast(tf.nn.relu(self._convolutions(x)), tf.float32)
    x = snt.flatten(x)
    for layer in self._layers:
      x = tf.nn.relu(layer(x))  # [T*B, F]
    if self._core is not None:
      x = tf.reshape(x, [num_steps, -1, x.shape[-1]])
      x, core_state = self._core(x, done, core_state)
      x = tf.reshape(x, [-1, LSTM_SIZE])
    logits = tf.reshape(
      self._policy_head(x), [num_steps, -1, self._num_actions]
    )
    values = ()
    if self._value_head is not None:
      # The first axis is known, the second may not be: an empty batch has 0.
      values = tf.reshape(self._value_head(x), [num_steps, -1, 1])[:, :, 0]
    return ColumnOutput(logits, values, core_state)

  def call_unless_empty(
    self, frames: tf.Tensor, done: tf.Tensor, core_state: tuple[Any, ...]
  ) -> ColumnOutput:
    """Does the same where B may be 0, which convolutions do not take."""
    num_steps = frames.shape[0]
    empty = ColumnOutput(
      logits=tf.zeros([num_steps, 0, self._num_actions]),
      values=tf.zeros([num_steps, 0]) if self._value_head else (),
      core_state=tuple(tf.zeros([0, LSTM_SIZE]) for _ in core_state),
    )
    return tf.cond(
      tf.shape(done)[1] > 0,
      lambda: self(frames, done, core_state),
      lambda: empty,
    )
