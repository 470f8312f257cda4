"""DrQ's augmentation: shifted and brighter or darker frames.

Yarats et al. 2021 (arXiv:2004.13649) shift; the intensity is that of Schwarzer
et al. 2021 (arXiv:2007.05929), as in Dopamine's DrQ(eps).

Axes: B batch, H W C the frame.
"""

from collections.abc import Sequence

import tensorflow as tf


def draw(
  shape: Sequence[int], seed: tf.Tensor, pad: int
) -> tuple[tf.Tensor, tf.Tensor]:
  """Draws what `shift` and `intensities` take.

  Args:
    shape: of the draws.
    seed: int32 [2].
    pad: of the shift.

  Returns:
    Offsets, int32 [*shape, 2], all of 0 to 2 pad equally likely; standard
    normal noise, float32 [*shape].
  """
  seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
  offsets = tf.random.stateless_uniform(
    [*shape, 2], seeds[0], 0, 2 * pad + 1, tf.int32, alg='philox'
  )
  return offsets, tf.random.stateless_normal(shape, seeds[1], alg='philox')


def shift(frames: tf.Tensor, offsets: tf.Tensor, pad: int) -> tf.Tensor:
  """Pads each side with its edge, then cuts the old size out again.

  Args:
    frames: [B, H, W, C] of any dtype.
    offsets: int32 [B, 2], 0 to 2 pad: where the cut begins, down and right;
      `pad` leaves the frame as it is.
    pad: pixels.

  Returns:
    As `frames`. The C channels of a row are shifted alike.
  """
  for axis in (1, 2):
    size = frames.shape[axis]
    # What lies in the padding is the nearest pixel.
    pixels = tf.range(size) + offsets[:, axis - 1, None] - pad
    pixels = tf.clip_by_value(pixels, 0, size - 1)
    frames = tf.gather(frames, pixels, axis=axis, batch_dims=1)
  return frames


def intensities(noise: tf.Tensor, scale: float) -> tf.Tensor:
  """Returns what frames are multiplied by: 1 + scale clip(noise, -2, 2).

  Args:
    noise: standard normal, float32 [B].
    scale: of the noise.
  """
  return 1.0 + scale * tf.clip_by_value(noise, -2.0, 2.0)
