"""Sweeps and populations on a Ray cluster, one of this test's own."""

import contextlib
import fcntl
import os
import pathlib
import socket
import sys
from unittest import mock

import pytest
from absl.testing import absltest, parameterized

from core.errors import UserError
from experiments.launch import cluster, process, sweeps
from tests.core.experience import ray_cluster
from tests.experiments.launch.schedule_test import LaunchTestCase
from tests.experiments.population.population_case import PopulationTestCase

_TEST_CLUSTER = []
_BUILT = contextlib.ExitStack()


def address():
  """Returns the head of the cluster, which is started for the first test."""
  if not _TEST_CLUSTER:
    # Ray reads its mode of authentication once per process, and other tests in
    # this one may have a cluster too.
    _BUILT.enter_context(ray_cluster.environment())
    from ray.cluster_utils import Cluster

    started = Cluster(
      initialize_head=True,
      head_node_args=dict(
        num_cpus=2,
        resources={'special': 1},
        include_dashboard=False,
        object_store_memory=ray_cluster.STORE_BYTES,
      ),
    )
    _BUILT.callback(started.shutdown)
    _TEST_CLUSTER.append(started)
  return _TEST_CLUSTER[0].address


def tearDownModule():
  _BUILT.close()


def sweep_of(logdir, **resources):
  return sweeps.Sweep(str(logdir), {}, (), resources or {'CPU': 1})


class RefusedTest(parameterized.TestCase):
  """What ends in a line before anything is started."""

  def open(self, where, logdir='', **resources):
    with cluster.open_place(where, sweep_of(logdir, **resources), None):
      self.fail('it was opened')

  def test_head_that_does_not_answer(self):
    with socket.socket() as free:
      free.bind(('127.0.0.1', 0))
      port = free.getsockname()[1]
    where = cluster.Where('ray', f'127.0.0.1:{port}')
    with self.assertRaisesRegex(UserError, f'no Ray answers at .*:{port}'):
      self.open(where)

  @parameterized.parameters('head', 'head:', ':1', 'head:x')
  def test_address_without_host_and_port(self, written):
    with self.assertRaisesRegex(
      UserError, f'--ray_address={written} is not HOST:P'
    ):
      self.open(cluster.Where('ray', written))

  def test_without_ray(self):
    with (
      mock.patch.dict(sys.modules, ray=None),
      self.assertRaisesRegex(UserError, "needs Ray, .*: pip install 'ray"),
    ):
      self.open(cluster.Where('ray', 'head:1'))

  def test_here_nothing_is_imported(self):
    with (
      mock.patch.dict(sys.modules, ray=None),
      cluster.open_place(cluster.HERE, sweep_of('x'), None) as place,
    ):
      self.assertEqual(place, cluster.Place(2, process.start))

  def test_room_on_the_machines(self):
    nodes = [
      {'Resources': {'CPU': 7.0, 'GPU': 1.0}},
      {'Resources': {'CPU': 16.0}},
    ]
    for resources, expected in (
      ({'CPU': 2}, 3 + 8),
      ({'CPU': 2, 'GPU': 0.5}, 2),
      ({}, 2),
    ):
      self.assertEqual(cluster._capacity(nodes, resources), expected)
    with self.assertRaisesRegex(
      UserError, "room for a run: RESOURCES is .*'CPU': 8, 'GPU': 1.*'CPU': 16"
    ):
      cluster._capacity(nodes, {'CPU': 8, 'GPU': 1})


class RayTest(LaunchTestCase):
  timeout_secs = 240

  def test_storage_that_a_machine_does_not_see(self):
    where = cluster.Where('ray', address())
    with open(self.folder / 'file', 'w') as file:
      # A number that no other process is likely to have.
      descriptor = fcntl.fcntl(file, fcntl.F_DUPFD, 900)
    os.dup2(os.open(self.folder, os.O_RDONLY), descriptor)
    os.remove(self.folder / 'file')
    self.addCleanup(os.close, descriptor)
    # Seen by the process that has the folder open, and by no other.
    hidden = f'/proc/self/fd/{descriptor}'
    with (
      self.assertRaisesRegex(UserError, 'must be on storage .* No such file'),
      cluster.open_place(where, sweep_of(hidden), None),
    ):
      pass
    self.assertEmpty(os.listdir(self.folder))
    with (
      self.assertRaisesRegex(UserError, "no machine .*'special': 2.*is .*1"),
      cluster.open_place(where, sweep_of(self.folder, special=2), None),
    ):
      pass

  def test_sweep_goes_on_when_its_launcher_was_killed(self):
    sweep = self.write_sweep(
      OVERRIDES={
        'slow': {'update_secs': 0.3, 'total_environment_frames': 3000}
      },
      SEEDS=(1,),
      RESOURCES={'CPU': 1, 'special': 0.5},
    )
    arguments = (sweep, '--cluster=ray', f'--ray_address={address()}')
    launcher = self.start(*arguments)
    run_dir = self.run_dir('slow', 1)
    self.wait_for_rows(run_dir, 3)
    self.assertIsNone(launcher.poll())
    launcher.kill()
    launcher.wait()
    self.assertIn('1 of 1 runs done', self.launch(*arguments))
    # The first went on from its checkpoint, and ended before the second began.
    self.assertEqual(self.frames(run_dir), list(range(100, 3001, 100)))
    words = [word for word, _, _ in self.events(run_dir)]
    self.assertEqual(words, ['train', 'end'] * 2)
    self.assertIn('launch: ', pathlib.Path(run_dir, 'log').read_text())


@pytest.mark.slow  # Ray places slices as it places runs.
class RayPopulationTest(PopulationTestCase):
  def test_population(self):
    changes = dict(NUM_MEMBERS=2, SLICE_FRAMES=1000, BURN_IN_FRAMES=1000)
    path = self.write_file(**changes)
    output = self.launch(path, '--cluster=ray', f'--ray_address={address()}')
    self.assertIn('2 members: 2 done', output)
    self.assert_whole(self.population(**changes))
    self.assertLen(self.events('evolve'), 2)


if __name__ == '__main__':
  absltest.main()
