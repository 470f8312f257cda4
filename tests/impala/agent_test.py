"""Tests of impala/agent.py."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from core.types import Observation
from tests.impala.vtrace_test import ground_truth
from tests.runs import agent_of, tiny_config
from tests.unrolls import (
  LANGUAGE_SPEC,
  SMALL_SPEC,
  learner_input,
  random_unroll,
)

T, B = 5, 3
RATE = tf.constant(0.01)


def make(spec=SMALL_SPEC, **settings):
  """Returns a config, an agent and a batch of unrolls for it."""
  config = tiny_config(**{'max_gradient_norm': 0.0, **settings})
  unroll = random_unroll(T, B, spec, config.use_lstm)
  return config, agent_of(config, spec), learner_input(unroll)


def gradients_of(agent, unroll):
  with tf.GradientTape() as tape:
    loss, _ = agent.loss_fn(unroll)
  return tape.gradient(loss, agent.network.trainable_variables)


def numpy_losses(config, agent, unroll):
  """Computes the parts of the loss from the network's outputs."""
  output = agent.network(
    unroll.agent_outputs.action, unroll.env_outputs, unroll.core_state
  )
  logits = output.policy_logits.numpy().astype(np.float64)
  values = output.values.numpy()[:, :, 0].astype(np.float64)
  behaviour = unroll.agent_outputs.policy_logits.numpy()
  actions = unroll.agent_outputs.action.numpy()
  log_pi = logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))
  log_mu = behaviour - np.log(np.exp(behaviour).sum(axis=2, keepdims=True))

  def taken(log_policy, t, b, action):
    return log_policy[t, b, action]

  log_rhos, rewards, discounts = np.zeros([3, T, B])
  for t, b in np.ndindex(T, B):
    # The action taken at t, its reward and its end are recorded at t + 1, and
    # so is the policy it was drawn from.
    action = actions[t + 1, b]
    log_rhos[t, b] = taken(log_pi, t, b, action) - taken(
      log_mu, t + 1, b, action
    )
    rewards[t, b] = np.clip(unroll.env_outputs.reward[t + 1, b], -1, 1)
    discounts[t, b] = (
      0.0 if unroll.env_outputs.done[t + 1, b] else config.discounting
    )
  vs, advantages = ground_truth(
    log_rhos, discounts, rewards, values[:-1], values[-1], 1.0, 1.0
  )
  policy_gradient, baseline, negative_entropy = 0.0, 0.0, 0.0
  for t, b in np.ndindex(T, B):
    log_policy = log_pi[t, b]
    policy_gradient -= log_policy[actions[t + 1, b]] * advantages[t, b]
    baseline += 0.5 * (vs[t, b] - values[t, b]) ** 2
    negative_entropy += np.sum(np.exp(log_policy) * log_policy)
  parts = dict(
    policy_gradient_loss=policy_gradient,
    baseline_loss=config.baseline_cost * baseline,
    entropy_loss=config.entropy_cost * negative_entropy,
  )
  total_loss = sum(parts.values())
  return dict(parts, total_loss=total_loss, negative_entropy=negative_entropy)


def changed(unroll, name, t):
  """Returns an unroll whose first column is another at entry t."""
  if name == 'frame':
    env_outputs = unroll.env_outputs
    frame = env_outputs.observation.frame.numpy()
    frame[t, 0] = 255 - frame[t, 0]
    env_outputs = env_outputs._replace(observation=Observation(frame))
    return unroll._replace(env_outputs=env_outputs)
  agent_outputs = unroll.agent_outputs
  logits = agent_outputs.policy_logits.numpy()
  logits[t, 0] = logits[t, 0, ::-1]
  agent_outputs = agent_outputs._replace(policy_logits=tf.constant(logits))
  return unroll._replace(agent_outputs=agent_outputs)


class LossTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('feed_forward', SMALL_SPEC, False),
    ('lstm', SMALL_SPEC, True),
    ('language', LANGUAGE_SPEC, True),
  )
  def test_equals_numpy(self, spec, use_lstm):
    config, agent, unroll = make(
      spec, use_lstm=use_lstm, entropy_cost=0.3, baseline_cost=0.7
    )
    loss, metrics = agent.loss_fn(unroll)
    expected = numpy_losses(config, agent, unroll)
    self.assertEqual(metrics.keys(), expected.keys())
    for name, value in expected.items():
      self.assertEqual(metrics[name].shape, ())
      self.assertNotEqual(value, 0.0)
      np.testing.assert_allclose(metrics[name], value, rtol=1e-4, err_msg=name)
    np.testing.assert_array_equal(loss, metrics['total_loss'])

  def test_is_a_sum_over_the_batch(self):
    _, agent, unroll = make()
    twice = tf.nest.map_structure(
      lambda x: tf.concat([x, x], axis=1),
      (unroll.env_outputs, unroll.agent_outputs),
    )
    twice = unroll._replace(env_outputs=twice[0], agent_outputs=twice[1])
    np.testing.assert_allclose(
      agent.loss_fn(twice)[0], 2.0 * agent.loss_fn(unroll)[0], rtol=1e-5
    )

  @parameterized.named_parameters(
    ('behaviour_of_entry_0', 'policy_logits', 0, False, False),
    ('behaviour_of_entry_1', 'policy_logits', 1, False, True),
    ('behaviour_of_entry_T', 'policy_logits', T, False, True),
    ('bootstrap', 'frame', T, False, True),
    ('bootstrap_after_an_end', 'frame', T, True, False),
    ('first_frame', 'frame', 0, True, True),
  )
  def test_what_enters(self, path, t, last_is_end, matters):
    _, agent, unroll = make()
    done = np.zeros([T + 1, B], bool)
    done[T] = last_is_end
    unroll = unroll._replace(
      env_outputs=unroll.env_outputs._replace(done=tf.constant(done))
    )
    before = float(agent.loss_fn(unroll)[0])
    after = float(agent.loss_fn(changed(unroll, path, t))[0])
    self.assertEqual(before != after, matters)


class UpdateTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('shallow', SMALL_SPEC, 'shallow', False),
    ('deep_language_lstm', LANGUAGE_SPEC, 'deep', True),
  )
  def test_every_variable_gets_a_gradient(self, spec, torso, use_lstm):
    _, agent, unroll = make(spec, torso=torso, use_lstm=use_lstm)
    gradients = gradients_of(agent, unroll)
    for variable, gradient in zip(
      agent.network.trainable_variables, gradients, strict=True
    ):
      self.assertIsNotNone(gradient, variable.name)
      gradient = tf.convert_to_tensor(gradient)
      self.assertTrue(np.any(gradient != 0), variable.name)
      self.assertTrue(np.all(np.isfinite(gradient)), variable.name)

  @parameterized.named_parameters(('unclipped', 0.0), ('clipped', 0.5))
  def test_equals_rmsprop_by_hand(self, max_norm):
    config, agent, unroll = make(
      LANGUAGE_SPEC, use_lstm=True, momentum=0.5, max_gradient_norm=max_norm
    )
    variables = agent.network.trainable_variables
    gradients = gradients_of(agent, unroll)
    # The embedding's; rows at rest have a step of 0 in either arithmetic.
    self.assertTrue(any(isinstance(g, tf.IndexedSlices) for g in gradients))
    gradients = [tf.convert_to_tensor(g).numpy() for g in gradients]
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in gradients))
    self.assertGreater(norm, 0.5)
    before = [v.numpy() for v in variables]
    metrics = agent.update(unroll, RATE)
    np.testing.assert_allclose(metrics['gradient_norm'], norm, rtol=1e-4)
    scale = min(1.0, max_norm / norm) if max_norm else 1.0
    for variable, old, gradient in zip(
      variables, before, gradients, strict=True
    ):
      g = scale * gradient
      # ms = decay + (1 - decay) g^2; the moment starts at 0.
      mean_square = config.decay + (1 - config.decay) * g**2
      step = 0.01 * g / np.sqrt(mean_square + config.epsilon)
      np.testing.assert_allclose(
        variable, old - step, rtol=1e-4, atol=1e-6, err_msg=variable.name
      )

  def test_xla_modes_agree(self):
    results = {}
    for mode in ('off', 'auto', 'on'):
      _, agent, unroll = make(xla=mode, use_lstm=True)
      metrics = [agent.update(unroll, RATE) for _ in range(2)]
      results[mode] = (metrics, agent.variables())
    for mode in ('auto', 'on'):
      for found, expected in zip(
        tf.nest.flatten(results[mode]),
        tf.nest.flatten(results['off']),
        strict=True,
      ):
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)

  @parameterized.named_parameters(('auto', 'auto'), ('on', 'on'))
  def test_traces_once(self, xla):
    _, agent, unroll = make(xla=xla)
    for seed in range(3):
      agent.update(
        learner_input(random_unroll(T, B, seed=seed)), tf.constant(0.1 * seed)
      )
      act(agent, unroll, seed)
    self.assertEqual(agent.update.experimental_get_tracing_count(), 1)
    self.assertEqual(agent.act.experimental_get_tracing_count(), 1)

  def test_every_variable_is_saved(self):
    _, agent, unroll = make(LANGUAGE_SPEC, use_lstm=True, momentum=0.5)
    before = {n: v.numpy() for n, v in agent.variables().items()}
    agent.update(unroll, RATE)
    # Weights, mean squares and moments: every one of them moved.
    self.assertLen(before, 3 * len(agent.network.trainable_variables))
    for name, variable in agent.variables().items():
      self.assertTrue(np.any(before[name] != variable), name)

  def test_same_seed_same_weights(self):
    weights = [
      [v.numpy() for v in make(seed=seed)[1].network.trainable_variables]
      for seed in (1, 1, 2)
    ]
    for a, b in zip(*weights[:2], strict=True):
      np.testing.assert_array_equal(a, b)
    others = zip(weights[0], weights[2], strict=True)
    self.assertTrue(any(np.any(a != b) for a, b in others))


def act(agent, unroll, seed, t=0):
  """Acts in the B environments of an unroll's entry t."""
  env_output, action = tf.nest.map_structure(
    lambda x: x[t], (unroll.env_outputs, unroll.agent_outputs.action)
  )
  seed = tf.constant([seed, 7], tf.int32)
  return agent.act(unroll.task_id, action, env_output, unroll.core_state, seed)


class ActTest(absltest.TestCase):
  def test_frequencies_follow_the_softmax(self):
    num_rows, num_draws = 500, 20
    _, agent, unroll = make()
    (bias,) = (
      v
      for n, v in agent.variables().items()
      if n.endswith('policy_logits/b') and 'rmsprop' not in n
    )
    bias.assign([1.0, 0.0, -1.0])
    one = tf.nest.map_structure(
      lambda x: tf.repeat(x[0, :1], num_rows, axis=0),
      (unroll.agent_outputs.action, unroll.env_outputs),
    )
    counts = np.zeros(3)
    for draw in range(num_draws):
      output, _ = agent.act(
        tf.zeros(num_rows, tf.int32), *one, (), tf.constant([1, draw], tf.int32)
      )
      counts += np.bincount(output.action, minlength=3)
    policy = tf.nn.softmax(output.policy_logits[0]).numpy()
    self.assertGreater(policy[0], 2 * policy[2])  # Not uniform.
    expected = num_rows * num_draws * policy
    # Chi-square of 2 degrees of freedom: 18.4 is passed once in 10,000.
    self.assertLess(np.sum((counts - expected) ** 2 / expected), 18.4)

  def test_seed_decides(self):
    _, agent, unroll = make()
    actions = [
      np.concatenate([act(agent, unroll, seed, t)[0].action for t in range(T)])
      for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(actions[0], actions[1])
    self.assertTrue(np.any(actions[0] != actions[2]))

  def test_outputs(self):
    _, agent, unroll = make(use_lstm=True)
    output, state = act(agent, unroll, 0)
    expected = agent.network(
      *tf.nest.map_structure(
        lambda x: x[:1], (unroll.agent_outputs.action, unroll.env_outputs)
      ),
      unroll.core_state,
    )
    for found, wanted in (
      (output.policy_logits, expected.policy_logits[0]),
      (state[0], expected.core_state[0]),
      (state[1], expected.core_state[1]),
    ):
      np.testing.assert_allclose(found, wanted, atol=1e-5)
    self.assertEqual(output.action.dtype, tf.int32)


class PrecisionTest(absltest.TestCase):
  def test_bfloat16_loss_is_close(self):
    losses = {}
    for precision in ('float32', 'bfloat16'):
      _, agent, unroll = make(precision=precision, torso='deep')
      losses[precision] = float(agent.loss_fn(unroll)[0])
    # Rounding to 2^-9 in 15 layers; measured: up to 0.01 of the loss.
    self.assertNotEqual(losses['float32'], losses['bfloat16'])
    np.testing.assert_allclose(losses['bfloat16'], losses['float32'], rtol=0.05)


if __name__ == '__main__':
  absltest.main()
