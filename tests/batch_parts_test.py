"""Gradients taken in parts change nothing, in any paper."""

import dataclasses
import importlib

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from core.device import Device
from tests import runs
from tests.unrolls import SMALL_SPEC, learner_input, random_unroll

NUM_UPDATES = 3
BATCH_SIZE = 16


def random_batch(config, agent, seed):
  """Returns an Unroll with as many columns of each task and random states."""
  rng = np.random.default_rng(seed)
  return random_unroll(config.unroll_length, BATCH_SIZE, seed=seed)._replace(
    task_id=np.arange(BATCH_SIZE, dtype=np.int32) % 2,
    core_state=tf.nest.map_structure(
      lambda x: rng.normal(size=x.shape).astype(np.float32),
      agent.initial_state(BATCH_SIZE),
    ),
  )


def update(config):
  """Returns the metrics of each update and the variables after the last."""
  agent = runs.agent_of(config, SMALL_SPEC)
  metrics = []
  for seed in range(NUM_UPDATES):
    unroll = random_batch(config, agent, seed)
    found = agent.update(learner_input(unroll), tf.constant(0.01))
    metrics.append({name: value.numpy() for name, value in found.items()})
  return metrics, {n: v.numpy() for n, v in agent.variables().items()}


class BatchPartsTest(parameterized.TestCase):
  @parameterized.parameters('impala', 'popart', 'pixel_control', 'distral')
  def test_two_parts_equal_the_whole(self, paper):
    preset = importlib.import_module(f'{paper}.config').DEBUG
    config = runs.tiny_config(
      preset, batch_size=BATCH_SIZE, use_lstm=True, max_gradient_norm=2.0
    )
    whole = dataclasses.replace(config, num_groups=1)
    for given, num_parts in ((config, 2), (whole, 1)):
      device = Device.from_config(given)
      self.assertEqual(device.num_parts(BATCH_SIZE, 2, False), num_parts)
    (metrics, variables), (expected_metrics, expected) = map(
      update, (config, whole)
    )
    for found, wanted in zip(metrics, expected_metrics, strict=True):
      self.assertEqual(found.keys(), wanted.keys())
      for name in wanted:
        np.testing.assert_allclose(
          found[name], wanted[name], rtol=1e-4, atol=1e-6, err_msg=name
        )
    self.assertEqual(variables.keys(), expected.keys())
    for name in expected:
      np.testing.assert_allclose(
        variables[name], expected[name], atol=1e-5, err_msg=name
      )


if __name__ == '__main__':
  absltest.main()
