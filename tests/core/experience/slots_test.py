"""Tests of core/experience/slots.py and cluster.py, on actors of no weight."""

import contextlib
import io
import pathlib
import signal
import socket
import tempfile
import threading
import time
from unittest import mock

import psutil
from absl.testing import absltest, parameterized

from core.errors import UserError
from core.experience import cluster
from core.experience.slots import RemoteActors
from core.run_config import ActorLearnerConfig
from tests.core.experience import ray_cluster

TIMEOUT_SECS = 60.0
_CLUSTER = contextlib.ExitStack()


def setUpModule():
  _CLUSTER.enter_context(ray_cluster.running(num_cpus=2))


def tearDownModule():
  _CLUSTER.close()


class SlotsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    # An actor that is being killed may write once more.
    folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    self.folder = self.enter_context(folder)
    self.said = io.StringIO()
    self.enter_context(contextlib.redirect_stdout(self.said))
    self.errors = self.enter_context(contextlib.redirect_stderr(io.StringIO()))
    self.version = 0

  def make(self, fault_of=lambda index, num_before: None, **changes):
    import ray

    def begin(index, num_before):
      options = dict(num_cpus=0.1, max_restarts=0, max_task_retries=0)
      fault = fault_of(index, num_before)
      args = (index, num_before, self.folder, fault)
      return ray.remote(ray_cluster.LightActor).options(**options).remote(*args)

    settings = dict(num_actors=2, min_actors=1, timeout_secs=TIMEOUT_SECS)
    actors = RemoteActors(
      begin, lambda: (self.version,), **{**settings, **changes}
    )
    self.addCleanup(actors.close)
    return actors

  def take(self, actors, until, secs=TIMEOUT_SECS):
    """Takes unrolls until one satisfies; returns all."""
    taken, deadline = [], time.monotonic() + secs
    while not taken or not until(taken[-1]):
      self.assertLess(time.monotonic(), deadline, self.said.getvalue())
      if (unroll := actors.poll(0.1)) is not None:
        taken.append(unroll)
    return taken

  def num_made(self):
    return sum(p.stat().st_size for p in pathlib.Path(self.folder).iterdir())

  def test_no_more_than_two_of_each_are_under_way_and_none_after_close(self):
    actors = self.make()
    taken = self.take(actors, lambda _: actors.num_alive == 2)
    num_taken = len(taken)
    for _ in range(8):
      time.sleep(0.1)  # A learner that is slow.
      self.assertEqual(actors.num_under_way, 4)
      self.assertLessEqual(self.num_made(), num_taken + 4)
      num_taken += actors.poll(TIMEOUT_SECS) is not None
    self.assertEqual(num_taken, len(taken) + 8)
    self.assertEqual(num_processes(), 2)
    actors.close()
    deadline = time.monotonic() + TIMEOUT_SECS
    while num_processes():
      self.assertLess(time.monotonic(), deadline)
      time.sleep(0.05)

  def test_unrolls_of_an_actor_come_in_order_with_versions_asked_for(self):
    actors = self.make(num_actors=1)
    taken = []
    while len(taken) < 6:
      if (unroll := actors.poll(1.0)) is not None:
        taken.append(unroll)
        self.version += 1
    self.assertEqual([unroll[2] for unroll in taken], [1, 2, 3, 4, 5, 6])
    # The first two were asked for at once; each later one as one was taken.
    self.assertEqual([unroll[3] for unroll in taken], [0, 0, 0, 1, 2, 3])
    self.assertEqual(actors.started, 'started (0, 0)')

  def test_others_take_the_places_of_lost_ones(self):
    faults = {
      (0, 0): ('collect', signal.SIGKILL),
      (1, 0): ('collect', ValueError('of the engine')),
    }
    actors = self.make(lambda *name: faults.get(name), num_actors=3)
    missing = {(0, 1), (1, 1)}

    def are_there(unroll):
      missing.discard(unroll[:2])
      return not missing

    taken = self.take(actors, are_there)
    self.assertEqual(actors.restarts, 2)
    self.assertEqual(actors.unrolls_lost, 4)
    of_lost = [unroll[:3] for unroll in taken if unroll[:2] in faults]
    self.assertCountEqual(of_lost, [(0, 0, 1), (0, 0, 2), (1, 0, 1), (1, 0, 2)])
    said = self.said.getvalue()
    self.assertRegex(said, 'warning: lost remote actor 0 .*died')
    self.assertRegex(said, 'lost remote actor 1 .raised ValueError: of the eng')
    # The third one plays on, and nothing of it is missing.
    third = [unroll[2] for unroll in taken if unroll[0] == 2]
    self.assertEqual(third, list(range(1, len(third) + 1)))

  def test_one_that_hangs_is_replaced(self):
    actors = self.make(
      lambda *name: ('collect', signal.SIGSTOP) if name == (0, 0) else None
    )
    self.take(actors, lambda unroll: unroll[:3] == (0, 0, 2))
    *_, last = self.take(actors, lambda unroll: unroll[0] == 1)
    other, deadline = pathlib.Path(self.folder, '1_0'), time.monotonic() + 60.0
    while other.stat().st_size < last[2] + 2:  # Until it has something ready.
      self.assertLess(time.monotonic(), deadline)
      time.sleep(0.05)
    time.sleep(0.2)
    clock, ahead = time.monotonic, TIMEOUT_SECS + 1.0
    with mock.patch.object(time, 'monotonic', lambda: clock() + ahead):
      taken = self.take(actors, lambda unroll: unroll[:2] == (0, 1))
    self.assertIn('nothing from it for 60 s', self.said.getvalue())
    self.assertEqual(actors.restarts, 1)
    self.assertEqual(actors.unrolls_lost, 2)
    self.assertLen({unroll[:2] for unroll in taken}, 2)

  def test_one_that_always_raises_ends_the_run(self):
    actors = self.make(
      lambda index, _: ('start', ValueError('wrong')) if index == 0 else None
    )
    with self.assertRaisesRegex(
      UserError, '^remote actor 0 raised 3 times in a row, last ValueError: wr'
    ):
      self.take(actors, lambda _: False)
    self.assertEqual(actors.restarts, 2)
    self.assertEqual(actors.unrolls_lost, 0)
    self.assertIn('in go_wrong', self.errors.getvalue())

  def test_what_a_user_can_mend_ends_the_run_at_once(self):
    actors = self.make(lambda *_: ('start', UserError('no such engine')))
    with self.assertRaisesRegex(
      UserError, '^remote actor [01]: no such engine$'
    ):
      self.take(actors, lambda _: False)
    self.assertEqual(actors.restarts, 0)

  def test_too_few_end_the_run_within_the_timeout(self):
    start = time.monotonic()
    actors = self.make(
      lambda *_: ('start', signal.SIGKILL), num_actors=1, timeout_secs=2.0
    )
    with self.assertRaisesRegex(
      UserError, '^0 of 1 remote actors have been alive for 2 s, --min_actors=1'
    ):
      self.take(actors, lambda _: False)
    self.assertBetween(time.monotonic() - start, 2.0, 12.0)


class ClusterTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('cpus', dict(num_remote_actors=3), '3 remote .* has 1 mach.*room for 2'),
    ('wide', dict(actor_cpus=2.5), 'actors of 2.5 CPUs.*room for 0'),
    ('label', dict(actor_label='role=x'), 'has the label role=x; there are: n'),
  )
  def test_what_the_cluster_has_no_room_for(self, changes, message):
    with self.assertRaisesRegex(UserError, message):
      cluster.check_room(ActorLearnerConfig(cluster='ray', **changes))
    cluster.check_room(ActorLearnerConfig(num_remote_actors=2))
    cluster.check_room(ActorLearnerConfig(actor_cpus=0.5, num_remote_actors=4))

  def test_a_store_too_small(self):
    limit = ray_cluster.STORE_BYTES // 4
    cluster.check_store(2, limit // 2 - 3, 2)
    with self.assertRaisesRegex(UserError, 'has 84 MB, but 2 unrolls.*need 84'):
      cluster.check_store(2, limit // 2, 2)

  def test_spilled_objects_are_told_of(self):
    import ray

    spills = cluster.Spills()
    kept = [ray.put(b'.' * (30 * 2**20)) for _ in range(4)]
    with contextlib.redirect_stdout(io.StringIO()) as said:
      deadline = time.monotonic() + TIMEOUT_SECS
      while not said.getvalue() and time.monotonic() < deadline:
        spills.warn()
        time.sleep(0.1)
    self.assertLen(kept, 4)
    self.assertRegex(said.getvalue(), r'^warning: Ray has written [369]\d MB')

  def test_spilled_objects_are_told_of_once(self):
    spills = cluster.Spills()
    with (
      mock.patch.object(cluster, '_spilled_bytes', return_value=7 * 10**9),
      contextlib.redirect_stdout(io.StringIO()) as said,
    ):
      spills.warn()
      spills.warn()
    (line,) = said.getvalue().splitlines()
    self.assertRegex(line, '^warning: Ray has written 7000 MB')

  @parameterized.named_parameters(
    ('nobody', None, 'no Ray answers at .*refused.*ray start --head'),
    ('not_ray', b'HTTP/1.0 400 Bad Request', 'answers at .* is not a Ray'),
    ('hung_up', b'', 'answers at .* is not a Ray'),
  )
  def test_a_head_that_cannot_be_reached(self, answer, message):
    server = self.enter_context(socket.create_server(('127.0.0.1', 0)))
    port = server.getsockname()[1]
    if answer is None:
      server.close()
    else:
      threading.Thread(target=answer_once, args=(server, answer)).start()
    self.refuse(f'127.0.0.1:{port}', message)

  @parameterized.parameters(
    'somewhere', 'host:', ':6379', 'h:0', 'h:x', 'h:7e9'
  )
  def test_an_address_that_is_none(self, address):
    self.refuse(address, 'is not HOST:PORT')

  def refuse(self, address, message):
    """Asserts that a process without a cluster refuses an address soon."""
    start = time.monotonic()
    with (
      mock.patch('ray.is_initialized', return_value=False),
      mock.patch('ray.init') as init,
      self.assertRaisesRegex(UserError, message),
      cluster.connected(address),
    ):
      pass
    init.assert_not_called()
    self.assertLess(time.monotonic() - start, 10.0)

  def test_a_ray_answers(self):
    import ray

    address = ray.get_runtime_context().gcs_address
    with (
      mock.patch('ray.is_initialized', return_value=False),
      mock.patch('ray.init') as init,
      mock.patch('ray.shutdown'),
      cluster.connected(address),
    ):
      self.assertEqual(init.call_args.kwargs['address'], address)


def num_processes():
  """Returns how many actors have a process."""
  found = 0
  for process in psutil.Process().children(recursive=True):
    with contextlib.suppress(psutil.NoSuchProcess):  # Ended meanwhile.
      found += 'ray::LightActor' in ' '.join(process.cmdline())
  return found


def answer_once(server, answer):
  """Answers whoever comes first, and hangs up."""
  connection, _ = server.accept()
  with connection:
    connection.recv(100)
    connection.sendall(answer)


if __name__ == '__main__':
  absltest.main()
