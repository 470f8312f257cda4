"""Limits of what the configs of all papers share."""

import dataclasses
import importlib

from absl import flags as absl_flags
from absl.testing import absltest, parameterized

from core import flags
from core.errors import UserError
from core.run_config import ActorLearnerConfig


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
    found = resolve(config_class, f'--{name}=64')
    self.assertEqual(getattr(found, name), 64)

  @parameterized.parameters('impala', 'popart', 'pixel_control', 'distral')
  def test_every_preset_is_within_them(self, paper):
    config = importlib.import_module(f'{paper}.config')
    self.assertNotEmpty(config.PRESETS)
    for name in config.PRESETS:
      values = absl_flags.FlagValues()
      flags.define(config.Config, config.PRESETS, values)
      values(['program', f'--preset={name}'])
      found = flags.resolve(config.Config, config.PRESETS, values, ['program'])
      expected = dataclasses.replace(config.PRESETS[name], preset=name)
      self.assertEqual(found, expected)


class GroupsTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('a_batch', 32, 32, 2, 1, [16, 16]),
    ('one_group', 35, 32, 1, 7, [35]),
    ('more_are_kept', 32, 32, 4, 1, [8] * 4),
    ('uneven', 7, 8, 2, 1, [4, 3]),
    ('scalable_agent', 32, 2, 2, 1, [2] * 16),
    ('all_levels_in_each', 150, 32, 2, 30, [30] * 5),
    ('no_equal_cut', 114, 32, 2, 57, [38] * 3),
    ('as_many_of_each_task', 192, 6, 2, 6, [6] * 32),
    ('at_most_64', 1000, 2, 2, 1, [16] * 40 + [15] * 24),
  )
  def test_widths(self, num_environments, batch_size, num_groups, tasks, found):
    config = ActorLearnerConfig(
      num_environments=num_environments,
      batch_size=batch_size,
      num_groups=num_groups,
    )
    self.assertEqual(config.group_widths(tasks), found)


if __name__ == '__main__':
  absltest.main()
