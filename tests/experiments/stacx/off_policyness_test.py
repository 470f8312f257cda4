"""Tests of experiments/stacx/off_policyness_run.py."""

import contextlib
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
from experiments.stacx import off_policyness_agent, off_policyness_run
from tests import runs

CONFIG = runs.tiny_config(off_policyness_run.PRESETS['debug'], num_heads=1)


def make_agent(config):
  env_spec = Tasks.of(config).env_spec
  return off_policyness_agent.Agent(config, env_spec, Device(xla='off'))


def batch_of(config, agent):
  """Returns an update's input, as actors play it."""
  tasks = Tasks.of(config)
  source = sources.make_source(config, agent, tasks, Timer(), {})
  with contextlib.closing(source):
    batch = source.next_batch(0, Interrupt())
  return tf.nest.map_structure(
    tf.convert_to_tensor,
    batch._replace(
      policy_version=(), env_outputs=batch.env_outputs._replace(info=())
    ),
  )


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

  def test_checkpoints_hold_the_older_weights(self):
    config = dataclasses.replace(CONFIG, policy_age=2)
    agents = [make_agent(config) for _ in range(2)]
    unroll = batch_of(config, agents[0])
    rate = tf.constant(0.01)
    for _ in range(3):
      agents[0].update(unroll, rate)
    saved = agents[0].variables()
    for name, variable in agents[1].variables().items():
      variable.assign(saved[name])
    for _ in range(3):  # As long as what is older lasts.
      for agent in agents:
        agent.update(unroll, rate)
      acting = [a._acting.network.trainable_variables for a in agents]
      for one, other in zip(*acting, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


if __name__ == '__main__':
  absltest.main()
