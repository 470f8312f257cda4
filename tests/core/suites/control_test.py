"""Tests of core/suites/control.py."""

import os
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from core.environments import control as engine
from core.environments.control import ControlProtocol
from core.errors import UserError
from core.suites import control, tasks
from core.suites.control import Control
from core.suites.suite import Reference
from core.suites.task_environments import TaskEnvironments
from core.types import ActionBox
from tests.tasks import tasks_of

SUITE = Control()


class NamesTest(parameterized.TestCase):
  def test_tasks_are_dm_controls(self):
    engine.spaces_of('cartpole/swingup', ControlProtocol())  # Without OpenGL.
    from dm_control import suite

    self.assertEqual(
      control.BENCHMARKING,
      tuple(f'control:{domain}/{task}' for domain, task in suite.BENCHMARKING),
    )
    self.assertLen(control.BENCHMARKING, 28)
    self.assertSameElements(
      set(control.ALL_TASKS) - set(control.CUSTOM),
      [f'control:{domain}/{task}' for domain, task in suite.ALL_TASKS],
    )
    self.assertLen(set(control.CUSTOM), 11)
    self.assertContainsSubset(control.CUSTOM, control.ALL_TASKS)

  def test_the_benchmarking_set(self):
    self.assertEqual(tasks.expand('control'), control.BENCHMARKING)
    name = 'control:quadruped/walk'
    self.assertNotIn(name, control.BENCHMARKING)
    self.assertEqual(tasks.expand(name), (name,))

  def test_other_sets(self):
    dogs, humanoids = map(tasks.expand, ('control:dogs', 'control:humanoids'))
    self.assertEqual((len(dogs), len(humanoids)), (4, 3))
    self.assertEqual(tasks.expand('control:hard'), dogs + humanoids)
    diverse = tasks.expand('control:diverse')
    self.assertLen(set(diverse), 30)
    self.assertContainsSubset(control.CUSTOM, diverse)
    self.assertContainsSubset(diverse, control.ALL_TASKS)
    domains = {task.split('/')[0] for task in diverse}
    self.assertLen(domains, 10)
    self.assertNotIn('control:humanoid', domains)

  @parameterized.named_parameters(
    (
      'added_task',
      'control:hopper/hop_bakward',
      'control:hopper/hop_backwards',
    ),
    ('set', 'control:harder', 'control:hard'),
    ('no_colon', 'walker/run_backwards', 'control:walker/run_backwards'),
    ('task', 'control:cartpole/swing', 'control:cartpole/swingup'),
    ('domain', 'control:wlker/walk', 'control:walker/walk'),
    ('only_a_domain', 'control:humanoid', 'control:humanoid/run'),
    ('dashes', 'control:reacher-hard', 'control:reacher/hard'),
    ('no_prefix', 'fish/swim', 'control:fish/swim'),
    ('of_dmlabs_form', 'cheetah/run', 'control:cheetah/run'),
  )
  def test_unknown_task_gets_the_nearest(self, name, nearest):
    with self.assertRaisesRegex(
      UserError, f"^unknown task '{name}'; did you mean .*{nearest}"
    ) as caught:
      tasks.expand(name)
    self.assertNotIn('\n', str(caught.exception))

  def test_other_levels_stay_dmlabs(self):
    self.assertEqual(
      tasks.expand('contributed/psychlab/harlow'),
      ('contributed/psychlab/harlow',),
    )

  def test_returns_lie_between_0_and_1000(self):
    reference = Reference(0.0, 1000.0, is_human=False)
    self.assertEqual(SUITE.reference('control:dog/run'), reference)
    self.assertIsNone(SUITE.reference('control:lqr/lqr_2_1'))
    self.assertIsNone(SUITE.reference('control:dog/run', is_human_starts=True))


class ProtocolTest(absltest.TestCase):
  def test_options_reach_the_protocol(self):
    task = 'control:cartpole/swingup'
    run = tasks_of(task, num_action_repeats=2)
    self.assertEqual(run.protocol(task), ControlProtocol(2, 'features'))
    self.assertEqual(run.env_spec.num_features, 5)
    self.assertEqual(run.env_spec.frame_shape, ())
    run = tasks_of(task, num_action_repeats=8, control_observations='pixels')
    self.assertEqual(run.protocol(task), ControlProtocol(8, 'pixels'))
    self.assertEqual(run.env_spec.num_features, 0)
    self.assertEqual(run.env_spec.frame_shape, (64, 64, 3))

  def test_evaluation_line(self):
    line = SUITE.evaluation_line(ControlProtocol(4, 'features'))
    for part in ('1000 control steps', 'sampled', 'repeat 4', 'features'):
      self.assertIn(part, line)
    line = SUITE.evaluation_line(ControlProtocol(2, 'pixels'))
    self.assertIn('action repeat 2; 64x64 pixels', line)


class SeveralTasksTest(absltest.TestCase):
  def test_tasks_share_processes(self):
    names = tuple(
      f'control:{task}'
      for task in ('dog/run', 'pendulum/spin', 'walker/run', 'fish/swim')
    )
    run = tasks_of(*names, num_action_repeats=1)
    with mock.patch.object(os, 'cpu_count', return_value=2):
      envs = TaskEnvironments(run, np.arange(4, dtype=np.int32), True)
    self.addCleanup(envs.close)
    (env,) = envs._envs
    self.assertLen(env.processes, 2)
    observation, _ = envs.reset(seed=4)
    self.assertEqual(observation.features.shape, (4, 223))
    actions = np.full([4, 38], 0.5, np.float32)
    observation, rewards, *_ = envs.step(actions)
    for row, name in enumerate(names):
      single = engine.ControlEnv(name.partition(':')[2], ControlProtocol(1))
      self.addCleanup(single.close)
      single.reset(seed=4 + row)
      size = single.action_space.shape[0]
      features, reward, *_ = single.step(actions[row, :size])
      found = observation.features[row]
      np.testing.assert_array_equal(found[: features.size], features)
      self.assertFalse(found[features.size :].any())
      self.assertEqual(rewards[row], np.float32(reward))

  def test_the_benchmarking_set_is_padded(self):
    spec = tasks_of(*control.BENCHMARKING).env_spec
    self.assertEqual(spec.task_names, control.BENCHMARKING)
    self.assertEqual(spec.num_features, 67)
    self.assertEqual(spec.action_box[:2], ((-1.0,) * 21, (1.0,) * 21))
    by_task = dict(zip(spec.task_names, spec.task_num_features, strict=True))
    self.assertEqual(by_task['control:cartpole/swingup'], 5)
    self.assertEqual(by_task['control:humanoid/run'], 67)
    self.assertEqual(spec.action_box.task_sizes[5], 1)

  def test_two_side_by_side(self):
    names = ('control:cartpole/balance', 'control:reacher/easy')
    run = tasks_of(*names, num_action_repeats=2)
    self.assertEqual(
      run.env_spec.action_box, ActionBox((-1.0,) * 2, (1.0,) * 2, (1, 2))
    )
    envs = TaskEnvironments(run, np.array([0, 0, 1], np.int32), True)
    self.addCleanup(envs.close)
    observation, _ = envs.reset(seed=1)
    self.assertEqual(observation.features.shape, (3, 6))
    self.assertEqual(observation.features[:, 5].all(), False)
    for _ in range(3):
      _, rewards, *_ = envs.step(np.full([3, 2], 0.5, np.float32))
    self.assertTrue(np.all(rewards[:2] > 1.0))  # Of two control steps.
    (rows,) = envs.get_state()
    self.assertLen(rows, 3)

  def test_other_bounds_are_refused_in_one_line(self):
    names = ('control:walker/walk', 'control:quadruped/walk')
    with self.assertRaisesRegex(UserError, '^one agent needs the same bounds'):
      _ = tasks_of(*names).env_spec


if __name__ == '__main__':
  absltest.main()
