"""Tests of popart/agent.py."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from popart.config import DEBUG
from tests.impala.vtrace_test import ground_truth
from tests.popart.popart_test import one_by_one
from tests.runs import agent_of, tiny_config
from tests.unrolls import (
  LANGUAGE_SPEC,
  SMALL_SPEC,
  learner_input,
  random_unroll,
)

T, B = 5, 6
RATE = tf.constant(0.01)
THREE_TASKS = SMALL_SPEC._replace(task_names=('a', 'b', 'c'))
TASK_ID = np.array([1, 0, 2, 1, 1, 0], np.int32)


def make(spec=THREE_TASKS, task_id=TASK_ID, **settings):
  """Returns a config, an agent with random statistics, and a batch."""
  # XLA takes seconds to compile; test_xla_modes_agree.
  defaults = dict(max_gradient_norm=0.0, xla='off')
  config = tiny_config(DEBUG, **{**defaults, **settings})
  agent = agent_of(config, spec)
  if config.value_head == 'popart':
    rng = np.random.default_rng(7)
    shape = agent.statistics.shift.shape
    shift, scale = 2.0 * rng.normal(size=shape), rng.uniform(0.3, 4.0, shape)
    set_statistics(agent, shift, shift**2 + scale**2)
  unroll = random_unroll(T, B, spec, config.use_lstm)
  if task_id is not None:
    unroll = unroll._replace(task_id=task_id)
  return config, agent, learner_input(unroll)


def set_statistics(agent, shift, second_moment):
  agent.statistics.shift.assign(shift)
  agent.statistics.second_moment.assign(second_moment)


def current(agent):
  """Returns shift, second moment and scale as NumPy has them."""
  shift, moment = (x.numpy() for x in agent.statistics)
  return shift, moment, np.sqrt(moment - shift**2)


def gradients_of(agent, unroll):
  with tf.GradientTape() as tape:
    loss, metrics, *_ = agent.loss_fn(unroll)
  gradients = tape.gradient(loss, agent.network.trainable_variables)
  gradients = [tf.convert_to_tensor(g).numpy() for g in gradients]
  return metrics, dict(zip(names_of(agent), gradients, strict=True))


def names_of(agent):
  return [v.name for v in agent.network.trainable_variables]


def weights_of(agent):
  return {v.name: v.numpy() for v in agent.network.trainable_variables}


def numpy_losses(config, agent, unroll):
  """Computes the loss's parts and the targets from the network's outputs."""
  output = agent.network(
    unroll.agent_outputs.action, unroll.env_outputs, unroll.core_state
  )
  logits = output.policy_logits.numpy().astype(np.float64)
  shift, _, scale = current(agent)
  # n_i, and v_i = sigma_i n_i + mu_i, of each column's task i.
  columns = np.arange(B)
  heads = 0 * unroll.task_id if len(shift) == 1 else unroll.task_id.numpy()
  mu, sigma = shift[heads], scale[heads]
  n = output.values.numpy()[:, columns, heads].astype(np.float64)
  v = sigma * n + mu
  behaviour = unroll.agent_outputs.policy_logits.numpy()
  actions = unroll.agent_outputs.action.numpy()
  log_pi = logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))
  log_mu = behaviour - np.log(np.exp(behaviour).sum(axis=2, keepdims=True))
  log_rhos, rewards, discounts = np.zeros([3, T, B])
  for t, b in np.ndindex(T, B):
    a = actions[t + 1, b]
    log_rhos[t, b] = log_pi[t, b, a] - log_mu[t + 1, b, a]
    rewards[t, b] = unroll.env_outputs.reward[t + 1, b]
    if config.reward_clipping == 'abs_one':
      rewards[t, b] = np.clip(rewards[t, b], -1, 1)
    if not unroll.env_outputs.done[t + 1, b]:
      discounts[t, b] = config.discounting
  vs, advantages = ground_truth(
    log_rhos, discounts, rewards, v[:-1], v[-1], 1.0, 1.0
  )
  policy_gradient, baseline, negative_entropy = 0.0, 0.0, 0.0
  for t, b in np.ndindex(T, B):
    log_policy = log_pi[t, b]
    # Equations 11 and 12: (G^v - mu)/sigma - n; (G^pi - mu)/sigma - n, times
    # rho, is the unnormalised advantage over sigma.
    error = (vs[t, b] - mu[b]) / sigma[b] - n[t, b]
    baseline += 0.5 * error**2
    policy_gradient -= (
      log_policy[actions[t + 1, b]] * advantages[t, b] / sigma[b]
    )
    negative_entropy += np.sum(np.exp(log_policy) * log_policy)
  parts = dict(
    policy_gradient_loss=policy_gradient,
    baseline_loss=config.baseline_cost * baseline,
    entropy_loss=config.entropy_cost * negative_entropy,
  )
  metrics = dict(
    parts, total_loss=sum(parts.values()), negative_entropy=negative_entropy
  )
  return metrics, vs


class LossTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('popart', THREE_TASKS, dict()),
    ('multi_head', THREE_TASKS, dict(value_head='multi_head')),
    ('single', THREE_TASKS, dict(value_head='single')),
    ('unclipped', THREE_TASKS, dict(reward_clipping='none')),
    (
      'language_lstm',
      LANGUAGE_SPEC._replace(task_names=('a', 'b', 'c')),
      dict(use_lstm=True),
    ),
  )
  def test_equals_numpy(self, spec, settings):
    config, agent, unroll = make(
      spec, entropy_cost=0.3, baseline_cost=0.7, **settings
    )
    loss, metrics, targets = agent.loss_fn(unroll)
    expected, vs = numpy_losses(config, agent, unroll)
    self.assertEqual(metrics.keys(), expected.keys())
    for name, value in expected.items():
      self.assertEqual(metrics[name].shape, ())
      self.assertNotEqual(value, 0.0)
      np.testing.assert_allclose(metrics[name], value, rtol=1e-4, err_msg=name)
    np.testing.assert_array_equal(loss, metrics['total_loss'])
    np.testing.assert_allclose(targets, vs, rtol=1e-4, atol=1e-5)

  def test_gradient_reaches_one_head_and_the_shared_body(self):
    _, agent, unroll = make(task_id=np.ones(B, np.int32))
    _, gradients = gradients_of(agent, unroll)
    for name, gradient in gradients.items():
      if 'baseline' in name:
        reached = np.any(gradient != 0, axis=tuple(range(gradient.ndim - 1)))
        np.testing.assert_array_equal(reached, [False, True, False], name)
      else:
        self.assertTrue(np.any(gradient != 0), name)
    before, statistics = weights_of(agent), current(agent)
    agent.update(unroll, RATE)
    for found, old in zip(current(agent), statistics, strict=True):
      np.testing.assert_array_equal(found != old, [False, True, False])
    for name, old in before.items():
      if 'baseline' in name:
        changed = np.any(
          weights_of(agent)[name] != old, axis=tuple(range(old.ndim - 1))
        )
        np.testing.assert_array_equal(changed, [False, True, False], name)


class UpdateTest(parameterized.TestCase):
  @parameterized.parameters(
    dict(second_moment='square_of_mean', max_gradient_norm=0.0),
    dict(second_moment='mean_of_squares', max_gradient_norm=0.5),
  )
  def test_gradient_then_statistics_then_preservation(self, **settings):
    config, agent, unroll = make(
      statistics_step_size=0.2, epsilon=0.01, **settings
    )
    _, gradients = gradients_of(agent, unroll)
    _, vs = numpy_losses(config, agent, unroll)
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in gradients.values()))
    self.assertGreater(norm, 0.5)
    factor = min(1.0, (config.max_gradient_norm or norm) / norm)
    expected = {}
    for name, w in weights_of(agent).items():  # The step, on old statistics.
      g = factor * gradients[name].astype(np.float64)
      mean_square = config.decay + (1 - config.decay) * g**2
      expected[name] = w - 0.01 * g / np.sqrt(mean_square + config.epsilon)
    mu, nu, sigma = current(agent)
    second = vs.mean(axis=0) ** 2
    if config.second_moment == 'mean_of_squares':
      second = (vs**2).mean(axis=0)
    moments = vs.mean(axis=0), second
    new_mu, new_nu = one_by_one((mu, nu), moments, TASK_ID, 0.2)
    new_sigma = np.sqrt(new_nu - new_mu**2)
    self.assertGreater(np.min(np.abs(new_sigma / sigma - 1)), 0.01)
    for name, value in expected.items():  # And then the correction.
      if 'baseline/w' in name:
        expected[name] = value * sigma / new_sigma
      elif 'baseline/b' in name:
        expected[name] = (sigma * value + mu - new_mu) / new_sigma

    metrics = agent.update(unroll, RATE)
    np.testing.assert_allclose(metrics['gradient_norm'], norm, rtol=1e-4)
    for found, wanted in zip(
      current(agent), (new_mu, new_nu, new_sigma), strict=True
    ):
      np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(metrics['shift'], new_mu, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(metrics['scale'], new_sigma, rtol=1e-5)
    for name, found in weights_of(agent).items():
      np.testing.assert_allclose(
        found, expected[name], rtol=1e-4, atol=2e-6, err_msg=name
      )

  @parameterized.named_parameters(
    ('initial', {}, 5.0),
    ('lower_bound', dict(scale_lower_bound=6.0), 6.0),
    ('upper_bound', dict(scale_upper_bound=4.0), 4.0),
  )
  def test_scale_is_the_configs(self, bounds, expected):
    settings = dict(initial_second_moment=25.0, statistics_step_size=0.0)
    config, _, unroll = make(**settings, **bounds)
    agent = agent_of(config, THREE_TASKS)
    scale = agent.update(unroll, RATE)['scale']
    np.testing.assert_allclose(scale, np.full(3, expected))

  def test_statistics_are_float64(self):
    # float32 keeps no digit of a deviation of 1 about a mean of 10,000.
    _, agent, unroll = make(statistics_step_size=0.0)
    set_statistics(agent, np.full(3, 1e4), np.full(3, 1e8 + 1.0))
    scale = agent.update(unroll, RATE)['scale']
    np.testing.assert_allclose(scale, np.ones(3), rtol=1e-6)

  def test_xla_modes_agree(self):
    results = []
    for mode in ('off', 'auto', 'on'):
      _, agent, unroll = make(xla=mode, statistics_step_size=0.1)
      metrics = [agent.update(unroll, RATE) for _ in range(2)]
      results.append(tf.nest.flatten((metrics, agent.variables())))
    for expected, *others in zip(*results, strict=True):
      for found in others:
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)

  def test_every_variable_is_saved(self):
    _, agent, unroll = make(
      LANGUAGE_SPEC, None, use_lstm=True, momentum=0.5, statistics_step_size=0.1
    )
    self.assertLen(np.unique(unroll.task_id), 2)
    before = {n: v.numpy() for n, v in agent.variables().items()}
    agent.update(unroll, RATE)
    # Weights, mean squares and moments, and the statistics: all of them moved.
    self.assertLen(before, 3 * len(agent.network.trainable_variables) + 2)
    for name, variable in agent.variables().items():
      self.assertTrue(np.any(before[name] != variable), name)

  def test_traces_once(self):
    _, agent, unroll = make()
    for seed in range(3):
      other = learner_input(random_unroll(T, B, THREE_TASKS, seed=seed))
      agent.update(other, tf.constant(0.1 * seed))
      act(agent, unroll, seed)
    self.assertEqual(agent.update.experimental_get_tracing_count(), 1)
    self.assertEqual(agent.act.experimental_get_tracing_count(), 1)

  def test_at_the_clip_bounds(self):
    _, agent, unroll = make(reward_clipping='none', max_gradient_norm=40.0)
    head = agent.network.value_head
    for shift, second_moment, scale in (
      (3.0, 9.0, 1e-4),
      (1e4, 1e8, 1e-4),
      (0.0, 1e14, 1e6),
    ):
      set_statistics(agent, np.full(3, shift), np.full(3, second_moment))
      # Values of 0 in every task, far from what they are normalised by.
      head.w.assign(tf.zeros_like(head.w))
      head.b.assign(tf.fill([3], -shift / scale))
      for _ in range(3):
        metrics = agent.update(unroll, RATE)
        for name, value in {**metrics, **agent.variables()}.items():
          self.assertTrue(np.all(np.isfinite(value)), (scale, name))

  def test_constant_targets(self):
    _, agent, unroll = make(discounting=0.0, statistics_step_size=0.2)
    ones = tf.ones_like(unroll.env_outputs.reward)
    unroll = unroll._replace(
      env_outputs=unroll.env_outputs._replace(reward=ones)
    )
    # On the policy, so that every target is the reward itself.
    unroll = on_policy(agent, unroll)
    for _ in range(150):
      metrics = agent.update(unroll, tf.constant(0.0))
    np.testing.assert_allclose(metrics['shift'], np.ones(3), rtol=1e-5)
    np.testing.assert_allclose(metrics['scale'], 1e-4 * np.ones(3), rtol=0.01)
    self.assertTrue(np.isfinite(metrics['total_loss']))


def on_policy(agent, unroll):
  """Returns the unroll as if this agent had played it."""
  output = agent.network(
    unroll.agent_outputs.action, unroll.env_outputs, unroll.core_state
  )
  logits = output.policy_logits
  logits = tf.concat([logits[:1], logits[:-1]], axis=0)
  return unroll._replace(
    agent_outputs=unroll.agent_outputs._replace(policy_logits=logits)
  )


def act(agent, unroll, seed):
  """Acts in the B environments of an unroll's entry 0."""
  env_output, action = tf.nest.map_structure(
    lambda x: x[0], (unroll.env_outputs, unroll.agent_outputs.action)
  )
  seed = tf.constant([seed, 7], tf.int32)
  return agent.act(unroll.task_id, action, env_output, unroll.core_state, seed)


class ActTest(parameterized.TestCase):
  @parameterized.parameters('popart', 'multi_head', 'single')
  def test_policy_does_not_depend_on_the_task(self, value_head):
    _, agent, unroll = make(value_head=value_head, use_lstm=True)
    others = unroll._replace(task_id=(unroll.task_id + 1) % 3)
    results = [agent.loss_fn(u)[1] for u in (unroll, others)]
    np.testing.assert_array_equal(
      *(metrics['negative_entropy'] for metrics in results)
    )
    same_loss = value_head == 'single'
    losses = [float(metrics['baseline_loss']) for metrics in results]
    self.assertEqual(losses[0] == losses[1], same_loss)
    # What belongs to tasks is the value head and the statistics.
    before = act(agent, unroll, 0)
    head = agent.network.value_head
    head.w.assign_add(tf.ones_like(head.w))
    shift, moment = agent.statistics
    set_statistics(agent, shift + 50.0, moment + 1e4)
    for found, expected in zip(
      tf.nest.flatten(act(agent, unroll, 0)),
      tf.nest.flatten(before),
      strict=True,
    ):
      np.testing.assert_array_equal(found, expected)

  def test_outputs(self):
    _, agent, unroll = make(use_lstm=True)
    output, state = act(agent, unroll, 0)
    one_step = tf.nest.map_structure(
      lambda x: x[:1], (unroll.agent_outputs.action, unroll.env_outputs)
    )
    expected = agent.network(*one_step, unroll.core_state)
    np.testing.assert_allclose(
      output.policy_logits, expected.policy_logits[0], atol=1e-5
    )
    for found, wanted in zip(state, expected.core_state, strict=True):
      np.testing.assert_allclose(found, wanted, atol=1e-5)
    self.assertEqual(output.action.dtype, tf.int32)


if __name__ == '__main__':
  absltest.main()
