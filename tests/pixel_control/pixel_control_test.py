"""Tests of pixel_control/pixel_control.py."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from pixel_control import pixel_control

# The fixture of rlax's tests: four frames of 2x2 pixels and 3 channels, which
# are also the values of 3 actions.
FRAMES = np.array(
  [
    [[[1, 2, 3], [3, 4, 5]], [[5, 6, 7], [7, 8, 9]]],
    [[[7, 8, 9], [1, 2, 3]], [[3, 4, 5], [5, 6, 7]]],
    [[[5, 6, 7], [7, 8, 9]], [[1, 2, 3], [3, 4, 5]]],
    [[[3, 4, 5], [5, 6, 7]], [[7, 8, 9], [1, 2, 3]]],
  ],
  np.float32,
)[:, None]  # [T + 1, B, H, W, C]
ACTIONS = tf.constant([[0], [1], [2]])


def numpy_rewards(frames, cell_size):
  """Averages cell by cell, as the paper says it."""
  frames = frames.astype(np.float64)
  t_plus_1, b, height, width, _ = frames.shape
  shape = (t_plus_1 - 1, b, height // cell_size, width // cell_size)
  rewards = np.zeros(shape)
  for t, b, i, j in np.ndindex(shape):
    rows = slice(i * cell_size, (i + 1) * cell_size)
    columns = slice(j * cell_size, (j + 1) * cell_size)
    now, then = frames[t, b, rows, columns], frames[t + 1, b, rows, columns]
    rewards[t, b, i, j] = np.mean(np.abs(then - now))
  return rewards


def numpy_targets(rewards, discounts, bootstrap_value):
  """Writes out the discounted sum to the end of the rollout."""
  num_steps = len(rewards)
  targets = np.zeros(rewards.shape)
  for t, b in np.ndindex(rewards.shape[:2]):
    for s in range(t, num_steps):
      targets[t, b] += np.prod(discounts[t:s, b]) * rewards[s, b]
    targets[t, b] += np.prod(discounts[t:, b]) * bootstrap_value[b]
  return targets


class PseudoRewardsTest(parameterized.TestCase):
  def test_steady_growth(self):
    growth = 0.05 * np.arange(5, dtype=np.float32)
    frames = np.zeros([5, 2, 8, 12, 3]) + growth[:, None, None, None, None]
    rewards = pixel_control.cell_pseudo_rewards(tf.constant(frames), 4)
    self.assertEqual(rewards.shape, (4, 2, 2, 3))
    np.testing.assert_allclose(rewards, np.full([4, 2, 2, 3], 0.05), rtol=1e-5)

  @parameterized.parameters(1, 2, 4)
  def test_equals_numpy(self, cell_size):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, [4, 2, 8, 12, 3], np.uint8)
    expected = numpy_rewards(frames, cell_size) / 255
    for input_ in (frames, frames / np.float32(255)):
      rewards = pixel_control.cell_pseudo_rewards(
        tf.constant(input_), cell_size
      )
      self.assertEqual(rewards.dtype, tf.float32)
      np.testing.assert_allclose(rewards, expected, rtol=1e-5)

  def test_frames_that_do_not_divide(self):
    for shape in ([2, 1, 8, 10, 1], [2, 1, 10, 8, 1]):
      with self.assertRaisesRegex(
        ValueError, 'do not divide into cells of 4x4'
      ):
        pixel_control.cell_pseudo_rewards(tf.zeros(shape), 4)


class DuelingTest(absltest.TestCase):
  def test_mean_is_the_value(self):
    rng = np.random.default_rng(0)
    values, advantages = rng.normal(size=[2, 1]), rng.normal(size=[2, 5])
    q_values = pixel_control.dueling_q_values(values, advantages)
    np.testing.assert_allclose(np.mean(q_values, 1), values[:, 0])
    # Differences of actions are those of the advantages.
    np.testing.assert_allclose(
      q_values - q_values[:, :1], advantages - advantages[:, :1]
    )


class TargetsTest(absltest.TestCase):
  def test_equal_the_discounted_sum(self):
    rng = np.random.default_rng(0)
    rewards = rng.random([6, 3, 2, 4])
    discounts = rng.uniform(0.2, 1.0, [6, 3])
    discounts[2, 1] = discounts[5, 0] = 0.0
    bootstrap_value = rng.normal(size=[3, 2, 4])
    arguments = (rewards, discounts, bootstrap_value)
    targets = pixel_control.n_step_targets(*map(tf.constant, arguments))
    np.testing.assert_allclose(targets, numpy_targets(*arguments), rtol=1e-6)
    # An episode that ends with the rollout has no bootstrap.
    np.testing.assert_allclose(targets[5, 0], rewards[5, 0])


class LossTest(parameterized.TestCase):
  def fixture_loss(self, discounts, q_values=FRAMES):
    frames = tf.constant(FRAMES)
    return pixel_control.pixel_control_loss(
      tf.convert_to_tensor(q_values),
      ACTIONS,
      pixel_control.cell_pseudo_rewards(frames, 1),
      tf.constant(discounts, tf.float32)[:, None],
    )

  @parameterized.named_parameters(
    ('one_episode', [0.9, 0.9, 0.9], 372.0375),
    ('new_episode', [0.0, 0.9, 0.9], 214.9762),
  )
  def test_rlax_fixture(self, discounts, expected):
    loss = self.fixture_loss(discounts)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)

  def test_gradient_is_minus_the_error_of_the_action_taken(self):
    discounts = [0.9, 0.0, 0.9]
    q_values = tf.constant(FRAMES)
    with tf.GradientTape() as tape:
      tape.watch(q_values)
      loss = self.fixture_loss(discounts, q_values)
    gradient = tape.gradient(loss, q_values)
    targets = numpy_targets(
      numpy_rewards(FRAMES, 1), np.array(discounts)[:, None], FRAMES[-1].max(-1)
    )
    expected = np.zeros(FRAMES.shape)  # None through the bootstrap.
    for t, action in enumerate([0, 1, 2]):
      q_taken = FRAMES[t, ..., action]
      expected[t, ..., action] = q_taken - targets[t]
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)

  @parameterized.named_parameters(
    ('discounts_per_cell', 'discounts', [3, 1, 2, 2]),
    ('discounts_without_batch', 'discounts', [3]),
    ('rewards_of_another_grid', 'pseudo_rewards', [3, 1, 2, 3]),
    ('rewards_of_every_frame', 'pseudo_rewards', [4, 1, 2, 2]),
    ('actions_of_every_frame', 'actions', [4, 1]),
    ('q_values_of_steps', 'q_values', [3, 1, 2, 2, 3]),
  )
  def test_wrong_shape(self, name, shape):
    shapes = dict(
      q_values=[4, 1, 2, 2, 3],
      actions=[3, 1],
      pseudo_rewards=[3, 1, 2, 2],
      discounts=[3, 1],
    )
    arguments = {n: tf.zeros(s) for n, s in {**shapes, name: shape}.items()}
    arguments['actions'] = tf.cast(arguments['actions'], tf.int32)
    with self.assertRaisesRegex(ValueError, 'ncompatible'):
      pixel_control.pixel_control_loss(**arguments)


if __name__ == '__main__':
  absltest.main()
