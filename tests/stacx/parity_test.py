"""At its null settings STACX is what it builds on."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

import impala.config
from core.networks.actor_critic import NetworkOutput
from stacx.config import DEBUG
from tests.runs import agent_of, tiny_config
from tests.stacx.agent_test import plain_inner_gradients, weights_of
from tests.stacx.batches import FEATURES_SPEC, batch

T, B = 5, 3
RATE = tf.constant(0.01)
TF1 = dict(initial_mean_square=1.0)  # As impala's optimiser begins.


class AsImpala:
  """STACX's network as IMPALA's agent calls its own."""

  def __init__(self, network):
    self._network = network
    self.trainable_variables = network.trainable_variables

  def __call__(self, last_actions, env_outputs, core_state):
    output = self._network(last_actions, env_outputs, core_state, None)
    return NetworkOutput(output.policy[:, :, 0], output.values, None, None)


def make(**settings):
  return agent_of(tiny_config(DEBUG, **settings), FEATURES_SPEC)


class ImpalaTest(parameterized.TestCase):
  def impala_on(self, agent):
    """Returns IMPALA's agent with the network and the losses of a STACX."""
    config = agent._config
    shared = dict(
      discounting=config.discounting,
      entropy_cost=config.entropy_cost,
      baseline_cost=config.baseline_cost,
      epsilon=config.epsilon,
      max_gradient_norm=config.max_gradient_norm,
    )
    other = agent_of(tiny_config(impala.config.DEBUG, **shared), FEATURES_SPEC)
    other.network = AsImpala(agent.network)
    other.optimizer = type(other.optimizer)(
      agent.network.trainable_variables, config.decay, 0.0, config.epsilon
    )
    return other

  @parameterized.named_parameters(
    ('nothing_tuned', dict(self_tuned='')),
    # A sigmoid of 1, and steps too small to leave it.
    (
      'eta_frozen_at_large_values',
      dict(
        self_tuned='lambda,alpha,g_v,g_p,g_e',
        initial_eta=30.0,
        meta_learning_rate=0.0,
      ),
    ),
    ('clipped', dict(self_tuned='', max_gradient_norm=0.5)),
  )
  def test_updates_are_impalas(self, settings):
    agents = [make(num_heads=1, **TF1, **settings) for _ in range(2)]
    np.testing.assert_equal(*map(weights_of, agents))
    parent = self.impala_on(agents[1])
    for seed in range(4):
      unroll = batch(T, B, FEATURES_SPEC, seed=seed)
      metrics = agents[0].update(unroll, RATE)
      expected = parent.update(unroll, RATE)
      for name, value in expected.items():
        np.testing.assert_allclose(
          metrics[name], value, rtol=1e-3, err_msg=name
        )
      for a, b in zip(*map(weights_of, agents), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6)

  def test_without_tuning_there_is_no_eta(self):
    agent = make(num_heads=1, self_tuned='')
    metrics = agent.update(batch(T, B, FEATURES_SPEC), RATE)
    self.assertNotIn('eta', agent.variables())
    self.assertNotIn('kl', metrics)
    self.assertFalse([name for name in metrics if name.startswith('gamma')])


class HeadsTest(parameterized.TestCase):
  def test_heads_without_weight_leave_stac(self):
    """Their losses' coefficients at 0, the rest is STAC's gradient, over P."""
    stacx, stac = make(num_heads=3), make(num_heads=1)
    for variable in stac.network.trainable_variables:
      (other,) = (
        v for v in stacx.network.trainable_variables if v.name == variable.name
      )
      value = other.numpy()
      if value.shape != variable.shape:  # Of the heads: head 1's.
        axis = 1 if 'w_hidden' in variable.name else 0
        value = np.take(value, [0], axis=axis)
      variable.assign(value)
    eta = stacx.eta.numpy()
    eta[3:, 1:] = -200.0  # g_v, g_p, g_e of heads 2 and 3.
    unroll = batch(T, B, FEATURES_SPEC)
    found, expected = (
      plain_inner_gradients(agent, unroll, tf.constant(x))[1]
      for agent, x in ((stacx, eta), (stac, eta[:, :1]))
    )
    for variable, a, b in zip(
      stac.network.trainable_variables, found, expected, strict=True
    ):
      if a.shape != b.shape:
        axis = 1 if 'w_hidden' in variable.name else 0
        others = np.take(a, [1, 2], axis=axis)
        np.testing.assert_array_equal(others, 0.0)
        a = np.take(a, [0], axis=axis)
      np.testing.assert_allclose(3.0 * a, b, rtol=1e-4, atol=1e-5)


if __name__ == '__main__':
  absltest.main()
