"""Tests of stacx/networks.py."""

import dataclasses

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from core.errors import UserError
from core.types import ActionBox, EnvSpec
from stacx.config import DEBUG
from stacx.networks import Heads, Network, make_objective
from tests.stacx.batches import CONTINUOUS_SPEC, batch
from tests.unrolls import LANGUAGE_SPEC, SMALL_SPEC

T, B = 3, 2
GAMMAS = tf.constant([0.9, 0.8, 0.7])


def make(spec=SMALL_SPEC, **settings):
  """Returns a network and a batch for it."""
  config = dataclasses.replace(DEBUG, **settings)
  num_parameters = spec.num_actions or 2 * len(spec.action_box.low)
  network = Network(config, spec, num_parameters)
  network.create_variables()
  return network, batch(T, B, spec, config.use_lstm)


def call(network, unroll, gammas=GAMMAS, num_heads=None):
  return network(
    unroll.agent_outputs.action,
    unroll.env_outputs,
    unroll.core_state,
    gammas,
    num_heads,
  )


class HeadsTest(parameterized.TestCase):
  @parameterized.parameters(None, 4)
  def test_are_separate_perceptrons_of_two_layers(self, embedding_size):
    rng = np.random.default_rng(0)
    x = rng.normal(size=[6, 5]).astype(np.float32)
    embedding = None
    if embedding_size:
      embedding = rng.normal(size=[3, embedding_size]).astype(np.float32)
    heads = Heads(3, 2, name='heads')
    heads(x, 3, embedding)
    for variable in heads.trainable_variables:  # Biases begin with 0.
      variable.assign(rng.normal(size=variable.shape))
    found = heads(x, 3, embedding)
    for head in range(3):
      inputs, w = x, heads.w_hidden[:, head].numpy()
      if embedding_size:
        tiled = np.tile(embedding[head], [6, 1])
        inputs = np.append(x, tiled, axis=1)
        w = np.append(w, heads.w_embedded[head], axis=0)
      hidden = np.maximum(inputs @ w + heads.b_hidden[head], 0.0)
      expected = hidden @ heads.w[head] + heads.b[head]
      np.testing.assert_allclose(found[:, head], expected, rtol=2e-5, atol=2e-5)
    np.testing.assert_array_equal(
      heads(x, 1, None if embedding is None else embedding[:1]), found[:, :1]
    )

  def test_start_by_fan_in(self):
    heads = Heads(3, 2, name='heads')
    heads(tf.zeros([1, 400]), 3)
    self.assertEqual(heads.w_hidden.shape, (400, 3, 256))
    np.testing.assert_allclose(np.std(heads.w_hidden), 0.88 / 20, rtol=0.05)
    np.testing.assert_allclose(np.std(heads.w), 0.88 / 16, rtol=0.05)


class NetworkTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('shallow', SMALL_SPEC, dict(torso='shallow')),
    ('deep_lstm', SMALL_SPEC, dict(torso='deep', use_lstm=True)),
    ('strided', SMALL_SPEC, dict(torso='strided')),
    ('continuous', CONTINUOUS_SPEC, dict(use_lstm=True)),
    ('extra', SMALL_SPEC, dict(outer_value_head=True)),
  )
  def test_shapes_and_main_head_alone(self, spec, settings):
    network, unroll = make(spec, **settings)
    output = call(network, unroll)
    num_parameters = spec.num_actions or 4
    self.assertEqual(output.policy.shape, (T + 1, B, 3, num_parameters))
    self.assertEqual(output.values.shape, (T + 1, B, 3))
    one = call(network, unroll, num_heads=1)
    np.testing.assert_allclose(one.policy, output.policy[:, :, :1], atol=1e-5)
    np.testing.assert_allclose(one.values, output.values[:, :, :1], atol=1e-5)
    if settings.get('outer_value_head'):
      self.assertEqual(output.extra_values.shape, (T + 1, B, 1))
    else:
      self.assertEqual(output.extra_values, ())

  def test_strided_torso_has_table_2s_layers(self):
    network, _ = make(torso='strided')
    kernels = [v for v in network.trainable_variables if 'strided' in v.name]
    kernels = [v.shape for v in kernels if len(v.shape) == 4]
    self.assertLen(kernels, 3 * 5)
    self.assertEqual({tuple(k[:2]) for k in kernels}, {(3, 3)})
    self.assertEqual({k[3] for k in kernels}, {32})
    # 20 pixels by three strides of 2.
    self.assertEqual(network._hidden.input_size, 3 * 3 * 32)

  def test_features_pass_two_layers_of_256(self):
    network, _ = make(CONTINUOUS_SPEC, use_lstm=True)
    shapes = {v.name: v.shape for v in network.trainable_variables}
    found = [s for n, s in shapes.items() if 'feature_torso' in n and '/w' in n]
    self.assertEqual(sorted(map(tuple, found)), [(5, 256), (256, 256)])
    # Features, last reward and last action enter the LSTM.
    lstm = [s for n, s in shapes.items() if 'core/w' in n]
    self.assertEqual(lstm, [(256 + 1 + 2 + 256, 4 * 256)])

  def test_last_actions_enter_between_minus_1_and_1(self):
    network, unroll = make(CONTINUOUS_SPEC)
    for action, expected in (
      ([-2.0, 0.0], [-1.0, -1.0]),
      ([2.0, 2.5], [1.0, 0.0]),
    ):
      actions = tf.fill([T + 1, B, 1], 0.0) + tf.constant(action)
      features = network._features(actions, unroll.env_outputs)
      np.testing.assert_allclose(
        features[:, -2:], np.tile(expected, [(T + 1) * B, 1])
      )

  @parameterized.parameters(('shared', 1), ('separate', 3))
  def test_gamma_embedding(self, kind, num_rows):
    network, unroll = make(gamma_embedding=kind, gamma_embedding_size=5)
    (w,) = (v for v in network.trainable_variables if 'embedding/w' in v.name)
    self.assertEqual(w.shape, (num_rows, 5))
    before = call(network, unroll)
    after = call(network, unroll, tf.constant([0.9, 0.8, 0.1]))
    for a, b in ((before.policy, after.policy), (before.values, after.values)):
      differs = np.any(np.not_equal(a, b), axis=(0, 1, *range(3, a.ndim)))
      np.testing.assert_array_equal(differs, [False, False, True])

  def test_without_embedding_gammas_do_not_matter(self):
    network, unroll = make()
    np.testing.assert_array_equal(
      call(network, unroll).policy, call(network, unroll, 0.0 * GAMMAS).policy
    )

  def test_instructions_are_refused(self):
    with self.assertRaisesRegex(UserError, 'a has instructions'):
      make(LANGUAGE_SPEC)


class WrongInputTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('discrete', SMALL_SPEC, dict(policy='tanh_gaussian'), 'a has discrete'),
    ('continuous', CONTINUOUS_SPEC, {}, 'a has continuous .*=tanh_gaussian'),
    ('one_head', SMALL_SPEC, dict(num_heads=1, behaviour='random_head'), 'nee'),
    (
      'two_values',
      SMALL_SPEC,
      dict(behaviour='random_head', outer_value_head=True),
      'random_head has several',
    ),
    (
      'logits',
      CONTINUOUS_SPEC,
      dict(policy='tanh_gaussian', behaviour='average_logits'),
      'have no logits',
    ),
    (
      'log_sigmas',
      CONTINUOUS_SPEC,
      dict(policy='tanh_gaussian', min_log_sigma=1.0),
      'not below',
    ),
    ('unknown', SMALL_SPEC, dict(self_tuned='gamma,beta'), 'no metaparamet'),
    ('twice', SMALL_SPEC, dict(self_tuned='gamma,gamma'), 'names gamma twice'),
    ('tied', SMALL_SPEC, dict(self_tuned='alpha,alpha_c'), 'tune either'),
    ('alphas', SMALL_SPEC, dict(alpha_rho=0.2, alpha_c=0.3), 'theorem 1'),
  )
  def test_is_refused_in_words(self, spec, settings, message):
    config = dataclasses.replace(DEBUG, **settings)
    with self.assertRaisesRegex(UserError, message):
      make_objective(config, spec)

  def test_padding_of_tasks_is_known(self):
    box = ActionBox((-1.0,) * 2, (1.0,) * 2, task_sizes=(1, 2))
    config = dataclasses.replace(DEBUG, policy='tanh_gaussian')
    policy = make_objective(config, EnvSpec(('a', 'b'), 0, box)).policy
    self.assertEqual(policy.num_parameters, 4)


if __name__ == '__main__':
  absltest.main()
