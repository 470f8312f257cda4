"""Tests of core/training/progress.py."""

import collections
import io
import re

import rich.console
from absl.testing import absltest, parameterized

from core.training import progress


def returns(*values):
  return collections.deque(values, maxlen=100)


class ProgressTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.output = io.StringIO()

  def show(self, names, is_terminal=False, interval_secs=0.0, total=2000):
    console = rich.console.Console(
      file=self.output,
      force_terminal=is_terminal,
      width=60,
      color_system=None,
      _environ={'TERM': 'xterm'},
    )
    return progress.Progress(total, names, interval_secs, console)

  def lines(self):
    return self.output.getvalue().splitlines()

  def test_plain_line(self):
    shown = self.show(['pong', 'breakout', 'qbert'], total=2_000_000)
    episodes = {'pong': returns(-21, -20), 'breakout': returns(4.25)}
    shown.update(500_000, 1234.4, {**episodes, 'qbert': returns()}, 'lag 1')
    self.assertEqual(
      self.lines(),
      [
        '500,000/2,000,000 frames (25.0%), 1,234 frames/s, 0:20:15 left, '
        'return pong -20.50, breakout 4.25, lag 1'
      ],
    )

  def test_without_episodes_or_speed(self):
    self.show(['pong']).update(0, 0.0, {})
    self.assertEqual(
      self.lines(),
      ['0/2,000 frames (0.0%), 0 frames/s, unknown time left, no episode yet'],
    )

  def test_while_no_frames_are_played(self):
    self.show(['pong']).update(500, None, {}, 'update 3/4')
    self.assertEqual(
      self.lines(), ['500/2,000 frames (25.0%), no episode yet, update 3/4']
    )

  def test_many_tasks_are_led_by_their_mean(self):
    names = [f'task_{i}' for i in range(13)]
    episodes = {name: returns(i) for i, name in enumerate(names) if i != 1}
    self.show(names).update(1, 1.0, episodes)
    self.assertIn(
      'return mean of 12 tasks 6.42, task_0 0.00, task_2 2.00, task_3 3.00, '
      'task_4 4.00, task_5 5.00',
      self.output.getvalue(),
    )
    self.assertNotIn('task_6', self.output.getvalue())

  def test_twelve_tasks_are_all_shown(self):
    names = [f'task_{i}' for i in range(12)]
    self.show(names).update(1, 1.0, {name: returns(1) for name in names})
    for name in names:
      self.assertIn(f'{name} 1.00', self.output.getvalue())
    self.assertNotIn('mean of', self.output.getvalue())

  def test_one_line_per_interval_and_the_last(self):
    shown = self.show(['pong'], interval_secs=1000.0)
    for frames in (100, 200, 300):
      shown.update(frames, 1.0, {})
    self.assertLen(self.lines(), 1)
    shown.close()
    self.assertEqual(
      [line.split('/')[0] for line in self.lines()], ['100', '300']
    )
    shown.close()
    self.assertLen(self.lines(), 2)

  def test_close_does_not_repeat_what_was_shown(self):
    shown = self.show(['pong'], interval_secs=1000.0)
    shown.update(100, 1.0, {})
    shown.close()
    self.assertLen(self.lines(), 1)

  def test_every_update_without_interval(self):
    shown = self.show(['pong'])
    for frames in (100, 200, 300):
      shown.update(frames, 1.0, {})
    self.assertLen(self.lines(), 3)

  def test_close_before_any_update(self):
    for is_terminal in (False, True):
      self.show(['pong'], is_terminal).close()
    self.assertNotIn('frames', self.output.getvalue())

  def test_terminal(self):
    shown = self.show(['pong', 'breakout'], is_terminal=True)
    episodes = {'pong': returns(-21, -20), 'breakout': returns(4.25)}
    shown.update(500, 100.0, {})
    shown.update(1500, 100.0, episodes, 'saved [bold]')
    self.assertIn('500/2,000 frames (25.0%)', self.output.getvalue())
    # Renewed at most twice a second.
    self.assertNotIn('1,500/2,000', self.output.getvalue())
    shown.close()
    text = re.sub(r'\x1b\[[0-9;?]*[A-Za-z]', '', self.output.getvalue())
    self.assertIn(
      '1,500/2,000 frames (75.0%)  100 frames/s  0:00:05 left', text
    )
    self.assertRegex(text, r'pong +-20\.50')
    self.assertRegex(text, r'breakout +4\.25')
    self.assertIn('saved [bold]', text)
    self.assertEqual(re.findall('━+', text)[-1], '━' * 45)
    # The cursor was hidden; it is shown again.
    self.assertIn('\x1b[?25l', self.output.getvalue())
    self.assertGreater(
      self.output.getvalue().rindex('\x1b[?25h'),
      self.output.getvalue().rindex('\x1b[?25l'),
    )


if __name__ == '__main__':
  absltest.main()
