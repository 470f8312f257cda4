"""The torsos against NumPy, written from the architecture that is published.

Espeholt et al. 2018 (arXiv:1802.01561), figure 3: left shallow, right deep.
"""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized
from numpy.lib.stride_tricks import sliding_window_view

from core import networks

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
    torso = dict(deep=networks.DeepTorso, shallow=networks.ShallowTorso)[kind](
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


if __name__ == '__main__':
  absltest.main()
