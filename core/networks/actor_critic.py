"""The network of IMPALA: torso, instruction encoder, core and heads.

Espeholt et al. 2018, figure 3 (arXiv:1802.01561). Linear layers are initialised
as in scalable_agent, by truncated normals of deviation 1/sqrt(fan in).
"""

from typing import NamedTuple

import numpy as np
import sonnet as snt
import tensorflow as tf

from core.errors import UserError
from core.networks.mlp import MLP
from core.networks.recurrent import LSTM, InstructionEncoder
from core.networks.torsos import DeepTorso, ShallowTorso, scale_frames
from core.types import EnvOutput, EnvSpec, Observation

MIN_SHALLOW_SIDE = 20  # Pixels; 8x8 with stride 4, then 4x4.


class NetworkOutput(NamedTuple):
  """What the network returns for every step.

  Attributes:
    policy_logits: float32 [T, B, A].
    values: float32 [T, B, num_values].
    core_output: float32 [T, B, F], what the heads read: the LSTM's output, 256,
      or without LSTM all features.
    core_state: the recurrent state after the last step.
  """

  policy_logits: tf.Tensor
  values: tf.Tensor
  core_output: tf.Tensor
  core_state: tuple[tf.Tensor, ...]


class ActorCritic(snt.Module):
  """Policy and value network over time-major sequences."""

  def __init__(
    self,
    env_spec: EnvSpec,
    torso: str,
    use_lstm: bool,
    num_values: int = 1,
    precision: str = 'float32',
    compile_parts: bool = False,
    name: str = 'agent',
  ):
    """Declares the network; variables appear with the first call.

    Args:
      env_spec: observations and actions to expect.
      torso: for frames, 'deep' (15-layer residual network) or 'shallow'.
      use_lstm: whether a 256-unit LSTM follows the torso.
      num_values: outputs of the value head.
      precision: 'float32' or 'bfloat16', of the convolutions alone.
      compile_parts: whether XLA compiles the scaling of frames by itself:
        fused, it costs a tenth of TensorFlow's transpose on a CPU.
      name: name of the module.

    Raises:
      UserError: actions are continuous, or frames too small for the torso.
    """
    super().__init__(name=name)
    if not env_spec.num_actions:
      raise UserError(
        f'{env_spec.task_names[0]} has continuous actions; this agent chooses '
        'among discrete ones'
      )
    _check_frames(env_spec, torso)
    self._env_spec = env_spec
    dtype = tf.dtypes.as_dtype(precision)
    if env_spec.frame_shape:
      self._torso = DeepTorso(dtype) if torso == 'deep' else ShallowTorso(dtype)
      self._hidden = snt.Linear(256, name='torso_linear')
    self._scale_frames = tf.function(
      scale_frames, autograph=False, jit_compile=compile_parts
    )
    if env_spec.num_features:
      # D11 (impala/README): the paper has frames alone.
      self._feature_torso = MLP([256, 256], name='feature_torso')
    if env_spec.instruction_length:
      self._instruction_encoder = InstructionEncoder()
    self._core = LSTM(256, name='core') if use_lstm else None
    self._policy_head = snt.Linear(env_spec.num_actions, name='policy_logits')
    self.value_head = snt.Linear(num_values, name='baseline')

  def initial_state(self, batch_size: int) -> tuple[tf.Tensor, ...]:
    """Returns the zero state of the core, () without recurrence."""
    if self._core is None:
      return ()
    return (tf.zeros([batch_size, 256]), tf.zeros([batch_size, 256]))

  def __call__(
    self,
    last_actions: tf.Tensor,
    env_outputs: EnvOutput,
    core_state: tuple[tf.Tensor, ...],
  ) -> NetworkOutput:
    """Processes a sequence, resetting the core where an episode begins.

    Args:
      last_actions: int32 [T, B], the actions that led to `env_outputs`.
      env_outputs: EnvOutput, each [T, B, ...]; `info` is not read.
      core_state: state before the first step.

    Returns:
      NetworkOutput over the T steps.
    """
    num_steps, batch_size = last_actions.shape
    features = self._features(last_actions, env_outputs)  # [T*B, F]
    if self._core is not None:
      features = tf.reshape(features, [num_steps, batch_size, -1])
      features, core_state = self._core(features, env_outputs.done, core_state)
      features = tf.reshape(features, [num_steps * batch_size, 256])
    logits = self._policy_head(features)
    values = self.value_head(features)
    time_major = [num_steps, batch_size, -1]
    return NetworkOutput(
      policy_logits=tf.reshape(logits, time_major),
      values=tf.reshape(values, time_major),
      core_output=tf.reshape(features, time_major),
      core_state=core_state,
    )

  def create_variables(self) -> None:
    """Creates all variables, by a call on zeros."""
    spec = self._env_spec
    frame = instruction = features = ()
    if spec.frame_shape:
      frame = np.zeros([1, 1, *spec.frame_shape], np.uint8)
    if spec.instruction_length:
      instruction = np.zeros([1, 1, spec.instruction_length], np.int32)
    if spec.num_features:
      features = np.zeros([1, 1, spec.num_features], np.float32)
    env_outputs = EnvOutput(
      reward=tf.zeros([1, 1]),
      info=(),
      done=tf.ones([1, 1], tf.bool),
      observation=Observation(frame, instruction, features),
    )
    self(tf.zeros([1, 1], tf.int32), env_outputs, self.initial_state(1))

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
    # D3: on Atari too. Rewards are clipped here whatever the loss sees.
    clipped_reward = tf.clip_by_value(env_outputs.reward, -1.0, 1.0)
    parts.append(tf.reshape(clipped_reward, [-1, 1]))
    parts.append(tf.one_hot(tf.reshape(last_actions, [-1]), spec.num_actions))
    if spec.instruction_length:
      words = tf.reshape(
        observation.instruction, [-1, observation.instruction.shape[-1]]
      )
      parts.append(self._instruction_encoder(words))
    return tf.concat(parts, axis=1)


def sample_actions(policy_logits: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
  """Draws from the softmax, in the Gumbel-argmax form.

  Args:
    policy_logits: float32 [N, A].
    seed: int32 [2].

  Returns:
    int32 [N].
  """
  uniform = tf.random.stateless_uniform(tf.shape(policy_logits), seed, 1e-20)
  return tf.argmax(
    policy_logits - tf.math.log(-tf.math.log(uniform)),
    axis=1,
    output_type=tf.int32,
  )


def _check_frames(env_spec, torso):
  """Refuses frames on which no output of the shallow torso's filters fits."""
  if torso != 'shallow' or not env_spec.frame_shape:
    return
  height, width = env_spec.frame_shape[env_spec.channels_first :][:2]
  if min(height, width) < MIN_SHALLOW_SIDE:
    raise UserError(
      f'--torso=shallow needs frames of 20x20 at least, not {height}x{width}'
    )
