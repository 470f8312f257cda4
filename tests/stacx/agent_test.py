"""Tests of stacx/agent.py."""

import contextlib
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from core.device import Device
from core.networks import torsos
from stacx import losses, meta_gradient
from stacx.config import DEBUG
from tests.runs import agent_of, tiny_config
from tests.stacx.batches import CONTINUOUS_SPEC, FEATURES_SPEC, batch
from tests.unrolls import SMALL_SPEC

T, B = 5, 3
RATE = tf.constant(0.01)
CONTINUOUS = dict(policy='tanh_gaussian', use_lstm=True, num_heads=2)


def make(spec=FEATURES_SPEC, **settings):
  """Returns an agent and a batch for it."""
  config = tiny_config(DEBUG, **settings)
  return agent_of(config, spec), batch(T, B, spec, config.use_lstm)


def plain_inner_gradients(agent, unroll, eta):
  """Computes outputs and G by ordinary tapes."""
  with tf.GradientTape() as tape:
    outputs = agent._outputs(unroll)
    loss, _ = losses.inner_loss(
      agent._objective, outputs, agent._experience(unroll), eta
    )
  return outputs, tape.gradient(loss, agent.network.trainable_variables)


def two_phases(agent, unroll):
  """Computes theta' and eta's gradient by differentiating twice.

  Slower than the agent's way and with other operations: TensorFlow's own
  gradient of max-pooling's, for one. Leaves the agent as it was.
  """
  config, network = agent._config, agent.network
  variables = network.trainable_variables
  start = [variable.numpy() for variable in variables]
  eta = tf.convert_to_tensor(agent.eta)
  with contextlib.ExitStack() as stack:
    if config.torso == 'deep':
      stack.enter_context(
        mock.patch.object(network._torso, '_pool', torsos.max_pool)
      )
    meta_tape = stack.enter_context(tf.GradientTape())
    meta_tape.watch(eta)
    old_outputs, gradients = plain_inner_gradients(agent, unroll, eta)
    weights = [
      variable
      - meta_gradient.rms_prop_step(
        gradient,
        *(mean_square, moment, RATE, config.decay, config.momentum),
        config.epsilon,
      ).moment
      for variable, mean_square, moment, gradient in zip(
        variables,
        agent.optimizer.mean_squares,
        agent.optimizer.moments,
        gradients,
        strict=True,
      )
    ]
  assign(variables, weights)
  with tf.GradientTape() as tape:
    loss, _ = losses.outer_loss(
      agent._objective,
      agent._outputs(unroll),
      old_outputs,
      agent._experience(unroll),
      config.kl_cost,
    )
  v = tape.gradient(loss, variables, unconnected_gradients='zero')
  assign(variables, start)
  return weights, meta_tape.gradient(weights, eta, output_gradients=v).numpy()


def assign(variables, values):
  for variable, value in zip(variables, values, strict=True):
    variable.assign(value)


def reported(agent, metrics, suffix=''):
  """Returns a metric of each tuned metaparameter and head, [M, P]."""
  heads = range(1, agent._config.num_heads + 1)
  return np.array(
    [
      [float(metrics[f'{name}{suffix}_head_{head}']) for head in heads]
      for name in agent._tuned
    ]
  )


def weights_of(agent):
  return [v.numpy() for v in agent.network.trainable_variables]


class ExactnessTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('deep', SMALL_SPEC, dict(torso='deep', num_heads=2)),
    ('continuous', CONTINUOUS_SPEC, CONTINUOUS),
    (
      'embedding_and_outer_values',
      FEATURES_SPEC,
      dict(gamma_embedding='separate', outer_value_head=True),
    ),
    ('random', FEATURES_SPEC, dict(behaviour='random_head', num_heads=2)),
  )
  def test_equals_differentiating_twice(self, spec, settings):
    # Large steps, so that theta' is elsewhere than theta.
    agent, unroll = make(spec, epsilon=0.5, momentum=0.3, **settings)
    if settings.get('behaviour') == 'random_head':
      state = (*unroll.core_state, tf.zeros([B], tf.int32))
      unroll = unroll._replace(core_state=state)
    agent.update(unroll, RATE)
    weights, expected = two_phases(agent, unroll)
    metrics = agent.update(unroll, RATE)
    for a, b in zip(weights_of(agent), weights, strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    found = reported(agent, metrics, '_gradient')
    largest = np.max(np.abs(expected), axis=1, keepdims=True)
    self.assertTrue(np.all(largest > 1e-7))
    np.testing.assert_allclose(found / largest, expected / largest, atol=2e-3)
    self.assertGreater(float(metrics['kl']), 1e-6)

  def test_parts_of_a_batch_add_up(self):
    config = tiny_config(
      DEBUG, batch_size=16, num_heads=1, self_tuned='gamma,g_v'
    )
    unroll = batch(T, 16, FEATURES_SPEC)
    results = []
    for num_groups in (1, 2):
      device = Device(xla='off', num_groups=num_groups)
      agent = agent_of(config, FEATURES_SPEC, device)
      self.assertEqual(device.num_parts(16, 1, False), num_groups)
      metrics = [agent.update(unroll, RATE) for _ in range(2)]
      results.append((metrics, agent.variables()))
    for found, expected in zip(
      tf.nest.flatten(results[1]), tf.nest.flatten(results[0]), strict=True
    ):
      np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)

  def test_xla_modes_agree(self):
    results = {}
    for mode in ('off', 'auto', 'on'):
      agent, unroll = make(
        xla=mode, num_heads=1, self_tuned='gamma,alpha,g_v', torso='shallow'
      )
      metrics = [agent.update(unroll, RATE) for _ in range(2)]
      results[mode] = (metrics, agent.variables())
      self.assertEqual(agent.update.experimental_get_tracing_count(), 1)
    for mode in ('auto', 'on'):
      for found, expected in zip(
        tf.nest.flatten(results[mode]),
        tf.nest.flatten(results['off']),
        strict=True,
      ):
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-4)

  def test_kl_reduction(self):
    # A coefficient this large leaves nothing of the other losses.
    gradients = []
    for settings in (
      dict(kl_cost=1e7 * T * B, kl_reduction='mean'),
      dict(kl_cost=1e7),
    ):
      agent, unroll = make(num_heads=1, self_tuned='g_v', **settings)
      metrics = agent.update(unroll, RATE)
      gradients.append(reported(agent, metrics, '_gradient'))
    np.testing.assert_allclose(*gradients, rtol=1e-3)


class UpdateTest(parameterized.TestCase):
  """One agent of two heads; every test begins with its first weights."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.agent, cls.unroll = make(num_heads=2, momentum=0.5)
    cls.start = {n: v.numpy() for n, v in cls.agent.variables().items()}

  def setUp(self):
    super().setUp()
    assign(self.agent.variables().values(), self.start.values())

  def test_no_step_no_gradient_of_eta(self):
    metrics = self.agent.update(self.unroll, tf.constant(0.0))
    gradients = reported(self.agent, metrics, '_gradient')
    np.testing.assert_array_equal(gradients, 0.0)
    self.assertEqual(float(metrics['kl']), 0.0)
    for variable in self.agent.network.trainable_variables:
      name = variable.name.removesuffix(':0')
      np.testing.assert_array_equal(variable, self.start[name])

  def test_eta_steps_against_its_gradient(self):
    agent = self.agent
    before = agent.eta.numpy()
    np.testing.assert_allclose(before, 4.6)
    metrics = agent.update(self.unroll, RATE)
    gradient = reported(agent, metrics, '_gradient')
    np.testing.assert_allclose(
      reported(agent, metrics), 1 / (1 + np.exp(-4.6)), rtol=1e-6
    )
    # Adam's first step: the rate, against the sign, unless epsilon matters.
    expected = before - 0.001 * gradient / (np.abs(gradient) + 1e-4)
    np.testing.assert_allclose(agent.eta, expected, rtol=1e-6)
    metrics = agent.update(self.unroll, RATE)
    np.testing.assert_allclose(
      reported(agent, metrics), 1 / (1 + np.exp(-expected)), rtol=1e-6
    )

  def test_time_limits_reach_the_losses(self):
    agent, unroll = make(CONTINUOUS_SPEC, **CONTINUOUS)
    truncated = unroll.env_outputs.truncated
    self.assertTrue(np.any(truncated[1:]))
    experience = agent._experience(unroll)
    np.testing.assert_array_equal(experience.truncated, truncated[1:])
    agent, unroll = make()
    self.assertEqual(agent._experience(unroll).truncated, ())

  def test_metrics(self):
    agent, unroll = self.agent, self.unroll
    parameters = agent._outputs(unroll).parameters[:-1]
    experience = agent._experience(unroll)
    log_pi = agent._policy.log_probs(parameters, experience.actions, None)
    log_mu = experience.behaviour_log_probs[:, :, None]
    shares = np.mean(np.greater(log_pi, log_mu), axis=(0, 1))
    metrics = agent.update(unroll, RATE)
    names = ('gamma', 'lambda', 'alpha', 'g_v', 'g_p', 'g_e')
    expected = {
      *('total_loss', 'policy_gradient_loss', 'baseline_loss'),
      *('entropy_loss', 'negative_entropy', 'gradient_norm'),
      *('outer_loss', 'kl'),
      *(f'truncated_share_head_{head}' for head in (1, 2)),
      *(f'{name}_head_{head}' for name in names for head in (1, 2)),
      *(f'{name}_gradient_head_{head}' for name in names for head in (1, 2)),
    }
    self.assertEqual(set(metrics), expected)
    for name, value in metrics.items():
      self.assertEqual(value.shape, (), name)
    self.assertNotEqual(*shares)
    for head, share in enumerate(shares, 1):
      self.assertAlmostEqual(
        float(metrics[f'truncated_share_head_{head}']), share, places=5
      )

  def test_every_variable_is_saved(self):
    self.agent.update(self.unroll, RATE)
    num_weights = len(self.agent.network.trainable_variables)
    self.assertLen(self.start, 3 * num_weights + 4)
    for name, variable in self.agent.variables().items():
      self.assertTrue(np.any(self.start[name] != variable), name)

  def test_learning_rate_ends_at_its_fraction(self):
    agent, _ = make(
      learning_rate=0.001,
      final_learning_rate_fraction=0.1,
      total_environment_frames=100,
    )
    rates = [agent.learning_rate(frames) for frames in (0, 50, 100)]
    np.testing.assert_allclose(rates, [1e-3, 5.5e-4, 1e-4])


class ActTest(parameterized.TestCase):
  def act(self, agent, unroll, seed=0, state=()):
    env_output, action = tf.nest.map_structure(
      lambda x: x[0], (unroll.env_outputs, unroll.agent_outputs.action)
    )
    seed = tf.constant([seed, 7], tf.int32)
    return agent.act(unroll.task_id, action, env_output, state, seed)

  def parameters(self, agent, unroll):
    """Returns all heads' policies at entry 0, [B, P, ...]."""
    unroll = unroll._replace(core_state=unroll.core_state[:2])
    return agent._outputs(unroll).parameters[0].numpy()

  def test_head_1_acts(self):
    agent, unroll = make()
    output, _ = self.act(agent, unroll)
    expected = self.parameters(agent, unroll)
    np.testing.assert_allclose(output.policy_logits, expected[:, 0], atol=1e-5)
    self.assertFalse(np.allclose(expected[:, 0], expected[:, 1]))
    self.assertEqual(output.action.dtype, tf.int32)

  def test_average_of_logits_acts(self):
    agent, unroll = make(behaviour='average_logits')
    output, _ = self.act(agent, unroll)
    expected = self.parameters(agent, unroll).mean(axis=1)
    np.testing.assert_allclose(output.policy_logits, expected, atol=1e-5)

  @parameterized.parameters(False, True)
  def test_a_random_head_acts_for_an_episode(self, use_lstm):
    agent, _ = make(behaviour='random_head', use_lstm=use_lstm)
    n = 300
    unroll = batch(1, n, FEATURES_SPEC, use_lstm)
    done = np.arange(n) < 200
    env_outputs = unroll.env_outputs._replace(
      done=tf.constant(np.stack([done, done]))
    )
    unroll = unroll._replace(env_outputs=env_outputs)
    state = (*agent.network.initial_state(n), tf.fill([n], 2))
    self.assertEqual(
      [x.shape for x in agent.initial_state(n)], [x.shape for x in state]
    )
    output, new_state = self.act(agent, unroll, state=state)
    head = new_state[-1].numpy()
    np.testing.assert_array_equal(head[200:], 2)  # Their episodes go on.
    counts = np.bincount(head[:200], minlength=3)
    self.assertTrue(np.all(np.abs(counts - 200 / 3) < 4 * np.sqrt(200 * 2 / 9)))
    unroll = unroll._replace(core_state=state)
    expected = self.parameters(agent, unroll)[np.arange(n), head]
    np.testing.assert_allclose(output.policy_logits, expected, atol=1e-4)
    self.assertLen(new_state, 3 if use_lstm else 1)

  def test_continuous_actions_keep_bounds_and_are_recorded(self):
    agent, unroll = make(CONTINUOUS_SPEC, **CONTINUOUS)
    output, state = self.act(agent, unroll, state=unroll.core_state)
    self.assertEqual(output.action.shape, (B, 2))
    self.assertEqual(output.policy_logits.shape, (B, 6))
    low, high, _ = CONTINUOUS_SPEC.action_box
    share = (np.tanh(output.policy_logits[:, 4:]) + 1.0) / 2.0
    np.testing.assert_allclose(
      output.action, low + share * np.subtract(high, low), atol=1e-5
    )
    expected = self.parameters(agent, unroll)[:, 0]
    np.testing.assert_allclose(output.policy_logits[:, :4], expected, atol=1e-5)
    self.assertEqual(state[0].shape, (B, 256))

  def test_seed_decides(self):
    agent, _ = make()
    unroll = batch(1, 50, FEATURES_SPEC)
    actions = [self.act(agent, unroll, seed)[0].action for seed in (1, 1, 2)]
    np.testing.assert_array_equal(actions[0], actions[1])
    self.assertTrue(np.any(actions[0] != actions[2]))


if __name__ == '__main__':
  absltest.main()
