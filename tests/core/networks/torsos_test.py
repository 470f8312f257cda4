"""Tests of core/networks/torsos.py: against NumPy, written from the paper.

Espeholt et al. 2018 (arXiv:1802.01561), figure 3: left shallow, right deep.
"""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized
from numpy.lib.stride_tricks import sliding_window_view

from core.errors import UserError
from core.networks import torsos
from core.networks.actor_critic import ActorCritic
from core.types import EnvSpec

FRAME_SHAPE = (2, 45, 52, 3)


def windows(x, size, stride, padding, fill=0.0):
  """Cuts [B, H, W, C] into [B, H', W', C, size, size]."""
  if padding == 'SAME':
    pads = [(0, 0)]
    for length in x.shape[1:3]:
      total = max((-(-length // stride) - 1) * stride + size - length, 0)
      pads.append((total // 2, total - total // 2))
    x = np.pad(x, [*pads, (0, 0)], constant_values=fill)
  return sliding_window_view(x, (size, size), (1, 2))[:, ::stride, ::stride]


def relu(x):
  return np.maximum(x, 0.0)


class Reference:
  """NumPy's torso with the weights of ours, in float64."""

  def __init__(self, torso):
    self._variables = {
      '/'.join(v.name.split('/')[-2:]).split(':')[0]: v.numpy().astype(float)
      for v in torso.trainable_variables
    }

  def convolve(self, x, name, stride, padding):
    w, b = self._variables[f'{name}/w'], self._variables[f'{name}/b']
    patches = windows(x, len(w), stride, padding)
    return np.einsum('bhwcij,ijco->bhwo', patches, w) + b

  def deep(self, x):
    for section in ('section0', 'section1', 'section2'):
      x = self.convolve(x, f'{section}_conv0', 1, 'SAME')
      x = windows(x, 3, 2, 'SAME', -np.inf).max((-2, -1))
      for first, second in ((1, 2), (3, 4)):
        block = self.convolve(relu(x), f'{section}_conv{first}', 1, 'SAME')
        x = x + self.convolve(relu(block), f'{section}_conv{second}', 1, 'SAME')
    return x

  def shallow(self, x):
    x = relu(self.convolve(x, 'conv1', 4, 'VALID'))
    return self.convolve(x, 'conv2', 2, 'VALID')


class TorsoTest(parameterized.TestCase):
  @parameterized.product(
    kind=('deep', 'shallow'),
    precision=(('float32', 1e-5), ('bfloat16', 0.03)),
    is_traced=(False, True),
  )
  def test_equals_numpy(self, kind, precision, is_traced):
    dtype, tolerance = precision
    torso = dict(deep=torsos.DeepTorso, shallow=torsos.ShallowTorso)[kind](
      tf.dtypes.as_dtype(dtype)
    )
    rng = np.random.default_rng(0)
    frames = rng.random(FRAME_SHAPE, np.float32)
    torso(frames)
    for variable in torso.trainable_variables:
      noise = rng.normal(0.0, 0.1, variable.shape)
      variable.assign_add(noise.astype(np.float32))
    # Traced, TensorFlow fuses convolutions with what follows them.
    call = tf.function(torso, autograph=False) if is_traced else torso
    found = tf.cast(call(frames), tf.float32).numpy()
    expected = getattr(Reference(torso), kind)(frames)
    self.assertEqual(found.shape, expected.shape)
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    self.assertLess(difference, tolerance)


class ScaleFramesTest(absltest.TestCase):
  def test_frames_are_scaled_to_one(self):
    frames = np.array([[[[0], [51], [255]]]], np.uint8)
    scaled = torsos.scale_frames(tf.constant(frames), False)
    np.testing.assert_allclose(scaled[0, 0, :, 0], [0.0, 0.2, 1.0], rtol=1e-6)


class AddBiasTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('float32', tf.float32, 1e-4), ('bfloat16', tf.bfloat16, 1e-2)
  )
  def test_gradient_of_a_million_positions(self, dtype, rtol):
    # tf.nn.bias_add's own gradient is off by half here in bfloat16.
    rng = np.random.default_rng(0)
    upstream = rng.normal(0.1, 1.0, [300, 60, 60, 4]).astype(np.float32)
    upstream = tf.cast(upstream, dtype)
    bias = tf.Variable([0.5, -1.0, 2.0, 0.0])
    x = tf.zeros(upstream.shape, dtype)
    with tf.GradientTape() as tape:
      tape.watch(x)
      y = torsos.add_bias(x, bias)
    x_gradient, gradient = tape.gradient(y, (x, bias), upstream)
    expected = np.sum(tf.cast(upstream, tf.float64), axis=(0, 1, 2))
    np.testing.assert_array_equal(y[0, 0, 0], tf.cast(bias, dtype))
    np.testing.assert_array_equal(x_gradient, upstream)
    self.assertEqual(gradient.dtype, tf.float32)
    np.testing.assert_allclose(gradient, expected, rtol=rtol)


class SmallFramesTest(absltest.TestCase):
  def test_shallow_torso_refuses_what_its_filters_do_not_fit(self):
    small = EnvSpec(task_names=('a',), num_actions=2, frame_shape=(19, 40, 1))
    message = '--torso=shallow needs frames of 20x20 at least, not 19x40'
    with self.assertRaisesRegex(UserError, message):
      ActorCritic(small, 'shallow', use_lstm=False)
    fits = small._replace(frame_shape=(20, 40, 1))
    ActorCritic(fits, 'shallow', use_lstm=False).create_variables()


if __name__ == '__main__':
  absltest.main()
