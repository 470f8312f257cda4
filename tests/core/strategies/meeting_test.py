"""Tests of core/strategies/meeting.py: threads stand for the learners."""

import contextlib
import socket
import time
from concurrent import futures

from absl.testing import absltest, parameterized

from core.errors import UserError, WorkerLost
from core.strategies import meeting
from core.strategies.tf_config import Cluster
from tests import workers


def meet_all(descriptions, timeout_secs=20.0, meanwhile=lambda ports: None):
  """Returns what each learner raised, None if nothing.

  Args:
    descriptions: of each learner; None for one that does not come.
    timeout_secs: of all.
    meanwhile: called with their ports before the chief comes.
  """
  ports = workers.free_ports(len(descriptions))
  addresses = tuple(f'127.0.0.1:{port}' for port in ports)

  def meet(index):
    try:
      cluster = Cluster(addresses, index)
      meeting.meet(cluster, descriptions[index], timeout_secs)
    except UserError as error:
      return error
    return None

  there = [i for i, found in enumerate(descriptions) if found is not None]
  with futures.ThreadPoolExecutor(len(descriptions)) as pool:
    later = [pool.submit(meet, i) for i in there if i]
    meanwhile(ports)
    if 0 in there:
      later.insert(0, pool.submit(meet, 0))
    return [future.result() for future in later]


class MeetTest(parameterized.TestCase):
  def test_equal_learners_go_on(self):
    self.assertEqual(meet_all([dict(a=1, b=(1, 2))] * 3), [None] * 3)

  def test_all_are_told_what_differs(self):
    descriptions = [dict(a=1, b=2), dict(a=1, b=2), dict(a=5, b=2, c=None)]
    errors = meet_all(descriptions)
    expected = (
      'worker 2 is not as worker 0: a 5, not 1, c None, not None; start all '
      'workers with the same flags and the same commit'
    )
    self.assertEqual([str(error) for error in errors], [expected] * 3)
    for error in errors:
      self.assertNotIsInstance(error, WorkerLost)

  @parameterized.named_parameters(
    ('other', [{}, None, {}], 'worker 1 .127.0.0.1:[0-9]+. did not come'),
    ('chief', [None, {}, {}], 'worker 0 .127.0.0.1:[0-9]+. did not answer'),
  )
  def test_who_does_not_come(self, descriptions, expected):
    start = time.monotonic()
    errors = meet_all(descriptions, timeout_secs=0.5)
    self.assertBetween(time.monotonic() - start, 0.4, 10.0)
    self.assertLen(errors, 2)
    for error in errors:
      self.assertIsInstance(error, WorkerLost)
      self.assertRegex(
        str(error), f'{expected} within --collective_timeout=0.5 seconds'
      )

  def test_strangers_are_nobody(self):
    def intrude(ports):
      deadline = time.monotonic() + 10.0
      messages = [b'GET / HTTP/1.1\n', b'', b'[1]\n', b'{"index": 1}\n']
      while messages and time.monotonic() < deadline:
        with (
          contextlib.suppress(OSError),
          socket.create_connection(('127.0.0.1', ports[0]), 1.0) as stranger,
        ):
          stranger.sendall(messages.pop())

    with futures.ThreadPoolExecutor(1) as pool:
      later = []
      errors = meet_all(
        [{}, {}],
        meanwhile=lambda ports: later.append(pool.submit(intrude, ports)),
      )
    self.assertEqual(errors, [None, None])

  @parameterized.named_parameters(
    ('twice', 1, 'two processes are worker 1 in their TF_CONFIG'),
    ('too_many', 3, 'worker 0 has no worker 3 in its TF_CONFIG'),
  )
  def test_other_tf_configs(self, index, expected):
    ports = workers.free_ports(4)
    chief, one, two, more = (f'127.0.0.1:{port}' for port in ports)
    strangers = [chief, two, two, more]
    strangers[index] = more  # Where it listens.
    clusters = [
      Cluster((chief, one, two), 0),
      Cluster((chief, one, two), 1),
      Cluster(tuple(strangers), index),
    ]
    with futures.ThreadPoolExecutor(3) as pool:
      later = [pool.submit(meeting.meet, c, {}, 3.0) for c in clusters]
      for future in (later[0], later[2]):
        with self.assertRaisesRegex(UserError, expected):
          future.result()

  def test_a_port_that_is_taken(self):
    with socket.socket() as other:
      other.bind(('', 0))
      other.listen()
      port = other.getsockname()[1]
      cluster = Cluster((f'127.0.0.1:{port}', 'b:1'), 0)
      with self.assertRaisesRegex(
        UserError, f'cannot listen on port {port}, .*: Address already in use'
      ):
        meeting.meet(cluster, {}, 1.0)

  def test_alone(self):
    self.assertEqual(meet_all([{}]), [None])


if __name__ == '__main__':
  absltest.main()
