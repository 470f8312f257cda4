"""Tests of pixel_control/agent.py."""

import dataclasses

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from core.errors import UserError
from pixel_control.agent import PixelControlHead, head_map_shape
from pixel_control.config import DEBUG
from popart import config as popart_config
from tests import two_devices
from tests.pixel_control.pixel_control_test import numpy_rewards, numpy_targets
from tests.runs import agent_of, tiny_config
from tests.unrolls import (
  LANGUAGE_SPEC,
  SMALL_SPEC,
  learner_input,
  random_unroll,
)

T, B = 5, 4
RATE = tf.constant(0.01)
LAB_SPEC = LANGUAGE_SPEC._replace(frame_shape=(72, 96, 3), num_actions=15)
ATARI_SPEC = SMALL_SPEC._replace(
  frame_shape=(4, 84, 84), channels_first=True, num_actions=18
)
ATARI_GRID = dict(pixel_control_cell_size=4, pixel_control_border=2)


def make(spec=SMALL_SPEC, **settings):
  """Returns a config, an agent and a batch of unrolls for it."""
  # Compilation takes most of a test's time; test_xla_modes_agree.
  settings = {'xla': 'off', 'max_gradient_norm': 0.0, **settings}
  config = tiny_config(DEBUG, **settings)
  unroll = random_unroll(T, B, spec, config.use_lstm)
  return config, agent_of(config, spec), learner_input(unroll)


def gradients_of(agent, unroll, variables):
  """Returns metrics, and gradients by the variable's name."""
  with tf.GradientTape() as tape:
    loss, metrics, _ = agent.loss_fn(unroll)
  gradients = tape.gradient(loss, variables)
  gradients = [tf.convert_to_tensor(g).numpy() for g in gradients]
  names = [v.name for v in variables]
  return metrics, dict(zip(names, gradients, strict=True))


def weights_of(variables):
  return {v.name: v.numpy() for v in variables}


def numpy_loss(config, agent, unroll, frames):
  """Computes the auxiliary loss from the head's outputs and plain frames."""
  output = agent.network(
    unroll.agent_outputs.action, unroll.env_outputs, unroll.core_state
  )
  head_output = agent.pixel_control_head(output.core_output)
  head_output = head_output.numpy().astype(np.float64)
  values, advantages = head_output[..., :1], head_output[..., 1:]
  q_values = values + advantages - advantages.mean(axis=-1, keepdims=True)
  rewards = numpy_rewards(frames, config.pixel_control_cell_size) / 255
  discounts = np.full([T, B], config.pixel_control_discount)
  for t, b in np.ndindex(T, B):
    if unroll.env_outputs.done[t + 1, b]:
      rewards[t, b] = 0.0
      discounts[t, b] = 0.0
  targets = numpy_targets(rewards, discounts, q_values[-1].max(axis=-1))
  loss = 0.0
  for t, b in np.ndindex(T, B):
    action = unroll.agent_outputs.action[t + 1, b]
    loss += 0.5 * np.sum((targets[t, b] - q_values[t, b, ..., action]) ** 2)
  return config.pixel_control_cost * loss


class HeadTest(parameterized.TestCase):
  def test_has_the_papers_shapes(self):
    head = PixelControlHead(head_map_shape(LAB_SPEC, 4, 0), 15)
    core_output = tf.random.stateless_normal([2, 3, 256], [1, 2])
    output = head(core_output)
    self.assertEqual(output.shape, (2, 3, 18, 24, 1 + 15))
    for layer, shape, count in (
      (head.linear, (256, 6 * 9 * 32), 444_096),
      (head.deconvolution, (3, 3, 32, 32), 9_248),
      (head.value_and_advantages, (4, 4, 16, 32), 513 + 7_695),
    ):
      self.assertEqual(layer.w.shape, shape)
      found = sum(np.prod(v.shape) for v in layer.trainable_variables)
      self.assertEqual(found, count)
      np.testing.assert_array_equal(layer.b, tf.zeros_like(layer.b))
      # Truncated at 2 deviations of 1 / sqrt(fan in), the last axis but for
      # the linear layer's.
      fan_in = shape[0] if len(shape) == 2 else shape[0] * shape[1] * shape[3]
      self.assertBetween(np.max(np.abs(layer.w)) * fan_in**0.5, 1.5, 2.0)
    # Step by step it says the same.
    np.testing.assert_allclose(
      output[1:, 2:], head(core_output[1:, 2:]), atol=1e-5
    )
    # No cell is left without input.
    self.assertTrue(np.all(np.any(output != 0, axis=(0, 1))))

  def test_rectifies_the_maps_and_not_the_outputs(self):
    head = PixelControlHead((2, 3), 4)
    output = head(tf.random.stateless_normal([1, 9, 256], [1, 2])).numpy()
    for y in np.moveaxis(output, -1, 0):
      self.assertLess(np.min(y), 0.0)
      self.assertGreater(np.max(y), 0.0)
    for layer in (head.linear, head.deconvolution):
      layer.b.assign(tf.fill(layer.b.shape, -100.0))
      output = head(tf.ones([1, 1, 256]))
      np.testing.assert_array_equal(output, tf.zeros_like(output))
      layer.b.assign(tf.zeros_like(layer.b))

  @parameterized.named_parameters(
    ('lab', LAB_SPEC.frame_shape, False, 4, 0, (6, 9)),
    ('atari', ATARI_SPEC.frame_shape, True, 4, 2, (7, 7)),
    ('atari_cells_of_3', ATARI_SPEC.frame_shape, True, 3, 0, (11, 11)),
    ('small', (20, 20, 1), False, 2, 0, (2, 2)),
    ('smallest', (32, 40, 3), False, 4, 0, (1, 2)),
  )
  def test_map_reaches_every_cell(self, shape, first, cell_size, border, found):
    spec = SMALL_SPEC._replace(frame_shape=shape, channels_first=first)
    self.assertEqual(head_map_shape(spec, cell_size, border), found)
    output = PixelControlHead(found, 3)(tf.zeros([1, 1, 256]))
    height, width = shape[1:] if first else shape[:2]
    self.assertEqual(
      (
        output.shape[2] * cell_size + 2 * border,
        output.shape[3] * cell_size + 2 * border,
      ),
      (height, width),
    )

  @parameterized.named_parameters(
    ('odd_grid', (84, 84, 4), 4, 0),
    ('no_whole_height', (73, 96, 3), 4, 0),
    ('no_whole_width', (72, 98, 3), 4, 0),
    ('too_few_cells', (24, 24, 3), 4, 0),
    ('border_wider_than_the_frame', (40, 40, 3), 4, 24),
  )
  def test_frames_that_do_not_divide(self, shape, cell_size, border):
    spec = SMALL_SPEC._replace(frame_shape=shape)
    config = tiny_config(
      DEBUG, pixel_control_cell_size=cell_size, pixel_control_border=border
    )
    with self.assertRaisesRegex(
      UserError, f'{shape[0]}x{shape[1]} frames .* do not divide'
    ):
      agent_of(config, spec)

  def test_refuses_tasks_without_frames(self):
    spec = SMALL_SPEC._replace(frame_shape=(), num_features=4)
    with self.assertRaisesRegex(UserError, '^a: pixel control needs frames'):
      agent_of(tiny_config(DEBUG), spec)


class LossTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('feed_forward', SMALL_SPEC, False, {}),
    ('lstm', SMALL_SPEC, True, {}),
    ('border', SMALL_SPEC._replace(frame_shape=(26, 22, 3)), False, dict(
      pixel_control_border=1
    )),
    ('stack', ATARI_SPEC, False, ATARI_GRID),
  )  # fmt: skip
  def test_equals_numpy(self, spec, use_lstm, settings):
    config, agent, unroll = make(
      spec,
      use_lstm=use_lstm,
      pixel_control_cost=0.3,
      pixel_control_discount=0.8,
      **settings,
    )
    loss, metrics, _ = agent.loss_fn(unroll)
    frames = unroll.env_outputs.observation.frame.numpy()
    if spec.channels_first:
      frames = frames[:, :, 3, 2:82, 2:82, None]
    elif config.pixel_control_border:
      frames = frames[:, :, 1:-1, 1:-1]
    expected = numpy_loss(config, agent, unroll, frames)
    self.assertGreater(expected, 0.0)
    self.assertEqual(metrics['pixel_control_loss'].shape, ())
    np.testing.assert_allclose(
      metrics['pixel_control_loss'], expected, rtol=1e-5
    )
    self.assertEqual(loss, metrics['total_loss'])
    parts = ('policy_gradient_loss', 'baseline_loss', 'entropy_loss')
    np.testing.assert_allclose(
      loss, sum(metrics[part] for part in parts) + expected, rtol=1e-4
    )

  @parameterized.named_parameters(
    ('within_an_episode', False), ('across_a_boundary', True)
  )
  def test_pair_across_a_boundary_is_masked(self, is_boundary):
    _, agent, unroll = make()
    output = tf.random.stateless_normal([T + 1, B, 10, 10, 1 + 3], [3, 4])
    done = np.zeros([T + 1, B], bool)
    done[3, 1] = is_boundary
    losses = []
    for white in (False, True):  # The second episode, or the rest of the first.
      frames = unroll.env_outputs.observation.frame.numpy()
      frames[3:, 1] = 255 if white else 0
      args = (frames, unroll.agent_outputs.action, tf.constant(done))
      losses.append(float(agent._pixel_control_loss(output, *args)))
    self.assertEqual(losses[0] == losses[1], is_boundary)


class UpdateTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('lab', LAB_SPEC, 'deep', True, dict(pixel_control_cell_size=4)),
    ('atari', ATARI_SPEC, 'shallow', False, ATARI_GRID),
  )
  def test_every_variable_gets_a_gradient(self, spec, torso, lstm, settings):
    _, agent, unroll = make(spec, torso=torso, use_lstm=lstm, **settings)
    variables = agent.trainable_variables
    _, gradients = gradients_of(agent, unroll, variables)
    self.assertLen(gradients, len(agent.network.trainable_variables) + 6)
    for name, gradient in gradients.items():
      self.assertTrue(np.any(gradient != 0), name)
      self.assertTrue(np.all(np.isfinite(gradient)), name)

  def test_reaches_the_shared_body_and_no_other_head(self):
    gradients = []
    for cost in (0.0, 1.0):
      _, agent, unroll = make(use_lstm=True, pixel_control_cost=cost)
      variables = agent.network.trainable_variables
      gradients.append(gradients_of(agent, unroll, variables)[1])
    for name in gradients[0]:
      differs = np.any(gradients[0][name] != gradients[1][name])
      is_head = 'policy_logits' in name or 'baseline' in name
      self.assertEqual(differs, not is_head, name)

  def test_every_variable_is_saved(self):
    spec = LANGUAGE_SPEC
    _, agent, unroll = make(
      spec, use_lstm=True, momentum=0.5, statistics_step_size=0.1
    )
    unroll = unroll._replace(task_id=tf.constant([0, 1, 0, 1]))
    before = {n: v.numpy() for n, v in agent.variables().items()}
    agent.update(unroll, RATE)
    num_weights = len(agent.network.trainable_variables) + 6
    # Weights, mean squares and moments, and the statistics: all of them moved.
    self.assertLen(before, 3 * num_weights + 2)
    for name, variable in agent.variables().items():
      self.assertTrue(np.any(before[name] != variable), name)

  @parameterized.named_parameters(
    ('initial', {}, 5.0),
    ('lower_bound', dict(scale_lower_bound=6.0), 6.0),
    ('upper_bound', dict(scale_upper_bound=4.0), 4.0),
  )
  def test_scale_is_the_configs(self, bounds, expected):
    settings = dict(initial_second_moment=25.0, statistics_step_size=0.0)
    _, agent, unroll = make(**settings, **bounds)
    scale = agent.update(unroll, RATE)['scale']
    np.testing.assert_allclose(scale, np.full(2, expected))
    self.assertEqual(agent.statistics.second_moment.dtype, tf.float64)

  def test_xla_modes_agree(self):
    results = []
    for mode in ('off', 'auto', 'on'):
      _, agent, unroll = make(xla=mode, use_lstm=True, pixel_control_cost=0.1)
      metrics = [agent.update(unroll, RATE) for _ in range(2)]
      results.append(tf.nest.flatten((metrics, agent.variables())))
    for expected, *others in zip(*results, strict=True):
      for found in others:
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)

  def test_traces_once(self):
    _, agent, _ = make(xla='auto')
    for seed in range(3):
      unroll = learner_input(random_unroll(T, B, seed=seed))
      agent.update(unroll, tf.constant(0.1 * seed))
    self.assertEqual(agent.update.experimental_get_tracing_count(), 1)


class ActTest(absltest.TestCase):
  def test_never_computes_the_head(self):
    _, agent, unroll = make(use_lstm=True)
    env_output, action = tf.nest.map_structure(
      lambda x: x[0], (unroll.env_outputs, unroll.agent_outputs.action)
    )
    act = agent.act.get_concrete_function(
      unroll.task_id, action, env_output, unroll.core_state, tf.constant([1, 2])
    )
    read = {v.ref() for v in act.variables}
    body = {v.ref() for v in agent.network.trainable_variables}
    self.assertNotEmpty(read)
    self.assertContainsSubset(read, body)


class ParityTest(parameterized.TestCase):
  """At cost 0 it is the agent it builds on."""

  @parameterized.named_parameters(
    ('popart', 'popart', True),
    ('multi_head', 'multi_head', False),
    ('single', 'single', False),
  )
  def test_cost_0_is_popart(self, value_head, use_lstm):
    settings = dict(
      xla='off',
      value_head=value_head,
      use_lstm=use_lstm,
      max_gradient_norm=2.0,
      statistics_step_size=0.1,
    )
    spec = LANGUAGE_SPEC if use_lstm else SMALL_SPEC
    _, agent, unroll = make(spec, pixel_control_cost=0.0, **settings)
    config = tiny_config(popart_config.DEBUG, **settings)
    parent = agent_of(config, spec)
    np.testing.assert_equal(
      weights_of(agent.network.trainable_variables),
      weights_of(parent.network.trainable_variables),
    )
    self.assert_close(
      *(
        gradients_of(x, unroll, x.network.trainable_variables)
        for x in (agent, parent)
      )
    )
    head = agent.pixel_control_head.trainable_variables
    before = weights_of(head)
    for _ in range(3):
      metrics = [x.update(unroll, RATE) for x in (agent, parent)]
      self.assertGreater(metrics[1]['gradient_norm'], 2.0)
      self.assert_close(*((m, {}) for m in metrics))
    self.assert_close(
      *(
        ({}, weights_of(x.network.trainable_variables)) for x in (agent, parent)
      )
    )
    for name, variable in parent.variables().items():
      self.assert_equal_to_1e_6(agent.variables()[name], variable, name)
    np.testing.assert_equal(weights_of(head), before)

  def assert_close(self, found, expected):
    """Compares (metrics, arrays by name), all but the added loss."""
    (metrics, arrays), (other_metrics, other_arrays) = found, expected
    added = {'pixel_control_loss'} if metrics else set()
    self.assertEqual(set(metrics) - added, set(other_metrics))
    self.assertEqual(arrays.keys(), other_arrays.keys())
    for name, value in {**other_metrics, **other_arrays}.items():
      self.assertTrue(np.any(value != 0), name)
      self.assert_equal_to_1e_6({**metrics, **arrays}[name], value, name)

  def assert_equal_to_1e_6(self, found, expected, name):
    # Relative to the largest: some gradients are sums of thousands.
    atol = 1e-6 * max(1.0, np.max(np.abs(expected)))
    np.testing.assert_allclose(found, expected, 0.0, atol, err_msg=name)

  def test_configs_share_their_defaults(self):
    ours = dataclasses.asdict(tiny_config(DEBUG))
    theirs = dataclasses.asdict(tiny_config(popart_config.DEBUG))
    ours = {n: v for n, v in ours.items() if not n.startswith('pixel_control')}
    self.assertEqual(ours, theirs)


class ReplicasTest(absltest.TestCase):
  def test_two_equal_one(self):
    result = two_devices.result_of('tests.pixel_control.replicas')
    self.assertEqual(result['num_replicas'], 2)
    for found, expected in zip(
      result['found'], result['expected'], strict=True
    ):
      self.assertEqual(found.keys(), expected.keys())
      self.assertGreater(expected['pixel_control_loss'], 0.0)
      for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, err_msg=name)
    for name, difference in result['differences'].items():
      self.assertLess(difference, 1e-5, name)
      if name.startswith('rmsprop_moment/'):  # The gradients themselves.
        self.assertLess(difference, 1e-4 * result['largest'][name], name)


if __name__ == '__main__':
  absltest.main()
