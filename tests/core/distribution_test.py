"""Tests of core/distribution.py."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from core import distribution
from core.actor import join_unrolls
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


class CompileUpdateTest(parameterized.TestCase):
  @parameterized.parameters(False, True)
  def test_columns_reach_the_step(self, compile_all):
    def gradients_fn(unroll):
      reward = tf.transpose(unroll.env_outputs.reward)  # [B, T + 1]
      gradient = tf.reduce_sum(reward)
      return gradient, dict(loss=2.0 * gradient), reward, unroll.task_id

    def apply_fn(gradient, learning_rate, reward, task_id):
      return dict(step=learning_rate * gradient, reward=reward, task=task_id)

    unroll = learner_input(random_unroll(3, 6))
    update = distribution.compile_update(
      tf.distribute.get_strategy(), gradients_fn, apply_fn, compile_all
    )
    found = update(unroll, tf.constant(0.5))
    reward = unroll.env_outputs.reward.numpy()
    np.testing.assert_allclose(found['loss'], 2.0 * reward.sum(), rtol=1e-5)
    np.testing.assert_allclose(found['step'], 0.5 * reward.sum(), rtol=1e-5)
    np.testing.assert_array_equal(found['reward'], reward.transpose())
    np.testing.assert_array_equal(found['task'], unroll.task_id)


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
