"""What a sweep will cost."""

import io
import json
import math

import rich.console
from absl.testing import absltest, parameterized

from core.errors import UserError
from experiments.launch import estimate
from experiments.launch.estimate import Measurement
from tests.experiments import short_run
from tests.experiments.launch.sweep_case import SweepTestCase


def json_of(**changes):
  """Returns a benchmark.json that is right but for the changes."""
  content = {
    'config': {'stop_frames': 0, 'total_environment_frames': 100},
    'frames_per_sec': {'training': [1.0, 2.0]},
    'peak_memory_gb': 0.5,
  }
  return json.dumps({**content, **changes})


class EstimateTest(SweepTestCase):
  def test_arithmetic(self):
    one = Measurement(3_600_000, frames_per_sec=1000.0, memory_gb=2.0)
    self.assertAlmostEqual(one.hours, 1.0)
    other = Measurement(7_200_000, frames_per_sec=1000.0, memory_gb=1.0)
    runs = self.read_sweep(SEEDS=(1, 2, 3)).runs
    table = estimate.make_table([(runs[:4], one), (runs[4:], other)], 4)
    output = io.StringIO()
    rich.console.Console(file=output, width=120).print(table)
    lines = [line.split() for line in output.getvalue().splitlines()]
    self.assertEqual(
      [line[1:] for line in lines[1:3]],
      [
        ['4', '3,600,000', '1,000', '4.00', '2.00', 'GB'],
        ['2', '7,200,000', '1,000', '4.00', '1.00', 'GB'],
      ],
    )
    # 28.8 million frames; 8 hours by 4; four of the larger.
    self.assertEqual(lines[-1][-5:], ['6', '28,800,000', '2.00', '8.00', 'GB'])

  def test_settings_that_differ_in_decimals_cost_the_same(self):
    overrides = [
      {'preset': preset, 'learning_rate': rate}
      for preset in ('a', 'b')
      for rate in (0.1, 0.2)
    ]
    runs = self.read_sweep(OVERRIDES=overrides).runs
    groups = estimate.distinct(runs)
    self.assertEqual([len(group) for group in groups], [4, 4])
    self.assertEqual(
      [group[0].setting['preset'] for group in groups], ['a', 'b']
    )

  def test_a_run_is_measured_and_leaves_nothing(self):
    sweep = self.read_sweep(OVERRIDES=({'total_environment_frames': 100_000},))
    one = estimate.measure(sweep, sweep.runs[0], 2)
    self.assertEqual(one.frames, 100_000)
    self.assertEqual(one.frames_per_sec, short_run.FRAMES_PER_SEC)
    self.assertEqual(one.memory_gb, 0.5)
    self.assertFalse(self.logdir.exists())

  def test_a_run_that_fails(self):
    sweep = self.read_sweep(OVERRIDES=({'colour': 'red'},))
    with self.assertRaisesRegex(UserError, 'unrecognized arguments'):
      estimate.measure(sweep, sweep.runs[0], 1)

  @parameterized.named_parameters(
    ('cut_off', '{"config": {', 'cannot read .*benchmark.json'),
    ('list', '[1]', 'benchmark.json: it is not an object'),
    ('empty', '{}', "benchmark.json is not of a benchmark: 'config'"),
    ('no_config', json_of(config=None), 'is not of a benchmark'),
    (
      'frames',
      json_of(config={'stop_frames': 'x'}),
      'config.stop_frames is no',
    ),
    ('no_frames', json_of(config={'stop_frames': 0}), 'is not of a benchmark'),
    (
      'no_rates',
      json_of(frames_per_sec={'training': []}),
      'no median for empty',
    ),
    ('words', json_of(frames_per_sec={'training': ['x']}), 'x is not positive'),
    ('at_rest', json_of(frames_per_sec={'training': [0]}), '0 is not positive'),
    ('memory', json_of(peak_memory_gb=math.nan), 'nan is not positive'),
  )
  def test_a_benchmark_that_is_damaged(self, content, message):
    sweep = self.read_sweep(OVERRIDES=({'benchmark_json': content},))
    with self.assertRaisesRegex(UserError, message) as context:
      estimate.measure(sweep, sweep.runs[0], 1)
    self.assertNotIn('\n', str(context.exception))

  def test_a_sweep_that_only_tests(self):
    sweep = self.read_sweep(STAGES=({'mode': 'test'},))
    with self.assertRaisesRegex(UserError, 'needs training as the first'):
      estimate.measure(sweep, sweep.runs[0], 1)


if __name__ == '__main__':
  absltest.main()
