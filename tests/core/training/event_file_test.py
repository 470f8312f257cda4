"""Tests of core/training/event_file.py, as TensorBoard reads the files."""

import contextlib
import os
import tempfile
import time
from unittest import mock

from absl.testing import absltest, parameterized
from tensorboard.backend.event_processing import event_accumulator

from core.training.event_file import EventFile

CLOCK = 1_700_000_000.5


class EventFileTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.logdir = self.enter_context(tempfile.TemporaryDirectory())
    self.accumulator = event_accumulator.EventAccumulator(self.logdir)

  @contextlib.contextmanager
  def start(self, first_step, clock=CLOCK):
    """A start of the run while the clock stands still."""
    with mock.patch.object(time, 'time', return_value=clock):
      events = EventFile(self.logdir, first_step)
      yield events
      events.close()

  def write(self, first_step, steps, clock=CLOCK):
    with self.start(first_step, clock) as events:
      for step in steps:
        events.scalars(step, {'loss': -step / 4})

  def points(self, accumulator=None):
    accumulator = accumulator or event_accumulator.EventAccumulator(self.logdir)
    accumulator.Reload()
    if 'loss' not in accumulator.Tags()['scalars']:
      return []
    return [(e.step, e.value) for e in accumulator.Scalars('loss')]

  def assert_points(self, steps, accumulator=None):
    expected = [(step, -step / 4) for step in steps]
    self.assertEqual(self.points(accumulator), expected)

  @parameterized.named_parameters(
    ('goes_on', 60.0), ('stands_still', 0.0), ('is_set_back', -3600.0)
  )
  def test_shows_all_points_of_two_starts(self, change):
    self.write(0, range(20))
    self.write(20, range(20, 40), CLOCK + change)
    self.assert_points(range(40))

  def test_more_than_ten_starts_while_the_clock_runs_backwards(self):
    for start in range(12):
      steps = range(10 * start, 10 * start + 10)
      # The last three are lost in a kill, and played again.
      lost = range(steps[-1] + 1, steps[-1] + 4)
      self.write(steps[0], [*steps, *lost], CLOCK - 3600 * start)
    self.assert_points(range(123))

  def test_a_tensorboard_that_looks_on_misses_nothing(self):
    for start in range(3):
      with self.start(2 * start, CLOCK - start) as events:
        for step in (2 * start, 2 * start + 1):
          events.scalars(step, {'loss': -step / 4})
          events.flush()
          self.assert_points(range(step + 1), self.accumulator)

  def test_files_of_others_do_not_matter(self):
    for name in ('events.out.tfevents.x', 'updates.csv'):
      with open(os.path.join(self.logdir, name), 'wb'):
        pass
    self.write(0, range(3))
    self.assert_points(range(3))


if __name__ == '__main__':
  absltest.main()
