"""Flags of remote actors that are refused, without any Ray."""

import sys
from unittest import mock

from absl import flags as absl_flags
from absl.testing import absltest, parameterized

from brc.config import Config as ReplayPaper
from core import flags
from core.errors import UserError
from core.experience import cluster
from core.run_config import ActorLearnerConfig


class OptionsTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('sync', dict(actor_mode='sync'), 'give --actor_mode=async'),
    ('local_actors', dict(num_actors=2), '2 counts.*--num_remote_actors'),
    ('min', dict(min_actors=3, num_remote_actors=2), '=3 exceeds .*=2$'),
    ('label', dict(actor_label='role'), 'role is not NAME=VALUE'),
    ('label_value', dict(actor_label='role='), 'role= is not NAME=VALUE'),
  )
  def test_contradictions(self, changes, message):
    config = ActorLearnerConfig(cluster='ray', **changes)
    with self.assertRaisesRegex(UserError, message):
      cluster.check(config)
    cluster.check(ActorLearnerConfig(cluster='ray', min_actors=1))

  @parameterized.parameters(
    dict(ray_address='auto'),
    dict(num_remote_actors=2),
    dict(actor_cpus=2.0),
    dict(actor_label='role=actor'),
    dict(actor_timeout=60.0),
    dict(min_actors=2),
  )
  def test_nothing_for_local_actors(self, **changes):
    (name,) = changes
    with self.assertRaisesRegex(UserError, f'^--{name} does nothing without'):
      cluster.check(ActorLearnerConfig(**changes))
    cluster.check(ActorLearnerConfig())

  def test_ray_is_missing(self):
    with (
      mock.patch.dict(sys.modules, {'ray': None}),
      mock.patch('importlib.util.find_spec', return_value=None),
      self.assertRaisesRegex(UserError, "missing: pip install 'ray>=2.60,<2.6"),
    ):
      cluster.check(ActorLearnerConfig(cluster='ray'))

  def test_papers_with_a_replay_have_no_such_flag(self):
    values = absl_flags.FlagValues()
    flags.define(ReplayPaper, {'default': ReplayPaper()}, values)
    with self.assertRaisesRegex(absl_flags.Error, "Unknown .* flag 'cluster'"):
      values(['program', '--cluster=ray'])


if __name__ == '__main__':
  absltest.main()
