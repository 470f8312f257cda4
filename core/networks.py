"""The networks of IMPALA: torso, instruction encoder, core and heads.

Espeholt et al. 2018, figure 3 (arXiv:1802.01561), with scalable_agent's
initialisers: truncated normals of deviation 1/sqrt(fan in) for convolutions and
linear layers, Glorot uniform over the joint matrix for LSTMs.
"""

import math
from typing import NamedTuple

import numpy as np
import sonnet as snt
import tensorflow as tf

from core.types import EnvOutput, EnvSpec, Observation

NUM_WORD_BUCKETS = 1000
# D7 (impala/README): the bucket of the empty string, which TF1 looked up too.
PADDING_BUCKET = 263


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
      env_spec: frames, actions and instructions to expect.
      torso: 'deep' (15-layer residual network) or 'shallow'.
      use_lstm: whether a 256-unit LSTM follows the torso.
      num_values: outputs of the value head.
      precision: 'float32' or 'bfloat16', of the convolutions alone.
      compile_parts: whether XLA compiles the scaling of frames by itself:
        fused, it costs a tenth of TensorFlow's transpose on a CPU.
      name: name of the module.
    """
    super().__init__(name=name)
    self._env_spec = env_spec
    dtype = tf.dtypes.as_dtype(precision)
    self._torso = DeepTorso(dtype) if torso == 'deep' else ShallowTorso(dtype)
    self._hidden = snt.Linear(256, name='torso_linear')
    self._scale_frames = tf.function(
      scale_frames, autograph=False, jit_compile=compile_parts
    )
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
    frame = np.zeros([1, 1, *spec.frame_shape], np.uint8)
    instruction = ()
    if spec.instruction_length:
      instruction = np.zeros([1, 1, spec.instruction_length], np.int32)
    env_outputs = EnvOutput(
      reward=tf.zeros([1, 1]),
      info=(),
      done=tf.ones([1, 1], tf.bool),
      observation=Observation(frame, instruction),
    )
    self(tf.zeros([1, 1], tf.int32), env_outputs, self.initial_state(1))

  def _features(self, last_actions, env_outputs):
    """Computes everything that needs no time: [T, B, ...] to [T*B, F]."""
    frame, instruction = env_outputs.observation
    frame = tf.reshape(frame, [-1, *self._env_spec.frame_shape])
    visual = self._torso(
      self._scale_frames(frame, self._env_spec.channels_first)
    )
    visual = tf.cast(tf.nn.relu(visual), tf.float32)
    visual = tf.nn.relu(self._hidden(snt.flatten(visual)))
    # D3: on Atari too. Rewards are clipped here whatever the loss sees.
    clipped_reward = tf.clip_by_value(env_outputs.reward, -1.0, 1.0)
    last_action = tf.one_hot(
      tf.reshape(last_actions, [-1]), self._env_spec.num_actions
    )
    features = [visual, tf.reshape(clipped_reward, [-1, 1]), last_action]
    if self._env_spec.instruction_length:
      instruction = tf.reshape(instruction, [-1, instruction.shape[-1]])
      features.append(self._instruction_encoder(instruction))
    return tf.concat(features, axis=1)


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


def scale_frames(frames: tf.Tensor, channels_first: bool) -> tf.Tensor:
  """Turns uint8 frames into float32 [..., H, W, C] between 0 and 1.

  Args:
    frames: uint8 [B, H, W, C], or [B, C, H, W] if `channels_first`.
    channels_first: see `frames`.

  Returns:
    float32 [B, H, W, C].
  """
  if channels_first:
    frames = tf.transpose(frames, [0, 2, 3, 1])
  return tf.cast(frames, tf.float32) / 255.0


class DeepTorso(snt.Module):
  """The convolutions of the 15-layer residual network."""

  def __init__(self, dtype: tf.DType, name: str = 'deep_torso'):
    """Declares three sections of 16, 32 and 32 channels in `dtype`."""
    super().__init__(name=name)
    self._dtype = dtype
    self._sections = []
    for section, num_channels in enumerate((16, 32, 32)):
      convolutions = [
        Conv2D(num_channels, 3, 1, 'SAME', name=f'section{section}_conv{i}')
        for i in range(5)
      ]
      self._sections.append(convolutions)

  def __call__(self, frames: tf.Tensor) -> tf.Tensor:
    """Maps float32 [B, H, W, C] to `dtype` [B, H / 8, W / 8, 32]."""
    x = tf.cast(frames, self._dtype)
    for first, *blocks in self._sections:
      x = tf.nn.max_pool2d(first(x), 3, 2, 'SAME')
      for conv_a, conv_b in (blocks[:2], blocks[2:]):
        residual = conv_a(tf.nn.relu(x))
        residual = conv_b(tf.nn.relu(residual))
        # TensorFlow's remapper fails on x + residual and then fuses nothing.
        x -= -residual
    return x


class ShallowTorso(snt.Module):
  """The two convolutions of Mnih et al. 2016 (arXiv:1602.01783); D1."""

  def __init__(self, dtype: tf.DType, name: str = 'shallow_torso'):
    """Declares 8x8/4 x 16 and 4x4/2 x 32, VALID, computed in `dtype`."""
    super().__init__(name=name)
    self._dtype = dtype
    self._conv1 = Conv2D(16, 8, 4, 'VALID', name='conv1')
    self._conv2 = Conv2D(32, 4, 2, 'VALID', name='conv2')

  def __call__(self, frames: tf.Tensor) -> tf.Tensor:
    """Maps float32 [B, H, W, C] to `dtype` [B, H', W', 32]."""
    x = tf.cast(frames, self._dtype)
    return self._conv2(tf.nn.relu(self._conv1(x)))


class Conv2D(snt.Module):
  """A convolution with float32 weights, computed in its input's dtype."""

  def __init__(
    self, num_channels: int, size: int, stride: int, padding: str, name: str
  ):
    """Declares a square kernel; the weights appear with the first call."""
    super().__init__(name=name)
    self._num_channels = num_channels
    self._size = size
    self._stride = stride
    self._padding = padding

  @snt.once
  def _create(self, in_channels):
    shape = [self._size, self._size, in_channels, self._num_channels]
    stddev = 1.0 / math.sqrt(self._size * self._size * in_channels)
    initializer = snt.initializers.TruncatedNormal(stddev=stddev)
    self.w = tf.Variable(initializer(shape, tf.float32), name='w')
    self.b = tf.Variable(tf.zeros([self._num_channels]), name='b')

  def __call__(self, x: tf.Tensor) -> tf.Tensor:
    """Convolves [B, H, W, C]; the result has the dtype of `x`."""
    self._create(x.shape[-1])
    w = tf.cast(self.w, x.dtype)
    x = tf.nn.conv2d(x, w, self._stride, self._padding)
    # As a tensor: a custom gradient takes no mirrored variable.
    return add_bias(x, tf.convert_to_tensor(self.b))


@tf.custom_gradient
def add_bias(x: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
  """Adds a float32 bias [C] to [B, H, W, C] of any dtype.

  TensorFlow's own gradient accumulates bfloat16 in bfloat16 and loses most of a
  sum over 10^6 positions. Image by image is faster than one sum.
  """

  def gradient(upstream):
    per_image = tf.reduce_sum(upstream, axis=[1, 2])
    return upstream, tf.reduce_sum(tf.cast(per_image, b.dtype), axis=0)

  return tf.nn.bias_add(x, tf.cast(b, x.dtype)), gradient


class LSTM(snt.Module):
  """TF1's LSTM cell over a sequence, reset where an episode begins.

  One matrix for input and state, gates in the order input, cell, forget,
  output, and 1 added to the forget gate.
  """

  def __init__(self, hidden_size: int, name: str):
    """Declares the cell; the weights appear with the first call."""
    super().__init__(name=name)
    self._hidden_size = hidden_size

  @snt.once
  def _create(self, input_size):
    rows, columns = input_size + self._hidden_size, 4 * self._hidden_size
    limit = math.sqrt(6.0 / (rows + columns))
    initializer = snt.initializers.RandomUniform(-limit, limit)
    self.w = tf.Variable(initializer([rows, columns], tf.float32), name='w')
    self.b = tf.Variable(tf.zeros([columns]), name='b')

  def __call__(
    self,
    inputs: tf.Tensor,
    done: tf.Tensor,
    state: tuple[tf.Tensor, tf.Tensor],
    is_step: tf.Tensor | None = None,
  ) -> tuple[tf.Tensor, tuple[tf.Tensor, tf.Tensor]]:
    """Unrolls the cell.

    Args:
      inputs: float32 [T, B, F].
      done: bool [T, B]; where true the state is zeroed before the step.
      state: (cell, hidden), each float32 [B, hidden_size].
      is_step: bool [T, B]; where false the step leaves the state as it was.

    Returns:
      The hidden states, float32 [T, B, hidden_size], and the last state.
    """
    num_steps, _, input_size = inputs.shape  # B may be unknown.
    self._create(input_size)
    # The inputs' share of all gates at once, the state's step by step.
    flat_inputs = tf.reshape(inputs, [-1, input_size])
    gates_of_inputs = tf.matmul(flat_inputs, self.w[:input_size]) + self.b
    gates_of_inputs = tf.reshape(
      gates_of_inputs, [num_steps, -1, 4 * self._hidden_size]
    )
    w_hidden = self.w[input_size:]
    outputs = []
    cell, hidden = state
    for t in range(num_steps):
      keep = tf.cast(~done[t], tf.float32)[:, None]
      cell, hidden = keep * cell, keep * hidden
      gates = gates_of_inputs[t] + tf.matmul(hidden, w_hidden)
      i, j, f, o = tf.split(gates, 4, axis=1)
      new_cell = tf.sigmoid(f + 1.0) * cell + tf.sigmoid(i) * tf.tanh(j)
      new_hidden = tf.sigmoid(o) * tf.tanh(new_cell)
      if is_step is not None:
        new_cell = tf.where(is_step[t][:, None], new_cell, cell)
        new_hidden = tf.where(is_step[t][:, None], new_hidden, hidden)
      cell, hidden = new_cell, new_hidden
      outputs.append(hidden)
    return tf.stack(outputs), (cell, hidden)


class InstructionEncoder(snt.Module):
  """Embeds the words of an instruction and runs an LSTM over them."""

  def __init__(self, name: str = 'instruction_encoder'):
    """Declares 1000 word buckets of 20 numbers and an LSTM of 64 units."""
    super().__init__(name=name)
    self._lstm = LSTM(64, name='language_lstm')

  @snt.once
  def _create(self):
    initializer = snt.initializers.RandomNormal(stddev=1.0)
    self.embedding = tf.Variable(
      initializer([NUM_WORD_BUCKETS, 20], tf.float32), name='embedding'
    )

  def __call__(self, instruction: tf.Tensor) -> tf.Tensor:
    """Encodes instructions.

    Args:
      instruction: int32 [B, L], buckets counted from 1, padded with 0.

    Returns:
      float32 [B, 64], the output at the last word; zeros without words.
    """
    self._create()
    words = tf.transpose(instruction)  # [L, B]
    is_word = words > 0
    buckets = tf.where(is_word, words - 1, PADDING_BUCKET)
    embedded = tf.gather(self.embedding, buckets)  # [L, B, 20]
    zeros = tf.zeros([words.shape[1], 64])
    _, (_, hidden) = self._lstm(
      embedded, tf.zeros_like(is_word), (zeros, zeros), is_step=is_word
    )
    return hidden


def hash_words(instruction: str, instruction_length: int) -> list[int]:
  """Turns a sentence into word buckets for `Observation.instruction`.

  TF1's fast string hash (FarmHash fingerprint modulo 1000), which is the same
  in every process.

  Args:
    instruction: words separated by spaces.
    instruction_length: L, words to pad to.

  Returns:
    L integers: buckets counted from 1, then zeros.

  Raises:
    ValueError: if there are more than L words.
  """
  words = instruction.split()
  if len(words) > instruction_length:
    raise ValueError(
      f'instruction of {len(words)} words, at most {instruction_length} fit: '
      f'{instruction!r}'
    )
  buckets = []
  if words:
    hashed = tf.strings.to_hash_bucket_fast(words, NUM_WORD_BUCKETS)
    buckets = [int(bucket) + 1 for bucket in hashed]
  return buckets + [0] * (instruction_length - len(buckets))
