"""Tests of core/strategies/gang.py; two_workers_test.py has two of them."""

import tensorflow as tf
from absl.testing import absltest, parameterized

from core.device import Device
from core.errors import WorkerLost
from core.strategies.gang import Gang
from core.strategies.tf_config import Cluster


class GangTest(parameterized.TestCase):
  def test_alone(self):
    gang = Gang()
    self.assertTrue(gang.is_chief)
    value = object()
    self.assertEqual(gang.exchange(value), [value])

  def test_a_cluster_of_one_is_one_machine(self):
    device = Device('multi_worker', cluster=Cluster(('host:1',), 0))
    self.assertEqual((device.gang.count, device.num_replicas), (1, 1))

  @parameterized.parameters((0, True), (1, False))
  def test_the_first_is_the_chief(self, index, expected):
    self.assertEqual(Gang(index, 2).is_chief, expected)

  @parameterized.named_parameters(
    ('killed', tf.errors.UnavailableError, 'reset by peer', 'is gone'),
    ('silent', tf.errors.DeadlineExceededError, 'x', 'said nothing for --coll'),
    ('later', tf.errors.InternalError, 'Collective ops is aborted', 'is gone'),
  )
  def test_who_is_gone_is_said_in_a_line(self, kind, message, expected):
    with (
      self.assertRaisesRegex(
        WorkerLost, f'worker 1 of 2 stops: another one {expected}'
      ) as raised,
      Gang(1, 2).explained(),
    ):
      raise kind(None, None, message)
    self.assertNotIn('\n', str(raised.exception))

  @parameterized.parameters(
    (1, tf.errors.UnavailableError), (2, tf.errors.ResourceExhaustedError)
  )
  def test_other_errors_stay(self, count, kind):
    with self.assertRaises(kind), Gang(0, count).explained():
      raise kind(None, None, 'no memory')


if __name__ == '__main__':
  absltest.main()
