"""Tests of core/suites/robots/metaworld.py."""

import numpy as np
from absl.testing import absltest, parameterized

from core.environments.robots import metaworld as engine
from core.environments.robots.metaworld import MetaWorldEnv, MetaWorldProtocol
from core.errors import UserError
from core.suites import control, tasks
from core.suites.robots import metaworld
from core.suites.robots.metaworld import MetaWorld
from core.suites.suite import Reference
from core.suites.task_environments import TaskEnvironments
from core.types import ActionBox
from tests.tasks import tasks_of

SUITE = MetaWorld()


class NamesTest(parameterized.TestCase):
  def test_tasks_are_the_packages(self):
    self.assertLen(metaworld.TASKS, 50)
    names = [task.removeprefix('metaworld:') for task in metaworld.TASKS]
    self.assertSameElements(
      [f'{name}-v3-goal-observable' for name in names], engine._load()
    )

  def test_sets(self):
    self.assertEqual(tasks.expand('metaworld'), metaworld.TASKS)
    train = tasks.expand('metaworld:train')
    transfer = tasks.expand('metaworld:transfer')
    self.assertEqual((len(train), len(transfer)), (45, 5))
    self.assertSameElements((*train, *transfer), metaworld.TASKS)
    self.assertIn('metaworld:push-back', transfer)
    self.assertLen(tasks.expand('metaworld,control:diverse'), 80)

  @parameterized.named_parameters(
    ('task', 'metaworld:door-opne', 'metaworld:door-open'),
    ('set', 'metaworld:transfr', 'metaworld:transfer'),
    ('all', 'metawrld', 'metaworld'),
    ('no_prefix', 'drawer-clos', 'metaworld:drawer-close'),
    ('version', 'metaworld:reach-v2', 'metaworld:reach'),
  )
  def test_unknown_name_gets_the_nearest(self, name, nearest):
    with self.assertRaisesRegex(
      UserError, f"^unknown task '{name}'; did you mean .*{nearest}( or|\\?)"
    ) as caught:
      tasks.expand(name)
    self.assertNotIn('\n', str(caught.exception))

  def test_returns_lie_between_0_and_2000(self):
    reference = Reference(0.0, 2000.0, is_human=False)
    self.assertEqual(SUITE.reference('metaworld:soccer'), reference)
    self.assertIsNone(SUITE.reference('metaworld:chess'))
    self.assertIsNone(SUITE.reference('metaworld:soccer', is_human_starts=True))


class ProtocolTest(absltest.TestCase):
  def test_defaults_are_the_papers(self):
    run = tasks_of('metaworld:reach', num_action_repeats=1)
    self.assertEqual(run.protocol('metaworld:reach'), MetaWorldProtocol())
    self.assertEqual(
      run.describe_protocol(),
      dict(
        num_action_repeats=1,
        metaworld_version='v3',
        metaworld_rewards='v2',
        metaworld_goals='frozen',
        metaworld_episode_steps=200,
      ),
    )

  def test_options_reach_the_protocol_and_are_told(self):
    run = tasks_of(
      'metaworld:reach',
      num_action_repeats=2,
      metaworld_goals='random',
      metaworld_rewards='v1',
    )
    protocol = run.protocol('metaworld:reach')
    self.assertEqual(protocol, MetaWorldProtocol(2, 'v3', 'v1', 'random'))
    line = SUITE.protocol_line(protocol)
    self.assertEqual(
      line,
      'MetaWorld v3, rewards of v1, goals random, 200 control steps an episode',
    )
    self.assertIn(f'action repeat 2; {line}', SUITE.evaluation_line(protocol))

  def test_spec_is_that_of_an_environment(self):
    spec = tasks_of('metaworld:hammer', 'metaworld:sweep').env_spec
    env = MetaWorldEnv('hammer', MetaWorldProtocol())
    self.addCleanup(env.close)
    self.assertEqual(spec.num_features, env.observation_space.shape[0])
    space = env.action_space
    box = ActionBox(tuple(space.low.tolist()), tuple(space.high.tolist()))
    self.assertEqual(spec.action_box, box)
    self.assertTrue(spec.has_success)


class SideBySideTest(absltest.TestCase):
  NAMES = ('metaworld:reach', 'metaworld:door-open', 'control:cartpole/balance')

  def test_with_tasks_that_cannot_succeed(self):
    run = tasks_of(*self.NAMES, num_action_repeats=1)
    spec = run.env_spec
    self.assertEqual(spec.task_num_features, (39, 39, 5))
    self.assertEqual(spec.action_box.task_sizes, (4, 4, 1))
    self.assertTrue(spec.has_success)
    self.assertFalse(tasks_of(control.ALL_TASKS[0]).env_spec.has_success)
    envs = TaskEnvironments(run, np.array([0, 1, 2, 0]), is_training=True)
    self.addCleanup(envs.close)
    observation, _ = envs.reset(seed=2)
    singles = [
      MetaWorldEnv(task, MetaWorldProtocol())
      for task in ('reach', 'reach', 'door-open')
    ]
    for row, single in enumerate(singles):
      self.addCleanup(single.close)
      expected, _ = single.reset(seed=2 + row)
      np.testing.assert_array_equal(observation.features[row], expected)
    rng = np.random.default_rng(0)
    for _ in range(205):
      actions = rng.uniform(-1, 1, [4, 4]).astype(np.float32)
      observation, rewards, *_, truncated, infos = envs.step(actions)
      np.testing.assert_array_equal(
        np.isnan(infos['success']), [False, False, False, True]
      )
      for row, single in enumerate(singles):
        features, reward, _, is_last, info = single.step(actions[row])
        if is_last:
          features, _ = single.reset()
        np.testing.assert_array_equal(observation.features[row], features)
        self.assertEqual(rewards[row], np.float32(reward))
        self.assertEqual(infos['success'][row], info['success'])
        self.assertEqual(truncated[row], is_last)
    self.assertFalse(observation.features[3, 5:].any())


if __name__ == '__main__':
  absltest.main()
