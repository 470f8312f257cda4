"""The network of STACX: a torso, perhaps an LSTM, and heads of two layers each.

Zahavy et al. 2020, Table 2 and supplement 9.3 (arXiv:2002.12928). Linear layers
are initialised as IMPALA's, by truncated normals of deviation 1/sqrt(fan in).
"""

import math
from typing import Any, NamedTuple

import numpy as np
import sonnet as snt
import tensorflow as tf

from core.errors import UserError
from core.networks.mlp import MLP
from core.networks.recurrent import LSTM
from core.networks.torsos import Conv2D, DeepTorso, ShallowTorso, scale_frames
from core.types import EnvOutput, EnvSpec, Observation
from stacx import losses
from stacx.config import Config, tuned_names
from stacx.policies import Softmax, TanhGaussian
from stacx.pooling import make_max_pool

HIDDEN_SIZE = 256  # Of the heads, the LSTM and the layer below it (Table 2).


class NetworkOutput(NamedTuple):
  """What the network returns for every step.

  Attributes:
    policy: float32 [T, B, P, num_parameters].
    values: float32 [T, B, P].
    extra_values: float32 [T, B, 1] of the extra head, or () without one.
    core_state: the recurrent state after the last step.
  """

  policy: tf.Tensor
  values: tf.Tensor
  extra_values: Any
  core_state: tuple[tf.Tensor, ...]


class Network(snt.Module):
  """Policies and values of P heads on a common torso."""

  def __init__(
    self,
    config: Config,
    env_spec: EnvSpec,
    num_parameters: int,
    compile_parts: bool = False,
    name: str = 'stacx',
  ):
    """Declares the network; variables appear with `create_variables`.

    Args:
      config: torso, heads and variants.
      env_spec: observations and actions to expect.
      num_parameters: of a policy, outputs of each policy head.
      compile_parts: whether XLA compiles by themselves what gains from it.
      name: name of the module.

    Raises:
      UserError: there are instructions to read.
    """
    super().__init__(name=name)
    if env_spec.instruction_length:
      raise UserError(
        f'{env_spec.task_names[0]} has instructions, which this agent does not '
        'read'
      )
    self._env_spec = env_spec
    self._num_heads = num_heads = config.num_heads
    if env_spec.frame_shape:
      self._torso = _make_torso(config.torso, config.precision, compile_parts)
      self._hidden = snt.Linear(HIDDEN_SIZE, name='torso_linear')
    self._scale_frames = tf.function(
      scale_frames, autograph=False, jit_compile=compile_parts
    )
    if env_spec.num_features:
      self._feature_torso = MLP([256, 256], name='feature_torso')  # Table 2.
    self._core = LSTM(HIDDEN_SIZE, name='core') if config.use_lstm else None
    self._embedding = None
    if config.gamma_embedding != 'none':
      num_rows = num_heads if config.gamma_embedding == 'separate' else 1
      self._embedding = GammaEmbedding(num_rows, config.gamma_embedding_size)
    self._policy_heads = Heads(num_heads, num_parameters, name='policy')
    self._value_heads = Heads(num_heads, 1, name='values')
    self._extra_head = None
    if config.outer_value_head or config.behaviour == 'average_logits':
      self._extra_head = Heads(1, 1, name='extra_values')

  def initial_state(self, batch_size: int) -> tuple[tf.Tensor, ...]:
    """Returns the zero state of the core, () without recurrence."""
    if self._core is None:
      return ()
    zeros = tf.zeros([batch_size, HIDDEN_SIZE])
    return (zeros, zeros)

  def __call__(
    self,
    last_actions: tf.Tensor,
    env_outputs: EnvOutput,
    core_state: tuple[tf.Tensor, ...],
    gammas: tf.Tensor,
    num_heads: int | None = None,
  ) -> NetworkOutput:
    """Processes a sequence, resetting the core where an episode begins.

    Args:
      last_actions: int32 [T, B] or float32 [T, B, D], the actions that led to
        `env_outputs`.
      env_outputs: EnvOutput, each [T, B, ...]; `info` is not read.
      core_state: state before the first step.
      gammas: float32 [P], what the embedding shows of; not read without one.
      num_heads: how many of the P heads, the first ones; None: all.

    Returns:
      NetworkOutput over the T steps.
    """
    num_steps, batch_size = env_outputs.done.shape
    num_heads = num_heads or self._num_heads
    x = self._features(last_actions, env_outputs)  # [T*B, F]
    if self._core is not None:
      x = tf.reshape(x, [num_steps, batch_size, -1])
      x, core_state = self._core(x, env_outputs.done, core_state)
      x = tf.reshape(x, [num_steps * batch_size, HIDDEN_SIZE])
    embedding = None
    if self._embedding is not None:
      embedding = self._embedding(gammas)[:num_heads]
    policy = self._policy_heads(x, num_heads, embedding)
    values = self._value_heads(x, num_heads, embedding)
    extra_values = ()
    if self._extra_head is not None:
      extra_values = tf.reshape(
        self._extra_head(x, 1), [num_steps, batch_size, 1]
      )
    shape = [num_steps, batch_size, num_heads]
    return NetworkOutput(
      policy=tf.reshape(policy, [*shape, -1]),
      values=tf.reshape(values, shape),
      extra_values=extra_values,
      core_state=core_state,
    )

  def create_variables(self) -> None:
    """Creates all variables, by a call on zeros."""
    spec = self._env_spec
    frame = features = ()
    if spec.frame_shape:
      frame = np.zeros([1, 1, *spec.frame_shape], np.uint8)
    if spec.num_features:
      features = np.zeros([1, 1, spec.num_features], np.float32)
    env_outputs = EnvOutput(
      reward=tf.zeros([1, 1]),
      info=(),
      done=tf.ones([1, 1], tf.bool),
      observation=Observation(frame, (), features),
    )
    last_actions = tf.constant(spec.zero_actions(1)[None])
    gammas = tf.zeros([self._num_heads])
    self(last_actions, env_outputs, self.initial_state(1), gammas)

  def _features(self, last_actions, env_outputs):
    """Computes everything that needs no time: [T, B, ...] to [T*B, F]."""
    spec, observation = self._env_spec, env_outputs.observation
    parts = []
    if spec.frame_shape:
      frame = tf.reshape(observation.frame, [-1, *spec.frame_shape])
      visual = self._torso(self._scale_frames(frame, spec.channels_first))
      visual = tf.cast(tf.nn.relu(visual), tf.float32)
      parts.append(tf.nn.relu(self._hidden(snt.flatten(visual))))
    if spec.num_features:
      vector = tf.reshape(observation.features, [-1, spec.num_features])
      parts.append(self._feature_torso(vector))
    # D8: the last reward and action, as for IMPALA.
    reward = tf.clip_by_value(env_outputs.reward, -1.0, 1.0)
    parts.append(tf.reshape(reward, [-1, 1]))
    if spec.action_box is None:
      action = tf.one_hot(tf.reshape(last_actions, [-1]), spec.num_actions)
    else:
      low, high = map(np.float32, spec.action_box[:2])
      action = tf.reshape(last_actions, [-1, len(low)])
      action = 2.0 * (action - low) / (high - low) - 1.0
    parts.append(action)
    return tf.concat(parts, axis=1)


class Heads(snt.Module):
  """P perceptrons of two layers on the same input, computed together."""

  def __init__(self, num_heads: int, num_outputs: int, name: str):
    """Declares 256 hidden units and `num_outputs` outputs for each head."""
    super().__init__(name=name)
    self._num_heads = num_heads
    self._num_outputs = num_outputs

  @snt.once
  def _create(self, num_inputs, num_embedded):
    def weights(name, *shape, fan_in):
      initializer = snt.initializers.TruncatedNormal(
        stddev=1.0 / math.sqrt(fan_in)
      )
      return tf.Variable(initializer(shape, tf.float32), name=name)

    heads, hidden, outputs = self._num_heads, HIDDEN_SIZE, self._num_outputs
    fan_in = num_inputs + num_embedded
    self.w_hidden = weights(
      'w_hidden', num_inputs, heads, hidden, fan_in=fan_in
    )
    if num_embedded:
      self.w_embedded = weights(
        'w_embedded', heads, num_embedded, hidden, fan_in=fan_in
      )
    self.b_hidden = tf.Variable(tf.zeros([heads, hidden]), name='b_hidden')
    self.w = weights('w', heads, hidden, outputs, fan_in=hidden)
    self.b = tf.Variable(tf.zeros([heads, 1, outputs]), name='b')

  def __call__(
    self,
    x: tf.Tensor,
    num_heads: int,
    embedding: tf.Tensor | None = None,
  ) -> tf.Tensor:
    """Computes the first heads.

    Args:
      x: float32 [N, F].
      num_heads: P', how many.
      embedding: float32 [P', E], more inputs of each head; the same N times.

    Returns:
      float32 [N, P', num_outputs].
    """
    num_embedded = 0 if embedding is None else embedding.shape[1]
    self._create(x.shape[1], num_embedded)
    w = tf.reshape(self.w_hidden[:, :num_heads], [x.shape[1], -1])
    hidden = tf.reshape(tf.matmul(x, w), [-1, num_heads, HIDDEN_SIZE])
    bias = self.b_hidden[:num_heads]
    if embedding is not None:
      # What a matrix on [x, embedding] would add.
      w = self.w_embedded[:num_heads]
      bias += tf.reduce_sum(embedding[:, :, None] * w, axis=1)
    hidden = tf.transpose(tf.nn.relu(hidden + bias), [1, 0, 2])
    outputs = tf.matmul(hidden, self.w[:num_heads]) + self.b[:num_heads]
    return tf.transpose(outputs, [1, 0, 2])


class GammaEmbedding(snt.Module):
  """Shows a head its discount (Xu et al. 2018, arXiv:1805.09801)."""

  def __init__(self, num_rows: int, size: int, name: str = 'gamma_embedding'):
    """Creates `num_rows` embeddings, one per head or one for all."""
    super().__init__(name=name)
    initializer = snt.initializers.TruncatedNormal(stddev=1.0)
    self.w = tf.Variable(initializer([num_rows, size], tf.float32), name='w')

  def __call__(self, gammas: tf.Tensor) -> tf.Tensor:
    """Maps float32 [P] to float32 [P, size]."""
    return gammas[:, None] * self.w


class StridedTorso(snt.Module):
  """The convolutions of the control suite (Table 2): strides, no pooling."""

  def __init__(self, dtype: tf.DType, name: str = 'strided_torso'):
    """Declares three blocks of 32 channels, computed in `dtype`."""
    super().__init__(name=name)
    self._dtype = dtype
    self._blocks = []
    for block in range(3):
      strides = (2, 1, 1, 1, 1)
      convolutions = [
        Conv2D(32, 3, stride, 'SAME', name=f'block{block}_conv{i}')
        for i, stride in enumerate(strides)
      ]
      self._blocks.append(convolutions)

  def __call__(self, frames: tf.Tensor) -> tf.Tensor:
    """Maps float32 [B, H, W, C] to `dtype` [B, H / 8, W / 8, 32]."""
    x = tf.cast(frames, self._dtype)
    for first, *units in self._blocks:
      x = first(x)
      for conv_a, conv_b in (units[:2], units[2:]):
        residual = conv_b(tf.nn.relu(conv_a(tf.nn.relu(x))))
        x -= -residual  # As in core.networks.torsos.
    return x


def make_policy(config: Config, env_spec: EnvSpec) -> Softmax | TanhGaussian:
  """Returns the policy that the config names.

  Raises:
    UserError: it does not fit the tasks' actions, or an option does not fit it.
  """
  task, is_discrete = env_spec.task_names[0], env_spec.action_box is None
  if is_discrete != (config.policy == 'softmax'):
    kind, other = 'discrete', 'tanh_gaussian'
    if not is_discrete:
      kind, other = 'continuous', 'softmax'
    fitting = 'softmax' if is_discrete else 'tanh_gaussian'
    raise UserError(
      f'{task} has {kind} actions, --policy={other} is for others; give '
      f'--policy={fitting}'
    )
  if config.behaviour != 'main_head' and config.num_heads == 1:
    raise UserError(f'--behaviour={config.behaviour} needs several --num_heads')
  if config.behaviour == 'random_head' and config.outer_value_head:
    raise UserError(
      '--outer_value_head is of one policy; --behaviour=random_head has several'
    )
  if is_discrete:
    return Softmax(env_spec)
  if config.behaviour == 'average_logits':
    raise UserError(
      f'--behaviour=average_logits: {task} has continuous actions, whose '
      'policies have no logits'
    )
  if config.min_log_sigma >= config.max_log_sigma:
    raise UserError(
      f'--min_log_sigma={config.min_log_sigma} is not below --max_log_sigma='
      f'{config.max_log_sigma}'
    )
  return TanhGaussian(env_spec, config.min_log_sigma, config.max_log_sigma)


def make_objective(config: Config, env_spec: EnvSpec) -> losses.Objective:
  """Returns what the losses are.

  Raises:
    UserError: as `make_policy` and `tuned_names`.
  """
  return losses.Objective(
    policy=make_policy(config, env_spec),
    tuned=tuned_names(config),
    outer=losses.Hyperparameters(
      gamma=config.discounting,
      lambda_=config.lambda_outer,
      alpha_rho=config.alpha_rho,
      alpha_c=config.alpha_c,
      truncation=config.truncation,
      g_v=config.baseline_cost / 2.0,
      g_p=config.policy_cost,
      g_e=config.entropy_cost,
    ),
    behaviour=config.behaviour,
    advantage=config.advantage,
  )


def _make_torso(name, precision, compile_parts):
  dtype = tf.dtypes.as_dtype(precision)
  if name == 'deep':
    return DeepTorso(dtype, make_max_pool(compile_parts))
  return StridedTorso(dtype) if name == 'strided' else ShallowTorso(dtype)
