"""Tests of core/suites/robots/shadow_hand.py, on a stand-in."""

import importlib
import pathlib
import sys

import numpy as np
from absl.testing import absltest, parameterized

from core.errors import UserError
from core.suites import tasks
from core.suites.robots import shadow_hand
from core.suites.robots.shadow_hand import ShadowHand
from core.suites.suite import Reference
from core.suites.task_environments import TaskEnvironments
from tests.tasks import tasks_of

FAKE = str(pathlib.Path(__file__).parents[3] / 'fake_robots')
SUITE = ShadowHand()


def setUpModule():
  sys.path.insert(0, FAKE)
  importlib.invalidate_caches()


def tearDownModule():
  sys.path.remove(FAKE)
  sys.modules.pop('dex_envs', None)


class NamesTest(parameterized.TestCase):
  def test_sets(self):
    train = tasks.expand('shadow_hand')
    transfer = tasks.expand('shadow_hand:transfer')
    self.assertEqual((len(train), len(transfer)), (85, 29))
    self.assertLen({*train, *transfer}, 114)
    self.assertSameElements(shadow_hand.TASKS, (*train, *transfer))
    self.assertEqual(train[0], 'shadow_hand:e_toy_airplane')
    self.assertEqual(transfer[-1], 'shadow_hand:plum')

  @parameterized.named_parameters(
    ('object', 'shadow_hand:rubber-duck', 'shadow_hand:rubber_duck'),
    ('set', 'shadow_hand:transfe', 'shadow_hand:transfer'),
    ('no_prefix', 'stanford_buny', 'shadow_hand:stanford_bunny'),
  )
  def test_unknown_name_gets_the_nearest(self, name, nearest):
    with self.assertRaisesRegex(
      UserError, f"^unknown task '{name}'; did you mean .*{nearest}"
    ) as caught:
      tasks.expand(name)
    self.assertNotIn('\n', str(caught.exception))

  def test_returns_lie_between_minus_100_and_0(self):
    reference = Reference(-100.0, 0.0, is_human=False)
    self.assertEqual(SUITE.reference('shadow_hand:plum'), reference)
    self.assertIsNone(SUITE.reference('shadow_hand:peas'))
    self.assertIsNone(SUITE.reference('shadow_hand:plum', is_human_starts=True))


class PlayTest(absltest.TestCase):
  NAMES = ('shadow_hand:rubber_duck', 'shadow_hand:mug')

  def test_success_reaches_the_infos(self):
    run = tasks_of(*self.NAMES, num_action_repeats=1)
    self.assertTrue(run.env_spec.has_success)
    self.assertEqual(run.env_spec.num_features, 68)
    envs = TaskEnvironments(run, np.array([0, 1]), is_training=True)
    self.addCleanup(envs.close)
    observation, _ = envs.reset(seed=0)
    self.assertEqual(observation.features.shape, (2, 68))
    actions = np.zeros([2, 20], np.float32)
    actions[1] = 0.5
    _, rewards, *_, infos = envs.step(actions)
    self.assertEqual(rewards.tolist(), [-1.0, 0.0])
    self.assertEqual(infos['success'].tolist(), [0.0, 1.0])

  def test_protocol(self):
    run = tasks_of(*self.NAMES, num_action_repeats=1)
    self.assertEqual(
      run.describe_protocol(),
      dict(
        num_action_repeats=1,
        shadow_hand_version='v1',
        shadow_hand_rewards='sparse',
      ),
    )
    line = SUITE.evaluation_line(run.protocol(self.NAMES[0]))
    self.assertIn('100 control steps; sampled policy', line)
    self.assertIn('action repeat 1; tasks v1, sparse rewards', line)

  def test_missing_files_end_in_one_line(self):
    run = tasks_of('shadow_hand:torus')
    with self.assertRaisesRegex(UserError, '^shadow_hand:torus: .*missing$'):
      run.make(['shadow_hand:torus'], True, 1)


if __name__ == '__main__':
  absltest.main()
