"""The networks of PRL (Mujika 2016, arXiv:1611.01457, sections 3.2 and 4.2).

    h_0 = Perception(frames)
    r_j = f(LN(h_{j-1}) . c_{i+j}),  h_j = h_{j-1} + r_j     (equations 2, 3)
    y_j = Valuation(h_j)

B cases, S the size of the state, H, W, C the frame.
"""

import math

import sonnet as snt
import tensorflow as tf

NUM_CONTROLS = 3  # Fire, horizontal, vertical.
NUM_OUTPUTS = 2  # Death, point.

# Filters, kernel, stride, blocks of two convolutions behind it (D4).
_PERCEPTIONS = {
  'residual': ((32, 8, 4, 1), (64, 4, 2, 1), (64, 3, 2, 0)),
  'plain': ((32, 8, 4, 0), (64, 4, 2, 0), (64, 3, 1, 0)),
  'tiny': ((16, 3, 2, 0), (32, 3, 2, 0)),
}
PERCEPTIONS = tuple(_PERCEPTIONS)
_FEATURES = {'residual': 256, 'plain': 256, 'tiny': 64}


def _uniform(fan_in):
  """Torch7's initial values: uniform up to 1/sqrt(fan in), biases too (D9)."""
  bound = 1.0 / math.sqrt(fan_in)
  return snt.initializers.RandomUniform(-bound, bound)


def linear(
  num_inputs: int, num_outputs: int, name: str, with_bias: bool = True
) -> snt.Linear:
  """Builds a layer with Torch7's initial values."""
  init = _uniform(num_inputs)
  return snt.Linear(
    num_outputs, with_bias, init, init if with_bias else None, name
  )


def layer_norm(name: str) -> snt.LayerNorm:
  """Normalises to mean 0 and deviation 1 over the units, with gain and bias."""
  return snt.LayerNorm(
    axis=-1, create_scale=True, create_offset=True, name=name
  )


class _Normalized(snt.Module):
  """A layer, batch normalisation, ReLU."""

  def __init__(self, layer, norm_decay, name):
    super().__init__(name=name)
    self._layer = layer
    self._norm = None
    if norm_decay is not None:
      self._norm = snt.BatchNorm(
        create_scale=True, create_offset=True, decay_rate=norm_decay
      )

  def __call__(self, x, is_training, residual=None):
    x = self._layer(x)
    if self._norm is not None:
      x = self._norm(x, is_training=is_training)
    return tf.nn.relu(x if residual is None else x + residual)


def _block(filters, norm_decay, name):
  """Returns the two convolutions of a residual block."""
  return [
    _Normalized(
      _conv(filters, filters, 3, 1, 'SAME', norm_decay is None),
      norm_decay,
      f'{name}_{j}',
    )
    for j in range(2)
  ]


class Perception(snt.Module):
  """Turns frames into the state h_0 [B, S] (Figure 5)."""

  def __init__(
    self,
    frame_shape: tuple[int, ...],
    channels_first: bool,
    kind: str,
    state_size: int,
    norm_decay: float | None,
    output: str,
    name: str = 'perception',
  ):
    """Declares the layers.

    Args:
      frame_shape: [H, W, C], or [C, H, W] if `channels_first`.
      channels_first: see above.
      kind: one of PERCEPTIONS (D4).
      state_size: S.
      norm_decay: of the running statistics of batch normalisation; None: no
        batch normalisation.
      output: 'linear', the last layer is the state; 'relu', it is normalised
        and rectified like every other (D5).
      name: name of the module.
    """
    super().__init__(name=name)
    self._channels_first = channels_first
    height, width, channels = frame_shape
    if channels_first:
      channels, height, width = frame_shape
    # Batch normalisation takes a bias away, and brings its own.
    has_bias = norm_decay is None
    self._layers = []
    for i, (filters, kernel, stride, blocks) in enumerate(_PERCEPTIONS[kind]):
      layer = _conv(channels, filters, kernel, stride, 'VALID', has_bias)
      height, width = ((n - kernel) // stride + 1 for n in (height, width))
      if min(height, width) < 1:
        raise ValueError(f'frames {frame_shape} are too small for {kind}')
      block = [
        _block(filters, norm_decay, f'block{i}_{j}') for j in range(blocks)
      ]
      self._layers.append((_Normalized(layer, norm_decay, f'conv{i}'), block))
      channels = filters
    num_inputs, num_features = height * width * channels, _FEATURES[kind]
    self._features = _Normalized(
      linear(num_inputs, num_features, 'linear', has_bias),
      norm_decay,
      'features',
    )
    self._state = linear(
      num_features, state_size, 'state', has_bias or output == 'linear'
    )
    if output == 'relu':
      self._state = _Normalized(self._state, norm_decay, 'state')
    self._output = output

  def __call__(self, frames: tf.Tensor, is_training: bool) -> tf.Tensor:
    """Computes h_0.

    Args:
      frames: uint8 [B, *frame_shape].
      is_training: whether batch normalisation takes the batch's statistics and
        updates the running ones, which it takes otherwise.

    Returns:
      float32 [B, S].
    """
    x = tf.cast(frames, tf.float32) / 255.0
    if self._channels_first:
      x = tf.transpose(x, [0, 2, 3, 1])
    for layer, blocks in self._layers:
      x = layer(x, is_training)
      for first, second in blocks:
        x = second(first(x, is_training), is_training, residual=x)
    x = tf.reshape(x, [tf.shape(x)[0], math.prod(x.shape[1:])])
    x = self._features(x, is_training)
    if self._output == 'relu':
      return self._state(x, is_training)
    return self._state(x)


class ResidualPrediction(snt.Module):
  """The residual recurrent network (RRNN, Figure 4, Table 1)."""

  def __init__(
    self,
    state_size: int,
    hidden_size: int,
    input_relu: str,
    name: str = 'prediction',
  ):
    """Declares f.

    Args:
      state_size: S.
      hidden_size: units between the two layers of f.
      input_relu: what of f's input is rectified: 'none'; 'state', LN(h) alone;
        'all', as Table 1 prints it, which hides left and down (D6).
      name: name of the module.
    """
    super().__init__(name=name)
    self._norm = layer_norm('norm')
    self._hidden = linear(state_size + NUM_CONTROLS, hidden_size, 'hidden')
    self._change = linear(hidden_size, state_size, 'change')
    self._input_relu = input_relu

  def initial_state(self, perceived: tf.Tensor) -> tf.Tensor:
    """Returns h_0."""
    return perceived

  def __call__(
    self, state: tf.Tensor, control: tf.Tensor
  ) -> tuple[tf.Tensor, tf.Tensor]:
    """Makes one step.

    Args:
      state: float32 [B, S], h_{j-1}.
      control: float32 [B, 3], c_{i+j}.

    Returns:
      h_j, twice: what is valued, and the next step's state.
    """
    normalized = self._norm(state)
    if self._input_relu == 'state':
      normalized = tf.nn.relu(normalized)
    inputs = tf.concat([normalized, control], axis=1)
    if self._input_relu == 'all':
      inputs = tf.nn.relu(inputs)
    state += self._change(tf.nn.relu(self._hidden(inputs)))
    return state, state


class LstmPrediction(snt.Module):
  """An LSTM in its place, for comparison (section 3.2.2)."""

  def __init__(self, state_size: int, name: str = 'prediction'):
    """Declares an LSTM of `state_size` units."""
    super().__init__(name=name)
    self._core = snt.LSTM(
      state_size, w_i_init=_uniform(state_size), w_h_init=_uniform(state_size)
    )

  def initial_state(self, perceived: tf.Tensor) -> snt.LSTMState:
    """Begins with what was perceived in the cells."""
    return snt.LSTMState(hidden=tf.tanh(perceived), cell=perceived)

  def __call__(
    self, state: snt.LSTMState, control: tf.Tensor
  ) -> tuple[tf.Tensor, snt.LSTMState]:
    """Makes one step; see ResidualPrediction."""
    return self._core(control, state)


class Valuation(snt.Module):
  """Turns a state into logits of death and point (Table 2)."""

  def __init__(self, state_size: int, name: str = 'valuation'):
    """Declares the layers."""
    super().__init__(name=name)
    self._norm = layer_norm('norm')
    self._hidden = linear(state_size, 100, 'hidden')
    self._logits = linear(100, NUM_OUTPUTS, 'logits')

  def __call__(self, states: tf.Tensor) -> tf.Tensor:
    """Maps float32 [..., S] to logits [..., 2]."""
    x = tf.nn.relu(self._hidden(self._norm(states)))
    return self._logits(x)


class Model(snt.Module):
  """Perception, Prediction and Valuation."""

  def __init__(
    self,
    perception: Perception,
    prediction: ResidualPrediction | LstmPrediction,
    valuation: Valuation,
    name: str = 'model',
  ):
    """Joins the three."""
    super().__init__(name=name)
    self.perception = perception
    self.prediction = prediction
    self.valuation = valuation

  def unroll(
    self, perceived: tf.Tensor, controls: tf.Tensor
  ) -> list[tf.Tensor]:
    """Unrolls the Prediction over the horizon.

    Args:
      perceived: float32 [B, S], from the Perception.
      controls: float32 [B, horizon, 3].

    Returns:
      What is to be valued, float32 [B, S] of each step.
    """
    state = self.prediction.initial_state(perceived)
    outputs = []
    for control in tf.unstack(controls, axis=1):
      output, state = self.prediction(state, control)
      outputs.append(output)
    return outputs

  def predict(self, perceived: tf.Tensor, controls: tf.Tensor) -> tf.Tensor:
    """Returns the logits [B, horizon, 2] of every step; see `unroll`."""
    outputs = self.unroll(perceived, controls)
    return self.valuation(tf.stack(outputs, axis=1))

  def __call__(
    self, frames: tf.Tensor, controls: tf.Tensor, is_training: bool
  ) -> tf.Tensor:
    """Returns the logits [B, horizon, 2] of cases."""
    return self.predict(self.perception(frames, is_training), controls)


def _conv(num_inputs, filters, kernel, stride, padding, with_bias):
  init = _uniform(num_inputs * kernel * kernel)
  return snt.Conv2D(
    filters,
    kernel,
    stride,
    padding=padding,
    with_bias=with_bias,
    w_init=init,
    b_init=init if with_bias else None,
  )
