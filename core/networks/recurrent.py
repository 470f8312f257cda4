"""LSTMs: TF1's cell over a sequence, and the instruction encoder on top of it.

Initialised as in scalable_agent: Glorot uniform over the joint matrix.
"""

import math

import sonnet as snt
import tensorflow as tf

from core.instructions import NUM_WORD_BUCKETS

# D7 (impala/README): the bucket of the empty string, which TF1 looked up too.
PADDING_BUCKET = 263


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
    # tf.transpose would do, but oneDNN has none of integers, and says so.
    words = tf.stack(tf.unstack(instruction, axis=1))  # [L, B]
    is_word = words > 0
    buckets = tf.where(is_word, words - 1, PADDING_BUCKET)
    embedded = tf.gather(self.embedding, buckets)  # [L, B, 20]
    zeros = tf.zeros([words.shape[1], 64])
    _, (_, hidden) = self._lstm(
      embedded, tf.zeros_like(is_word), (zeros, zeros), is_step=is_word
    )
    return hidden
