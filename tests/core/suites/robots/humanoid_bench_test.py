"""Tests of core/suites/robots/humanoid_bench.py, on a stand-in."""

import importlib
import pathlib
import sys

import numpy as np
from absl.testing import absltest, parameterized

from core.environments.robots.humanoid_bench import HumanoidBenchProtocol
from core.errors import UserError
from core.suites import tasks
from core.suites.robots import humanoid_bench
from core.suites.robots.humanoid_bench import HumanoidBench
from core.suites.suite import Reference
from core.suites.task_environments import TaskEnvironments
from tests.published_rows import column
from tests.tasks import tasks_of

FAKE = str(pathlib.Path(__file__).parents[3] / 'fake_robots')
SUITE = HumanoidBench()


def setUpModule():
  sys.path.insert(0, FAKE)
  importlib.invalidate_caches()


def tearDownModule():
  sys.path.remove(FAKE)
  for name in [n for n in sys.modules if n.startswith('humanoid_bench')]:
    del sys.modules[name]


class NamesTest(parameterized.TestCase):
  def test_sets(self):
    sizes = dict(
      medium=9,
      medium_train=6,
      medium_transfer=3,
      three=3,
      hard=20,
      hard_transfer=7,
    )
    for name, size in sizes.items():
      found = tasks.expand(f'humanoidbench:{name}')
      self.assertLen(set(found), size, name)
      self.assertContainsSubset(found, humanoid_bench.TASKS)
      robot = 'h1hand-' if 'hard' in name else 'h1-'
      for task in found:
        self.assertStartsWith(task, f'humanoidbench:{robot}')
    self.assertSameElements(
      tasks.expand('humanoidbench:medium_train,humanoidbench:medium_transfer'),
      tasks.expand('humanoidbench:medium'),
    )

  @parameterized.named_parameters(
    ('task', 'humanoidbench:h1-wlak', 'humanoidbench:h1-walk'),
    ('set', 'humanoidbench:medum', 'humanoidbench:medium'),
    ('suite', 'humanoidbench', 'humanoidbench:hard'),
    ('id', 'h1hand-spoon-v0', 'humanoidbench:h1hand-spoon'),
  )
  def test_unknown_name_gets_the_nearest(self, name, nearest):
    with self.assertRaisesRegex(
      UserError, f"^unknown task '{name}'; did you mean .*{nearest}"
    ) as caught:
      tasks.expand(name)
    self.assertNotIn('\n', str(caught.exception))


class ScoresTest(absltest.TestCase):
  def test_scores_are_the_papers(self):
    item = 'HumanoidBench normalisation table'
    low = column('brc', item, 'Random Score')
    high = column('brc', item, 'Optimal Score')
    self.assertEqual(list(low), list(humanoid_bench.TASKS))
    for task in humanoid_bench.TASKS:
      reference = Reference(low[task], high[task], is_human=False)
      self.assertEqual(SUITE.reference(task), reference)
    self.assertIsNone(SUITE.reference('humanoidbench:h1-kitchen'))
    task = humanoid_bench.TASKS[0]
    self.assertIsNone(SUITE.reference(task, is_human_starts=True))


class PlayTest(absltest.TestCase):
  def test_tasks_of_two_robots_side_by_side(self):
    names = ('humanoidbench:h1-walk', 'humanoidbench:h1hand-push')
    run = tasks_of(*names, num_action_repeats=2)
    self.assertEqual(run.protocol(names[0]), HumanoidBenchProtocol(2))
    spec = run.env_spec
    self.assertEqual(spec.task_num_features, (51, 165))
    self.assertEqual(spec.action_box.task_sizes, (19, 61))
    self.assertFalse(spec.has_success)
    envs = TaskEnvironments(run, np.array([0, 1, 1]), is_training=True)
    self.addCleanup(envs.close)
    envs.reset(seed=0)
    _, rewards, terminated, truncated, infos = envs.step(
      np.full([3, 61], 0.5, np.float32)
    )
    self.assertEqual(rewards.tolist(), [1.0] * 3)
    self.assertFalse(terminated.any() or truncated.any())
    self.assertNotIn('success', infos)
    self.assertIsNone(envs.get_state())

  def test_says_whose_physics_it_is(self):
    line = SUITE.protocol_line(HumanoidBenchProtocol())
    self.assertRegex(
      line, r'^HumanoidBench with MuJoCo 3\.\d+\.\d+, .* 3\.1\.6$'
    )
    self.assertIn(line, SUITE.evaluation_line(HumanoidBenchProtocol()))


if __name__ == '__main__':
  absltest.main()
