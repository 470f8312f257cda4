"""The agent: parity with plain SAC, order of updates, every switch."""

import dataclasses
import math

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from brc.agent import Agent
from brc.config import DEBUG
from brc.networks import Networks
from core.device import Device
from core.types import ActionBox, EnvSpec, Transitions

SPEC = EnvSpec(
  ('a', 'b', 'c'),
  action_box=ActionBox((-1.0,) * 2, (1.0,) * 2),
  num_features=4,
)
CONFIG = dataclasses.replace(
  DEBUG, critic_width=8, actor_width=8, num_atoms=21, xla='off'
)


def make_agent(spec=SPEC, **changes):
  """Returns a small agent with a finite G."""
  config = dataclasses.replace(CONFIG, **changes)
  agent = Agent(config, spec, Device(xla='off', seed=1))
  agent.normalizer.greatest[:] = [20.0, 5.0, 1.0][: len(spec.task_names)]
  return agent


def make_batch(rng, shape=(6,), num_tasks=3, num_numbers=2):
  """Returns transitions [*shape, ...] as arrays."""
  return Transitions(
    task_id=rng.integers(num_tasks, size=shape).astype(np.int32),
    features=np.float32(rng.normal(size=[*shape, 4])),
    action=np.float32(rng.uniform(-0.9, 0.9, [*shape, num_numbers])),
    reward=np.float32(rng.normal(size=shape)),
    next_features=np.float32(rng.normal(size=[*shape, 4])),
    goes_on=np.float32(rng.random(shape) < 0.8),
  )


def to_tensors(*structure):
  return tf.nest.map_structure(tf.constant, structure)


def values_of(agent):
  return {name: v.numpy() for name, v in agent.variables().items()}


class PlainSac:
  """SAC with two critics whose mean counts, layers of ReLUs, and Adam.

  Written out from Haarnoja et al. 2018 with the weights of an agent.
  """

  def __init__(self, agent, config):
    self.config = config
    self.critics, self.targets = [], []
    for module in (agent.networks.critic, agent.networks.target_critic):
      layers = [*module._trunk._layers, module._head]
      for member in range(2):
        of_member = [(x.w[member], x.b[member, 0]) for x in layers]
        copies = [[tf.Variable(v) for v in pair] for pair in of_member]
        is_target = module is agent.networks.target_critic
        (self.targets if is_target else self.critics).append(copies)
    actor = agent.networks.actor
    layers = [*actor._trunk._layers, actor._mean, actor._log_std]
    self.actor = [[tf.Variable(v) for v in (x.w, x.b)] for x in layers]
    self.log_alpha = tf.Variable(agent.log_temperature)
    self.moments = {}

  def q(self, layers, s, a):
    x = tf.concat([s, a], axis=1)
    for w, b in layers[:-1]:
      x = tf.maximum(x @ w + b, 0.0)
    w, b = layers[-1]
    return (x @ w + b)[:, 0]

  def pi(self, s, noise):
    x = s
    for w, b in self.actor[:-2]:
      x = tf.maximum(x @ w + b, 0.0)
    (w, b), (v, c) = self.actor[-2:]
    mean, log_std = x @ w + b, -10.0 + 6.0 * (1.0 + tf.tanh(x @ v + c))
    u = mean + tf.exp(log_std) * noise
    density = -0.5 * noise**2 - log_std - 0.5 * math.log(2.0 * math.pi)
    log_pi = tf.reduce_sum(density - tf.math.log(1.0 - tf.tanh(u) ** 2), axis=1)
    return tf.tanh(u), log_pi

  def adam(self, variable, gradient, rate, b1=0.9):
    m, v, t = self.moments.get(variable.ref(), (0.0, 0.0, 0))
    m, v, t = (
      b1 * m + (1 - b1) * gradient,
      0.999 * v + 0.001 * gradient**2,
      t + 1,
    )
    self.moments[variable.ref()] = (m, v, t)
    spread = tf.sqrt(v / (1 - 0.999**t)) + 1e-8
    variable.assign_sub(rate * (m / (1 - b1**t)) / spread)

  def step(self, batch, next_noise, noise):
    config, alpha = self.config, tf.exp(self.log_alpha)
    a, log_pi = self.pi(batch.next_features, next_noise)
    q = [self.q(layers, batch.next_features, a) for layers in self.targets]
    bootstrap = 0.5 * (q[0] + q[1]) - alpha * log_pi
    y = batch.reward + config.discounting * batch.goes_on * bootstrap
    parts = [self.critics, self.actor]
    with tf.GradientTape(persistent=True) as tape:
      loss = tf.add_n(
        [
          tf.reduce_mean((self.q(c, batch.features, batch.action) - y) ** 2)
          for c in self.critics
        ]
      )
    for variable in tf.nest.flatten(parts[0]):
      gradient = tape.gradient(loss, variable)
      self.adam(variable, gradient, config.critic_learning_rate)
    for target, online in zip(
      tf.nest.flatten(self.targets), tf.nest.flatten(self.critics), strict=True
    ):
      target.assign(0.005 * online + 0.995 * target)
    with tf.GradientTape(persistent=True) as tape:
      a, log_pi = self.pi(batch.features, noise)
      q = [self.q(layers, batch.features, a) for layers in self.critics]
      loss = tf.reduce_mean(alpha * log_pi - 0.5 * (q[0] + q[1]))
    for variable in tf.nest.flatten(parts[1]):
      gradient = tape.gradient(loss, variable)
      self.adam(variable, gradient, config.actor_learning_rate)
    excess = -tf.reduce_mean(log_pi) - (-0.5 * a.shape[1])
    rate = config.temperature_learning_rate
    self.adam(self.log_alpha, alpha * excess, rate, b1=0.5)


class ParityTest(absltest.TestCase):
  def test_one_task_with_squared_errors_is_plain_sac(self):
    agent = make_agent(
      SPEC._replace(task_names=('a',)),
      architecture='mlp',
      loss='mse',
      weight_decay=0.0,
      normalise_rewards=False,
      actor_depth=2,
    )
    self.assertIsNone(agent.networks.embeddings)
    plain = PlainSac(agent, agent._config)
    rng = np.random.default_rng(0)
    for _ in range(3):
      noise = np.float32(rng.normal(size=[2, 6, 2]))
      inputs = to_tensors(make_batch(rng, num_tasks=1), *noise)
      agent.gradient_step(*inputs)
      plain.step(*inputs)
    critic = agent.networks.critic
    for i, layer in enumerate([*critic._trunk._layers, critic._head]):
      for member in range(2):
        w, b = plain.critics[member][i]
        np.testing.assert_allclose(layer.w[member], w, atol=2e-6)
        np.testing.assert_allclose(layer.b[member, 0], b, atol=2e-6)
    actor = agent.networks.actor
    layers = [*actor._trunk._layers, actor._mean, actor._log_std]
    for layer, (w, b) in zip(layers, plain.actor, strict=True):
      np.testing.assert_allclose(layer.w, w, atol=2e-6)
      np.testing.assert_allclose(layer.b, b, atol=2e-6)
    np.testing.assert_allclose(
      agent.log_temperature, plain.log_alpha, atol=1e-6
    )


def run_eagerly(test_class):
  """Lets a class's tests run without tracing, which takes far longer."""
  tf.config.run_functions_eagerly(True)
  test_class.addClassCleanup(tf.config.run_functions_eagerly, False)


class TracedTest(absltest.TestCase):
  def test_is_traced_once_and_does_the_same(self):
    rng = np.random.default_rng(0)
    batches = make_batch(rng, (1, 16))
    agent = make_agent()
    metrics = [agent.update(batches, number) for number in (0, 1)]
    self.assertEqual(agent._update.experimental_get_tracing_count(), 1)
    run_eagerly(TracedTest)
    agent = make_agent()
    for number in (0, 1):
      eager = agent.update(batches, number)
      for name, value in metrics[number].items():
        np.testing.assert_allclose(value, eager[name], rtol=1e-4, atol=1e-6)


class UpdateTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    run_eagerly(cls)
    rng = np.random.default_rng(0)
    cls.batches = make_batch(rng, (2, 16))
    cls.agent = make_agent()
    cls.before = values_of(cls.agent)
    cls.metrics = cls.agent.update(cls.batches, 0)
    cls.after = values_of(cls.agent)

  def test_every_variable_moves(self):
    moved = {
      name
      for name, value in self.after.items()
      if not np.array_equal(value, self.before[name])
    }
    # H of the tasks is measured only where it is read.
    self.assertEqual(moved, set(self.after) - {'entropies'})
    self.assertEqual(self.after['critic_adamw/num_steps'], 2.0)

  def test_target_follows_the_new_critics(self):
    agent = make_agent(polyak=0.25)
    rng = np.random.default_rng(1)
    noise = np.float32(rng.normal(size=[2, 16, 2]))
    before = values_of(agent)
    agent.gradient_step(*to_tensors(make_batch(rng, (16,)), *noise))
    after = values_of(agent)
    for name in before:
      if f'target_{name}' in before:
        expected = 0.25 * after[name] + 0.75 * before[f'target_{name}']
        np.testing.assert_allclose(
          after[f'target_{name}'], expected, atol=1e-6, err_msg=name
        )

  # Of log_std: about 0, whose entropy is near that of the square, and -5.
  @parameterized.named_parameters(('high', 0.8, -1), ('low', -0.2, 1))
  def test_temperature_falls_where_entropy_is_above_its_target(
    self, bias, sign
  ):
    agent = make_agent()
    actor = agent.networks.actor
    for layer in (actor._mean, actor._log_std):
      layer.w.assign(tf.zeros([8, 2]))
    actor._log_std.b.assign(tf.fill([2], bias))
    rng = np.random.default_rng(1)
    noise = np.float32(rng.normal(size=[2, 64, 2]))
    before = float(agent.log_temperature)
    metrics = agent.gradient_step(*to_tensors(make_batch(rng, (64,)), *noise))
    self.assertEqual(np.sign(metrics['entropy'] + 1.0), -sign)
    self.assertEqual(np.sign(agent.log_temperature - before), sign)

  def test_rewards_are_normalised_with_the_greatest_return_of_now(self):
    scales = np.float32([3.0, 100.0, 0.01])
    agent = make_agent(initial_temperature=1e-9)
    scaled = make_agent(initial_temperature=1e-9)
    scaled.normalizer.greatest *= scales
    rewards = self.batches.reward * scales[self.batches.task_id]
    metrics = agent.update(self.batches, 0)
    others = scaled.update(self.batches._replace(reward=rewards), 0)
    for name, value in metrics.items():
      np.testing.assert_allclose(others[name], value, rtol=1e-4, err_msg=name)
    mean = np.mean(
      self.batches.reward[1]
      * 10.0
      / np.float32([20, 5, 1])[self.batches.task_id[1]]
    )
    np.testing.assert_allclose(metrics['reward_mean'], mean, rtol=1e-4)

  def test_rewards_are_zero_before_the_first_episode_ended(self):
    agent = make_agent()
    agent.normalizer.greatest[:] = np.inf
    metrics = agent.update(self.batches, 0)
    self.assertEqual(metrics['reward_mean'], 0.0)
    self.assertTrue(np.isfinite(metrics['total_loss']))

  def test_noise_depends_on_seed_and_number(self):
    entropies = [
      float(agent.update(self.batches, number)['entropy'])
      for agent, number in (
        (make_agent(), 0),
        (make_agent(), 2),
      )
    ]
    self.assertEqual(entropies[0], float(self.metrics['entropy']))
    self.assertNotEqual(*entropies)

  def test_counts_rewards_outside_of_the_support(self):
    agent = make_agent(normalise_rewards=False, v_max=1.0)
    metrics = agent.update(self.batches, 0)
    expected = np.sum(np.abs(self.batches.reward) > 1.0)
    self.assertBetween(expected, 2, 31)
    self.assertEqual(metrics['outside_support'], expected)

  @parameterized.named_parameters(
    ('embedding_norm', dict(embedding_norm='l1')),
    ('heads', dict(task_conditioning='heads')),
    ('none', dict(task_conditioning='none')),
    ('loss', dict(loss='mse')),
    ('normalisation', dict(normalise_rewards=False)),
    ('v_max', dict(v_max=3.0)),
    ('discount', dict(discounting=0.9)),
    ('mlp', dict(architecture='mlp')),
    ('simba', dict(architecture='simba')),
    ('bfloat16', dict(precision='bfloat16')),
    ('temperature_beta_1', dict(temperature_beta_1=0.9)),
    ('temperature', dict(initial_temperature=0.2)),
    ('target_entropy', dict(target_entropy_scale=1.0)),
    ('cloning', dict(behaviour_cloning_cost=1.0)),
  )
  # Rates, decay and Polyak: official_test.py; sizes: below.
  def test_every_switch_changes_an_update(self, changes):
    if UpdateTest.plain is None:
      UpdateTest.plain = self._second_step({})
    metrics = self._second_step(changes)
    self.assertTrue(all(math.isfinite(value) for value in metrics.values()))
    self.assertNotEqual(metrics, UpdateTest.plain)

  plain = None

  def _second_step(self, changes):
    """Returns what a second step shows; not traced, which takes longer."""
    agent = make_agent(**changes)
    rng = np.random.default_rng(2)
    noise = to_tensors(*np.float32(rng.normal(size=[2, 16, 2])))
    batch = Transitions(*to_tensors(*make_batch(rng, (16,))))
    batch = agent.prepare(batch, tf.constant([20.0, 5.0, 1.0]))
    for _ in range(2):
      metrics = agent.gradient_step(batch, *noise)
    # Of equal gradients Adam's mean is the same with any b1.
    metrics['mean'] = agent.temperature_optimizer.means[0]
    return {name: float(value) for name, value in metrics.items()}


class SizeTest(absltest.TestCase):
  def test_networks_have_the_sizes_of_the_flags(self):
    config = dataclasses.replace(
      CONFIG,
      critic_width=9,
      critic_depth=3,
      actor_width=7,
      actor_depth=1,
      num_critics=4,
      num_atoms=11,
      embedding_size=5,
    )
    networks = Networks(config, SPEC)
    shapes = {v.name: tuple(v.shape) for v in networks.critic_variables}
    self.assertEqual(shapes['critic/input/w:0'], (4, 4 + 2 + 5, 9))
    self.assertEqual(shapes['critic/block_2/second/w:0'], (4, 9, 9))
    self.assertEqual(shapes['critic/head/w:0'], (4, 9, 11))
    self.assertEqual(shapes['embedding:0'], (3, 5))
    self.assertLen(shapes, 4 + 3 * 8 + 2 + 1)
    actor = {v.name: tuple(v.shape) for v in networks.actor.variables}
    self.assertEqual(actor['actor/input/w:0'], (4 + 5, 7))
    self.assertEqual(actor['actor/mean/w:0'], (7, 2))
    self.assertLen(actor, 4 + 8 + 4)


if __name__ == '__main__':
  absltest.main()
