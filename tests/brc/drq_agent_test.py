"""The agent on frames: parity with plain DrQ(eps), losses, every switch."""

import dataclasses

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from brc import augmentation
from brc.drq_agent import Agent
from brc.drq_config import DEBUG
from core.device import Device
from core.types import EnvOutput, EnvSpec, FrameTransitions, Observation

SPEC = EnvSpec(
  ('a', 'b', 'c'), num_actions=4, frame_shape=(2, 9, 8), channels_first=True
)
ONE = SPEC._replace(task_names=('a',))
CONFIG = dataclasses.replace(
  DEBUG, encoder_channels='3,4', critic_width=8, num_atoms=21, xla='off'
)
PAD, B = 4, 6


def setUpModule():
  tf.config.run_functions_eagerly(True)


def tearDownModule():
  tf.config.run_functions_eagerly(False)


def make_agent(spec=SPEC, **changes):
  """Returns a small agent with a finite G."""
  config = dataclasses.replace(CONFIG, **changes)
  agent = Agent(config, spec, Device(xla='off', seed=1))
  agent.normalizer.greatest[:] = [20.0, 5.0, 1.0][: len(spec.task_names)]
  return agent


def make_batch(rng, shape=(B,), num_tasks=3):
  """Returns transitions [*shape, ...] as arrays, some of fewer steps."""
  num_steps = rng.integers(1, 4, size=shape).astype(np.int32)
  is_in = np.arange(3) < num_steps[..., None]
  frame, next_frame = rng.integers(256, size=(2, *shape, 2, 9, 8))
  return FrameTransitions(
    task_id=rng.integers(num_tasks, size=shape).astype(np.int32),
    frame=frame.astype(np.uint8),
    action=rng.integers(4, size=shape).astype(np.int32),
    rewards=np.float32(rng.normal(size=[*shape, 3]) * is_in),
    next_frame=next_frame.astype(np.uint8),
    num_steps=num_steps,
    goes_on=np.float32(rng.random(shape) < 0.7),
  )


def make_draws(rng):
  """Returns offsets and noise for one gradient step."""
  offsets = rng.integers(2 * PAD + 1, size=(2, B, 2)).astype(np.int32)
  return offsets, np.float32(2.0 * rng.normal(size=(2, B)))


def augment(frames, offsets, noise):
  """Pads, cuts out and scales frames [B, C, H, W], one by one."""
  result = []
  for frame, (down, right), z in zip(frames, offsets, noise, strict=True):
    x = np.moveaxis(frame, 0, 2).astype(np.float64)
    padded = np.pad(x, [(PAD, PAD), (PAD, PAD), (0, 0)], mode='edge')
    cut = padded[down : down + x.shape[0], right : right + x.shape[1]]
    result.append(cut / 255.0 * (1.0 + 0.05 * min(max(z, -2.0), 2.0)))
  return np.float32(result)


def to_tensors(structure):
  return tf.nest.map_structure(tf.constant, structure)


def values_of(agent):
  return {name: v.numpy() for name, v in agent.variables().items()}


def softmax(x):
  e = np.exp(x - x.max(axis=-1, keepdims=True))
  return e / e.sum(axis=-1, keepdims=True)


class PlainDrQ:
  """DrQ(eps): double DQN with n-step returns on augmented frames, and Adam.

  Written out with the weights of an agent; IMPALA's encoder instead of two or
  three convolutions, and a layer normalisation after it.
  """

  def __init__(self, agent, config):
    self.config = config
    # A weight's name says what it does.
    self.online = {
      v.name.removesuffix(':0'): tf.Variable(v)
      for v in agent.online.trainable_variables
    }
    self.target = {n: tf.identity(v) for n, v in self.online.items()}
    self.moments = dict.fromkeys(self.online, (0.0, 0.0))
    self.num_steps = 0

  def q(self, w, frames):
    def convolve(x, section, i):
      name = f'encoder/section{section}_conv{i}'
      return tf.nn.conv2d(x, w[f'{name}/w'], 1, 'SAME') + w[f'{name}/b']

    x = frames
    for section in range(2):
      x = tf.nn.max_pool2d(convolve(x, section, 0), 3, 2, 'SAME')
      for i in (1, 3):
        y = convolve(tf.nn.relu(x), section, i)
        x = x + convolve(tf.nn.relu(y), section, i + 1)
    x = tf.reshape(tf.nn.relu(x), [len(frames), -1])
    mean, variance = tf.nn.moments(x, axes=[1], keepdims=True)
    x = (x - mean) / tf.sqrt(variance + 1e-6)
    x = x * w['norm/scale'] + w['norm/offset']
    for i in range(2):
      x = tf.maximum(x @ w[f'dense_{i}/w'] + w[f'dense_{i}/b'], 0.0)
    return x @ w['head/w'] + w['head/b']

  def step(self, batch, offsets, noise):
    """Makes one step; the target network then is a copy."""
    rows, gamma = np.arange(B), self.config.discounting
    frames = augment(batch.frame, offsets[0], noise[0])
    next_frames = augment(batch.next_frame, offsets[1], noise[1])
    best = np.argmax(self.q(self.online, next_frames), axis=1)
    bootstrap = self.q(self.target, next_frames).numpy()[rows, best]
    y = np.zeros(B)
    for b in range(B):
      m = batch.num_steps[b]
      y[b] = sum(gamma**k * batch.rewards[b, k] for k in range(m))
      y[b] += gamma**m * batch.goes_on[b] * bootstrap[b]
    with tf.GradientTape() as tape:
      q = tf.gather(self.q(self.online, frames), batch.action, batch_dims=1)
      loss = tf.reduce_mean(tf.square(q - np.float32(y)))
    gradients = tape.gradient(loss, self.online)
    self.num_steps += 1
    for name, g in gradients.items():
      m, v = self.moments[name]
      m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
      self.moments[name] = m, v
      m, v = m / (1 - 0.9**self.num_steps), v / (1 - 0.999**self.num_steps)
      step = m / (tf.sqrt(v) + self.config.adam_epsilon)
      self.online[name].assign_sub(self.config.learning_rate * step)
    self.target = {n: tf.identity(v) for n, v in self.online.items()}
    return float(loss)


class ParityTest(absltest.TestCase):
  def test_plain_drq(self):
    agent = make_agent(
      ONE,
      loss='mse',
      normalise_rewards=False,
      weight_decay=0.0,
      polyak=1.0,
      learning_rate=0.01,
    )
    self.assertIsNone(agent.online.embeddings)
    config, rng = agent._config, np.random.default_rng(0)
    plain = PlainDrQ(agent, config)
    for _ in range(2):
      batch, draws = make_batch(rng, num_tasks=1), make_draws(rng)
      metrics = agent.gradient_step(to_tensors(batch), *to_tensors(draws))
      loss = plain.step(batch, *draws)
      np.testing.assert_allclose(metrics['total_loss'], loss, 1e-4)
    for variables in (agent.online, agent.target):
      for variable in variables.trainable_variables:
        expected = plain.online[variable.name.removesuffix(':0')]
        np.testing.assert_allclose(variable, expected, atol=2e-5)


class LossTest(parameterized.TestCase):
  @parameterized.product(double_q=[True, False], normalise=[True, False])
  def test_cross_entropy_against_loops(self, double_q, normalise):
    agent = make_agent(
      double_q=double_q, normalise_rewards=normalise, augmentation=False
    )
    rng = np.random.default_rng(1)
    for variable in agent.target.trainable_variables:
      variable.assign_add(0.3 * rng.normal(size=variable.shape))
    batch = make_batch(rng)
    batch = batch._replace(rewards=4.0 * batch.rewards)

    def outputs(network, frames):
      x = np.float32(np.moveaxis(frames, 1, 3)) / 255.0
      return network(tf.constant(x), batch.task_id).numpy().astype(np.float64)

    z = np.linspace(-10.0, 10.0, 21)
    next_probs = softmax(outputs(agent.target, batch.next_frame))
    chosen_by = next_probs
    if double_q:
      chosen_by = softmax(outputs(agent.online, batch.next_frame))
    log_probs = np.log(softmax(outputs(agent.online, batch.frame)))
    losses, num_outside = [], 0
    for b in range(B):
      scale = 10.0 / [20.0, 5.0, 1.0][batch.task_id[b]] if normalise else 1.0
      m = batch.num_steps[b]
      r = sum(0.99**k * scale * batch.rewards[b, k] for k in range(m))
      num_outside += abs(r) > 10.0
      a = int(np.argmax(chosen_by[b] @ z))
      q = np.zeros(21)
      for k in range(21):
        atom = r + 0.99**m * batch.goes_on[b] * z[k]
        place = (min(max(atom, -10.0), 10.0) + 10.0) / 1.0
        low = int(np.floor(place))
        q[low] += next_probs[b, a, k] * (low + 1 - place)
        q[min(low + 1, 20)] += next_probs[b, a, k] * (place - low)
      losses.append(-q @ log_probs[b, batch.action[b]])
    raw = to_tensors(batch)
    rewards = agent._normalise(
      raw.rewards, raw.task_id, tf.constant(agent.normalizer.greatest)
    )
    metrics = agent.gradient_step(
      raw._replace(rewards=rewards), *to_tensors(make_draws(rng))
    )
    np.testing.assert_allclose(metrics['total_loss'], np.mean(losses), 1e-5)
    self.assertEqual(metrics['outside_support'], num_outside)
    self.assertGreater(num_outside, 0)

  def test_rewards_without_a_return_are_zero(self):
    # D20: neither before the first episode nor while returns are zero.
    agent = make_agent()
    agent.normalizer.greatest[:] = [np.inf, 0.0, 5.0]
    rewards = agent._normalise(
      tf.ones([3, 2]), tf.range(3), tf.constant(agent.normalizer.greatest)
    )
    np.testing.assert_array_equal(rewards, [[0.0] * 2, [0.0] * 2, [2.0] * 2])
    shown = agent.describe_tasks()
    self.assertEqual(
      [shown[n]['reward_denominator'] for n in 'abc'], [np.inf, np.inf, 0.5]
    )


class UpdateTest(parameterized.TestCase):
  @parameterized.parameters(
    dict(),
    dict(loss='mse'),
    dict(task_conditioning='heads'),
    dict(task_conditioning='none'),
    dict(embedding_norm='l1'),
    dict(augmentation=False),
    dict(precision='bfloat16'),
  )
  def test_every_switch_learns(self, **changes):
    agent = make_agent(**changes)
    before, rng = values_of(agent), np.random.default_rng(2)
    metrics = agent.update(make_batch(rng, (1, B)), 0)
    self.assertTrue(np.isfinite(metrics['total_loss']))
    after = values_of(agent)
    for name, value in after.items():
      self.assertFalse(np.array_equal(before[name], value), name)
    conditioning = changes.get('task_conditioning', 'auto')
    self.assertEqual('embedding' in after, conditioning == 'auto')
    if 'embedding' in after:
      order = 1 if changes.get('embedding_norm') == 'l1' else 2
      vectors = agent.online.embeddings(tf.range(3))
      np.testing.assert_allclose(
        np.linalg.norm(vectors, order, axis=1), np.ones(3), 1e-5
      )

  def test_target_follows_after_the_step(self):
    agent, rng = make_agent(), np.random.default_rng(3)
    before = values_of(agent)
    agent.gradient_step(
      to_tensors(make_batch(rng)), *to_tensors(make_draws(rng))
    )
    after = values_of(agent)
    for name in ('head/w', 'embedding', 'encoder/section0_conv0/w'):
      expected = 0.995 * before[f'target_{name}'] + 0.005 * after[name]
      np.testing.assert_allclose(after[f'target_{name}'], expected, 1e-5)

  def test_each_update_augments_in_another_way(self):
    batches = make_batch(np.random.default_rng(4), (1, B))
    first, other = (
      float(make_agent().update(batches, number)['total_loss'])
      for number in (0, 1)
    )
    self.assertNotEqual(first, other)

  def test_heads_are_apart(self):
    agent, rng = make_agent(task_conditioning='heads'), np.random.default_rng(5)
    batch = make_batch(rng, (1, B))
    agent.update(batch._replace(task_id=np.ones([1, B], np.int32)), 0)
    means = values_of(agent)['adamw_mean/head/w']
    of_task = np.abs(means).reshape(8, 3, -1).sum(axis=(0, 2))
    np.testing.assert_array_equal(of_task > 0.0, [False, True, False])

  def test_measure_compares_tasks_and_changes_nothing(self):
    agent, rng = make_agent(), np.random.default_rng(6)
    before = values_of(agent)
    batches = make_batch(rng, (3, B))
    task_id = np.repeat(np.arange(3, dtype=np.int32)[:, None], B, axis=1)
    of_all, of_each = agent.measure(batches._replace(task_id=task_id), 7)
    self.assertEqual(
      of_all.keys(),
      {
        'gradient_conflicts',
        'td_loss_relative_variance',
        'gradient_norm_relative_variance',
      },
    )
    self.assertGreater(of_each['gradient_norm'].min(), 0.0)
    self.assertLen(set(of_each['td_loss']), 3)
    for name, value in values_of(agent).items():
      np.testing.assert_array_equal(value, before[name], name)


class FramesTest(parameterized.TestCase):
  @parameterized.parameters(True, False)
  def test_augmentation_against_a_loop(self, channels_first):
    rng = np.random.default_rng(7)
    spec = SPEC
    if not channels_first:
      spec = SPEC._replace(frame_shape=(9, 8, 2), channels_first=False)
    agent, batch = make_agent(spec), make_batch(rng)
    offsets, noise = make_draws(rng)
    offsets[0, :3] = [[0, 0], [8, 8], [4, 4]]
    expected = augment(batch.frame, offsets[0], noise[0])
    frames = batch.frame
    if not channels_first:
      frames = np.moveaxis(frames, 1, 3)
    found = agent._augment(tf.constant(frames), offsets[0], noise[0])
    np.testing.assert_allclose(found, expected, atol=1e-6)

  def test_shifts_are_uniform(self):
    offsets, noise = augmentation.draw([4000], tf.constant([1, 2]), 2)
    for axis in range(2):
      counts = np.bincount(offsets[:, axis], minlength=5)
      self.assertLen(counts, 5)
      self.assertLess(np.abs(counts - 800).max(), 110)
    self.assertAlmostEqual(float(np.std(noise)), 1.0, delta=0.05)


class ActingTest(absltest.TestCase):
  def test_explores_as_epsilon_says(self):
    agent = make_agent(warm_up_steps=100, epsilon_decay_steps=100)
    frame = np.random.default_rng(9).integers(256, size=(2, 9, 8))
    frames = np.repeat(frame[None].astype(np.uint8), 1000, axis=0)
    task_id = np.ones(1000, np.int32)
    seen = EnvOutput((), (), (), Observation(tf.constant(frames)))
    seed = tf.constant([1, 5])
    output, state = agent.act(tf.constant(task_id), (), seen, (), seed)
    self.assertEqual((state, agent.initial_state(3)), ((), ()))
    x = np.float32(np.moveaxis(frame, 0, 2))[None] / 255.0
    values = agent.online.values(agent.online(tf.constant(x), task_id[:1]))
    best = int(np.argmax(values))
    self.assertGreater(np.mean(output.action == best), 0.99)
    for step, share in ((100, 1.0), (150, 0.505), (200, 0.01)):
      action = agent.explore(task_id, frames, np.int32([1, step]))
      again = agent.explore(task_id, frames, np.int32([1, step]))
      np.testing.assert_array_equal(action, again)
      # One of four random actions is the best one too.
      self.assertAlmostEqual(np.mean(action != best), 0.75 * share, delta=0.05)

  def test_returns_of_truncated_games_go_on(self):
    rng = np.random.default_rng(10)
    frames = rng.integers(256, size=(3, 2, 9, 8)).astype(np.uint8)
    terminated = np.array([True, False, False])
    reward = np.float32([30.0, 1.0, 2.0])
    for choice in ('mean_reward', 'critic'):
      agent = make_agent(return_bootstrap=choice)
      agent.online._head.b.assign_add(
        tf.reshape(tf.tile(tf.range(21.0)[None], [4, 1]), [-1])
      )
      agent.observe(np.arange(3), reward, terminated, ~terminated, frames)
      expected = [30.0, 1.0 + 0.99 * 100.0, 2.0 + 0.99 * 200.0]
      if choice == 'critic':
        x = tf.constant(np.float32(np.moveaxis(frames, 1, 3)) / 255.0)
        q = agent.online.values(agent.online(x, np.arange(3)))
        q = np.max(q, axis=1)
        expected[1:] = [1.0 + 0.99 * q[1] * 0.5, 2.0 + 0.99 * q[2] * 0.1]
        expected[1] = max(expected[1], 5.0)
      np.testing.assert_allclose(agent.normalizer.greatest, expected, 1e-4)


if __name__ == '__main__':
  absltest.main()
