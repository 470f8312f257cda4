"""Critics, actor, embeddings and baselines against plain NumPy."""

import dataclasses
import functools

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from brc import baselines, squashed_gaussian
from brc.bronet import BroNet, Dense, LayerNorm, Shape
from brc.config import Config
from brc.networks import Actor, Critic, Embeddings, Networks
from core.types import ActionBox, EnvSpec

SHAPE = Shape('bronet', width=8, depth=2)
SPEC = EnvSpec(
  ('a', 'b'), action_box=ActionBox((-1.0,) * 3, (1.0,) * 3), num_features=5
)
CONFIG = dataclasses.replace(
  Config(), critic_width=8, actor_width=8, num_atoms=11
)


def randomise(module, seed=0):
  """Gives all variables values of which none is 0 or 1."""
  rng = np.random.default_rng(seed)
  for variable in module.trainable_variables:
    variable.assign(rng.normal(size=variable.shape, scale=0.5))


def norm(x, layer, member):
  """Normalises rows as Flax does, with one member's scale and offset."""
  scale, offset = (v[member, 0].numpy() for v in (layer.scale, layer.offset))
  centred = x - x.mean(axis=1, keepdims=True)
  return centred / np.sqrt(x.var(axis=1, keepdims=True) + 1e-6) * scale + offset


def dense(x, layer, member):
  """Applies one member's layer."""
  return x @ layer.w[member].numpy() + layer.b[member, 0].numpy()


def relu(x):
  return np.maximum(x, 0.0)


class BroNetTest(parameterized.TestCase):
  def test_members_are_networks_of_their_own(self):
    critic = Critic(SHAPE, 6, 4, num_critics=2, num_heads=1)
    randomise(critic)
    inputs = np.float32(np.random.default_rng(1).normal(size=[7, 6]))
    found = critic([inputs], tf.zeros([7], tf.int32))
    self.assertEqual(found.shape, (2, 7, 4))
    trunk = critic._trunk
    for member in range(2):
      first, first_norm = trunk._first
      x = relu(norm(dense(inputs, first, member), first_norm, member))
      for (d1, n1), (d2, n2) in trunk._blocks:
        inner = relu(norm(dense(x, d1, member), n1, member))
        x = x + norm(dense(inner, d2, member), n2, member)
      expected = dense(x, critic._head, member)
      np.testing.assert_allclose(found[member], expected, atol=2e-5)

  def test_block_without_its_last_gain_is_the_identity(self):
    network = BroNet(SHAPE._replace(depth=1), 6, (), 'x')
    shallow = BroNet(SHAPE._replace(depth=0), 6, (), 'x')
    randomise(network)
    for ours, theirs in zip(shallow._first, network._first, strict=True):
      for a, b in zip(ours.variables, theirs.variables, strict=True):
        a.assign(b)
    last_norm = network._blocks[0][1][1]
    x = np.float32(np.random.default_rng(1).normal(size=[7, 6]))
    self.assertGreater(np.abs(network(x) - shallow(x)).max(), 0.1)
    for variable in last_norm.variables:
      variable.assign(tf.zeros_like(variable))
    np.testing.assert_array_equal(network(x), shallow(x))

  def test_number_of_parameters(self):
    critic = Critic(SHAPE, 6, 101, num_critics=2, num_heads=1)
    d, w, depth = 6, 8, 2
    expected = (d * w + w) + 2 * w + depth * (2 * (w * w + w) + 4 * w)
    expected += 101 * w + 101
    sizes = [np.prod(v.shape) for v in critic.trainable_variables]
    self.assertEqual(sum(sizes), 2 * expected)
    w, d = 4096, 102  # The paper's: 68.0 million.
    count = (d * w + w) + 2 * w + 2 * (2 * (w * w + w) + 4 * w) + 101 * w + 101
    self.assertAlmostEqual(count / 1e6, 68.0, places=1)

  @parameterized.named_parameters(('wide', 6, 9), ('tall', 9, 6))
  def test_weights_are_orthogonal_with_their_gain(
    self, num_inputs, num_outputs
  ):
    layer = Dense(num_inputs, num_outputs, (2,), 'x')
    for w in layer.w.numpy():
      tall = w if num_inputs >= num_outputs else w.T
      np.testing.assert_allclose(tall.T @ tall, 2.0 * np.eye(6), atol=1e-5)
    self.assertGreater(np.abs(layer.w[0] - layer.w[1]).max(), 0.1)
    np.testing.assert_array_equal(layer.b, np.zeros([2, 1, num_outputs]))

  def test_gains(self):
    actor = Actor(SHAPE, 6, 3, num_heads=1)
    mean, log_std = (x.w.numpy() for x in (actor._mean, actor._log_std))
    np.testing.assert_allclose(mean.T @ mean, 2.0 * np.eye(3), atol=1e-5)
    np.testing.assert_allclose(log_std.T @ log_std, np.eye(3), atol=1e-5)

  def test_bfloat16_products_are_near(self):
    make = functools.partial(Critic, num_inputs=6, num_outputs=4)
    exact, rough = (
      make(SHAPE._replace(precision=p), num_critics=2, num_heads=1)
      for p in ('float32', 'bfloat16')
    )
    for a, b in zip(exact.variables, rough.variables, strict=True):
      b.assign(a)
    x = [np.float32(np.random.default_rng(1).normal(size=[7, 6]))]
    difference = exact(x, 0) - rough(x, 0)
    self.assertEqual(rough(x, 0).dtype, tf.float32)
    self.assertBetween(np.abs(difference).max(), 1e-5, 0.2)


class BaselinesTest(absltest.TestCase):
  def test_simba(self):
    network = baselines.SimBa(SHAPE, 6, (2,), 'x')
    randomise(network)
    x = inputs = np.float32(np.random.default_rng(1).normal(size=[7, 6]))
    found = network(inputs[None])
    self.assertEqual(network._blocks[0][1].w.shape, (2, 8, 32))
    for member in range(2):
      x = dense(inputs, network._first, member)
      for n, first, second in network._blocks:
        hidden = relu(dense(norm(x, n, member), first, member))
        x = x + dense(hidden, second, member)
      expected = norm(x, network._last_norm, member)
      np.testing.assert_allclose(found[member], expected, atol=5e-5)

  def test_mlp(self):
    network = baselines.MLP(SHAPE, 6, (2,), 'x')
    randomise(network)
    inputs = np.float32(np.random.default_rng(1).normal(size=[7, 6]))
    x = inputs
    for layer in network._layers:
      x = relu(dense(x, layer, 1))
    self.assertLen(network._layers, 2)
    np.testing.assert_allclose(network(inputs[None])[1], x, atol=1e-5)

  def test_running_statistics(self):
    statistics = baselines.RunningStatistics(3)
    rng = np.random.default_rng(0)
    parts = [np.float32(rng.normal(3.0, 2.0, [n, 3])) for n in (5, 40, 7)]
    for part in parts:
      statistics.update(part)
    seen = np.concatenate(parts)
    np.testing.assert_allclose(statistics.mean, seen.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(statistics.variance, seen.var(axis=0), rtol=1e-4)
    scaled = statistics(seen).numpy()
    np.testing.assert_allclose(scaled.mean(axis=0), np.zeros(3), atol=1e-3)
    np.testing.assert_allclose(scaled.std(axis=0), np.ones(3), atol=1e-3)


class ActorTest(absltest.TestCase):
  def test_log_std_is_bounded(self):
    actor = Actor(SHAPE, 6, 3, num_heads=1)
    low, high = (actor(np.full([1, 6], x, np.float32), 0)[1] for x in (1, -1))
    for bias, bound in ((99.0, 2.0), (-99.0, -10.0), (0.0, -4.0)):
      actor._log_std.w.assign(tf.zeros([8, 3]))
      actor._log_std.b.assign(tf.fill([3], bias))
      _, log_std = actor(np.ones([2, 6], np.float32), 0)
      np.testing.assert_allclose(log_std, np.full([2, 3], bound), atol=1e-6)
    self.assertTrue(np.all(np.abs(np.stack([low, high]) + 4.0) < 6.0))

  def test_log_prob_is_that_of_the_squashed_gaussian(self):
    rng = np.random.default_rng(0)
    mean, log_std, noise = np.float32(rng.normal(size=[3, 4, 2]))
    action, log_prob = squashed_gaussian.sample(mean, log_std, noise)
    before = np.float64(mean) + np.exp(np.float64(log_std)) * noise
    np.testing.assert_allclose(action, np.tanh(before), atol=1e-6)
    gaussian = -0.5 * noise**2 - log_std - 0.5 * np.log(2.0 * np.pi)
    slow = gaussian - np.log(1.0 - np.tanh(before) ** 2)
    np.testing.assert_allclose(log_prob, slow.sum(axis=1), rtol=1e-4)

  def test_log_prob_is_finite_where_rounding_takes_the_action_to_1(self):
    mean = np.float32([[40.0], [-40.0]])
    action, log_prob = squashed_gaussian.sample(mean, 0.0 * mean, 0.0 * mean)
    np.testing.assert_array_equal(action, [[1.0], [-1.0]])
    expected = -0.5 * np.log(2.0 * np.pi) + 80.0 - 2.0 * np.log(2.0)
    np.testing.assert_allclose(log_prob, [expected] * 2, rtol=1e-5)


class EmbeddingsTest(parameterized.TestCase):
  @parameterized.named_parameters(('l2', 'l2', 2), ('l1', 'l1', 1))
  def test_have_norm_1_and_pass_gradients(self, name, order):
    embeddings = Embeddings(5, 32, name, 'x')
    rows = np.linalg.norm(embeddings.table, axis=1)
    self.assertTrue(np.all(np.abs(rows - 1.0) < 0.5), rows)
    embeddings.table.assign(3.0 * embeddings.table)
    with tf.GradientTape() as tape:
      found = embeddings(tf.constant([4, 0, 4]))
      loss = tf.reduce_sum(found[:, 0])
    np.testing.assert_allclose(
      np.linalg.norm(found, ord=order, axis=1), np.ones(3), rtol=1e-5
    )
    gradient = tf.convert_to_tensor(tape.gradient(loss, embeddings.table))
    is_moved = np.any(gradient.numpy() != 0.0, axis=1)
    self.assertEqual(is_moved.tolist(), [True, False, False, False, True])
    # Along a row the norm, which does not count, would change.
    along = np.sum(gradient * embeddings.table, axis=1)
    np.testing.assert_allclose(along, np.zeros(5), atol=1e-5)

  def test_the_policy_passes_none(self):
    networks = Networks(CONFIG, SPEC)
    task_id = tf.constant([0, 1, 1])
    features = tf.ones([3, 5])
    with tf.GradientTape() as tape:
      mean, log_std = networks.policy(features, task_id)
      loss = tf.reduce_sum(mean) + tf.reduce_sum(log_std)
    self.assertIsNone(tape.gradient(loss, networks.embeddings.table))


class NetworksTest(parameterized.TestCase):
  def test_target_equals_the_critics_at_first_and_is_its_own(self):
    networks = Networks(CONFIG, SPEC)
    pairs = zip(
      networks.critic_variables, networks.target_variables, strict=True
    )
    for online, target in pairs:
      self.assertEqual(online.name, target.name)
      np.testing.assert_array_equal(online, target)
      target.assign(target + 1.0)
      self.assertTrue(np.all(online.numpy() != target.numpy()))

  def test_inputs_of_the_critics(self):
    networks = Networks(CONFIG, SPEC)
    randomise(networks)
    features, action = tf.ones([2, 5]), 0.5 * tf.ones([2, 3])
    task_id = tf.constant([1, 0])
    for is_target in (False, True):
      critic = networks.target_critic if is_target else networks.critic
      embeddings = networks.embeddings
      if is_target:
        embeddings = networks.target_embeddings
      inputs = tf.concat([features, action, embeddings(task_id)], axis=1)
      np.testing.assert_allclose(
        networks.criticise(features, action, task_id, is_target),
        critic([inputs], task_id),
        atol=1e-5,
      )

  def test_padding_changes_nothing_as_long_as_it_is_zero(self):
    narrow = Critic(SHAPE, 6, 4, num_critics=1, num_heads=1)
    wide = Critic(SHAPE, 9, 4, num_critics=1, num_heads=1)
    for a, b in zip(narrow.variables, wide.variables, strict=True):
      if a.shape == b.shape:
        b.assign(a)
      else:
        b[:, :6].assign(a)
    x = np.float32(np.random.default_rng(0).normal(size=[5, 6]))
    padded = np.pad(x, [(0, 0), (0, 3)])
    np.testing.assert_allclose(wide([padded], 0), narrow([x], 0), atol=1e-6)
    self.assertGreater(
      np.abs(wide([padded + 1.0], 0) - narrow([x], 0)).max(), 0.1
    )

  def test_heads(self):
    config = dataclasses.replace(CONFIG, task_conditioning='heads')
    networks = Networks(config, SPEC)
    randomise(networks)
    features, action = tf.ones([2, 5]), 0.5 * tf.ones([2, 3])
    both = networks.criticise(features, action, tf.constant([0, 1]))
    self.assertEqual(both.shape, (2, 2, 11))
    hidden = networks.critic._trunk(tf.concat([features, action], axis=1)[None])
    all_heads = networks.critic._head(hidden).numpy()
    np.testing.assert_allclose(both[:, 0], all_heads[:, 0, :11], rtol=1e-5)
    np.testing.assert_allclose(both[:, 1], all_heads[:, 0, 11:], rtol=1e-5)
    mean, _ = networks.policy(features, tf.constant([0, 1]))
    self.assertEqual(mean.shape, (2, 3))
    self.assertTrue(np.all(mean[0].numpy() != mean[1].numpy()))

  def test_one_task_is_not_told(self):
    networks = Networks(CONFIG, SPEC._replace(task_names=('a',)))
    self.assertIsNone(networks.embeddings)
    self.assertEqual(networks.critic._trunk._first[0].w.shape, (2, 8, 8))


class LayerNormTest(absltest.TestCase):
  def test_epsilon_is_flaxs(self):
    layer = LayerNorm(4, (), 'x')
    x = np.float32([[1e-3, -1e-3, 1e-3, -1e-3]])
    found = layer(x).numpy()
    np.testing.assert_allclose(found, x / np.sqrt(2e-6), rtol=1e-4)


if __name__ == '__main__':
  absltest.main()
