"""TensorFlow 1's RMSProp and AdamW, in arithmetic that can be read.

RMSProp runs under any tf.distribute strategy. Later implementations differ
where it matters for IMPALA's large epsilon: TF1 starts the mean square at one
and adds epsilon inside the root.
"""

from collections.abc import Sequence

import tensorflow as tf


class RMSProp(tf.Module):
  """RMSProp as `tf.compat.v1.train.RMSPropOptimizer` computes it.

    mean_square <- decay mean_square + (1 - decay) g^2
    moment      <- momentum moment + lr g / sqrt(mean_square + epsilon)
    w           <- w - moment

  The mean square starts at 1, unless told otherwise.

  Rows of an embedding that no example used keep their slots, as TF1's sparse
  update does; see `dense_gradients`.
  """

  def __init__(
    self,
    variables: Sequence[tf.Variable],
    decay: float,
    momentum: float,
    epsilon: float,
    initial_mean_square: float = 1.0,
    name: str = 'rmsprop',
  ):
    """Creates the slots; call it inside the strategy's scope.

    Args:
      variables: what `apply` will update, in this order.
      decay: of the mean square.
      momentum: of the step.
      epsilon: added to the mean square inside the root.
      initial_mean_square: 1 as in TensorFlow 1; Optax and Sonnet begin with 0.
      name: name of the module.
    """
    super().__init__(name=name)
    self._variables = tuple(variables)
    self._decay = decay
    self._momentum = momentum
    self._epsilon = epsilon
    self.mean_squares = [
      tf.Variable(initial_mean_square * tf.ones_like(v), trainable=False)
      for v in variables
    ]
    self.moments = [
      tf.Variable(tf.zeros_like(v), trainable=False) for v in variables
    ]

  def apply(
    self,
    gradients: Sequence[tf.Tensor],
    touched_rows: Sequence[tf.Tensor | None],
    learning_rate: tf.Tensor,
  ) -> None:
    """Takes one step; under a strategy, call it in cross-replica context.

    Args:
      gradients: float32, one per variable, of its shape.
      touched_rows: per variable None (all of it), or float32 [rows]: rows at 0
        stay as they are.
      learning_rate: float32 scalar.
    """
    strategy = tf.distribute.get_strategy()
    slots = zip(
      self._variables,
      self.mean_squares,
      self.moments,
      gradients,
      touched_rows,
      strict=True,
    )
    for variable, mean_square, moment, gradient, touched in slots:
      args = (mean_square, moment, gradient, touched, learning_rate)
      if tf.distribute.has_strategy():
        strategy.extended.update(variable, self._step, args=args)
      else:
        self._step(variable, *args)

  def named_variables(self) -> dict[str, tf.Variable]:
    """Returns weights and slots by names that stay the same between runs."""
    named = {}
    for variable, mean_square, moment in zip(
      self._variables, self.mean_squares, self.moments, strict=True
    ):
      name = variable.name.removesuffix(':0')
      named[name] = variable
      named[f'rmsprop_mean_square/{name}'] = mean_square
      named[f'rmsprop_moment/{name}'] = moment
    return named

  def _step(self, variable, mean_square, moment, gradient, touched, rate):
    new_mean_square = (
      self._decay * mean_square + (1.0 - self._decay) * gradient * gradient
    )
    new_moment = self._momentum * moment + rate * gradient * tf.math.rsqrt(
      new_mean_square + self._epsilon
    )
    step = new_moment
    if touched is not None:
      touched = (touched > 0)[:, None]
      new_mean_square = tf.where(touched, new_mean_square, mean_square)
      new_moment = tf.where(touched, new_moment, moment)
      step = tf.where(touched, new_moment, 0.0)
    mean_square.assign(new_mean_square)
    moment.assign(new_moment)
    variable.assign_sub(step)


class AdamW(tf.Module):
  """Adam with decoupled weight decay, as `optax.adamw` computes it.

    w <- w - lr (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + epsilon) + decay w)

  with m and v the running means of g and g^2. The decay is of all variables.
  """

  def __init__(
    self,
    variables: Sequence[tf.Variable],
    learning_rate: float,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
    name: str = 'adamw',
  ):
    """Creates the moments; call it inside the strategy's scope.

    Args:
      variables: what `apply` will update, in this order.
      learning_rate: of every step.
      beta_1: decay of the mean gradient.
      beta_2: decay of the mean square.
      epsilon: added to the root of the mean square.
      weight_decay: as above, 0 for Adam.
      name: prefix of the slots' names.
    """
    super().__init__(name=name)
    self._variables = tuple(variables)
    self._rates = (learning_rate, beta_1, beta_2, epsilon, weight_decay)
    self.means, self.mean_squares = (
      [tf.Variable(tf.zeros_like(v), trainable=False) for v in variables]
      for _ in range(2)
    )
    self.num_steps = tf.Variable(tf.zeros([]), trainable=False)

  def apply(self, gradients: Sequence[tf.Tensor]) -> None:
    """Takes one step; gradients are float32, one per variable."""
    learning_rate, beta_1, beta_2, epsilon, weight_decay = self._rates
    num_steps = self.num_steps.assign_add(1.0)
    mean_scale = 1.0 / (1.0 - beta_1**num_steps)
    square_scale = 1.0 / (1.0 - beta_2**num_steps)
    for variable, mean, mean_square, gradient in zip(
      self._variables, self.means, self.mean_squares, gradients, strict=True
    ):
      new_mean = beta_1 * mean + (1.0 - beta_1) * gradient
      new_square = beta_2 * mean_square + (1.0 - beta_2) * gradient * gradient
      spread = tf.sqrt(new_square * square_scale) + epsilon
      step = new_mean * mean_scale / spread
      if weight_decay:
        step += weight_decay * variable
      mean.assign(new_mean)
      mean_square.assign(new_square)
      variable.assign_sub(learning_rate * step)

  def named_variables(self) -> dict[str, tf.Variable]:
    """Returns the slots by names that stay the same between runs."""
    named = {f'{self.name}/num_steps': self.num_steps}
    for variable, mean, mean_square in zip(
      self._variables, self.means, self.mean_squares, strict=True
    ):
      name = variable.name.removesuffix(':0')
      named[f'{self.name}_mean/{name}'] = mean
      named[f'{self.name}_mean_square/{name}'] = mean_square
    return named


def dense_gradients(
  gradients: Sequence[tf.Tensor | tf.IndexedSlices],
) -> tuple[list[tf.Tensor], list[tf.Tensor | None]]:
  """Splits sparse gradients into dense ones and the rows they touch.

  Both parts can be summed over replicas.

  Args:
    gradients: float32 tensors, or IndexedSlices of an embedding.

  Returns:
    The dense gradients, and per gradient None or float32 [rows], the number of
    slices that touched the row.
  """
  dense, touched_rows = [], []
  for gradient in gradients:
    touched = None
    if isinstance(gradient, tf.IndexedSlices):
      num_rows = gradient.dense_shape[0]
      touched = tf.math.unsorted_segment_sum(
        tf.ones_like(gradient.indices, tf.float32), gradient.indices, num_rows
      )
      gradient = tf.math.unsorted_segment_sum(
        gradient.values, gradient.indices, num_rows
      )
    dense.append(gradient)
    touched_rows.append(touched)
  return dense, touched_rows


def clip_by_global_norm(
  gradients: Sequence[tf.Tensor], max_norm: float
) -> tuple[list[tf.Tensor], tf.Tensor]:
  """Scales gradients so that their global norm is at most `max_norm`.

  Args:
    gradients: float32 tensors.
    max_norm: the bound; 0 leaves them as they are.

  Returns:
    The gradients, and their float32 global norm before clipping.
  """
  norm = tf.linalg.global_norm(gradients)
  if not max_norm:
    return list(gradients), norm
  clipped, _ = tf.clip_by_global_norm(gradients, max_norm, use_norm=norm)
  return clipped, norm


def linear_decay(
  initial: float, env_frames: int, total_frames: int, final_fraction: float = 0
) -> float:
  """Returns the learning rate, linear in frames.

  Args:
    initial: rate at frame 0.
    env_frames: the frame counter before the update.
    total_frames: where the rate ends.
    final_fraction: what is left of it there.

  Returns:
    The rate of this update.
  """
  spent = min(env_frames, total_frames) / total_frames
  return initial * (1.0 - (1.0 - final_fraction) * spent)
