"""Acting, what an agent observes, what it measures, and what it refuses."""

import dataclasses

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from brc import task_measures
from brc.config import DEBUG, check_tasks, conditioning_of
from core.errors import UserError
from core.types import ActionBox, EnvOutput, Observation, Transitions
from tests.brc.agent_test import (
  SPEC,
  make_agent,
  make_batch,
  run_eagerly,
  values_of,
)


class ActingTest(absltest.TestCase):
  def test_greedy_action_is_the_squashed_mean_within_the_bounds(self):
    box = ActionBox((0.0, -1.0), (4.0, 1.0))
    agent = make_agent(SPEC._replace(action_box=box))
    features = np.float32(np.random.default_rng(0).normal(size=[3, 4]))
    task_id = tf.constant([2, 0, 1])
    env_output = EnvOutput((), (), (), Observation(features=features))
    seed = tf.constant([1, 2])
    output, state = agent.act(task_id, (), env_output, (), seed)
    mean = np.tanh(agent.networks.policy(features, task_id)[0])
    expected = [0.0, -1.0] + (mean + 1.0) / 2.0 * [4.0, 2.0]
    np.testing.assert_allclose(output.action, expected, atol=1e-6)
    self.assertEqual((state, agent.initial_state(3)), ((), ()))

  def test_exploring_samples_the_policy(self):
    agent = make_agent()
    log_std_head = agent.networks.actor._log_std
    log_std_head.w.assign(0.1 * log_std_head.w)
    log_std_head.b.assign([0.5, 0.4])  # About -1.
    agent.networks.actor._mean.w.assign(0.1 * agent.networks.actor._mean.w)
    features = np.ones([2000, 4], np.float32)
    task_id = np.zeros(2000, np.int32)
    first, again, other = (
      agent.explore(task_id, features, np.int32([1, step]))
      for step in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    self.assertGreater(np.mean(first != other), 0.99)
    self.assertLess(np.abs(first).max(), 1.0)
    mean, log_std = agent.networks.policy(features[:1], task_id[:1])
    z = (np.arctanh(np.float64(first)) - mean.numpy()) / np.exp(log_std)
    np.testing.assert_allclose(z.mean(axis=0), np.zeros(2), atol=0.1)
    np.testing.assert_allclose(z.std(axis=0), np.ones(2), atol=0.1)


class ObservingTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    run_eagerly(cls)

  def observe(self, agent):
    """Ends an episode of every task: terminated, truncated, truncated."""
    self.features = np.float32(np.random.default_rng(0).normal(size=[3, 4]))
    terminated = np.array([True, False, False])
    reward = np.float32([30.0, 1.0, 2.0])
    agent.observe(np.arange(3), reward, terminated, ~terminated, self.features)

  def test_truncated_returns_go_on_with_their_mean_reward(self):
    agent = make_agent()
    agent.normalizer.greatest[2] = np.inf
    self.observe(agent)
    np.testing.assert_allclose(
      agent.normalizer.greatest,
      [30.0, 1.0 + 0.99 * 100, 2.0 + 0.99 * 200],
      1e-5,
    )

  def test_truncated_returns_go_on_with_the_critic(self):
    agent = make_agent(return_bootstrap='critic')
    agent.normalizer.greatest[2] = np.inf
    # Of which the tested one must be the greatest.
    agent.normalizer.greatest[1] = 1e-3
    networks, task_id = agent.networks, tf.range(3)
    features = np.float32(np.random.default_rng(0).normal(size=[3, 4]))
    action = tf.tanh(networks.policy(features, task_id)[0])
    q = networks.values(networks.criticise(features, action, task_id)).numpy()
    temperature = agent._config.initial_temperature
    entropy = 0.5 * 0.5 * 2
    divided_by = (1e-3 + temperature * entropy / (1.0 - 0.99)) / 10.0
    self.observe(agent)
    expected = [30.0, abs(1.0 + 0.99 * q[1] * divided_by), 2.0 + 0.99 * 200]
    np.testing.assert_allclose(agent.normalizer.greatest, expected, rtol=1e-4)

  def test_entropies_of_the_correction(self):
    target, empirical = (
      make_agent(entropy_correction=x, initial_temperature=0.1)
      for x in ('target', 'empirical')
    )
    for agent in (target, empirical):
      agent.entropies.assign([0.3, 2.0, -5.0])
    greatest = tf.constant([1.0, 1.0, 1.0])
    np.testing.assert_allclose(
      target._denominators(greatest), np.full(3, (1.0 + 10.0 * 0.5) / 10), 1e-4
    )
    np.testing.assert_allclose(
      empirical._denominators(greatest), [0.4, 2.1, 0.1], rtol=1e-4
    )
    before = empirical.entropies.numpy()
    batches = make_batch(np.random.default_rng(0), (1, 16), num_tasks=2)
    metrics = empirical.update(batches, 0)
    moved = empirical.entropies.numpy() != before
    self.assertEqual(moved.tolist(), [True, True, False])
    counts = np.bincount(batches.task_id[0], minlength=3)
    shifts = (empirical.entropies.numpy() - before) * 100.0 + before
    self.assertAlmostEqual(
      shifts @ counts / 16.0, float(metrics['entropy']), places=3
    )


class MeasureTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    run_eagerly(cls)

  def test_conflicts_and_variances(self):
    gradients = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.1], [1.0, 1.0]])
    # Only pairs (0, 2) and (2, 3) point apart.
    self.assertEqual(task_measures.conflict_share(gradients), 2 / 6)
    self.assertTrue(np.isnan(task_measures.conflict_share(gradients[:1])))
    values = np.array([1.0, 2.0, 6.0])
    expected = (4.0 + 1.0 + 9.0) / 3.0 / 9.0
    self.assertAlmostEqual(task_measures.relative_variance(values), expected)

  def test_measures_each_task_and_changes_nothing(self):
    agent = make_agent()
    batches = make_batch(np.random.default_rng(0), (3, 8))
    task_id = np.repeat(np.arange(3, dtype=np.int32)[:, None], 8, axis=1)
    batches = batches._replace(task_id=task_id)
    before = values_of(agent)
    of_all, of_each = agent.measure(batches, 5)
    for name, value in values_of(agent).items():
      np.testing.assert_array_equal(value, before[name], name)
    noise = tf.random.stateless_normal([8, 2], [1, 5], alg='philox')
    gradients = []
    for task in range(3):
      batch = Transitions(*(tf.constant(x[task]) for x in batches))
      divided_by = agent._denominators(agent.normalizer.greatest)[task]
      batch = batch._replace(reward=batch.reward / divided_by)
      target = agent.critic_target(batch, noise)
      with tf.GradientTape() as tape:
        loss = tf.reduce_mean(agent.critic_losses(batch, target)[0])
      gradient = tape.gradient(loss, agent.networks.critic_variables)
      parts = [np.ravel(tf.convert_to_tensor(g)) for g in gradient]
      gradients.append(np.concatenate(parts))
      self.assertAlmostEqual(of_each['td_loss'][task], float(loss), places=4)
      norm = np.linalg.norm(gradients[-1])
      self.assertAlmostEqual(of_each['gradient_norm'][task], norm, places=4)
    shares = [
      gradients[i] @ gradients[j] < 0.0 for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    self.assertAlmostEqual(of_all['gradient_conflicts'], np.mean(shares))
    self.assertIn('policy_entropy_relative_variance', of_all)


class RefusalTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('frames', dict(frame_shape=(84, 84, 1)), 1, 'a: this agent sees feature'),
    ('discrete', dict(action_box=None), 1, 'a has discrete actions'),
    ('devices', {}, 2, 'one device'),
  )
  def test_tasks_and_devices(self, changes, num_replicas, message):
    with self.assertRaisesRegex(UserError, message):
      check_tasks(SPEC._replace(**changes), num_replicas)

  def test_conditioning(self):
    for choice, num_tasks, init_from, expected in (
      ('auto', 1, '', 'none'),
      ('auto', 2, '', 'embedding'),
      ('auto', 1, 'x', 'embedding'),
      ('heads', 2, '', 'heads'),
      ('none', 1, '', 'none'),
    ):
      config = dataclasses.replace(
        DEBUG, task_conditioning=choice, init_from=init_from
      )
      self.assertEqual(conditioning_of(config, num_tasks), expected)
    for choice in ('embedding', 'heads'):
      config = dataclasses.replace(DEBUG, task_conditioning=choice)
      with self.assertRaisesRegex(UserError, f'{choice} needs several tasks'):
        conditioning_of(config, 1)


if __name__ == '__main__':
  absltest.main()
