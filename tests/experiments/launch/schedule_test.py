"""Processes of a sweep that start, end and are killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pandas as pd
from absl.testing import absltest

from experiments.launch import process
from tests.experiments.launch.sweep_case import ROOT, SweepTestCase

SLOW = {'update_secs': 0.1, 'total_environment_frames': 3000}  # Three seconds.

THREADED = """
import json, sys, threading, time
from experiments.launch import process

for _ in range(50):
  threading.Thread(target=time.sleep, args=(60.0,), daemon=True).start()
process.start(json.loads(sys.argv[1]), sys.argv[2], {}, 'a run')
time.sleep(60.0)
"""


class LaunchTestCase(SweepTestCase):
  """Launchers in processes of their own."""

  timeout_secs = 60

  def start(self, sweep, *arguments):
    """Starts a launcher, which ends with the test at the latest."""
    with open(self.folder / 'output', 'w') as output:
      process = subprocess.Popen(
        [sys.executable, '-m', 'experiments.launch', sweep, *arguments],
        cwd=ROOT,
        env={**os.environ, 'TF_CPP_MIN_LOG_LEVEL': '3'},
        stdout=output,
        stderr=subprocess.STDOUT,
      )
    self.addCleanup(process.wait)
    self.addCleanup(process.kill)
    return process

  def finish(self, process, status):
    """Waits for a launcher's end; returns what it printed."""
    found = process.wait(self.timeout_secs)
    output = (self.folder / 'output').read_text()
    self.assertEqual(found, status, output)
    return output

  def launch(self, sweep, *arguments, status=0):
    """Runs a launcher to its end; returns what it printed."""
    return self.finish(self.start(sweep, *arguments), status)

  def wait_until(self, is_true, what):
    deadline = time.monotonic() + self.timeout_secs
    while not is_true():
      self.assertLess(time.monotonic(), deadline, f'waited in vain: {what}')
      time.sleep(0.02)

  def run_dirs(self):
    return sorted(self.logdir.glob('*/seed_*'))

  def run_dir(self, setting, seed):
    return self.logdir / setting / f'seed_{seed}'

  def frames(self, run_dir):
    """Returns the frames of updates.csv, row by row."""
    try:
      return pd.read_csv(run_dir / 'updates.csv').env_frames.tolist()
    except (FileNotFoundError, pd.errors.EmptyDataError):
      return []

  def wait_for_rows(self, run_dir, count):
    self.wait_until(
      lambda: len(self.frames(run_dir)) >= count, f'{count} rows of {run_dir}'
    )

  def pid(self, run_dir):
    """Returns the process at work, which launch.json names."""
    return process.read_state(str(run_dir)).pid

  def events(self, run_dir):
    """Returns (word, pid, time) of what short_run wrote of its starts."""
    path = run_dir / 'starts'
    lines = path.read_text().splitlines() if path.exists() else []
    words = [line.split() for line in lines]
    return [(word, int(pid), float(when)) for word, pid, when in words]

  def starts(self, run_dir):
    """Returns the modes in which short_run was started."""
    return [word for word, _, _ in self.events(run_dir) if word != 'end']


class ScheduleTest(LaunchTestCase):
  def test_every_stage_runs_once_and_never_again(self):
    sweep = self.write_sweep(STAGES=({}, {'mode': 'test'}))
    output = self.launch(sweep)
    self.assertIn('4 of 4 runs done', output)
    for _ in range(2):
      self.assertLen(self.run_dirs(), 4)
      for run_dir in self.run_dirs():
        self.assertEqual(self.starts(run_dir), ['train', 'test'])
        self.assertEqual(self.frames(run_dir), [100, 200, 300, 400, 500])
      self.assertNotIn('running', self.launch(sweep))

  def test_a_stage_that_changed_is_run_alone(self):
    self.launch(self.write_sweep(STAGES=({}, {'mode': 'test'})))
    test = {'mode': 'test', 'update_secs': 0.5}
    self.launch(self.write_sweep(STAGES=({}, test)))
    for run_dir in self.run_dirs():
      self.assertEqual(self.starts(run_dir), ['train', 'test', 'test'])

  def test_a_stage_after_one_that_changed_is_run_again(self):
    self.launch(self.write_sweep(STAGES=({}, {'mode': 'test'})))
    more = {'total_environment_frames': 700}
    self.launch(self.write_sweep(STAGES=(more, {'mode': 'test'})))
    for run_dir in self.run_dirs():
      self.assertEqual(self.starts(run_dir), ['train', 'test'] * 2)
      self.assertEqual(self.frames(run_dir)[-1], 700)

  def test_as_many_at_once_as_asked_for(self):
    sweep = self.write_sweep(
      OVERRIDES=({'update_secs': 0.2},), SEEDS=tuple(range(6))
    )
    self.launch(sweep, '--max_parallel=3')
    changes = [
      (when, -1 if word == 'end' else 1)
      for run_dir in self.run_dirs()
      for word, _, when in self.events(run_dir)
    ]
    num_running = [
      sum(change for when, change in changes if when <= now)
      for now, _ in changes
    ]
    self.assertEqual(max(num_running), 3)

  def test_environment_reaches_the_runs(self):
    # Python itself obeys it: the last line comes from its own import log.
    sweep = self.write_sweep(ENVIRONMENT={'PYTHONVERBOSE': '1'})
    self.launch(sweep)
    for run_dir in self.run_dirs():
      self.assertIn('import ', (run_dir / 'log').read_text())


class FailureTest(LaunchTestCase):
  def test_a_failure_is_shown_and_tried_again_by_the_next_launch(self):
    obstacle = self.folder / 'obstacle'
    obstacle.touch()
    overrides = {'good': {}, 'bad': {'fails_while': str(obstacle)}}
    sweep = self.write_sweep(OVERRIDES=overrides)
    for num_tries in (1, 2):
      output = self.launch(sweep, status=1)
      for seed in (1, 2):
        self.assertIn(f'bad/seed_{seed} failed: exit status 1', output)
        self.assertLen(self.starts(self.run_dir('bad', seed)), num_tries)
        self.assertEqual(self.starts(self.run_dir('good', seed)), ['train'])
      self.assertEqual(output.count(f'error: {obstacle} is in the way'), 2)
      self.assertIn('error: 2 of 4 runs done, 2 failed', output)
    obstacle.unlink()
    self.assertIn('4 of 4 runs done', self.launch(sweep))

  def test_retry_failed_tries_once_more_at_the_end(self):
    obstacle = self.folder / 'obstacle'
    obstacle.touch()
    overrides = {'bad': {'fails_while': str(obstacle)}, 'good': {}}
    sweep = self.write_sweep(OVERRIDES=overrides, SEEDS=(1,))
    self.launch(sweep, '--retry_failed', '--max_parallel=1', status=1)
    tries = self.events(self.run_dir('bad', 1))
    good = self.events(self.run_dir('good', 1))
    self.assertLen(tries, 2)
    self.assertBetween(good[-1][2], tries[0][2], tries[1][2])

  def test_status_0_before_the_last_frame_is_no_success(self):
    sweep = self.write_sweep(OVERRIDES=(SLOW,), SEEDS=(1,))
    launcher = self.start(sweep)
    [run_dir] = self.wait_for_folders(1)
    self.wait_for_rows(run_dir, 3)
    os.kill(self.pid(run_dir), signal.SIGTERM)  # It ends with status 0.
    output = self.finish(launcher, 1)
    self.assertRegex(output, r'failed: ended early, at frame \d+00 of 3,000')
    self.launch(sweep)
    self.assertEqual(self.frames(run_dir), list(range(100, 3001, 100)))

  def test_a_killed_run_is_named_with_its_signal(self):
    launcher = self.start(self.write_sweep(OVERRIDES=(SLOW,), SEEDS=(1,)))
    [run_dir] = self.wait_for_folders(1)
    self.wait_for_rows(run_dir, 1)
    os.kill(self.pid(run_dir), signal.SIGKILL)
    self.assertIn('failed: killed by SIGKILL', self.finish(launcher, 1))

  def test_flag_that_the_module_does_not_know(self):
    sweep = self.write_sweep(OVERRIDES=({'colour': 'red'},), SEEDS=(1,))
    output = self.launch(sweep, status=1)
    self.assertIn('unrecognized arguments: --colour=red', output)

  def wait_for_folders(self, count):
    self.wait_until(lambda: len(self.run_dirs()) >= count, f'{count} runs')
    return self.run_dirs()


class EndOfLauncherTest(LaunchTestCase):
  """Runs of three seconds, whose launcher ends meanwhile."""

  def start_two(self, **slow):
    """Returns sweep, launcher and logdirs once two runs have counted a bit."""
    sweep = self.write_sweep(OVERRIDES={'slow': {**SLOW, **slow}})
    launcher = self.start(sweep)
    run_dirs = [self.run_dir('slow', seed) for seed in (1, 2)]
    for run_dir in run_dirs:
      self.wait_for_rows(run_dir, 3)
    return sweep, launcher, run_dirs

  def assert_finished_without_overlap(self, run_dirs, num_starts):
    for run_dir in run_dirs:
      self.assertEqual(self.frames(run_dir), list(range(100, 3001, 100)))
      words = [word for word, _, _ in self.events(run_dir)]
      self.assertEqual(words, ['train', 'end'] * num_starts)

  def test_ctrl_c_and_sigterm_reach_the_runs(self):
    sweep, launcher, run_dirs = self.start_two()
    launcher.send_signal(signal.SIGINT)
    output = self.finish(launcher, 130)
    self.assertIn('0 of 2 runs done', output)
    self.assertNotIn('failed', output)
    launcher = self.start(sweep)
    for run_dir in run_dirs:
      # It went on from the checkpoint.
      self.assertLess(len(self.frames(run_dir)), 30)
      self.wait_for_rows(run_dir, len(self.frames(run_dir)) + 1)
    launcher.send_signal(signal.SIGTERM)
    self.finish(launcher, 130)
    self.launch(sweep)
    self.assert_finished_without_overlap(run_dirs, 3)

  def test_runs_end_with_a_checkpoint_when_the_launcher_is_killed(self):
    sweep, launcher, run_dirs = self.start_two()
    pids = [self.pid(run_dir) for run_dir in run_dirs]
    launcher.kill()
    self.wait_until(lambda: not any(map(process.create_time, pids)), 'the end')
    for run_dir in run_dirs:
      self.assertLess(len(self.frames(run_dir)), 30)
      self.assertLen(list((run_dir / 'checkpoints').iterdir()), 1)
    self.launch(sweep)
    self.assert_finished_without_overlap(run_dirs, 2)

  def test_a_parent_of_many_threads_is_killed(self):
    # As a worker of Ray: each of its threads that ends sends the signal anew.
    run_dir = self.run_dir('slow', 1)
    run_dir.mkdir(parents=True)
    slow = [f'--{name}={value}' for name, value in SLOW.items()]
    module = 'tests.experiments.short_run'
    arguments = ['-m', module, *slow, '--seed=1', f'--logdir={run_dir}']
    parent = subprocess.Popen(
      [sys.executable, '-c', THREADED, json.dumps(arguments), str(run_dir)],
      cwd=ROOT,
    )
    self.addCleanup(parent.wait)
    self.addCleanup(parent.kill)
    self.wait_for_rows(run_dir, 3)
    pid = self.events(run_dir)[0][1]
    parent.kill()
    self.wait_until(lambda: not process.create_time(pid), 'the end')
    self.assertEqual([w for w, _, _ in self.events(run_dir)], ['train', 'end'])
    self.assertLen(list((run_dir / 'checkpoints').iterdir()), 1)

  def test_a_run_that_outlives_its_launcher_is_waited_for(self):
    sweep, launcher, run_dirs = self.start_two(is_deaf='true')
    launcher.kill()
    launcher.wait()
    output = self.launch(sweep)
    self.assertIn('running since an earlier launch', output)
    # Started again to learn the status, when the first had ended.
    self.assert_finished_without_overlap(run_dirs, 2)

  def test_the_process_of_launch_json_may_be_another_by_now(self):
    sweep = self.write_sweep(SEEDS=(1,))
    run_dir = self.run_dir('learning_rate=0.1', 1)
    state = process.State(pid=os.getpid(), create_time=1.0)
    process.write_state(str(run_dir), state)
    self.launch(sweep)
    self.assertEqual(self.starts(run_dir), ['train'])

  def test_runs_of_an_earlier_launcher_count_and_are_left_alone(self):
    sweep = self.write_sweep()
    created = process.create_time(os.getpid())
    state = process.State(pid=os.getpid(), create_time=created)
    for seed in (1, 2):
      run_dir = self.run_dir('learning_rate=0.1', seed)
      process.write_state(str(run_dir), state)  # This test itself.
    launcher = self.start(sweep, '--max_parallel=1')
    path = self.folder / 'output'
    self.wait_until(
      lambda: '2 running, 2 waiting' in path.read_text(), 'a summary'
    )
    launcher.send_signal(signal.SIGINT)
    self.finish(launcher, 130)
    self.assertLen(self.run_dirs(), 2)  # None of those that waited.

  def test_second_launcher_ends_with_one_line(self):
    sweep, launcher, run_dirs = self.start_two()
    arguments = [sys.executable, '-m', 'experiments.launch', sweep]
    second = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    self.assertEqual(
      second.stderr,
      f'error: another launcher, process {launcher.pid}, is at work in '
      f'{self.logdir}\n',
    )
    self.assertEqual(second.returncode, 1)
    self.finish(launcher, 0)
    self.assert_finished_without_overlap(run_dirs, 1)


class CatchTest(LaunchTestCase):
  """Four real runs, of which one is killed, and then the launcher."""

  timeout_secs = 240
  total_frames = 600  # 30 updates.

  def num_starts(self, run_dir):
    """Counts what the launcher and what the run itself wrote down."""
    log = (run_dir / 'log').read_text()
    info = json.loads((run_dir / 'run.json').read_text())
    return len(re.findall('^launch: ', log, re.M)), len(info['starts']) + 1

  def is_done(self, run_dir):
    return bool(process.read_state(str(run_dir)).done)

  def test_kills_of_a_run_and_of_the_launcher(self):
    tiny = dict(preset='debug', total_environment_frames=self.total_frames)
    tiny |= dict(num_environments=4, batch_size=4, unroll_length=5)
    tiny |= dict(actor_mode='sync', checkpoint_updates=2, xla='off')
    overrides = {
      f'entropy_cost={cost}': {**tiny, 'entropy_cost': cost}
      for cost in (0.01, 0.02)
    }
    sweep = self.write_sweep(
      MODULE='impala.experiment',
      OVERRIDES=overrides,
      SEEDS=(1, 2),
      ENVIRONMENT={'TF_NUM_INTRAOP_THREADS': '1'},
    )
    launcher = self.start(sweep)
    first, other = (self.run_dir(setting, 1) for setting in overrides)
    self.wait_for_rows(first, 3)
    os.kill(self.pid(first), signal.SIGKILL)
    self.wait_until(lambda: self.is_done(other), 'a whole run')
    second = self.run_dir('entropy_cost=0.01', 2)
    self.wait_for_rows(second, 3)
    launcher.kill()
    launcher.wait()
    done = [run_dir for run_dir in self.run_dirs() if self.is_done(run_dir)]
    before = [self.num_starts(run_dir) for run_dir in done]
    self.assertNotIn(first, done)

    self.assertIn('4 of 4 runs done', self.launch(sweep))

    self.assertEqual([self.num_starts(run_dir) for run_dir in done], before)
    self.assertEqual(self.num_starts(first), (2, 2))
    self.assertLen(self.run_dirs(), 4)
    for run_dir in self.run_dirs():
      # No frame is missing or learned from twice.
      expected = list(range(20, self.total_frames + 1, 20))
      self.assertEqual(self.frames(run_dir), expected)


if __name__ == '__main__':
  absltest.main()
