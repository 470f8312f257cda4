"""Parity with what PopArt builds on, and invariance to the scale of rewards."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from impala import config as impala_config
from popart.config import DEBUG
from tests.popart.agent_test import (
  RATE,
  TASK_ID,
  THREE_TASKS,
  B,
  T,
  current,
  gradients_of,
  make,
  set_statistics,
  weights_of,
)
from tests.runs import agent_of, tiny_config
from tests.unrolls import (
  LANGUAGE_SPEC,
  SMALL_SPEC,
  learner_input,
  random_unroll,
)


class ParityTest(parameterized.TestCase):
  """A contribution at its null setting is what it builds on."""

  def assert_same(self, agents, unroll):
    """Same seed and batch: losses and gradients to 1e-6, then updates."""
    weights = [weights_of(agent) for agent in agents]
    np.testing.assert_equal(*weights)
    metrics, gradients = zip(
      *(gradients_of(agent, unroll) for agent in agents), strict=True
    )
    self.assertEqual(metrics[0].keys(), metrics[1].keys())
    for name in metrics[0]:
      self.assertNotEqual(float(metrics[0][name]), 0.0)
      self.assert_close(metrics[0][name], metrics[1][name], name)
    for name in gradients[0]:
      self.assertTrue(np.any(gradients[0][name] != 0), name)
      self.assert_close(gradients[0][name], gradients[1][name], name)
    for _ in range(3):
      metrics = [agent.update(unroll, RATE) for agent in agents]
    self.assert_close(metrics[0]['total_loss'], metrics[1]['total_loss'])
    for name, found in weights_of(agents[0]).items():
      self.assert_close(found, weights_of(agents[1])[name], name)

  def assert_close(self, found, expected, name=''):
    # Relative to the largest: some gradients are sums of thousands.
    atol = 1e-6 * max(1.0, np.max(np.abs(expected)))
    np.testing.assert_allclose(found, expected, 0.0, atol, err_msg=name)

  def agents(self, spec, *heads, **settings):
    """Builds agents by value head; 'impala' is the IMPALA paper's."""
    # Without XLA, which takes seconds to compile.
    settings = dict(max_gradient_norm=40.0, xla='off', **settings)
    agents = []
    for head in heads:
      if head == 'impala':
        config = tiny_config(impala_config.DEBUG, **settings)
        agents.append(agent_of(config, spec))
      else:
        frozen = dict(statistics_step_size=0.0)  # They stay at 0 and 1.
        config = tiny_config(DEBUG, value_head=head, **frozen, **settings)
        agents.append(agent_of(config, spec))
    return agents

  @parameterized.named_parameters(
    ('feed_forward', THREE_TASKS, False),
    ('language_lstm', LANGUAGE_SPEC, True),
  )
  def test_popart_with_unit_statistics_equals_multi_head(self, spec, use_lstm):
    agents = self.agents(spec, 'popart', 'multi_head', use_lstm=use_lstm)
    unroll = learner_input(random_unroll(T, B, spec, use_lstm))
    self.assertGreater(len(np.unique(unroll.task_id)), 1)
    self.assert_same(agents, unroll)
    np.testing.assert_array_equal(agents[0].statistics.shift, 0.0)

  @parameterized.named_parameters(
    ('multi_head', 'multi_head', ('a',), False),
    ('multi_head_lstm', 'multi_head', ('a',), True),
    ('popart', 'popart', ('a',), False),
    ('single_on_three_tasks', 'single', ('a', 'b', 'c'), False),
  )
  def test_one_head_equals_impala(self, value_head, tasks, use_lstm):
    spec = SMALL_SPEC._replace(task_names=tasks)
    agents = self.agents(spec, value_head, 'impala', use_lstm=use_lstm)
    unroll = learner_input(random_unroll(T, B, spec, use_lstm))
    self.assertLen(np.unique(unroll.task_id), len(tasks))
    self.assert_same(agents, unroll)


class ScaleTest(parameterized.TestCase):
  """Rewards of task 1 times 1000."""

  def scaled(self, unroll):
    """Returns the unroll with rewards of at least 1, and it times 1000."""
    reward = np.random.default_rng(3).choice([-2.0, 0.0, 1.0, 5.0], [T + 1, B])
    factors = np.where(TASK_ID == 1, 1000.0, 1.0)
    # The network sees rewards clipped to [-1, 1], so it sees no difference.
    return [
      unroll._replace(
        env_outputs=unroll.env_outputs._replace(
          reward=tf.constant(r, tf.float32)
        )
      )
      for r in (reward, reward * factors)
    ]

  def normalized_update(self, agent, unroll):
    metrics, gradients = gradients_of(agent, unroll)
    return {**metrics, **gradients}

  def test_adapted_statistics_leave_the_update_as_it_was(self):
    _, agent, unroll = make(reward_clipping='none')
    small, large = self.scaled(unroll)
    expected = self.normalized_update(agent, small)
    other = self.normalized_update(agent, large)
    self.assertGreater(other['baseline_loss'], 100 * expected['baseline_loss'])
    factors = np.array([1.0, 1000.0, 1.0])
    shift, moment, _ = current(agent)
    set_statistics(agent, factors * shift, factors**2 * moment)
    found = self.normalized_update(agent, large)
    for name, value in expected.items():
      self.assertTrue(np.any(value != 0))
      atol = 1e-5 * np.max(np.abs(value))
      np.testing.assert_allclose(found[name], value, 1e-4, atol, err_msg=name)

  def test_statistics_adapt(self):
    updates, scales = [], []
    for index in range(2):
      _, agent, unroll = make(
        reward_clipping='none',
        statistics_step_size=0.1,
        second_moment='mean_of_squares',
      )
      unroll = self.scaled(unroll)[index]
      # Values of 0, and no step: what adapts are the statistics alone.
      set_statistics(agent, np.zeros(3), np.ones(3))
      head = agent.network.value_head
      head.w.assign(tf.zeros_like(head.w))
      before = self.normalized_update(agent, unroll)
      for _ in range(200):
        agent.update(unroll, tf.constant(0.0))
      updates.append((before, self.normalized_update(agent, unroll)))
      scales.append(current(agent)[2])
    np.testing.assert_allclose(scales[1] / scales[0], [1, 1000, 1], rtol=1e-4)
    name = 'policy_gradient_loss'
    self.assertGreater(abs(updates[1][0][name]), 100 * abs(updates[0][0][name]))
    for name, value in updates[0][1].items():
      atol = 1e-4 * np.max(np.abs(value))
      np.testing.assert_allclose(
        updates[1][1][name], value, 1e-3, atol, err_msg=name
      )


if __name__ == '__main__':
  absltest.main()
