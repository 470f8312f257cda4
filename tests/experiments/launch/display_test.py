"""What a person sees of a sweep."""

import io
import json
import pathlib
from unittest import mock

import rich.console
from absl.testing import absltest

from experiments.launch import display, process
from experiments.launch.schedule import Job
from tests.experiments.launch.sweep_case import SweepTestCase


class DisplayTest(SweepTestCase):
  def make_jobs(self):
    """Four runs, of which two are at work: at 400 and 700 of 1000 frames."""
    jobs = [
      Job(run, process.State()) for run in self.read_sweep(SEEDS=(1, 2, 3)).runs
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
      self.assertAlmostEqual(display.secs_left(jobs), expected)
    for job in jobs[:2]:
      job.state = 'done'
    self.assertIsNone(display.secs_left(jobs))

  def show(self, jobs, is_terminal):
    output = io.StringIO()
    console = rich.console.Console(
      file=output, force_terminal=is_terminal, width=100, height=8
    )
    with display.Display(console) as shown:
      for _ in range(2):
        shown.update(jobs)
      jobs[0].state, jobs[0].reason = 'failed', 'exit status 3'
      shown.update(jobs)
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
