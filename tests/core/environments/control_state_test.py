"""Tests of core/environments/control_state.py, through environments."""

import json

import numpy as np
from absl.testing import absltest, parameterized

from core.environments.control import ControlEnv
from tests.core.environments.control_test import (
  FEATURES,
  TEN_TASKS,
  actions_of,
  run,
)


class StateTest(parameterized.TestCase):
  # Warm starts, RK4, contacts, activations, terrain, and targets, gains and
  # dampings that an episode sets in the model.
  @parameterized.parameters(
    *('cartpole/swingup', 'finger/spin', 'finger/turn_easy'),
    *('fish/swim', 'humanoid/walk', 'manipulator/insert_peg'),
    *('point_mass/hard', 'quadruped/escape', 'reacher/hard', 'stacker/stack_2'),
    *('swimmer/swimmer6', 'walker/walk', 'reacher/three_hard'),
    *('ball_in_cup/spin', 'cheetah/jump'),
  )
  def test_there_and_back_is_exact(self, task):
    env, other = (ControlEnv(task, FEATURES) for _ in range(2))
    self.addCleanup(env.close)
    self.addCleanup(other.close)
    actions = actions_of(env, 60)
    env.reset(seed=1)
    for num_before in (0, 40):
      run(env, actions[:num_before])
      other.reset(seed=2)
      run(other, actions[:3])
      other.set_state(json.loads(json.dumps(env.get_state())))
      np.testing.assert_array_equal(run(env, actions), run(other, actions))
      np.testing.assert_array_equal(env.reset()[0], other.reset()[0])

  def test_what_another_episode_changed_is_undone(self):
    env, other = (ControlEnv('cartpole/swingup', FEATURES) for _ in range(2))
    self.addCleanup(env.close)
    self.addCleanup(other.close)
    env.reset(seed=1)
    other.reset(seed=2)
    other._physics.model.dof_damping[:] = 3.0
    other.set_state(env.get_state())
    actions = actions_of(env, 20)
    np.testing.assert_array_equal(run(env, actions), run(other, actions))

  def test_the_end_of_the_episode_stays(self):
    env, other = (ControlEnv('pendulum/swingup', FEATURES) for _ in range(2))
    env.reset(seed=1)
    run(env, np.zeros([990, 1]))
    other.reset(seed=2)
    other.set_state(env.get_state())
    ends = [other.step(np.zeros(1))[3] for _ in range(10)]
    self.assertEqual(ends, [False] * 9 + [True])

  @parameterized.parameters(*TEN_TASKS)
  def test_a_task_keeps_nothing_else_of_an_episode(self, task):
    env = ControlEnv(task, FEATURES)
    self.addCleanup(env.close)
    kept = []
    for seed in (1, 2):
      env.reset(seed=seed)
      run(env, actions_of(env, 20, seed))
      attributes = dict(vars(env._task))
      del attributes['_random']
      kept.append(attributes)
    self.assertEqual(*kept)


if __name__ == '__main__':
  absltest.main()
