"""SAC's policy: a Gaussian that tanh squashes into [-1, 1].

Haarnoja et al. 2018, appendix C (arXiv:1812.05905).
"""

import math

import tensorflow as tf


def sample(
  mean: tf.Tensor, log_std: tf.Tensor, noise: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns actions tanh(mean + std noise), [B, D], and their log pi, [B].

  Args:
    mean: float32 [B, D], before the tanh.
    log_std: float32 [B, D].
    noise: float32 [B, D], standard normal.
  """
  before = mean + tf.exp(log_std) * noise
  gaussian = -0.5 * tf.square(noise) - log_std - 0.5 * math.log(2.0 * math.pi)
  # log(1 - tanh(u)^2), which rounding would take to -inf.
  squashing = 2.0 * (math.log(2.0) - before - tf.math.softplus(-2.0 * before))
  return tf.tanh(before), tf.reduce_sum(gaussian - squashing, axis=1)
