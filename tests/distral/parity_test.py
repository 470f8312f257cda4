"""The algorithms of distral/agent.py at their limits, and plain A3C."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from tests.distral.acting_test import act
from tests.distral.agent_test import (
  TASK_ID,
  B,
  T,
  assert_close,
  gradients_of,
  make,
  make_once,
  outputs_of,
)


def shake(column):
  """Moves all weights of a column by much."""
  rng = np.random.default_rng(4)
  for variable in column.trainable_variables:
    variable.assign_add(rng.normal(scale=0.3, size=variable.shape))


def variables_of(column):
  return {v.name: v for v in column.trainable_variables}


class PlainActorCritic:
  """Advantage actor-critic of one network, written without the agent's parts.

  Two layers of 64, linear policy and value; n-step returns in NumPy.
  """

  def __init__(self, column):
    """Takes over the weights of a column, by their names."""
    self.weights = {
      name.partition('/')[2].removesuffix(':0').split('/', 1)[1]: tf.Variable(v)
      for name, v in variables_of(column).items()
    }

  def loss(self, config, unroll):
    """Returns the loss of a batch, whatever its tasks."""
    w = self.weights
    frames = unroll.env_outputs.observation.frame
    x = tf.cast(frames, tf.float32) / 255.0
    x = tf.reshape(x, [(T + 1) * B, -1])
    for layer in ('layer_0', 'layer_1'):
      x = tf.maximum(x @ w[f'{layer}/w'] + w[f'{layer}/b'], 0.0)
    logits, values = (
      tf.reshape(x @ w[f'{head}/w'] + w[f'{head}/b'], [T + 1, B, -1])
      for head in ('policy_logits', 'baseline')
    )
    values = values[:, :, 0]
    following, returns = values[T].numpy(), []
    for t in reversed(range(T)):
      keep = 1.0 - np.float32(unroll.env_outputs.done[t + 1])
      rewards = unroll.env_outputs.reward[t + 1].numpy()
      following = rewards + config.discounting * keep * following
      returns.insert(0, following)
    log_policy = tf.math.log(tf.nn.softmax(logits[:T]))
    taken = tf.one_hot(unroll.agent_outputs.action[1:], 3)
    advantages = np.array(returns) - values[:T]
    policy_loss = -tf.reduce_sum(
      tf.reduce_sum(taken * log_policy, axis=2) * tf.stop_gradient(advantages)
    )
    entropy = -tf.reduce_sum(tf.exp(log_policy) * log_policy)
    value_loss = 0.5 * tf.reduce_sum(advantages**2)
    return (
      policy_loss + config.baseline_cost * value_loss - entropy / config.beta
    )


class A3CTest(parameterized.TestCase):
  def assert_equals_plain(self, config, agent, column, unroll, factor=1.0):
    plain = PlainActorCritic(column)
    with tf.GradientTape() as tape:
      loss = plain.loss(config, unroll)
    expected = tape.gradient(loss, list(plain.weights.values()))
    found_loss, _ = agent.loss_fn(unroll)
    _, gradients = gradients_of(agent, unroll)
    assert_close(factor * found_loss, loss)
    for name, gradient in zip(variables_of(column), expected, strict=True):
      self.assertTrue(np.any(gradient != 0), name)
      assert_close(factor * gradients[name], gradient, name)

  def test_multitask_is_a_plain_actor_critic(self):
    config, agent, unroll = make_once('a3c_multitask')
    self.assertEmpty(agent.network.task_columns)
    column = agent.network.shared_column
    self.assertLen(agent.network.trainable_variables, 8)
    self.assert_equals_plain(config, agent, column, unroll)
    # It is not told the task.
    task_id = tf.constant(np.roll(TASK_ID, 1))
    self.assert_equals_plain(
      config, agent, column, unroll._replace(task_id=task_id)
    )

  def test_a3c_is_one_for_each_task(self):
    config, agent, unroll = make_once('a3c')
    self.assertIsNone(agent.network.shared_column)
    losses = []
    for task, column in enumerate(agent.network.task_columns):
      plain = PlainActorCritic(column)
      # A batch of this task alone: each of its rows three times.
      rows = np.repeat(np.flatnonzero(np.equal(TASK_ID, task)), 3)
      time_major = tf.nest.map_structure(
        lambda x, rows=rows: tf.gather(x, rows, axis=1),
        (unroll.env_outputs, unroll.agent_outputs),
      )
      with tf.GradientTape() as tape:
        loss = plain.loss(
          config,
          unroll._replace(
            env_outputs=time_major[0], agent_outputs=time_major[1]
          ),
        )
      losses.append(loss / 3)
      expected = tape.gradient(loss, list(plain.weights.values()))
      _, gradients = gradients_of(agent, unroll)
      for name, gradient in zip(variables_of(column), expected, strict=True):
        assert_close(gradients[name], gradient / 3, name)
    assert_close(agent.loss_fn(unroll)[0], np.sum(losses))


class LimitsTest(parameterized.TestCase):
  def test_two_columns_without_adjustment_are_the_distilled_policy(self):
    parts = []
    for beta in (0.5, 1000.0):
      _, agent, unroll = make('kl_2col', beta=beta)
      for column in agent.network.task_columns:
        for name, variable in variables_of(column).items():
          if 'policy_logits' in name:
            variable.assign(tf.zeros_like(variable))
      output, _ = act(agent, unroll)
      h = outputs_of(agent, unroll)['h']
      np.testing.assert_allclose(output.policy_logits, h[0], atol=1e-5)
      _, metrics = agent.loss_fn(unroll)
      np.testing.assert_allclose(metrics['kl_to_distilled'], 0.0, atol=1e-6)
      parts.append(metrics)
    # The KL divergence costs nothing, however dear it is.
    for name in ('policy_gradient_loss', 'baseline_loss'):
      assert_close(parts[0][name], parts[1][name], name)
    # With any adjustment it does.
    losses = []
    for beta in (0.5, 1000.0):
      _, agent, unroll = make('kl_2col', beta=beta)
      losses.append(float(agent.loss_fn(unroll)[1]['policy_gradient_loss']))
    self.assertGreater(abs(losses[0] / losses[1] - 1), 0.01)

  def test_alpha_0_does_not_depend_on_the_shared_column(self):
    _, agent, unroll = make(
      'kl_ent_2col',
      alpha_loss=0.0,
      alpha_arch=0.0,
      value_regularization='none',
    )
    results = []
    for _ in range(2):
      metrics, gradients = gradients_of(agent, unroll)
      for name in variables_of(agent.network.shared_column):
        np.testing.assert_array_equal(gradients.pop(name), 0.0, name)
      # What is reported may, the loss may not.
      metrics.pop('kl_to_distilled')
      self.assertNotIn('distillation_loss', metrics)
      results.append((metrics, gradients, act(agent, unroll)))
      shake(agent.network.shared_column)
    for found, expected in zip(*map(tf.nest.flatten, results), strict=True):
      np.testing.assert_array_equal(found, expected)

  @parameterized.parameters('kl_1col', 'kl_ent_1col')
  def test_one_column_policy_does_not_depend_on_the_distilled_one(self, name):
    _, agent, unroll = make(name)
    before, loss = act(agent, unroll), agent.loss_fn(unroll)[1]
    shake(agent.network.shared_column)
    after, other_loss = act(agent, unroll), agent.loss_fn(unroll)[1]
    for found, expected in zip(
      *map(tf.nest.flatten, (after, before)), strict=True
    ):
      np.testing.assert_array_equal(found, expected)
    for part in ('policy_gradient_loss', 'distillation_loss'):
      self.assertGreater(abs(loss[part] - other_loss[part]), 1e-3, part)

  @parameterized.parameters('a3c_2col', 'kl_2col', 'kl_ent_2col')
  def test_two_column_policies_depend_on_both(self, name):
    _, agent, unroll = make(name)
    before = act(agent, unroll)[0].policy_logits
    shake(agent.network.shared_column)
    between = act(agent, unroll)[0].policy_logits
    shake(agent.network.task_columns[1])
    after = act(agent, unroll)[0].policy_logits
    self.assertTrue(np.all(np.any(before != between, axis=1)))
    changed = np.any(between != after, axis=1)
    np.testing.assert_array_equal(changed, TASK_ID == 1)


class VTraceTest(parameterized.TestCase):
  @parameterized.parameters('a3c', 'kl_1col', 'kl_ent_2col')
  def test_on_the_policy_it_is_the_n_step_return(self, name):
    for is_on_policy in (True, False):
      results = []
      for use_vtrace in (False, True):
        _, agent, unroll = make_once(name, use_vtrace=use_vtrace)
        if is_on_policy:
          unroll = on_policy(agent, unroll)
        results.append(gradients_of(agent, unroll))
      (metrics, gradients), (others, other_gradients) = results
      if is_on_policy:
        for part, value in metrics.items():
          assert_close(others[part], value, part)
        for variable, gradient in gradients.items():
          assert_close(other_gradients[variable], gradient, variable)
      else:
        difference = metrics['baseline_loss'] - others['baseline_loss']
        self.assertGreater(abs(difference), 0.1)


def on_policy(agent, unroll):
  """Returns the unroll as if this agent had played it."""
  steps = [
    act(agent, unroll._replace(env_outputs=entry_first(unroll, t)))[0]
    for t in range(T)
  ]
  logits = [step.policy_logits for step in steps]
  return unroll._replace(
    agent_outputs=unroll.agent_outputs._replace(
      policy_logits=tf.stack([logits[0], *logits])
    )
  )


def entry_first(unroll, t):
  """Returns the environment outputs from entry t on."""
  return tf.nest.map_structure(lambda x: x[t:], unroll.env_outputs)


if __name__ == '__main__':
  absltest.main()
