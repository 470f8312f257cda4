"""Tests of experiments/stacx/off_policyness_run.py."""

import dataclasses

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from core.device import Device
from core.experience import sources
from core.experience.timing import Timer
from core.interrupt import Interrupt
from core.suites.tasks import Tasks
from core.training.learner import Learner
from experiments.stacx import off_policyness_run
from tests import runs

CONFIG = runs.tiny_config(off_policyness_run.PRESETS['debug'], num_heads=1)


def make_agent(config):
  env_spec = Tasks.of(config).env_spec
  return off_policyness_run.Agent(config, env_spec, Device(xla='off'))


class OldPolicyTest(parameterized.TestCase):
  @parameterized.parameters(0, 2)
  def test_actors_are_so_many_updates_behind(self, policy_age):
    config = dataclasses.replace(CONFIG, policy_age=policy_age)
    agent, timer = make_agent(config), Timer()
    learner = Learner(config, agent, timer)
    source = sources.make_source(config, agent, Tasks.of(config), timer, {})
    self.addCleanup(source.close)
    weights = []
    for _ in range(5):
      weights.append([w.numpy() for w in agent.network.trainable_variables])
      batch = source.next_batch(learner.num_updates, Interrupt())
      acting = agent._acting.network.trainable_variables
      expected = weights[max(0, len(weights) - 1 - policy_age)]
      for old, found in zip(expected, acting, strict=True):
        np.testing.assert_array_equal(found.numpy(), old)
      learner.step(batch)
    self.assertTrue(np.any(weights[0][0] != weights[-1][0]))

  def test_checkpoints_hold_all_weights(self):
    config = dataclasses.replace(CONFIG, policy_age=2)
    variables = make_agent(config).variables()
    num_weights = len(make_agent(config).network.trainable_variables)
    names = [n for n in variables if n.startswith(('history/', 'acting/'))]
    self.assertLen(names, 2 * num_weights)
    self.assertTrue(
      all(isinstance(variables[name], tf.Variable) for name in names)
    )


if __name__ == '__main__':
  absltest.main()
