"""Tests of core/suites/rwrl.py."""

import json

import numpy as np
from absl.testing import absltest, parameterized

from core.environments import rwrl as engine
from core.environments.control import ControlProtocol
from core.errors import UserError
from core.suites import rwrl, tasks
from core.suites.rwrl import RealWorld
from core.suites.suite import Reference
from core.suites.task_environments import TaskEnvironments
from tests.tasks import tasks_of

SUITE = RealWorld()


class NamesTest(parameterized.TestCase):
  def test_four_tasks_at_three_levels(self):
    self.assertEqual(tasks.expand('rwrl'), rwrl.TASKS)
    self.assertLen(set(rwrl.TASKS), 12)
    self.assertEqual(
      rwrl.TASKS[-4:],
      (
        *('rwrl:cartpole/swingup/hard', 'rwrl:walker/walk/hard'),
        *('rwrl:quadruped/walk/hard', 'rwrl:humanoid/walk/hard'),
      ),
    )

  @parameterized.named_parameters(
    ('level', 'rwrl:walker/walk/hart', 'rwrl:walker/walk/hard'),
    ('task', 'rwrl:walker/run/easy', 'rwrl:walker/walk/easy'),
    ('no_level', 'rwrl:humanoid/walk', 'rwrl:humanoid/walk/hard'),
    ('only_a_level', 'rwrl:medium', '/medium'),
  )
  def test_unknown_task_gets_the_nearest(self, name, nearest):
    with self.assertRaisesRegex(
      UserError, f"^unknown task '{name}'; did you mean .*{nearest}"
    ) as caught:
      tasks.expand(name)
    self.assertNotIn('\n', str(caught.exception))

  def test_returns_lie_between_0_and_1000(self):
    task = 'rwrl:walker/walk/hard'
    reference = Reference(0.0, 1000.0, is_human=False)
    self.assertEqual(SUITE.reference(task), reference)
    self.assertIsNone(SUITE.reference(task, is_human_starts=True))
    self.assertIsNone(SUITE.reference('rwrl:walker/run/hard'))


class ProtocolTest(absltest.TestCase):
  def test_options_reach_the_protocol(self):
    task = 'rwrl:cartpole/swingup/medium'
    run = tasks_of(task, num_action_repeats=2)
    self.assertEqual(run.protocol(task), ControlProtocol(2, 'features'))
    self.assertEqual(run.env_spec.num_features, 5 + 20)
    self.assertTrue(run.env_spec.has_time_limit)
    line = SUITE.evaluation_line(run.protocol(task))
    self.assertIn('delayed; action repeat 2; features', line)

  def test_pixels_are_refused(self):
    with self.assertRaisesRegex(
      UserError, '^--control_observations=pixels: .*played from features$'
    ):
      tasks_of('rwrl:walker/walk/easy', control_observations='pixels')

  def test_other_bounds_are_refused_in_one_line(self):
    with self.assertRaisesRegex(UserError, '^one agent needs the same bounds'):
      _ = tasks_of('rwrl:walker/walk/easy', 'rwrl:quadruped/walk/easy').env_spec


class MakeTest(absltest.TestCase):
  def test_rows_play_their_levels(self):
    names = ('rwrl:cartpole/swingup/easy', 'rwrl:cartpole/swingup/hard')
    run = tasks_of(*names, num_action_repeats=4)
    envs = TaskEnvironments(run, np.array([0, 1, 1], np.int32), True)
    self.addCleanup(envs.close)
    observation, _ = envs.reset(seed=6)
    features = [observation.features]
    actions = np.full([3, 1], 0.5, np.float32)
    features += [envs.step(actions)[0].features for _ in range(5)]
    self.assertEqual(features[0].shape, (3, 55))
    for row, name in enumerate([names[0], names[1], names[1]]):
      level = name.rpartition('/')[2]
      single = engine.RealWorldEnv(
        'cartpole/swingup',
        ControlProtocol(4),
        engine.CHALLENGES[level],
        engine.PERTURBATIONS['cartpole/swingup'][level],
      )
      self.addCleanup(single.close)
      expected = [single.reset(seed=6 + row)[0]]
      expected += [single.step(actions[row])[0] for _ in range(5)]
      for found, wanted in zip(features, expected, strict=True):
        np.testing.assert_array_equal(found[row, : wanted.size], wanted)
        np.testing.assert_array_equal(found[row, wanted.size :], 0.0)

  def test_state_there_and_back_out_of_processes(self):
    run = tasks_of('rwrl:cartpole/swingup/hard', num_action_repeats=50)
    envs = TaskEnvironments(run, np.zeros(2, np.int32), True)
    self.addCleanup(envs.close)
    actions = np.random.default_rng(0).uniform(-1, 1, [30, 2, 1])
    envs.reset(seed=1)
    for action in actions[:7]:
      envs.step(action)
    state = json.dumps(envs.get_state())
    runs = []
    for _ in range(2):  # Over the end of an episode, which draws anew.
      outputs = [envs.step(action) for action in actions]
      runs.append([(o.features, *others) for o, *others, _ in outputs])
      envs.reset(seed=2)
      envs.set_state(json.loads(state))
    for a, b in zip(*runs, strict=True):
      for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)
    self.assertEqual(sum(np.sum(step[3]) for step in runs[0]), 2)


if __name__ == '__main__':
  absltest.main()
