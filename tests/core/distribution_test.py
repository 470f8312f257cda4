"""Tests of core/distribution.py."""

import json
import os
import pathlib
import subprocess
import sys
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from core import distribution
from core.actor import join_unrolls
from tests import runs
from tests.unrolls import LANGUAGE_SPEC, learner_input, random_unroll

ROOT = pathlib.Path(__file__).resolve().parents[2]


class SplitUnrollTest(absltest.TestCase):
  def test_parts_in_order(self):
    unroll = random_unroll(3, 6, LANGUAGE_SPEC, use_lstm=True)
    parts = distribution.split_unroll(unroll, 3)
    for i, part in enumerate(parts):
      self.assertEqual(part.agent_outputs.policy_logits.shape, (4, 2, 3))
      self.assertEqual(part.core_state[0].shape, (2, 256))
      np.testing.assert_array_equal(
        part.env_outputs.observation.instruction,
        unroll.env_outputs.observation.instruction[:, 2 * i : 2 * i + 2],
      )
    tf.nest.map_structure(
      np.testing.assert_array_equal, join_unrolls(parts), unroll
    )

  def test_does_not_divide(self):
    with self.assertRaisesRegex(
      ValueError, '4 replicas do not divide a batch of 6'
    ):
      distribution.split_unroll(random_unroll(3, 6), 4)


class XlaScopeTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('off', 'off', (False, False)), ('on', 'on', (True, True))
  )
  def test_forced(self, mode, expected):
    self.assertEqual(distribution.xla_scope(mode), expected)

  def test_auto_follows_the_device(self):
    has_gpu = bool(tf.config.list_logical_devices('GPU'))
    self.assertEqual(distribution.xla_scope('auto'), (has_gpu, True))


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
      distribution.share_cores(runs.tiny_config(**changes))
    found = [call.args[0] for call in set_threads.call_args_list]
    self.assertEqual(found, expected)

  def test_the_users_number_stays(self):
    with mock.patch.object(
      tf.config.threading, 'set_intra_op_parallelism_threads'
    ) as set_threads:
      distribution.share_cores(runs.tiny_config())
    set_threads.assert_not_called()

  def test_later_agents_change_nothing(self):
    self.assertLen(tf.config.list_logical_devices('CPU'), 1)  # It runs.
    with mock.patch.dict(os.environ):
      del os.environ['TF_NUM_INTRAOP_THREADS']
      with mock.patch.object(os, 'cpu_count', return_value=64):
        distribution.share_cores(runs.tiny_config())


class NumBatchPartsTest(parameterized.TestCase):
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
  )
  def test_num_batch_parts(self, changes, unit, expected):
    config = runs.tiny_config(**changes)
    self.assertEqual(distribution.num_batch_parts(config, unit), expected)


class CompileUpdateTest(parameterized.TestCase):
  @parameterized.product(compile_all=[False, True], num_parts=[1, 3])
  def test_columns_reach_the_step(self, compile_all, num_parts):
    widths = []

    def gradients_fn(unroll):
      widths.append(unroll.task_id.shape[0])
      reward = tf.transpose(unroll.env_outputs.reward)  # [B, T + 1]
      gradient = tf.reduce_sum(reward)
      gradients = [gradient, None]
      return gradients, dict(loss=2.0 * gradient), reward, unroll.task_id

    def apply_fn(gradients, learning_rate, reward, task_id):
      gradient, nothing = gradients
      self.assertIsNone(nothing)
      return dict(step=learning_rate * gradient, reward=reward, task=task_id)

    unroll = learner_input(random_unroll(3, 6))
    update = distribution.compile_update(
      tf.distribute.get_strategy(),
      gradients_fn,
      apply_fn,
      compile_all,
      num_parts,
    )
    found = update(unroll, tf.constant(0.5))
    reward = unroll.env_outputs.reward.numpy()
    np.testing.assert_allclose(found['loss'], 2.0 * reward.sum(), rtol=1e-5)
    np.testing.assert_allclose(found['step'], 0.5 * reward.sum(), rtol=1e-5)
    np.testing.assert_array_equal(found['reward'], reward.transpose())
    np.testing.assert_array_equal(found['task'], unroll.task_id)
    # Each part is traced; XLA compiles the batch as a whole.
    self.assertEqual(
      widths, [6] if compile_all else [6 // num_parts] * num_parts
    )


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
