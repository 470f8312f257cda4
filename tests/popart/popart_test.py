"""Tests of popart/popart.py."""

import functools

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from popart import popart
from popart.popart import Statistics

LOWER, UPPER = 1e-4, 1e6
READINGS = ('square_of_mean', 'mean_of_squares')

# By hand: two rollouts of task 0, one of task 1.
EXAMPLE_TARGETS = np.array([[1, 9, -4], [2, 10, -4], [3, 11, -4]], np.float32)
EXAMPLE_TASKS = np.array([0, 0, 1], np.int32)


def one_by_one(statistics, moments, task_id, step_size):
  """Updates rollout by rollout, as equation 6 is written."""
  shift, second_moment = (np.array(x) for x in statistics)
  for i, first, second in zip(task_id, *moments, strict=True):
    shift[i] = (1 - step_size) * shift[i] + step_size * first
    second_moment[i] = (1 - step_size) * second_moment[i] + step_size * second
  return Statistics(shift, second_moment)


def random_statistics(rng, num_tasks, magnitude=1.0):
  shift = magnitude * rng.normal(size=num_tasks)
  scale = magnitude * rng.uniform(0.1, 3.0, num_tasks)
  return Statistics(tf.constant(shift), tf.constant(shift**2 + scale**2))


def random_rollouts(rng, unroll_length, batch_size, num_tasks, magnitude=1.0):
  """Returns targets [T, B] about another mean for every task, and tasks."""
  task_id = rng.integers(num_tasks, size=batch_size, dtype=np.int32)
  targets = rng.normal(size=[unroll_length, batch_size]) + 3.0 * task_id - 4.0
  return (magnitude * targets).astype(np.float32), task_id


def one_update(
  w,
  b,
  statistics,
  targets,
  task_id,
  step_size,
  second_moment='mean_of_squares',
  lower_bound=LOWER,
  upper_bound=UPPER,
):
  """Does all that a batch does to statistics and value layer.

  Returns:
    The new weights, biases and statistics, and the old and new scale.
  """
  moments = popart.rollout_moments(targets, second_moment)
  new = popart.update_statistics(statistics, moments, task_id, step_size)
  old_scale, new_scale = (
    popart.compute_scale(s, lower_bound, upper_bound) for s in (statistics, new)
  )
  w, b = popart.preserve_outputs(
    w, b, statistics.shift, old_scale, new.shift, new_scale
  )
  return w, b, new, old_scale, new_scale


class WorkedExampleTest(parameterized.TestCase):
  """From mu = 0, nu = 1, sigma = 1 with beta = 0.1."""

  @parameterized.named_parameters(
    (
      'square_of_mean',
      'square_of_mean',
      (11.17, 2.5),
      (3.126915, 1.529706),
      (-0.217467, 0.588348),
    ),
    (
      'mean_of_squares',
      'mean_of_squares',
      (11.296667, 2.5),
      (3.147104, 1.529706),
      # (1 x 0.5 + 0 - mu') / sigma'
      (-0.68 / 3.147104, 0.9 / 1.529706),
    ),
  )
  def test_two_tasks(self, reading, second_moment, scale, bias):
    w = tf.ones([4, 2])
    b = tf.constant([0.5, 0.5])
    w, b, statistics, old_scale, new_scale = one_update(
      w,
      b,
      popart.initial_statistics(2),
      EXAMPLE_TARGETS,
      EXAMPLE_TASKS,
      0.1,
      reading,
    )
    np.testing.assert_array_equal(old_scale, [1.0, 1.0])
    np.testing.assert_allclose(statistics.shift, [1.18, -0.4], rtol=1e-12)
    np.testing.assert_allclose(
      statistics.second_moment, second_moment, rtol=1e-7
    )
    np.testing.assert_allclose(new_scale, scale, rtol=1e-6)
    np.testing.assert_allclose(w, np.ones([4, 1]) / scale, rtol=1e-6)
    np.testing.assert_allclose(b, bias, rtol=5e-6)

  def test_unknown_reading(self):
    with self.assertRaisesRegex(ValueError, "unknown second moment 'rms'"):
      popart.rollout_moments(EXAMPLE_TARGETS, 'rms')

  def test_readings_differ_by_the_variance_within_a_rollout(self):
    first, literal = popart.rollout_moments(EXAMPLE_TARGETS, READINGS[0])
    _, other = popart.rollout_moments(EXAMPLE_TARGETS, READINGS[1])
    np.testing.assert_allclose(first, [2, 10, -4])
    np.testing.assert_allclose(
      other - literal, EXAMPLE_TARGETS.var(axis=0), atol=1e-6
    )
    self.assertEqual({x.dtype for x in (first, literal, other)}, {tf.float64})


class StatisticsTest(parameterized.TestCase):
  @parameterized.product(
    step_size=(0.0, 0.0003, 0.1, 1.0), batch_size=(1, 7, 64)
  )
  def test_equals_one_by_one(self, step_size, batch_size):
    rng = np.random.default_rng(batch_size)
    statistics = random_statistics(rng, 5)
    for _ in range(3):
      _, task_id = random_rollouts(rng, 1, batch_size, 5)
      moments = rng.normal(size=batch_size), rng.uniform(1, 9, batch_size)
      expected = one_by_one(statistics, moments, task_id, step_size)
      statistics = popart.update_statistics(
        statistics, tuple(map(tf.constant, moments)), task_id, step_size
      )
      for found, wanted in zip(statistics, expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-14)

  def test_order_of_the_rollouts_counts(self):
    def shift(*means):
      moments = tf.constant(means, tf.float64), tf.zeros(2, tf.float64)
      statistics = popart.initial_statistics(1)
      return popart.update_statistics(statistics, moments, [0, 0], 0.1).shift

    np.testing.assert_allclose(shift(1.0, 2.0), [0.9 * 0.1 + 0.2])
    np.testing.assert_allclose(shift(2.0, 1.0), [0.9 * 0.2 + 0.1])

  def test_tasks_without_a_rollout_stay(self):
    statistics = random_statistics(np.random.default_rng(0), 4)
    moments = tf.constant([7.0, 8.0], tf.float64), tf.constant([50.0, 80.0])
    moments = tuple(tf.cast(x, tf.float64) for x in moments)
    new = popart.update_statistics(statistics, moments, [2, 2], 0.3)
    for before, after in zip(statistics, new, strict=True):
      changed = np.not_equal(before, after)
      np.testing.assert_array_equal(changed, [False, False, True, False])

  def test_learns_the_moments_of_each_task(self):
    # Targets -3 ... 2, three per task, each a rollout of one step.
    targets = np.arange(-3, 3, dtype=np.float32)[None]
    task_id = [0, 0, 0, 1, 1, 1]

    def learn(step_size, num_updates):
      statistics = popart.initial_statistics(2)
      moments = popart.rollout_moments(targets, 'square_of_mean')
      for _ in range(num_updates):
        statistics = popart.update_statistics(
          statistics, moments, task_id, step_size
        )
      return statistics

    statistics = learn(0.02, 200)
    np.testing.assert_allclose(statistics.shift, [-2, 1], atol=0.1)
    scale = popart.compute_scale(statistics, LOWER, UPPER)
    expected = np.std([[-3, -2, -1], [0, 1, 2]], axis=1)
    np.testing.assert_allclose(scale, expected, atol=0.1)
    small, large = (np.abs(learn(step, 1).shift) for step in (0.02, 0.1))
    np.testing.assert_array_less(small, large)


class ScaleTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('inside', 3.0, 13.0, 2.0),
    ('lower_bound', 0.0, 1e-12, LOWER),
    ('no_spread', 5.0, 25.0, LOWER),
    ('rounded_below_zero', 3.0, 9.0 - 1e-9, LOWER),
    ('just_above_the_lower_bound', 0.0, 4e-8, 2e-4),
    ('upper_bound', 0.0, 1e14, UPPER),
    ('just_below_the_upper_bound', 0.0, 2.5e11, 5e5),
  )
  def test_root_of_the_variance_within_bounds(self, shift, moment, expected):
    statistics = Statistics(
      tf.constant([shift], tf.float64), tf.constant([moment], tf.float64)
    )
    scale = popart.compute_scale(statistics, LOWER, UPPER)
    np.testing.assert_allclose(scale, [expected], rtol=1e-9)
    self.assertEqual(scale.dtype, tf.float64)

  def test_equal_bounds_fix_the_scale(self):
    statistics = random_statistics(np.random.default_rng(0), 6, 100.0)
    scale = popart.compute_scale(statistics, 1.0, 1.0)
    np.testing.assert_array_equal(scale, np.ones(6))

  @parameterized.product(target=(0.0, 3.0, -1e3, 2.5e4), reading=READINGS)
  def test_constant_targets_end_at_the_lower_bound(self, target, reading):
    targets = np.full([5, 100], target, np.float32)
    moments = popart.rollout_moments(targets, reading)
    statistics = popart.initial_statistics(1)
    for _ in range(10):
      statistics = popart.update_statistics(
        statistics, moments, np.zeros(100, np.int32), 0.1
      )
    np.testing.assert_allclose(statistics.shift, [target], rtol=1e-12)
    # In float32 the rounding of nu alone would be 60 at the last of these.
    scale = popart.compute_scale(statistics, LOWER, UPPER)
    self.assertBetween(float(scale[0]), LOWER, 10 * LOWER)


class NormalizeTest(absltest.TestCase):
  def test_inverse_of_each_other(self):
    rng = np.random.default_rng(0)
    x = rng.normal(size=[3, 4])
    shift, scale = rng.normal(size=4), rng.uniform(0.1, 9.0, 4)
    normalized = popart.normalize(x, shift, scale)
    self.assertTrue(np.all(normalized != x))
    np.testing.assert_allclose(popart.unnormalize(normalized, shift, scale), x)

  def test_known_values_by_task(self):
    statistics = tf.constant([1.0, 2.0, 3.0])
    of_task = tf.gather(statistics, [2, 1, 0])
    found = popart.unnormalize(tf.ones(3), of_task, of_task)
    np.testing.assert_array_equal(found, [6.0, 4.0, 2.0])
    np.testing.assert_array_equal(
      popart.normalize(tf.ones(3), of_task, of_task),
      np.array([-2, -1, 0]) / of_task,
    )


class PreserveOutputsTest(parameterized.TestCase):
  """Unnormalised outputs are those of before, whatever the statistics do."""

  def outputs(self, features, w, b, shift, scale):
    """Computes sigma (W f + b) + mu as the learner does, in w's precision."""
    shift, scale = tf.cast(shift, w.dtype), tf.cast(scale, w.dtype)
    return popart.unnormalize(tf.matmul(features, w) + b, shift, scale).numpy()

  @parameterized.product(seed=(0, 1, 2), magnitude=(1e-3, 1.0, 1e3))
  def test_random_statistics_and_targets_in_float64(self, seed, magnitude):
    rng = np.random.default_rng(seed)
    features, w, b = (
      tf.constant(rng.normal(size=shape)) for shape in ([20, 9], [9, 6], [6])
    )
    statistics = random_statistics(rng, 6, magnitude)
    targets, task_id = random_rollouts(rng, 5, 12, 6, 7.0 * magnitude)
    new_w, new_b, new, *scales = one_update(
      w, b, statistics, targets, task_id, 0.1
    )
    self.assertTrue(np.any(scales[0] != scales[1]))
    before = self.outputs(features, w, b, statistics.shift, scales[0])
    after = self.outputs(features, new_w, new_b, new.shift, scales[1])
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-9 * magnitude)

  @parameterized.product(seed=(0, 1, 2), magnitude=(1e-3, 1.0, 1e3))
  def test_thirty_updates_in_float32(self, seed, magnitude):
    rng = np.random.default_rng(seed)
    features, w, b = (
      tf.constant(rng.normal(size=shape), tf.float32)
      for shape in ([20, 9], [9, 3], [3])
    )
    statistics = random_statistics(rng, 3, magnitude)
    scale = popart.compute_scale(statistics, LOWER, UPPER)
    first = self.outputs(features, w, b, statistics.shift, scale)
    for _ in range(30):
      before = self.outputs(features, w, b, statistics.shift, scale)
      targets, task_id = random_rollouts(rng, 5, 12, 3, magnitude)
      w, b, statistics, _, scale = one_update(
        w, b, statistics, targets, task_id, 0.03
      )
      self.assertEqual((w.dtype, b.dtype), (tf.float32, tf.float32))
      after = self.outputs(features, w, b, statistics.shift, scale)
      np.testing.assert_allclose(
        after, before, rtol=1e-5, atol=1e-5 * magnitude
      )
    np.testing.assert_allclose(after, first, rtol=1e-4, atol=1e-4 * magnitude)
    self.assertTrue(np.any(np.abs(statistics.shift) > magnitude))

  @parameterized.named_parameters(
    ('to_lower', 1.0, LOWER), ('to_upper', 1.0, UPPER), ('across', LOWER, UPPER)
  )
  def test_between_the_clip_bounds(self, old_scale, new_scale):
    rng = np.random.default_rng(0)
    features, w, b = (
      tf.constant(rng.normal(size=shape), tf.float32)
      for shape in ([20, 9], [9, 2], [2])
    )
    shift = np.zeros(2)
    old_scale, new_scale = np.full(2, old_scale), np.full(2, new_scale)
    new_w, new_b = popart.preserve_outputs(
      w, b, shift, old_scale, shift, new_scale
    )
    before = self.outputs(features, w, b, shift, old_scale)
    after = self.outputs(features, new_w, new_b, shift, new_scale)
    np.testing.assert_allclose(
      after, before, rtol=1e-5, atol=1e-5 * old_scale[0]
    )


class CompiledTest(parameterized.TestCase):
  @parameterized.product(reading=READINGS, magnitude=(1e-3, 1.0, 1e4))
  def test_xla_equals_eager(self, reading, magnitude):
    rng = np.random.default_rng(0)
    w, b = (
      tf.constant(rng.normal(size=shape), tf.float32) for shape in ([9, 4], [4])
    )
    statistics = random_statistics(rng, 4, magnitude)
    targets, task_id = random_rollouts(rng, 5, 12, 4, magnitude)
    update = functools.partial(one_update, step_size=0.1, second_moment=reading)
    inputs = (w, b, statistics, tf.constant(targets), tf.constant(task_id))
    eager = update(*inputs)
    compiled = tf.function(update, jit_compile=True)(*inputs)
    for found, expected in zip(
      tf.nest.flatten(compiled), tf.nest.flatten(eager), strict=True
    ):
      self.assertEqual(found.dtype, expected.dtype)
      np.testing.assert_allclose(found, expected, rtol=1e-6)


if __name__ == '__main__':
  absltest.main()
