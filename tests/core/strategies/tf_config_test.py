"""Tests of core/strategies/tf_config.py."""

import json

from absl.testing import absltest, parameterized

from core.errors import UserError
from core.strategies.tf_config import Cluster

WORKERS = ['a:1', 'b:2']


def read(cluster, task):
  """Returns the Cluster of a TF_CONFIG."""
  text = json.dumps(dict(cluster=cluster, task=task))
  return Cluster.from_environment({'TF_CONFIG': text})


class ClusterTest(parameterized.TestCase):
  @parameterized.parameters((0, True), (1, False))
  def test_workers(self, index, is_chief):
    found = read(dict(worker=WORKERS), dict(type='worker', index=index))
    self.assertEqual(found, Cluster(('a:1', 'b:2'), index))
    self.assertEqual(found.is_chief, is_chief)

  @parameterized.parameters(('chief', 0, 0), ('worker', 0, 1), ('worker', 1, 2))
  def test_a_chief_comes_first(self, job, index, expected):
    found = read(
      dict(chief=['c:3'], worker=WORKERS), dict(type=job, index=index)
    )
    self.assertEqual(found, Cluster(('c:3', 'a:1', 'b:2'), expected))

  def test_host_and_port(self):
    found = Cluster(('a:1', '[::1]:22'), 0)
    self.assertEqual(found.host_and_port(0), ('a', 1))
    self.assertEqual(found.host_and_port(1), ('::1', 22))

  def test_missing(self):
    with self.assertRaisesRegex(UserError, 'needs TF_CONFIG in the envir') as e:
      Cluster.from_environment({})
    self.assertNotIn('\n', str(e.exception))

  @parameterized.named_parameters(
    ('text', 'cluster', 'Expecting value'),
    ('list', '[]', 'it has no cluster'),
    ('no_task', '{"cluster": {}}', 'it has no task'),
    ('no_cluster', '{"task": {}}', 'it has no cluster'),
  )
  def test_broken(self, text, expected):
    with self.assertRaisesRegex(UserError, f'TF_CONFIG is wrong .{expected}'):
      Cluster.from_environment({'TF_CONFIG': text})

  @parameterized.named_parameters(
    ('ps', dict(worker=WORKERS, ps=['p:1']), {}, 'has a ps: learners are w'),
    ('nobody', dict(worker=[]), {}, 'its cluster has no worker'),
    ('text', dict(worker='a:1'), {}, 'its worker is not a list of'),
    ('port', dict(worker=['a']), {}, 'its worker is not a list of'),
    ('zero', dict(worker=['a:0']), {}, 'its worker is not a list of'),
    ('twice', dict(worker=['a:1', 'a:1']), {}, 'have the same address'),
    ('chiefs', dict(chief=WORKERS), {}, 'more than one chief'),
    ('type', dict(worker=WORKERS), dict(type='ps'), 'type ps, which the clu'),
    ('index', dict(worker=WORKERS), dict(index=2), 'index 2 of 2 workers'),
    ('below', dict(worker=WORKERS), dict(index=-1), 'index -1 of 2 workers'),
    ('no_index', dict(worker=WORKERS), dict(index=None), 'index None of 2'),
  )
  def test_wrong(self, cluster, task, expected):
    with self.assertRaisesRegex(UserError, f'TF_CONFIG is wrong .*{expected}'):
      read(cluster, {**dict(type='worker', index=0), **task})


if __name__ == '__main__':
  absltest.main()
