"""Remote actors on several machines, which are raylets of this one. Slow."""

import contextlib
import io
import os
import tempfile
import time
from unittest import mock

import pytest
from absl.testing import absltest

from core.errors import UserError
from core.experience import cluster
from core.experience.slots import RemoteActors
from core.run_config import ActorLearnerConfig
from tests import runs
from tests.core.experience import ray_cluster


@pytest.mark.slow
class MachinesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.enter_context(ray_cluster.environment())
    from ray import cluster_utils

    memory = ray_cluster.STORE_BYTES
    self.settings = dict(num_cpus=1, object_store_memory=memory)
    self.machines = cluster_utils.Cluster(
      initialize_head=True,
      head_node_args=dict(
        **self.settings, include_dashboard=False, labels={'role': 'learner'}
      ),
    )
    self.addCleanup(self.machines.shutdown)

  def add_machine(self):
    return self.machines.add_node(**self.settings, labels={'role': 'actor'})

  def test_a_machine_that_vanishes(self):
    import ray

    machine = self.add_machine()
    ray.init(
      address=self.machines.address, log_to_driver=False, logging_level='ERROR'
    )
    self.addCleanup(ray.shutdown)
    folder = self.enter_context(tempfile.TemporaryDirectory())
    config = ActorLearnerConfig(actor_label='role=actor')
    cluster.check_room(config)
    with self.assertRaisesRegex(UserError, 'are: role=actor, role=learner$'):
      cluster.check_room(ActorLearnerConfig(actor_label='role=none'))

    def begin(index, num_before):
      label = {'role': ('actor', 'learner')[index]}
      options = dict(num_cpus=1, max_restarts=0, label_selector=label)
      args = (index, num_before, folder, None)
      return ray.remote(ray_cluster.LightActor).options(**options).remote(*args)

    said = io.StringIO()
    self.enter_context(contextlib.redirect_stdout(said))
    actors = RemoteActors(begin, lambda: (0,), 2, 1, timeout_secs=90.0)
    self.addCleanup(actors.close)

    def poll_until(is_true, secs):
      taken, deadline = [], time.monotonic() + secs
      while not is_true():
        self.assertLess(time.monotonic(), deadline, said.getvalue())
        taken += filter(None, [actors.poll(0.1)])
        time.sleep(0.01)
      return taken

    poll_until(lambda: actors.num_alive == 2, 60.0)
    self.machines.remove_node(machine, allow_graceful=False)
    taken = poll_until(lambda: actors.num_alive == 1, 60.0)
    self.assertEqual(actors.unrolls_lost, 2)
    self.assertNotEmpty([unroll for unroll in taken if unroll[0] == 1])
    self.add_machine()
    poll_until(lambda: actors.num_alive == 2, 90.0)
    self.assertGreaterEqual(actors.restarts, 1)

  def test_a_wrong_token(self):
    start = time.monotonic()
    with mock.patch.dict(os.environ, RAY_AUTH_TOKEN='of-another-' * 4):
      logdir = self.enter_context(tempfile.TemporaryDirectory())
      found = runs.command(
        *('impala.experiment', '--preset=debug', '--cluster=ray'),
        *(f'--ray_address={self.machines.address}', f'--logdir={logdir}/run'),
      )
    self.assertEqual(found.status, 1, found)
    self.assertRegex(found.stderr, '(?m)^error: no way into the Ray cluster 1')
    self.assertLess(time.monotonic() - start, 200.0)
    self.assertFalse(os.path.exists(f'{logdir}/run/run.json'))


if __name__ == '__main__':
  absltest.main()
