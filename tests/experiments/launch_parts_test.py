"""Tests of what launch.py is made of: progress, estimates, display."""

import io
import json
import os
import pathlib
import subprocess
import tempfile
from unittest import mock

import rich.console
from absl.testing import absltest, parameterized

from core.errors import UserError
from experiments import launch_display, launch_estimate, run_process, sweeps
from experiments.launch import Job
from experiments.launch_estimate import Measurement
from tests.experiments import short_run


class LaunchPartsTestCase(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)

  def read_sweep(self, **changes):
    constants = dict(
      MODULE='tests.experiments.short_run',
      FLAGFILE='',
      OVERRIDES=({'learning_rate': 0.1}, {'learning_rate': 0.2}),
      SEEDS=(1, 2),
      LOGDIR=str(self.folder / 'runs'),
    )
    path = self.folder / 'sweep.py'
    lines = [f'{k} = {v!r}\n' for k, v in {**constants, **changes}.items()]
    path.write_text(''.join(lines))
    return sweeps.read(str(path))


class ProgressTest(LaunchPartsTestCase):
  def write_run(self, config, updates, checkpoints=()):
    text = json.dumps({'config': config})
    (self.folder / 'run.json').write_text(text)
    (self.folder / 'updates.csv').write_text(updates)
    (self.folder / 'checkpoints').mkdir()
    for frames in checkpoints:
      name = f'checkpoint_{frames:015d}.npz'
      (self.folder / 'checkpoints' / name).touch()

  def test_last_whole_row(self):
    header = 'env_frames,loss,frames_per_sec,wall_secs\n'
    rows = ''.join(f'{i}00,0.5,{i}.5,9\n' for i in range(1, 5000))
    config = dict(total_environment_frames=10**6, stop_frames=0)
    self.write_run(config, header + rows + '50000')
    self.assertEqual(
      run_process.read_progress(str(self.folder)),
      run_process.Progress(499900, 10**6, 4999.5),
    )

  def test_nothing_yet(self):
    nothing = run_process.Progress()
    self.assertEqual(run_process.read_progress(str(self.folder)), nothing)
    self.write_run({}, 'env_frames,frames_per_sec\n')
    self.assertEqual(run_process.read_progress(str(self.folder)), nothing)

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
    self.write_run(config, '', checkpoints)
    found = run_process.missing_frames(str(self.folder))
    self.assertEqual(found, expected)

  def test_process_is_told_from_a_later_one(self):
    ticks = run_process.start_ticks(os.getpid())
    self.assertGreater(ticks, 0)
    for found, expected in ((ticks, True), (ticks + 1, False)):
      state = run_process.State(pid=os.getpid(), start_ticks=found)
      self.assertEqual(run_process.is_alive(state), expected)
    child = subprocess.Popen(['true'])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    self.assertEqual(run_process.start_ticks(child.pid), 0)  # A zombie.
    child.wait()


class EstimateTest(LaunchPartsTestCase):
  def test_arithmetic(self):
    one = Measurement(
      frames=3_600_000,
      frames_per_sec=1000.0,
      start_secs=360.0,
      memory=2 * 10**9,
      record_bytes_per_frame=100.0,
      checkpoint_bytes=10**9,
    )
    self.assertAlmostEqual(one.hours, 1.1)
    self.assertAlmostEqual(one.disk, 1.36e9)
    other = Measurement(7_200_000, 1000.0, 0.0, 10**9, 0.0, 0)
    runs = self.read_sweep(SEEDS=(1, 2, 3)).runs
    table = launch_estimate.make_table([(runs[:4], one), (runs[4:], other)], 4)
    output = io.StringIO()
    rich.console.Console(file=output, width=120).print(table)
    lines = output.getvalue().splitlines()
    self.assertEqual(
      [line.split()[1:] for line in lines[1:3]],
      [
        ['4', '3,600,000', '1,000', '4.40', '2.00', 'GB', '5.44', 'GB'],
        ['2', '7,200,000', '1,000', '4.00', '1.00', 'GB', '0.00', 'GB'],
      ],
    )
    # 28.8 million frames; 8.4 hours by 4; four of the larger.
    self.assertEqual(
      lines[-1].split()[-7:],
      ['6', '28,800,000', '2.10', '8.00', 'GB', '5.44', 'GB'],
    )

  def test_settings_that_differ_in_decimals_cost_the_same(self):
    overrides = [
      {'preset': preset, 'learning_rate': rate}
      for preset in ('a', 'b')
      for rate in (0.1, 0.2)
    ]
    runs = self.read_sweep(OVERRIDES=overrides).runs
    groups = launch_estimate.distinct(runs)
    self.assertEqual([len(group) for group in groups], [4, 4])
    self.assertEqual(
      [group[0].setting['preset'] for group in groups], ['a', 'b']
    )

  @parameterized.named_parameters(
    ('by_updates', dict(checkpoint_updates=5, checkpoint_secs=600.0), 9.0, 3),
    ('short', dict(checkpoint_updates=0, checkpoint_secs=600.0), 599.0, 1),
    ('longer', dict(checkpoint_updates=0, checkpoint_secs=600.0), 601.0, 2),
    ('long', dict(checkpoint_updates=0, checkpoint_secs=600.0), 1e6, 3),
  )
  def test_checkpoints(self, config, secs, expected):
    config = dict(config, keep_checkpoints=3)
    self.assertEqual(launch_estimate.num_checkpoints(config, secs), expected)

  def test_a_run_is_measured_and_leaves_nothing(self):
    slow = {'total_environment_frames': 100_000}
    sweep = self.read_sweep(OVERRIDES=(slow,))
    with mock.patch.object(launch_estimate, 'MEASURED_SECS', 0.3):
      one = launch_estimate.measure(sweep, sweep.runs[0], 2)
    self.assertEqual(one.frames, 100_000)
    self.assertAlmostEqual(one.frames_per_sec, short_run.FRAMES_PER_SEC, -1)
    self.assertBetween(one.start_secs, 0.1, 30.0)
    self.assertBetween(one.memory, 10**7, 10**9)
    self.assertGreater(one.checkpoint_bytes, 100)
    self.assertGreater(one.record_bytes_per_frame, 0.05)
    self.assertFalse((self.folder / 'runs').exists())

  def test_a_run_that_fails(self):
    sweep = self.read_sweep(OVERRIDES=({'colour': 'red'},))
    with self.assertRaisesRegex(UserError, 'unrecognized arguments'):
      launch_estimate.measure(sweep, sweep.runs[0], 1)


class DisplayTest(LaunchPartsTestCase):
  def make_jobs(self):
    """Four runs, of which two are at work: at 400 and 700 of 1000 frames."""
    jobs = [
      Job(run, run_process.State())
      for run in self.read_sweep(SEEDS=(1, 2, 3)).runs
    ]
    for job, frames in zip(jobs, (400, 700), strict=False):
      logdir = pathlib.Path(job.run.logdir)
      logdir.mkdir(parents=True)
      config = {'config': {'total_environment_frames': 1000}}
      (logdir / 'run.json').write_text(json.dumps(config))
      (logdir / 'updates.csv').write_text(
        f'env_frames,frames_per_sec\n{frames},10.0\n'
      )
      job.state, job.started = 'running', 0.0
      job.process = mock.Mock()
    jobs[2].state, jobs[2].disk_state.secs = 'done', 50.0
    jobs[3].state, jobs[3].reason = 'failed', 'exit status 3'
    return jobs

  def test_time_left(self):
    jobs = self.make_jobs()
    with mock.patch('time.monotonic', return_value=40.0):
      # 60 s and 30 s are left of the two at work. A whole run takes 100 s, 70 s
      # or 50 s; two wait; two are at work side by side.
      expected = (60 + 30 + 2 * (100 + 70 + 50) / 3) / 2
      self.assertAlmostEqual(launch_display.secs_left(jobs), expected)
    for job in jobs[:2]:
      job.state = 'done'
    self.assertIsNone(launch_display.secs_left(jobs))

  def show(self, jobs, is_terminal):
    output = io.StringIO()
    console = rich.console.Console(
      file=output, force_terminal=is_terminal, width=100, height=8
    )
    with launch_display.Display(console) as display:
      for _ in range(2):
        display.update(jobs)
      jobs[0].state, jobs[0].reason = 'failed', 'exit status 3'
      display.update(jobs)
    return output.getvalue()

  def test_lines_without_a_terminal(self):
    jobs = self.make_jobs()
    lines = self.show(jobs, is_terminal=False).splitlines()
    changes = [line for line in lines if 'seed_1 ' in line and ':' in line]
    self.assertLen(changes, 3, lines)
    self.assertEndsWith(
      changes[-1], 'learning_rate=0.1/seed_1 failed: exit status 3'
    )
    summaries = [line for line in lines if '6 runs: ' in line]
    self.assertLen(summaries, 1)
    self.assertIn('2 running, 1 failed, 2 waiting, 1 done', summaries[0])
    self.assertIn('  learning_rate=0.1/seed_1 400/1,000 10 frames/s', lines)

  def test_table_on_a_low_terminal(self):
    output = self.show(self.make_jobs(), is_terminal=True)
    self.assertIn('2 running, 1 failed, 2 waiting, 1 done', output)
    self.assertRegex(output, r'running stage 1 of 1 +400/1,000 +10 +0:01:00')
    self.assertIn('and 2 more', output)


if __name__ == '__main__':
  absltest.main()
