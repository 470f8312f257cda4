"""Tests of core/networks/actor_critic.py."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from core.errors import UserError
from core.networks import actor_critic
from core.networks.actor_critic import ActorCritic
from core.types import ActionBox, EnvSpec
from tests.unrolls import LANGUAGE_SPEC, SMALL_SPEC, random_env_output

ATARI_SPEC = EnvSpec(
  task_names=('pong',),
  num_actions=18,
  frame_shape=(4, 84, 84),
  channels_first=True,
)
FEATURES_SPEC = EnvSpec(task_names=('a', 'b'), num_actions=3, num_features=5)
EVERYTHING_SPEC = LANGUAGE_SPEC._replace(num_features=5)


def dmlab_spec(num_actions):
  return EnvSpec(
    task_names=('a',),
    num_actions=num_actions,
    frame_shape=(72, 96, 3),
    instruction_length=4,
  )


def make_network(spec=SMALL_SPEC, torso='shallow', use_lstm=True, **kwargs):
  """Returns a network whose variables exist, the same ones every time."""
  tf.random.set_seed(3)
  network = ActorCritic(spec, torso, use_lstm, **kwargs)
  unroll(network, *random_inputs(1, 1, spec))
  return network


def random_inputs(num_steps, batch_size, spec=SMALL_SPEC, seed=0):
  rng = np.random.default_rng(seed)
  shape = (num_steps, batch_size)
  last_actions = rng.integers(spec.num_actions, size=shape, dtype=np.int32)
  return last_actions, random_env_output(rng, spec, *shape)


def random_state(batch_size, seed=9):
  rng = np.random.default_rng(seed)
  return tuple(
    tf.constant(rng.normal(size=[batch_size, 256]), tf.float32)
    for _ in range(2)
  )


def unroll(network, last_actions, env_outputs, state=None):
  if state is None:
    state = network.initial_state(last_actions.shape[1])
  inputs = (last_actions, env_outputs, state)
  return network(*tf.nest.map_structure(tf.convert_to_tensor, inputs))


def select(nest, *index):
  return tf.nest.map_structure(lambda x: x[index], nest)


def assert_outputs_close(found, expected, **tolerance):
  for name, a, b in zip(found._fields, found, expected, strict=True):
    for x, y in zip(tf.nest.flatten(a), tf.nest.flatten(b), strict=True):
      np.testing.assert_allclose(x, y, err_msg=name, **tolerance)


class ParameterCountTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('deep_9_actions', dmlab_spec(9), 'deep', True, 1, 1_628_010),
    ('deep_15_actions', dmlab_spec(15), 'deep', True, 1, 1_635_696),
    ('deep_30_values', dmlab_spec(15), 'deep', True, 30, 1_643_149),
    ('atari', ATARI_SPEC, 'deep', False, 1, 1_094_476),
    ('atari_57_values', ATARI_SPEC, 'deep', False, 57, 1_109_932),
    ('shallow', dmlab_spec(9), 'shallow', True, 1, 1_230_426),
    # By hand: 2 layers, then 3 logits and a value of 256 + 1 + 3 inputs.
    ('features', FEATURES_SPEC, 'deep', False, 1, 6 * 256 + 257 * 256 + 1044),
    (
      'features_lstm',
      FEATURES_SPEC,
      'deep',
      True,
      1,
      6 * 256 + 257 * 256 + (260 + 256 + 1) * 1024 + 257 * 4,
    ),
  )
  def test_equals_the_papers(self, spec, torso, use_lstm, num_values, expected):
    network = make_network(spec, torso, use_lstm, num_values=num_values)
    count = sum(math.prod(v.shape) for v in network.trainable_variables)
    self.assertEqual(count, expected)


class ActorCriticTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('lstm', SMALL_SPEC, 'shallow', True, 256),
    # Without a core, what the heads read: 256 features, reward, 3 actions.
    ('feed_forward', SMALL_SPEC, 'deep', False, 260),
    ('language', LANGUAGE_SPEC, 'shallow', True, 256),
    ('features', FEATURES_SPEC, 'shallow', False, 260),
    ('features_lstm', FEATURES_SPEC, 'shallow', True, 256),
    # Frame, features, reward, 3 actions, instruction.
    ('everything', EVERYTHING_SPEC, 'shallow', False, 256 + 256 + 1 + 3 + 64),
  )
  def test_shapes(self, spec, torso, use_lstm, core_size):
    network = make_network(spec, torso, use_lstm, num_values=7)
    output = unroll(network, *random_inputs(4, 2, spec))
    self.assertEqual(output.policy_logits.shape, [4, 2, 3])
    self.assertEqual(output.values.shape, [4, 2, 7])
    self.assertEqual(output.core_output.shape, [4, 2, core_size])
    shapes = [x.shape for x in output.core_state]
    self.assertEqual(shapes, [[2, 256]] * (2 if use_lstm else 0))

  def test_unroll_equals_steps_with_resets(self):
    network = make_network()
    last_actions, env_outputs = random_inputs(7, 3)
    state = random_state(3)
    self.assertTrue(env_outputs.done[1:].any())
    whole = unroll(network, last_actions, env_outputs, state)
    for t in range(7):
      # By hand, so that the network's own reset does nothing here.
      state = [np.where(env_outputs.done[t][:, None], 0.0, s) for s in state]
      step = select((last_actions, env_outputs), slice(t, t + 1))
      step[1].done[:] = False
      output = unroll(network, *step, [tf.constant(s) for s in state])
      state = output.core_state
      for name in ('policy_logits', 'values', 'core_output'):
        np.testing.assert_allclose(
          getattr(output, name)[0], getattr(whole, name)[t], atol=1e-5
        )
    for found, expected in zip(state, whole.core_state, strict=True):
      np.testing.assert_allclose(found, expected, atol=1e-5)

  @parameterized.named_parameters(
    ('lstm', SMALL_SPEC, 'shallow', True),
    ('deep_language', LANGUAGE_SPEC, 'deep', True),
    ('feed_forward', SMALL_SPEC, 'shallow', False),
    ('features', FEATURES_SPEC, 'shallow', True),
    ('everything', EVERYTHING_SPEC, 'shallow', False),
  )
  def test_rows_are_independent(self, spec, torso, use_lstm):
    network = make_network(spec, torso, use_lstm)
    inputs = random_inputs(5, 3, spec)
    others = random_inputs(5, 3, spec, seed=1)
    state = random_state(3) if use_lstm else ()
    output = unroll(network, *inputs, state)
    for a, b in zip(
      tf.nest.flatten(inputs), tf.nest.flatten(others), strict=True
    ):
      self.assertTrue(np.any(a[:, 1] != b[:, 1]))
      a[:, 1] = b[:, 1]
    if use_lstm:
      state = [tf.concat([s[:1], -s[1:2], s[2:]], axis=0) for s in state]
    changed = unroll(network, *inputs, state)
    for name in ('policy_logits', 'values'):
      before, after = getattr(output, name), getattr(changed, name)
      for row in (0, 2):
        np.testing.assert_allclose(before[:, row], after[:, row], atol=1e-6)
      self.assertTrue(np.all(np.any(before[:, 1] != after[:, 1], axis=-1)))

  @parameterized.named_parameters(
    ('reward', lambda a, e: (a, e._replace(reward=0 * e.reward))),
    ('last_action', lambda a, e: ((a + 1) % 3, e)),
  )
  def test_side_inputs_matter(self, change):
    network = make_network(use_lstm=False)
    inputs = random_inputs(2, 2)
    before, after = unroll(network, *inputs), unroll(network, *change(*inputs))
    different = before.policy_logits != after.policy_logits
    self.assertTrue(np.all(np.any(different, axis=2)))

  def test_reward_input_is_clipped(self):
    network = make_network()
    last_actions, env_outputs = random_inputs(1, 4)
    logits = []
    for rewards in ([-7.0, -1.0, 1.0, 70.0], [-1.0, -1.0, 1.0, 1.0]):
      rewards = np.array([rewards], np.float32)
      output = unroll(
        network, last_actions, env_outputs._replace(reward=rewards)
      )
      logits.append(output.policy_logits)
    np.testing.assert_array_equal(*logits)

  def test_channels_first_is_the_transposed(self):
    last_spec = SMALL_SPEC._replace(frame_shape=(20, 24, 4))
    first_spec = last_spec._replace(
      frame_shape=(4, 20, 24), channels_first=True
    )
    actions, env_outputs = random_inputs(2, 3, first_spec)
    frames = env_outputs.observation.frame
    transposed = env_outputs._replace(
      observation=env_outputs.observation._replace(
        frame=frames.transpose(0, 1, 3, 4, 2)
      )
    )
    expected = unroll(make_network(last_spec), actions, transposed)
    for compile_parts in (False, True):
      network = make_network(first_spec, compile_parts=compile_parts)
      found = unroll(network, actions, env_outputs)
      assert_outputs_close(found, expected, rtol=1e-4, atol=1e-5)

  @parameterized.named_parameters(('deep', 'deep'), ('shallow', 'shallow'))
  def test_bfloat16_is_close(self, torso):
    # bfloat16 rounds to 2^-9; measured over seeds: up to 0.012 of the norm.
    inputs = random_inputs(2, 3, ATARI_SPEC)
    expected, found = (
      unroll(
        make_network(ATARI_SPEC, torso, use_lstm=False, precision=precision),
        *inputs,
      )
      for precision in ('float32', 'bfloat16')
    )
    for name in ('policy_logits', 'values', 'core_output'):
      exact, rounded = getattr(expected, name), getattr(found, name)
      self.assertEqual(rounded.dtype, tf.float32)
      error = np.linalg.norm(rounded - exact) / np.linalg.norm(exact)
      self.assertBetween(error, 1e-4, 0.03, name)

  def test_frames_are_rectified_before_and_after_the_linear_layer(self):
    network = make_network(torso='deep', use_lstm=False)
    actions, env_outputs = random_inputs(2, 3)
    frames = env_outputs.observation.frame.reshape(6, *SMALL_SPEC.frame_shape)
    maps = network._torso(frames / 255.0).numpy()
    x = np.maximum(maps, 0.0).reshape(6, -1) @ network._hidden.w.numpy()
    self.assertLess(max(maps.min(), x.min()), 0.0)
    found = unroll(network, actions, env_outputs).core_output[..., :256]
    expected = np.maximum(x, 0.0).reshape(2, 3, 256)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)

  def test_bfloat16_keeps_float32_weights(self):
    network = make_network(precision='bfloat16')
    self.assertEqual(
      {v.dtype for v in network.trainable_variables}, {tf.float32}
    )


class FeaturesTest(parameterized.TestCase):
  def test_equals_a_computation_by_hand(self):
    network = make_network(FEATURES_SPEC, use_lstm=False, num_values=2)
    rng = np.random.default_rng(0)
    for variable in network.trainable_variables:
      variable.assign_add(rng.normal(0.0, 0.1, variable.shape))
    weights = {
      '/'.join(v.name.split('/')[-2:]).split(':')[0]: v.numpy()
      for v in network.trainable_variables
    }

    def linear(name, x):
      return x @ weights[f'{name}/w'] + weights[f'{name}/b']

    actions, env_outputs = random_inputs(3, 2, FEATURES_SPEC)
    output = unroll(network, actions, env_outputs)
    x = env_outputs.observation.features
    for name in ('layer_0', 'layer_1'):
      x = np.maximum(linear(name, x), 0.0)
    reward = np.clip(env_outputs.reward, -1.0, 1.0)[..., None]
    x = np.concatenate([x, reward, np.eye(3)[actions]], axis=-1)
    for found, expected in (
      (output.core_output, x),
      (output.policy_logits, linear('policy_logits', x)),
      (output.values, linear('baseline', x)),
    ):
      np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)

  @parameterized.parameters('frame', 'instruction', 'features')
  def test_every_part_of_an_observation_matters(self, name):
    network = make_network(EVERYTHING_SPEC, use_lstm=False)
    actions, env_outputs = random_inputs(2, 3, EVERYTHING_SPEC)
    observation = env_outputs.observation
    part = getattr(observation, name)
    changed = observation._replace(**{name: (part + 1).astype(part.dtype)})
    before = unroll(network, actions, env_outputs)
    after = unroll(network, actions, env_outputs._replace(observation=changed))
    different = before.policy_logits != after.policy_logits
    self.assertTrue(np.all(np.any(different, axis=2)))

  def test_no_torso_without_frames(self):
    network = make_network(FEATURES_SPEC)
    names = {v.name for v in network.trainable_variables}
    self.assertFalse([n for n in names if 'conv' in n or 'torso_linear' in n])


class ContinuousActionsTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('features', FEATURES_SPEC), ('frames', SMALL_SPEC)
  )
  def test_are_refused(self, spec):
    box = ActionBox((-1.0,), (1.0,))
    spec = spec._replace(num_actions=0, action_box=box)
    with self.assertRaisesRegex(
      UserError, '^a has continuous actions; this agent chooses among discrete'
    ):
      ActorCritic(spec, 'shallow', use_lstm=False)


class CreateVariablesTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('language_lstm', LANGUAGE_SPEC, 'deep', True),
    ('atari', ATARI_SPEC, 'shallow', False),
    ('features', FEATURES_SPEC, 'shallow', True),
    ('everything', EVERYTHING_SPEC, 'deep', False),
  )
  def test_equal_those_of_a_first_call(self, spec, torso, use_lstm):
    expected = make_network(spec, torso, use_lstm, num_values=3)
    tf.random.set_seed(3)
    network = ActorCritic(spec, torso, use_lstm, num_values=3)
    network.create_variables()
    found = network.trainable_variables
    for ours, theirs in zip(found, expected.trainable_variables, strict=True):
      self.assertEqual(ours.name, theirs.name)
      np.testing.assert_array_equal(ours, theirs)
    unroll(network, *random_inputs(2, 3, spec))
    self.assertLen(network.trainable_variables, len(found))


class SampleActionsTest(absltest.TestCase):
  def test_frequencies_follow_the_softmax(self):
    logits = np.array([[1.0, 0.0, -1.0], [-2.0, 3.0, 1.0]], np.float32)
    num_draws = 10_000
    actions = actor_critic.sample_actions(
      tf.repeat(logits, num_draws, axis=0), tf.constant([1, 2])
    )
    self.assertEqual(actions.dtype, tf.int32)
    for row, drawn in enumerate(np.reshape(actions, [2, num_draws])):
      expected = num_draws * tf.nn.softmax(logits[row]).numpy()
      counts = np.bincount(drawn, minlength=3)
      # Chi-square of 2 degrees of freedom: 18.4 is passed once in 10,000.
      self.assertLess(np.sum((counts - expected) ** 2 / expected), 18.4)

  def test_seed_decides(self):
    logits = tf.zeros([50, 4])
    first, again, other = (
      actor_critic.sample_actions(logits, tf.constant([1, seed]))
      for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first, again)
    self.assertTrue(np.any(first != other))


class InitialiserTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    network = make_network(dmlab_spec(9), 'deep')
    cls.variables = {v.name: v.numpy() for v in network.trainable_variables}

  @parameterized.named_parameters(
    ('core', 'core/w', 330, 256, 0.061047),
    ('words', 'language_lstm/w', 20, 64, 0.132842),
  )
  def test_glorot_over_the_joint_matrix(self, name, rows, size, limit):
    # limit = sqrt(6 / ((rows + size) + 4 size))
    (w,) = (v for k, v in self.variables.items() if name in k)
    self.assertEqual(w.shape, (rows + size, 4 * size))
    self.assertLessEqual(np.abs(w).max(), limit + 1e-6)
    self.assertGreater(np.abs(w).max(), 0.999 * limit)
    np.testing.assert_allclose(w.std(), limit / math.sqrt(3), rtol=0.01)

  @parameterized.named_parameters(
    ('convolution', 'section2_conv3/w', 9 * 32),
    ('first_convolution', 'section0_conv0/w', 9 * 3),
    ('torso', 'torso_linear/w', 3456),
    ('policy', 'policy_logits/w', 256),
  )
  def test_truncated_normal(self, name, fan_in):
    (w,) = (v for k, v in self.variables.items() if name in k)
    stddev = 1.0 / math.sqrt(fan_in)
    # Drawn again beyond 2 deviations, which leaves 0.8796 of the deviation.
    self.assertLessEqual(np.abs(w).max(), 2.0 * stddev)
    np.testing.assert_allclose(
      w.std(), 0.8796 * stddev, rtol=4 / math.sqrt(2 * w.size)
    )

  def test_embedding_is_a_whole_normal(self):
    (embedding,) = (v for k, v in self.variables.items() if 'embedding' in k)
    self.assertEqual(embedding.shape, (1000, 20))
    self.assertGreater(np.abs(embedding).max(), 3.0)
    np.testing.assert_allclose(embedding.std(), 1.0, rtol=0.03)

  def test_biases_are_zero(self):
    biases = [v for k, v in self.variables.items() if '/b:' in k]
    self.assertLen(biases, 15 + 1 + 2 + 2)
    for bias in biases:
      self.assertFalse(bias.any())


if __name__ == '__main__':
  absltest.main()
