"""Tests of core/device.py."""

import json
import os
import pathlib
import subprocess
import sys
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from core.device import Device, has_accelerator
from tests import runs
from tests.unrolls import learner_input, random_unroll

ROOT = pathlib.Path(__file__).resolve().parents[2]


def is_compiled(function, *arguments):
  """Tells whether XLA compiles a tf.function."""
  try:
    return bool(function.experimental_get_compiler_ir(*arguments)())
  except ValueError as error:
    if 'jit_compile=True' not in str(error):
      raise
    return False


class CompilesTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('off', 'off', (False, False)), ('on', 'on', (True, True))
  )
  def test_forced(self, xla, expected):
    device = Device(xla=xla)
    self.assertEqual((device.compiles_all, device.compiles_parts), expected)

  def test_auto_follows_the_device(self):
    has_gpu = bool(tf.config.list_logical_devices('GPU'))
    device = Device(xla='auto')
    self.assertEqual(
      (device.compiles_all, device.compiles_parts), (has_gpu, True)
    )
    self.assertEqual(has_accelerator(), has_gpu)

  @parameterized.parameters(('off', False), ('auto', True), ('on', True))
  def test_parts(self, xla, expected):
    function = Device(xla=xla).compile_part(lambda x: 2.0 * x)
    self.assertEqual(float(function(tf.constant(3.0))), 6.0)
    self.assertEqual(is_compiled(function, tf.constant(3.0)), expected)

  @parameterized.parameters(
    ('off', True, False),
    ('auto', True, has_accelerator()),
    ('on', True, True),
    ('on', False, False),
  )
  def test_acting(self, xla, has_static_shapes, expected):
    function = Device(xla=xla).compile_act(lambda x: 2.0 * x, has_static_shapes)
    self.assertEqual(float(function(tf.constant(3.0))), 6.0)
    self.assertEqual(is_compiled(function, tf.constant(3.0)), expected)


class ShareCoresTest(parameterized.TestCase):
  @parameterized.parameters(
    (8, dict(actor_mode='sync'), [4]),
    (9, dict(actor_mode='sync', num_groups=3), [3]),
    (8, dict(actor_mode='async'), [2]),
    (16, dict(actor_mode='async', num_actors=3), [2]),
    (2, dict(actor_mode='async'), [1]),
    (8, dict(actor_mode='sync', mode='benchmark'), [4]),
    (8, dict(actor_mode='sync', mode='test'), []),
  )
  def test_threads_per_operation(self, num_cores, changes, expected):
    with (
      mock.patch.dict(os.environ),
      mock.patch.object(os, 'cpu_count', return_value=num_cores),
      mock.patch.object(
        tf.config.threading, 'set_intra_op_parallelism_threads'
      ) as set_threads,
    ):
      del os.environ['TF_NUM_INTRAOP_THREADS']
      Device.from_config(runs.tiny_config(**changes))
    found = [call.args[0] for call in set_threads.call_args_list]
    self.assertEqual(found, expected)

  def test_the_users_number_stays(self):
    with mock.patch.object(
      tf.config.threading, 'set_intra_op_parallelism_threads'
    ) as set_threads:
      Device(num_operations=2)
    set_threads.assert_not_called()

  def test_later_devices_change_nothing(self):
    self.assertLen(tf.config.list_logical_devices('CPU'), 1)  # It runs.
    with mock.patch.dict(os.environ):
      del os.environ['TF_NUM_INTRAOP_THREADS']
      with mock.patch.object(os, 'cpu_count', return_value=64):
        Device(num_operations=2)


class NumPartsTest(parameterized.TestCase):
  @parameterized.parameters(
    (dict(batch_size=16), 1, 2),
    (dict(batch_size=14), 1, 1),
    (dict(batch_size=17), 1, 1),
    (dict(batch_size=16, actor_mode='async'), 1, 1),
    (dict(batch_size=16, actor_mode='async', torso='deep'), 1, 2),
    (dict(batch_size=32, num_groups=4), 1, 4),
    (dict(batch_size=32, num_groups=1), 1, 1),
    (dict(batch_size=36), 6, 2),
    (dict(batch_size=36), 4, 1),
    (dict(batch_size=16, xla='on'), 1, 1),
  )
  def test_of_a_config(self, changes, unit, expected):
    config = runs.tiny_config(**changes)
    found = Device.from_config(config).num_parts(
      config.batch_size, unit, needs_all_cores=config.torso == 'deep'
    )
    self.assertEqual(found, expected)

  @parameterized.parameters(
    (False, False, 3), (False, True, 3), (True, False, 1), (True, True, 3)
  )
  def test_actors_beside_the_learner(self, acts_beside, needs_all, expected):
    device = Device(num_groups=3, acts_beside=acts_beside)
    self.assertEqual(device.num_parts(24, 1, needs_all), expected)
    self.assertEqual(device.num_parts(24, 8, needs_all), expected)
    self.assertEqual(device.num_parts(24, 5, needs_all), 1)
    self.assertEqual(device.num_parts(21, 1, needs_all), 1)
    self.assertEqual(device.num_parts(25, 1, needs_all), 1)


class ScopeTest(absltest.TestCase):
  def weights(self, device):
    with device.scope():
      return [
        tf.Variable(tf.random.normal([50])).numpy(),
        tf.Variable(tf.random.uniform([50])).numpy(),
      ]

  def test_seed_fixes_the_weights(self):
    tf.random.set_seed(1)
    device = Device(seed=5)
    first, again = self.weights(device), self.weights(device)
    tf.random.normal([3])
    other = self.weights(Device.from_config(runs.tiny_config(seed=5)))
    for weights in (again, other):
      np.testing.assert_array_equal(weights, first)
    self.assertTrue(np.all(first[0] != self.weights(Device(seed=6))[0]))

  def test_one_device_has_no_strategy(self):
    device = Device()
    self.assertEqual(device.num_replicas, 1)
    with device.scope():
      self.assertFalse(tf.distribute.has_strategy())


def sum_rewards(widths):
  """Returns the gradient and step of a learner that adds up rewards.

  Args:
    widths: takes the number of columns of each part that is traced.
  """

  def gradients_fn(unroll):
    widths.append(unroll.task_id.shape[0])
    reward = tf.transpose(unroll.env_outputs.reward)  # [B, T + 1]
    gradient = tf.reduce_sum(reward)
    gradients = [gradient, None]
    return gradients, dict(loss=2.0 * gradient), reward, unroll.task_id

  def apply_fn(gradients, learning_rate, reward, task_id):
    gradient, nothing = gradients
    assert nothing is None
    return dict(step=learning_rate * gradient, reward=reward, task=task_id)

  return gradients_fn, apply_fn


class CompileUpdateTest(parameterized.TestCase):
  @parameterized.product(compile_all=[False, True], num_parts=[1, 3])
  def test_columns_reach_the_step(self, compile_all, num_parts):
    widths = []
    device = Device(xla='on' if compile_all else 'off', num_groups=num_parts)
    update = device.compile_update(*sum_rewards(widths))
    unroll = learner_input(random_unroll(3, 24))
    found = update(unroll, tf.constant(0.5))
    reward = unroll.env_outputs.reward.numpy()
    np.testing.assert_allclose(found['loss'], 2.0 * reward.sum(), rtol=1e-5)
    np.testing.assert_allclose(found['step'], 0.5 * reward.sum(), rtol=1e-5)
    np.testing.assert_array_equal(found['reward'], reward.transpose())
    np.testing.assert_array_equal(found['task'], unroll.task_id)
    # Each part is traced; XLA compiles the batch as a whole.
    self.assertEqual(
      widths, [24] if compile_all else [24 // num_parts] * num_parts
    )

  @parameterized.parameters(
    (dict(), [24]),
    (dict(needs_all_cores=True), [8, 8, 8]),
    (dict(needs_all_cores=True, columns_unit=4), [8, 8, 8]),
    (dict(needs_all_cores=True, columns_unit=6), [24]),
  )
  def test_beside_actors_a_learner_says_what_it_needs(self, needs, expected):
    widths = []
    device = Device(xla='off', num_groups=3, acts_beside=True)
    update = device.compile_update(*sum_rewards(widths), **needs)
    update(learner_input(random_unroll(3, 24)), tf.constant(0.5))
    self.assertEqual(widths, expected)


class CompileStagesTest(parameterized.TestCase):
  @parameterized.product(compile_all=[False, True], num_parts=[1, 3])
  def test_parts_keep_what_is_theirs(self, compile_all, num_parts):
    widths, sizes = [], []

    def own_sum(unroll):
      widths.append(unroll.task_id.shape[0])
      total = tf.reduce_sum(unroll.env_outputs.reward)
      return [total, None], lambda factor: factor * total

    def share(unroll, function, total):
      part = tf.reduce_sum(unroll.env_outputs.reward)
      return (dict(share=function(part) / total**2),)

    def update_fn(parts, learning_rate):
      sizes.append(parts.batch_size)
      totals, functions = parts.map(own_sum)
      total, nothing = parts.sum(totals)
      assert nothing is None
      (shares,) = parts.map(share, functions, total)
      return dict(parts.sum(shares), step=learning_rate * total)

    device = Device(xla='on' if compile_all else 'off', num_groups=num_parts)
    update = device.compile_stages(update_fn)
    unroll = learner_input(random_unroll(3, 24))
    found = update(unroll, tf.constant(0.5))
    reward = unroll.env_outputs.reward.numpy()
    expected = [24] if compile_all else [24 // num_parts] * num_parts
    self.assertEqual((widths, sizes), (expected, [24]))
    np.testing.assert_allclose(found['step'], 0.5 * reward.sum(), rtol=1e-5)
    squares = [x.sum() ** 2 for x in np.split(reward, len(expected), axis=1)]
    np.testing.assert_allclose(
      found['share'], sum(squares) / reward.sum() ** 2, rtol=1e-4
    )

  @parameterized.parameters('off', 'auto')
  def test_joint_functions_are_parts(self, xla):
    function = Device(xla=xla).compile_joint(lambda x: 2.0 * x)
    self.assertEqual(is_compiled(function, tf.constant(3.0)), xla == 'auto')


class ReplicasTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    finished = subprocess.run(
      [sys.executable, '-m', 'tests.replicas'],
      cwd=ROOT,
      capture_output=True,
      text=True,
      timeout=300,
    )
    if finished.returncode:
      raise AssertionError(finished.stderr)
    cls.result = json.loads(finished.stdout.splitlines()[-1])

  def test_two_equal_one(self):
    self.assertEqual(self.result['num_replicas'], 2)
    for xla in ('off', 'auto'):
      for name, difference in self.result[xla]['differences'].items():
        self.assertLess(difference, 1e-5, (xla, name))
        if name.startswith('rmsprop_moment/'):  # The gradients themselves.
          largest = self.result[xla]['largest'][name]
          self.assertLess(difference, 1e-4 * largest, (xla, name))
      for found, expected in zip(
        self.result[xla]['metrics'], self.result['expected'], strict=True
      ):
        self.assertEqual(found.keys(), expected.keys())
        for name, value in expected.items():
          np.testing.assert_allclose(
            found[name], value, rtol=1e-4, err_msg=name
          )

  def test_two_groups_share_the_cores(self):
    expected = max(1, os.cpu_count() // 2)
    self.assertEqual(self.result['threads_per_operation'], expected)

  def test_gradients_were_clipped(self):
    for metrics in self.result['expected']:
      self.assertGreater(metrics['gradient_norm'], 2.0)

  def test_trains_and_resumes(self):
    self.assertEqual(self.result['trained_frames'], [60, 100])

  def test_odd_batch(self):
    self.assertEqual(
      self.result['odd_batch'], '2 replicas do not divide a batch of 3'
    )


if __name__ == '__main__':
  absltest.main()
