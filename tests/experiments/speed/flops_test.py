"""Tests of experiments/speed/flops.py."""

from absl.testing import absltest, parameterized

from experiments.speed import flops


class CountFlopsTest(absltest.TestCase):
  def test_shallow(self):
    shapes = {
      'agent/shallow_torso/conv1/w': (8, 8, 4, 16),
      'agent/shallow_torso/conv1/b': (16,),
      'agent/shallow_torso/conv2/w': (4, 4, 16, 32),
      'agent/torso_linear/w': (2592, 256),
      'agent/policy_logits/w': (263, 6),
      'agent/baseline/w': (263, 1),
      'rmsprop_moment/agent/torso_linear/w': (2592, 256),
    }
    # 20x20 and 9x9 places; the first without a gradient of frames.
    first = 20 * 20 * 8 * 8 * 4 * 16
    others = 9 * 9 * 4 * 4 * 16 * 32 + 2592 * 256 + 263 * 7
    self.assertEqual(
      flops.count_flops(shapes, (84, 84), 10, 0),
      10 * 2 * (2 * first + 3 * others),
    )

  def test_deep_with_language(self):
    shapes = {
      f'agent/deep_torso/section{s}_conv{i}/w': (3, 3, 16, 16)
      for s in range(3)
      for i in range(5)
    }
    shapes['agent/deep_torso/section0_conv0/w'] = (3, 3, 3, 16)
    shapes['agent/instruction_encoder/language_lstm/w'] = (84, 256)
    shapes['agent/instruction_encoder/embedding'] = (1000, 20)
    shapes['agent/core/w'] = (600, 1024)
    # 72x96 halved three times; the fourth size is the last section's blocks.
    sizes = (72 * 96, 36 * 48, 18 * 24, 9 * 12)
    first = sizes[0] * 9 * 3 * 16
    blocks = 4 * (sizes[1] + sizes[2] + sizes[3]) + sizes[1] + sizes[2]
    others = blocks * 9 * 16 * 16 + 16 * 84 * 256 + 600 * 1024
    self.assertEqual(
      flops.count_flops(shapes, (72, 96), 7, 16),
      7 * 2 * (2 * first + 3 * others),
    )

  def test_brc(self):
    shapes = {
      'critic/input/w': (2, 39, 16),
      'critic/input/b': (2, 1, 16),
      'critic/head/w': (2, 16, 101),
      'actor/mean/w': (16, 2),
      'target_critic/input/w': (2, 39, 16),
      'critic_adamw_mean/critic/input/w': (2, 39, 16),
    }
    critics = 2 * 39 * 16 + 2 * 16 * 101
    self.assertEqual(
      flops.count_brc_flops(shapes, 10), 20 * (6 * critics + 4 * 32)
    )

  def test_stacx(self):
    shapes = {
      'stacx/shallow_torso/conv1/w': (8, 8, 4, 16),
      'stacx/shallow_torso/conv2/w': (4, 4, 16, 32),
      'stacx/torso_linear/w': (2592, 256),
      'stacx/policy/w_hidden': (263, 3, 256),
      'stacx/policy/w': (3, 256, 6),
      'stacx/values/w_hidden': (263, 3, 256),
      'stacx/values/w': (3, 256, 1),
      'stacx/values/b_hidden': (3, 256),
    }
    first = 20 * 20 * 8 * 8 * 4 * 16
    torso = 9 * 9 * 4 * 4 * 16 * 32 + 2592 * 256
    head = 2 * 263 * 256 + 256 * 7
    # Inner and outer gradient, and two products for J u; of frames one.
    products = 5 * first + 8 * torso + (3 * 3 + 3 * 2 + 3) * head
    self.assertEqual(
      flops.count_flops(shapes, (84, 84), 10, 0, num_heads=3),
      10 * 2 * products,
    )


class PeakTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('h100', 'NVIDIA H100 80GB HBM3', 'bfloat16', 989.4e12),
    ('h100_float32', 'NVIDIA H100 80GB HBM3', 'float32', 494.7e12),
    ('h100_pcie', 'NVIDIA H100 PCIe', 'bfloat16', 756e12),
    ('h200', 'NVIDIA H200', 'bfloat16', 989.4e12),
    ('a100', 'NVIDIA A100-SXM4-40GB', 'float32', 156e12),
    ('l4', 'NVIDIA L4', 'bfloat16', 121e12),
    ('t4', 'Tesla T4', 'float32', 8.1e12),
  )
  def test_known(self, kind, precision, expected):
    self.assertEqual(flops.peak_flops(kind, precision), expected)

  @parameterized.named_parameters(
    ('cpu', 'cpu', 'float32'),
    ('other_card', 'NVIDIA L40S', 'float32'),
    ('other_h200', 'NVIDIA H200 NVL', 'bfloat16'),
    ('t4_bfloat16', 'Tesla T4', 'bfloat16'),
  )
  def test_unknown(self, kind, precision):
    self.assertIsNone(flops.peak_flops(kind, precision))


if __name__ == '__main__':
  absltest.main()
