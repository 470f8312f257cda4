"""Learners that make one run together, from one sweep."""

import json
import os
import pathlib
import re
import signal
import subprocess
import time
from unittest import mock

import psutil
import pytest
from absl.testing import absltest, parameterized

from core.errors import UserError
from experiments.launch import cluster, gang
from tests.experiments.launch import cluster_test
from tests.experiments.launch.schedule_test import LaunchTestCase
from tests.experiments.launch.sweep_case import SweepTestCase

LOST = os.EX_TEMPFAIL
FRAMES = 3000  # An update has 20.
OVERRIDES = {
  'debug': dict(
    preset='debug',
    xla='off',
    num_environments=4,
    batch_size=4,
    unroll_length=5,
    checkpoint_updates=5,
    total_environment_frames=FRAMES,
    stop_frames=0,
  )
}


def shell(script):
  """Returns a seat on which a line of shell runs instead of a learner."""

  def start(arguments, logdir, environment, name):
    del arguments, name
    return subprocess.Popen(
      ['sh', '-c', script],
      cwd=logdir,
      env={**os.environ, **environment},
      start_new_session=True,
    )

  return gang.Seat(f'host:{len(script)}', start)


class GangTest(parameterized.TestCase):
  """Gangs of lines of shell."""

  def setUp(self):
    super().setUp()
    self.logdir = self.create_tempdir().full_path

  def start(self, *scripts):
    seats = [shell(script) for script in scripts]
    started = gang.Gang(seats, [], self.logdir, {}, 'a name')
    self.addCleanup(started.send_signal, signal.SIGKILL)
    return started

  @parameterized.parameters(
    ('exit 0', 'exit 0', 0),
    ('exit 0', 'exit 75', LOST),
    ('kill -9 $$', 'exit 75', LOST),
    ('kill -9 $$', 'exit 0', LOST),
    ('exit 75', 'exit 3', 3),
    ('exit 1', 'kill -9 $$', 1),
  )
  def test_status(self, chief, other, expected):
    self.assertEqual(gang.wait(self.start(chief, other)), expected)

  def test_it_runs_until_the_last_has_ended(self):
    started = self.start('exit 0', 'while ! test -e ended; do sleep 0.1; done')
    time.sleep(0.5)
    self.assertIsNone(started.poll())
    pathlib.Path(self.logdir, 'worker_1', 'ended').touch()
    self.assertEqual(gang.wait(started), 0)

  def test_one_that_stays_behind_is_killed(self):
    self.enter_context(mock.patch.object(gang, '_LAST_SECS', 0.3))
    started = self.start('exit 75', 'sleep 3; exit 3')
    self.assertEqual(gang.wait(started), LOST)
    # The chief may have a checkpoint to write after the others are done.
    self.assertEqual(gang.wait(self.start('sleep 1', 'exit 0')), 0)

  def test_signals_reach_all(self):
    started = self.start(*2 * ['trap "exit 3" TERM; touch on; sleep 60 & wait'])
    paths = [
      pathlib.Path(self.logdir, folder, 'on') for folder in ('', 'worker_1')
    ]
    while not all(path.exists() for path in paths):
      time.sleep(0.05)
    started.send_signal(signal.SIGTERM)
    self.assertEqual(gang.wait(started), 3)
    self.assertEqual(started._statuses, [3, 3])

  def test_whose_error_it_was(self):
    self.assertEqual(gang.wait(self.start('exit 75', 'exit 3')), 3)
    log = pathlib.Path(self.logdir, 'log').read_text()
    self.assertEqual(log, 'worker 1 ended with status 3: worker_1/log\n')

  def test_each_has_its_own_tf_config(self):
    self.assertEqual(gang.wait(self.start(*2 * ['echo "$TF_CONFIG" > c'])), 0)
    for index, folder in enumerate(('', 'worker_1')):
      text = pathlib.Path(self.logdir, folder, 'c').read_text()
      self.assertEqual(
        json.loads(text),
        dict(
          cluster=dict(worker=['host:21', 'host:21']),
          task=dict(type='worker', index=index),
        ),
      )

  def test_one_that_cannot_start_leaves_none(self):
    started = []

    def start(*args):
      started.append(shell('sleep 60').start(*args))
      return started[0]

    def fail(*unused_args):
      raise FileNotFoundError('no such file')

    seats = [gang.Seat('host:1', start), gang.Seat('host:2', fail)]
    with self.assertRaises(FileNotFoundError):
      gang.Gang(seats, [], self.logdir, {}, 'a name')
    self.assertEqual(started[0].wait(10), -signal.SIGKILL)

  def test_seats_of_this_machine_differ(self):
    addresses = {seat.address for seat in gang.seats_here(3)}
    self.assertLen(addresses, 3)
    for address in addresses:
      self.assertRegex(address, r'\A127\.0\.0\.1:\d+\Z')


class SweepTest(SweepTestCase):
  def test_training_alone_has_several_learners(self):
    sweep = self.read_sweep(LEARNERS=2, STAGES=({}, {'mode': 'test'}))
    self.assertEqual(sweep.learners, 2)
    for run in sweep.runs:
      self.assertIn(gang.FLAG, run.stages[0])
      self.assertNotIn(gang.FLAG, run.stages[1])
    self.assertNotIn(gang.FLAG, self.read_sweep().runs[0].stages[0])

  @parameterized.parameters(0, 1.5, True, '2')
  def test_wrong_number(self, learners):
    with self.assertRaisesRegex(UserError, 'LEARNERS must be a whole number'):
      self.read_sweep(LEARNERS=learners)

  def test_room_on_the_machines(self):
    nodes = 2 * [{'Resources': {'CPU': 3.0}}]
    self.assertEqual(cluster._capacity(nodes, {'CPU': 1}, 2), 3)
    self.assertEqual(cluster._capacity(nodes, {'CPU': 2}, 2), 1)
    with self.assertRaisesRegex(
      UserError, 'has room for 2 learners of .* LEARNERS is 3'
    ):
      cluster._capacity(nodes, {'CPU': 2}, 3)

  def test_strategy_is_not_for_the_sweep_to_say(self):
    with self.assertRaisesRegex(UserError, 'leave strategy out'):
      self.read_sweep(LEARNERS=2, OVERRIDES=({'strategy': 'mirrored'},))
    with self.assertRaisesRegex(UserError, 'leave strategy out'):
      self.read_sweep(LEARNERS=2, STAGES=({'strategy': 'mirrored'},))
    self.read_sweep(OVERRIDES=({'strategy': 'mirrored'},))

  def test_learners_on_a_cluster_need_resources(self):
    sweep = self.read_sweep(LEARNERS=2, RESOURCES={})
    where = cluster.Where('ray', 'head:1')
    with (
      self.assertRaisesRegex(UserError, 'LEARNERS on a cluster need RES'),
      cluster.open_place(where, sweep, None),
    ):
      pass


class LearnersTest(LaunchTestCase):
  """Real learners."""

  timeout_secs = 240

  def write_gang(self):
    return self.write_sweep(
      MODULE='impala.experiment', OVERRIDES=OVERRIDES, SEEDS=(1,), LEARNERS=2
    )

  def start_gang(self, num_rows, *arguments):
    """Starts a launcher and waits for rows of updates.csv."""
    launcher = self.start(self.write_gang(), *arguments)
    run_dir = self.run_dir('debug', 1)
    self.wait_until(
      lambda: launcher.poll() or len(self.frames(run_dir)) >= num_rows, 'rows'
    )
    self.assertIsNone(launcher.poll(), (self.folder / 'output').read_text())
    return launcher, run_dir

  def kill_one(self, run_dir):
    """Kills the learner that is not the chief."""
    (other,) = [
      found
      for found in psutil.process_iter(['cmdline', 'environ'])
      if f'--logdir={run_dir}' in (found.info['cmdline'] or ())
      and '"index": 1' in (found.info['environ'] or {}).get('TF_CONFIG', '')
    ]
    other.kill()

  def assert_went_on(self, run_dir):
    self.assertEqual(self.frames(run_dir), list(range(20, FRAMES + 1, 20)))
    log = pathlib.Path(run_dir, 'log').read_text()
    self.assertIn('worker 0 of 2 stops: another one is gone', log)
    self.assertNotIn('Traceback', log)
    (resumed,) = re.findall(r'resuming .* at frame (\d+)', log)
    self.assertGreaterEqual(int(resumed), 15 * 20)
    others = pathlib.Path(run_dir, 'worker_1', 'log').read_text()
    self.assertEqual(others.count('worker 1 of 2 connects'), 2)

  def test_a_lost_one_is_replaced(self):
    launcher, run_dir = self.start_gang(20)
    self.kill_one(run_dir)
    self.assertIn('1 of 1 runs done', self.finish(launcher, 0))
    self.assert_went_on(run_dir)

  def test_what_a_launcher_says_before_it_starts(self):
    sweep = self.write_gang()
    output = self.launch(sweep, '--dry_run')
    self.assertIn('# 2 learners train together: each has a TF_CONFIG', output)
    self.assertIn(gang.FLAG, output)
    output = self.launch(sweep, '--estimate', status=1)
    self.assertEqual(
      output, 'error: --estimate measures one learner: leave LEARNERS out\n'
    )

  @pytest.mark.slow  # Ray places learners as it places runs.
  def test_on_a_cluster(self):
    where = ('--cluster=ray', f'--ray_address={cluster_test.address()}')
    launcher, run_dir = self.start_gang(20, *where)
    launcher.send_signal(signal.SIGINT)
    self.finish(launcher, 130)
    frames = self.frames(run_dir)[-1]
    launcher, run_dir = self.start_gang(frames // 20 + 20, *where)
    self.kill_one(run_dir)
    self.assertIn('1 of 1 runs done', self.finish(launcher, 0))
    self.assertEqual(self.frames(run_dir), list(range(20, FRAMES + 1, 20)))
    log = pathlib.Path(run_dir, 'log').read_text()
    self.assertRegex(log, rf'resuming .* at frame {frames}\n')
    self.assertEqual(log.count('resuming '), 2)


def tearDownModule():
  cluster_test.tearDownModule()


if __name__ == '__main__':
  absltest.main()
