"""Tests of acting in distral/agent.py: table 1's policies, and test mode."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from distral.config import ALGORITHMS
from tests.distral.agent_test import TABLE_1, TASK_ID, B, make_once, outputs_of

NUM_CALLS, NUM_COPIES = 10, 60


def act(agent, unroll, rows=range(B), seed=0):
  """Acts in some of the B environments of an unroll's entry 0."""
  env_output, action = tf.nest.map_structure(
    lambda x: tf.gather(x[0], rows),
    (unroll.env_outputs, unroll.agent_outputs.action),
  )
  task_id, core_state = tf.nest.map_structure(
    lambda x: tf.gather(x, rows), (unroll.task_id, unroll.core_state)
  )
  seed = tf.constant([seed, 7], tf.int32)
  return agent.act(task_id, action, env_output, core_state, seed)


def logits_of(name, agent, unroll):
  """Returns what table 1 says, [B, A], from the columns' outputs."""
  outputs = outputs_of(agent, unroll)
  _, weight_of_h, weight_of_f = TABLE_1[name]
  total = 0.0
  for column, weight in (('h', weight_of_h), ('f', weight_of_f)):
    if len(outputs[column]):
      total += weight * outputs[column][0]
  return total


class ActTest(parameterized.TestCase):
  @parameterized.parameters(*ALGORITHMS)
  def test_policies_are_those_of_table_1(self, name):
    _, agent, unroll = make_once(name)
    expected = logits_of(name, agent, unroll)
    for rows in (range(B), (5, 3, 1, 0, 2, 4), (1, 0, 4)):  # As many of each.
      output, _ = act(agent, unroll, rows)
      np.testing.assert_allclose(
        output.policy_logits, tf.gather(expected, rows), rtol=1e-4, atol=1e-5
      )

  def test_outputs(self):
    _, agent, unroll = make_once('kl_ent_2col', use_lstm=True)
    output, state = act(agent, unroll)
    env_outputs = tf.nest.map_structure(lambda x: x[:1], unroll.env_outputs)
    task, shared = agent.network(unroll.task_id, env_outputs, unroll.core_state)
    expected = task.core_state, shared.core_state
    tf.nest.assert_same_structure(state, agent.initial_state(B))
    for found, wanted in zip(
      tf.nest.flatten(state), tf.nest.flatten(expected), strict=True
    ):
      np.testing.assert_allclose(found, wanted, atol=1e-5)
    self.assertEqual(output.action.dtype, tf.int32)
    self.assertEqual(output.action.shape, (B,))

  def test_action_frequencies_are_the_policies(self):
    _, agent, unroll = make_once('kl_2col')
    rows = np.tile(np.arange(B), NUM_COPIES)
    counts = np.zeros([B, 3])
    for seed in range(NUM_CALLS):
      output, _ = act(agent, unroll, rows, seed)
      np.add.at(counts, (rows, output.action.numpy()), 1)
    policies = tf.nn.softmax(logits_of('kl_2col', agent, unroll)).numpy()
    self.assertGreater(np.max(policies) - np.min(policies), 0.2)
    # Four standard deviations at most.
    frequencies = counts / (NUM_CALLS * NUM_COPIES)
    np.testing.assert_allclose(frequencies, policies, atol=0.08)
    self.assertEqual(agent.act.experimental_get_tracing_count(), 1)

  def test_neither_last_action_nor_reward_is_read(self):
    _, agent, unroll = make_once('kl_ent_2col')
    expected, _ = act(agent, unroll)
    env_outputs, agent_outputs = unroll.env_outputs, unroll.agent_outputs
    other = unroll._replace(
      env_outputs=env_outputs._replace(reward=env_outputs.reward + 1.0),
      agent_outputs=agent_outputs._replace(action=2 - agent_outputs.action),
    )
    found, _ = act(agent, other)
    np.testing.assert_array_equal(found.policy_logits, expected.policy_logits)

  def test_training_plays_the_task_policies(self):
    # A flag file for tests may serve training too.
    _, agent, unroll = make_once('kl_2col', test_policy='distilled')
    output, _ = act(agent, unroll)
    np.testing.assert_allclose(
      output.policy_logits,
      logits_of('kl_2col', agent, unroll),
      rtol=1e-4,
      atol=1e-5,
    )

  def test_compiled_acting_agrees(self):
    outputs = []
    for mode in ('off', 'on'):
      _, agent, unroll = make_once('kl_ent_2col', xla=mode)
      outputs.append(act(agent, unroll)[0].policy_logits)
    np.testing.assert_allclose(*outputs, rtol=1e-4, atol=1e-5)


class TestModeTest(parameterized.TestCase):
  """One task at a time, on any number of rows."""

  @parameterized.parameters(
    ('kl_1col', 'task', True),
    ('kl_1col', 'distilled', False),
    ('kl_ent_2col', 'task', False),
    ('kl_ent_2col', 'distilled', True),
    ('a3c_multitask', 'task', False),
  )
  def test_policy(self, name, test_policy, use_lstm):
    _, agent, unroll = make_once(
      name, mode='test', test_policy=test_policy, use_lstm=use_lstm
    )
    expected = logits_of(name, agent, unroll)
    if test_policy == 'distilled':
      expected = outputs_of(agent, unroll)['h'][0]
    for task, num_rows in ((0, 7), (2, 7), (1, 1)):
      rows = np.resize(np.flatnonzero(np.equal(TASK_ID, task)), num_rows)
      output, state = act(agent, unroll, rows)
      np.testing.assert_allclose(
        output.policy_logits, tf.gather(expected, rows), 1e-4, 1e-5
      )
      for leaf in tf.nest.flatten(state):
        self.assertEqual(leaf.shape, (num_rows, 256))

  def test_distilled_policy_is_the_same_in_every_task(self):
    _, agent, unroll = make_once(
      'kl_2col', mode='test', test_policy='distilled'
    )
    outputs = [
      act(agent, unroll._replace(task_id=np.full(B, i, np.int32)))[0]
      for i in range(3)
    ]
    for output in outputs[1:]:
      for found, expected in zip(output, outputs[0], strict=True):
        np.testing.assert_array_equal(found, expected)

  def test_start_states_are_saved_from_one_game_at_a_time(self):
    _, agent, unroll = make_once('kl_ent_2col', mode='save_start_states')
    expected = logits_of('kl_ent_2col', agent, unroll)
    output, _ = act(agent, unroll, [2])
    np.testing.assert_allclose(
      output.policy_logits, expected[2:3], rtol=1e-4, atol=1e-5
    )


if __name__ == '__main__':
  absltest.main()
