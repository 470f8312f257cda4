"""Pixel control: action values of how much each cell of the picture changes.

Jaderberg et al. 2016, "Reinforcement Learning with Unsupervised Auxiliary
Tasks" (arXiv:1611.05397), as Hessel et al. 2018 put it on top of IMPALA
(arXiv:1809.04474, appendix, "Pixel Control"). The frame is cut into cells of
4x4 pixels; each is a task of its own, learned off-policy by Q-learning.
"""

import tensorflow as tf


def cell_pseudo_rewards(frames: tf.Tensor, cell_size: int) -> tf.Tensor:
  """Averages over each cell by how much its pixels changed.

  Args:
    frames: [T + 1, B, H, W, C], float32 between 0 and 1, or uint8.
    cell_size: pixels along a cell's side.

  Returns:
    float32 [T, B, H / cell_size, W / cell_size]; row t is the mean absolute
    difference of frames t and t + 1 over the cell's pixels and channels (D2 in
    pixel_control/README), between 0 and 1.

  Raises:
    ValueError: if the frames do not divide into cells.
  """
  num_frames, batch_size, height, width, num_channels = frames.shape
  if height % cell_size or width % cell_size:
    raise ValueError(
      f'{height}x{width} frames do not divide into cells of '
      f'{cell_size}x{cell_size}'
    )
  white = 255.0 if frames.dtype == tf.uint8 else 1.0
  frames = tf.cast(frames, tf.float32)
  differences = tf.abs(frames[1:] - frames[:-1])
  cells = tf.reshape(
    differences,
    [
      *(num_frames - 1, batch_size),
      *(height // cell_size, cell_size),
      *(width // cell_size, cell_size * num_channels),
    ],
  )
  return tf.reduce_mean(cells, axis=[3, 5]) / white


def dueling_q_values(values: tf.Tensor, advantages: tf.Tensor) -> tf.Tensor:
  """Computes Q = V + A - mean_a A (Wang et al. 2016, arXiv:1511.06581).

  Args:
    values: float32 [..., 1].
    advantages: float32 [..., A].

  Returns:
    float32 [..., A].
  """
  mean = tf.reduce_mean(advantages, axis=-1, keepdims=True)
  return values + (advantages - mean)


def n_step_targets(
  rewards: tf.Tensor, discounts: tf.Tensor, bootstrap_value: tf.Tensor
) -> tf.Tensor:
  """Accumulates rewards to the end of the rollout, then bootstraps.

    G_t = r_t + discount_t G_{t+1},   G_T = bootstrap

  Args:
    rewards: float32 [T, B, ...].
    discounts: float32 [T, B], 0 where the episode ended.
    bootstrap_value: float32 [B, ...].

  Returns:
    float32 [T, B, ...], without gradient.

  Raises:
    ValueError: if the shapes do not fit.
  """
  discounts.shape.assert_is_compatible_with(rewards.shape[:2])
  bootstrap_value.shape.assert_is_compatible_with(rewards.shape[1:])
  num_trailing = rewards.shape.rank - 2
  discounts = tf.reshape(discounts, discounts.shape + [1] * num_trailing)
  targets = tf.scan(
    lambda target_t_plus_1, step: step[0] + step[1] * target_t_plus_1,
    (rewards, discounts),
    initializer=bootstrap_value,
    parallel_iterations=1,
    reverse=True,
  )
  return tf.stop_gradient(targets)


def pixel_control_loss(
  q_values: tf.Tensor,
  actions: tf.Tensor,
  pseudo_rewards: tf.Tensor,
  discounts: tf.Tensor,
) -> tf.Tensor:
  """Sums half the squared errors of Q-learning in every cell.

  Args:
    q_values: float32 [T + 1, B, h, w, A], of every frame.
    actions: int32 [T, B], taken in frame t, whatever the policy.
    pseudo_rewards: float32 [T, B, h, w], of those actions.
    discounts: float32 [T, B], 0 where the episode ended.

  Returns:
    float32 scalar, to minimise; targets carry no gradient.

  Raises:
    ValueError: if the shapes do not fit.
  """
  actions.shape.assert_is_compatible_with(pseudo_rewards.shape[:2])
  q_values[:-1].shape[:-1].assert_is_compatible_with(pseudo_rewards.shape)
  bootstrap_value = tf.reduce_max(q_values[-1], axis=-1)
  targets = n_step_targets(pseudo_rewards, discounts, bootstrap_value)
  is_taken = tf.one_hot(actions, q_values.shape[-1])[:, :, None, None]
  q_taken = tf.reduce_sum(q_values[:-1] * is_taken, axis=-1)
  return 0.5 * tf.reduce_sum(tf.square(targets - q_taken))
