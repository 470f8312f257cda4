"""Tests of prl/model.py."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from prl import model as models

STATE, HIDDEN, HORIZON, BATCH = 6, 11, 5, 3


def residual(input_relu='none', seed=0):
  tf.random.set_seed(seed)
  return models.ResidualPrediction(STATE, HIDDEN, input_relu)


def of_states(prediction):
  """A model whose Perception is not used."""
  tf.random.set_seed(1)
  return models.Model(None, prediction, models.Valuation(STATE))


def draw(*shape, seed=0):
  rng = np.random.default_rng(seed)
  return tf.constant(rng.normal(size=shape), tf.float32)


def clear_change(prediction):
  """Lets f be 0."""
  for variable in prediction._change.trainable_variables:
    variable.assign(tf.zeros_like(variable))


class PredictionTest(parameterized.TestCase):
  def test_equations_2_and_3(self):
    prediction = residual()
    state, control = draw(BATCH, STATE), draw(BATCH, 3, seed=1)
    found, _ = prediction(state, control)
    h = state.numpy().astype(np.float64)
    deviation = np.sqrt(h.var(axis=1, keepdims=True) + 1e-5)
    x = (h - h.mean(axis=1, keepdims=True)) / deviation
    x = np.concatenate([x, control.numpy()], axis=1)
    hidden, change = prediction._hidden, prediction._change
    x = np.maximum(x @ hidden.w.numpy() + hidden.b.numpy(), 0)
    h = h + x @ change.w.numpy() + change.b.numpy()
    np.testing.assert_allclose(found, h, rtol=1e-4, atol=1e-5)

  def test_without_f_the_state_stays(self):
    prediction = residual()
    state = start = draw(BATCH, STATE)
    prediction(state, draw(BATCH, 3))
    clear_change(prediction)
    for i in range(25):
      _, state = prediction(state, draw(BATCH, 3, seed=i))
    np.testing.assert_array_equal(state, start)

  def test_unroll_is_single_steps(self):
    model = of_states(residual())
    state, controls = draw(BATCH, STATE), draw(BATCH, HORIZON, 3)
    logits = model.predict(state, controls)
    self.assertEqual(logits.shape, (BATCH, HORIZON, 2))
    for j in range(HORIZON):
      output, state = model.prediction(state, controls[:, j])
      np.testing.assert_allclose(
        logits[:, j],
        model.valuation(output[:, None])[:, 0],
        rtol=1e-5,
        atol=1e-6,
      )

  def test_gradient_reaches_h_0_with_small_weights(self):
    prediction = residual()
    start = draw(1, STATE)
    prediction(start, draw(1, 3))
    for variable in prediction.trainable_variables:
      variable.assign(variable * 1e-3)
    with tf.GradientTape() as tape:
      tape.watch(start)
      state = start
      for i in range(25):
        _, state = prediction(state, draw(1, 3, seed=i))
    jacobian = tape.jacobian(state, start)[0, :, 0]
    np.testing.assert_allclose(jacobian, np.eye(STATE), atol=0.02)

  @parameterized.parameters(('none', True), ('state', True), ('all', False))
  def test_left_differs_from_standing_still(self, input_relu, differs):
    # Rectifying the whole input (Table 1 to the letter) hides left and down.
    model = of_states(residual(input_relu))
    state = draw(1, STATE)
    still, left = np.zeros([1, HORIZON, 3]), np.zeros([1, HORIZON, 3])
    left[..., 1] = -1
    found = [
      model.predict(state, tf.constant(c, tf.float32)).numpy()
      for c in (still, left)
    ]
    self.assertEqual(not np.allclose(*found), differs)

  def test_right_differs_from_left(self):
    model = of_states(residual())
    state, control = draw(1, STATE), np.zeros([1, HORIZON, 3], np.float32)
    control[..., 1] = 1
    right, left = (model.predict(state, c).numpy() for c in (control, -control))
    self.assertFalse(np.allclose(right, left))

  def test_lstm_of_equal_size(self):
    tf.random.set_seed(0)
    ours = models.ResidualPrediction(100, 500, 'none')
    theirs = models.LstmPrediction(158)
    sizes = []
    for prediction, size in ((ours, 100), (theirs, 158)):
      state = prediction.initial_state(draw(BATCH, size))
      output, _ = prediction(state, draw(BATCH, 3))
      self.assertEqual(output.shape, (BATCH, size))
      sizes.append(sum(np.size(v) for v in prediction.trainable_variables))
    # f alone: Table 1.
    self.assertEqual(sizes[0] - 200, 52_000 + 50_100)
    self.assertLess(abs(sizes[1] / sizes[0] - 1), 0.01)


class LayerNormTest(absltest.TestCase):
  def test_bound_of_observation_1(self):
    norm = models.layer_norm('norm')
    peak = np.zeros([1, 100], np.float32)
    peak[0, 3] = 1e6
    largest = np.abs(norm(tf.constant(peak))).max()
    self.assertLessEqual(largest, 10.0 + 1e-3)
    self.assertGreater(largest, 9.9)

  def test_prediction_knows_no_scale_or_shift_of_h(self):
    model = of_states(residual())
    state, controls = draw(BATCH, STATE), draw(BATCH, HORIZON, 3)
    model.predict(state, controls)
    clear_change(model.prediction)
    found = model.predict(3.0 * state + 2.0, controls)
    expected = model.predict(state, controls)
    np.testing.assert_allclose(found, expected, atol=1e-4)


class PerceptionTest(parameterized.TestCase):
  def _make(self, kind, norm_decay=0.9, output='linear', shape=(4, 84, 84)):
    tf.random.set_seed(0)
    return models.Perception(shape, True, kind, STATE, norm_decay, output)

  def _frames(self, num, seed=0):
    rng = np.random.default_rng(seed)
    return tf.constant(rng.integers(0, 256, (num, 4, 84, 84)), tf.uint8)

  @parameterized.parameters('residual', 'plain', 'tiny')
  def test_maps_frames_to_states(self, kind):
    perception = self._make(kind)
    found = perception(self._frames(2), True)
    self.assertEqual(found.shape, (2, STATE))
    self.assertTrue(np.any(found.numpy() < 0))  # The last layer is linear.

  def test_relu_of_the_last_layer(self):
    found = self._make('tiny', output='relu')(self._frames(4), True).numpy()
    self.assertTrue(np.all(found >= 0) and np.any(found == 0))

  def test_sizes_of_the_residual_network(self):
    perception = self._make('residual')
    perception(self._frames(1), False)
    self.assertEqual(perception._features._layer.w.shape, (4 * 4 * 64, 256))
    convolutions = [
      v for v in perception.trainable_variables if len(v.shape) == 4
    ]
    self.assertLen(convolutions, 3 + 4)

  def test_planning_takes_running_statistics(self):
    perception = self._make('tiny')
    perception(self._frames(4, seed=1) // 4, True)
    frames = self._frames(4)
    alone = perception(frames[:1], False)
    np.testing.assert_allclose(
      alone, perception(frames, False)[:1], rtol=1e-4, atol=1e-5
    )
    trained = perception(frames, True)[:1]
    self.assertFalse(np.allclose(alone, trained, atol=1e-3))

  def test_without_batch_norm_training_is_no_different(self):
    perception = self._make('tiny', norm_decay=None)
    frames = self._frames(2)
    np.testing.assert_array_equal(
      perception(frames, True), perception(frames, False)
    )

  def test_too_small_frames(self):
    with self.assertRaisesRegex(ValueError, 'too small'):
      self._make('plain', shape=(1, 20, 20))


if __name__ == '__main__':
  absltest.main()
