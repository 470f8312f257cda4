"""How a process is found again, and whether training got to its end."""

import json
import os
import subprocess

from absl.testing import absltest, parameterized

from core.errors import UserError
from experiments.launch import process, schedule
from tests.experiments.launch.sweep_case import SweepTestCase


class ProcessTest(SweepTestCase):
  @parameterized.named_parameters(
    ('before', 0, (500, 900), 'ended early, at frame 900 of 1,000'),
    ('at_the_end', 0, (500, 1000), None),
    ('beyond', 0, (1020,), None),
    ('at_stop_frames', 800, (800,), None),
    ('before_stop_frames', 800, (700,), 'ended early, at frame 700 of 800'),
    ('without_checkpoints', 0, (), None),
  )
  def test_missing_frames(self, stop_frames, checkpoints, expected):
    config = dict(total_environment_frames=1000, stop_frames=stop_frames)
    (self.folder / 'run.json').write_text(json.dumps({'config': config}))
    (self.folder / 'checkpoints').mkdir()
    for frames in checkpoints:
      name = f'checkpoint_{frames:015d}.npz'
      (self.folder / 'checkpoints' / name).touch()
    found = schedule.missing_frames(str(self.folder))
    self.assertEqual(found, expected)

  def test_process_is_told_from_a_later_one(self):
    created = process.create_time(os.getpid())
    self.assertGreater(created, 0)
    for found, expected in ((created, True), (created + 60, False)):
      state = process.State(pid=os.getpid(), create_time=found)
      self.assertEqual(process.is_alive(state), expected)
    self.assertFalse(process.is_alive(process.State()))
    child = subprocess.Popen(['true'])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    self.assertEqual(process.create_time(child.pid), 0)  # A zombie.
    child.wait()
    # It may have been a zombie when launch.json was written.
    state = process.State(pid=child.pid, create_time=0.0)
    self.assertFalse(process.is_alive(state))

  def test_state_is_what_was_written(self):
    state = process.State(done=['a'], secs=2.5, pid=3, create_time=4.0)
    folder = str(self.folder)
    process.write_state(folder, state)
    self.assertEqual(process.read_state(folder), state)
    path = self.folder / 'launch.json'
    path.write_text('{"done": ["a"], "secs": 2.5, "pid": 3, "start_ticks": 4}')
    self.assertEqual(process.read_state(folder).done, ['a'])

  @parameterized.parameters('log', 'launch.json', 'launch.lock')
  def test_a_named_pipe_is_refused(self, name):
    path = self.folder / name
    os.mkfifo(path)
    with self.assertRaisesRegex(UserError, f'{path}.* not a file'):
      if name == 'launch.lock':
        self.enter_context(process.lock(str(self.folder)))
      process.read_state(str(self.folder))

  @parameterized.parameters(
    '[]',
    '{',
    '{"done": null}',
    '{"done": "a"}',
    '{"done": [1]}',
    '{"pid": "x"}',
    '{"pid": null}',
    '{"pid": true}',
    '{"pid": -1}',
    '{"pid": 1e99}',
    '{"secs": "1"}',
    '{"secs": NaN}',
    '{"create_time": [1]}',
    '{"other": 1}',
    '[' * 99_999,
  )
  def test_a_damaged_state_is_named(self, text):
    path = self.folder / 'launch.json'
    path.write_text(text)
    with self.assertRaisesRegex(UserError, f'cannot .*{path}') as caught:
      process.read_state(str(self.folder))
    self.assertNotIn('\n', str(caught.exception))
    self.assertLess(len(str(caught.exception)), 300)


if __name__ == '__main__':
  absltest.main()
