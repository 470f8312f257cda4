"""Limits of what the configs of all papers share."""

import importlib

from absl import flags as absl_flags
from absl.testing import absltest, parameterized

from core import flags
from core.errors import UserError


def resolve(config_class, *arguments):
  values = absl_flags.FlagValues()
  presets = {'default': config_class()}
  flags.define(config_class, presets, values)
  values(['program', *arguments])
  return flags.resolve(config_class, presets, values, ['program', *arguments])


class LimitsTest(parameterized.TestCase):
  @parameterized.product(
    name=(
      'batch_size',
      'unroll_length',
      'num_environments',
      'num_actors',
      'num_groups',
      'queue_capacity',
    ),
    paper=('impala', 'distral'),
  )
  def test_absurd_sizes_are_refused_at_once(self, name, paper):
    config_class = importlib.import_module(f'{paper}.config').Config
    with self.assertRaisesRegex(
      UserError, f'^{name} must be at most \\d+, not'
    ):
      resolve(config_class, f'--{name}=1e15')
    found = resolve(config_class, f'--{name}=1000')
    self.assertEqual(getattr(found, name), 1000)

  @parameterized.parameters('impala', 'popart', 'pixel_control', 'distral')
  def test_every_preset_is_within_them(self, paper):
    config = importlib.import_module(f'{paper}.config')
    self.assertNotEmpty(config.PRESETS)
    for name in config.PRESETS:
      values = absl_flags.FlagValues()
      flags.define(config.Config, config.PRESETS, values)
      values(['program', f'--preset={name}'])
      found = flags.resolve(config.Config, config.PRESETS, values, ['program'])
      self.assertEqual(found, config.PRESETS[name])


if __name__ == '__main__':
  absltest.main()
