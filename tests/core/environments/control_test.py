"""Tests of core/environments/control.py."""

import dataclasses
import functools
import importlib.util
import os
import subprocess
import sys
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from gymnasium.utils.env_checker import check_env

from core.environments import control
from core.environments.control import ControlEnv, ControlProtocol
from core.errors import UserError

FEATURES = ControlProtocol()
PIXELS = ControlProtocol(observations='pixels')

# Opens a window-less context by MuJoCo alone.
CONTEXT = 'import mujoco; mujoco.GLContext(64, 64).make_current()'

# Loads a task as a run does, in which absl says what it has to say.
QUIET = """
from absl import logging
from core.environments import control
logging.set_verbosity(logging.INFO)
control.spaces_of('cartpole/swingup', control.ControlProtocol())
assert logging.get_verbosity() == logging.INFO
"""

# With the ten below, dm_control's 19 of the 30 tasks of MW+DMC, and dogs.
OTHER_TASKS = (
  *('cartpole/balance', 'cartpole/balance_sparse', 'cartpole/swingup'),
  *('cheetah/run', 'dog/run', 'finger/spin', 'finger/turn_easy'),
  *('hopper/hop', 'hopper/stand', 'pendulum/swingup', 'reacher/easy'),
  *('reacher/hard', 'walker/stand', 'walker/walk'),
)

TEN_TASKS = (
  'acrobot/swingup',
  'ball_in_cup/catch',
  'cartpole/swingup_sparse',
  'finger/turn_hard',
  'fish/swim',
  'humanoid/walk',
  'manipulator/bring_ball',
  'quadruped/walk',
  'swimmer/swimmer6',
  'walker/run',
)


@functools.cache
def suite():
  """Returns dm_control's suite, imported as the sources import it."""
  control.spaces_of('cartpole/swingup', FEATURES)
  return importlib.import_module('dm_control.suite')


def its_own(task, seed):
  """Returns dm_control's own environment."""
  return suite().load(*task.split('/'), task_kwargs={'random': seed})


def flat(observation):
  """Returns its features, one by one."""
  parts = [np.asarray(part).ravel().tolist() for part in observation.values()]
  return np.float32(sum(parts, []))


def actions_of(env, num_steps, seed=0):
  rng = np.random.default_rng(seed)
  shape = [num_steps, *env.action_space.shape]
  return rng.uniform(-0.8, 0.8, shape).astype(np.float32)


def run(env, actions):
  """Returns features and rewards of all steps, over the ends of episodes."""
  outputs = []
  for action in actions:
    features, reward, terminated, truncated, _ = env.step(action)
    outputs.append([*features, reward])
    if terminated or truncated:
      outputs.append([*env.reset()[0], 0.0])
  return np.array(outputs)


class ControlEnvTest(parameterized.TestCase):
  def make(self, task, **protocol):
    env = ControlEnv(task, ControlProtocol(**protocol))
    self.addCleanup(env.close)
    return env

  @parameterized.parameters(*TEN_TASKS, *OTHER_TASKS)
  def test_equals_dm_controls_own(self, task):
    num_steps = 100 if task in TEN_TASKS else 20
    env, own = self.make(task), its_own(task, 7)
    bounds = own.action_spec()
    self.assertEqual(env.action_space.shape, bounds.shape)
    np.testing.assert_array_equal(
      env.action_space.low, np.float32(bounds.minimum)
    )
    np.testing.assert_array_equal(
      env.action_space.high, np.float32(bounds.maximum)
    )
    features, _ = env.reset(seed=7)
    expected = flat(own.reset().observation)
    self.assertEqual(env.observation_space.shape, expected.shape)
    np.testing.assert_array_equal(features, expected)
    self.assertEqual(features.dtype, np.float32)
    for action in actions_of(env, num_steps):
      features, reward, terminated, truncated, _ = env.step(action)
      step = own.step(action)
      np.testing.assert_array_equal(features, flat(step.observation))
      self.assertEqual(reward, step.reward)
      self.assertFalse(terminated or truncated)

  def test_keeps_gymnasiums_interface(self):
    check_env(self.make('reacher/easy'), skip_render_check=True)

  @parameterized.named_parameters(
    ('one_by_one', 1, 1000), ('four', 4, 250), ('not_a_divisor', 3, 334)
  )
  def test_the_time_limit_truncates(self, num_repeats, num_steps):
    env = self.make('pendulum/swingup', num_action_repeats=num_repeats)
    for _ in range(2):
      env.reset(seed=0)
      for step in range(1, num_steps + 1):
        _, _, terminated, truncated, _ = env.step(np.zeros(1))
        self.assertEqual((terminated, truncated), (False, step == num_steps))

  def test_a_task_that_ends_terminates(self):
    env = self.make('lqr/lqr_2_1', num_action_repeats=5)
    for is_at_rest in (False, True):
      env.reset(seed=0)
      if is_at_rest:  # At its goal, where the task ends in one step of five.
        with env._physics.reset_context():
          pass
      _, reward, terminated, truncated, _ = env.step(np.zeros(1))
      self.assertEqual((terminated, truncated), (is_at_rest, False))
    self.assertEqual(reward, 1.0)

  def test_repeats_add_up(self):
    env = self.make('cartpole/balance', num_action_repeats=3)
    single = self.make('cartpole/balance')
    env.reset(seed=1)
    single.reset(seed=1)
    for action in actions_of(env, 20):
      features, reward, *_ = env.step(action)
      singles = [single.step(action) for _ in range(3)]
      np.testing.assert_array_equal(features, singles[-1][0])
      self.assertEqual(reward, sum(result[1] for result in singles))
      self.assertGreater(reward, 1.0)

  def test_actions_beyond_the_bounds_are_the_bounds(self):
    env = self.make('quadruped/walk')
    env.reset(seed=0)
    for action, bound in ((7.0, env._high), (-3.0, env._low)):
      env.step(np.full(12, action))
      np.testing.assert_array_equal(env._physics.control(), bound)

  def test_seeds(self):
    env, other = self.make('walker/walk'), self.make('walker/walk')
    actions = actions_of(env, 30)
    for given in (env, other):
      given.reset(seed=4)
    first = run(env, actions)
    np.testing.assert_array_equal(first, run(other, actions))
    # Episodes differ, and their sequence begins anew with the seed.
    second = env.reset()[0]
    np.testing.assert_array_equal(second, other.reset()[0])
    self.assertTrue(np.any(second != env.reset()[0]))
    env.reset(seed=4)
    np.testing.assert_array_equal(first, run(env, actions))
    env.reset(seed=5)
    self.assertTrue(np.any(first != run(env, actions)))


class VectorEnvTest(parameterized.TestCase):
  def test_number_of_processes_changes_nothing(self):
    outputs = []
    for num_workers in (1, 2):
      env = control.make_vector_env(
        ['hopper/hop'] * 3, ControlProtocol(num_action_repeats=5), num_workers
      )
      self.addCleanup(env.close)
      self.assertLen(env.processes, num_workers)
      rows = [env.reset(seed=5)[0]]
      for action in actions_of(env, 220):
        features, rewards, terminated, truncated, _ = env.step(action)
        rows.append(np.column_stack([features, rewards, terminated, truncated]))
      outputs.append(rows)
    for a, b in zip(*outputs, strict=True):
      np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(
      np.array(outputs[0][1:])[:, :, -1].nonzero()[0], [199] * 3
    )
    single = ControlEnv('hopper/hop', FEATURES)
    self.addCleanup(single.close)
    for row in range(3):
      expected, _ = single.reset(seed=5 + row)
      np.testing.assert_array_equal(outputs[0][0][row], expected)

  def test_feature_names(self):
    self.assertEqual(
      control.feature_names('finger/turn_easy'),
      (
        *(f'position[{i}]' for i in range(4)),
        *(f'velocity[{i}]' for i in range(3)),
        *('touch[0]', 'touch[1]', 'target_position[0]', 'target_position[1]'),
        'dist_to_target[0]',
      ),
    )
    for task in ('humanoid/walk', 'manipulator/bring_ball'):
      features, _ = control.spaces_of(task, FEATURES)
      self.assertLen(control.feature_names(task), features.shape[0])


class PixelsTest(parameterized.TestCase):
  def test_pictures_or_a_refusal(self):
    chosen = os.environ.get('MUJOCO_GL')
    try:
      control.rendering_backend(chosen)
    except UserError as error:
      self._check_refusal(chosen, error)
    else:
      self._check_pictures()

  def _check_refusal(self, chosen, error):
    with self.assertRaisesRegex(UserError, 'libosmesa6.*or choose features$'):
      control.make_vector_env(['reacher/easy'] * 2, PIXELS, 1)
    self.assertNotIn('\n', str(error))
    for backend in [chosen] if chosen else ['egl', 'osmesa']:
      child = subprocess.run(
        [sys.executable, '-c', CONTEXT],
        env={**os.environ, 'MUJOCO_GL': backend},
        capture_output=True,
      )
      self.assertNotEqual(child.returncode, 0, backend)

  def _check_pictures(self):
    env = control.make_vector_env(['reacher/easy'] * 2, PIXELS, 1)
    self.addCleanup(env.close)
    frames = [env.reset(seed=3)[0]]
    for _ in range(6):
      frames.append(env.step(np.ones([2, 2], np.float32))[0])
    frames = np.array(frames)
    self.assertEqual(frames.shape, (7, 2, 64, 64, 3))
    self.assertEqual(frames.dtype, np.uint8)
    for frame, following in zip(frames[:-1], frames[1:], strict=True):
      # The arm turns, the rest of the arena stays as it is.
      changed = np.any(frame != following, axis=-1).mean(axis=(1, 2))
      self.assertTrue(np.all((changed > 0.002) & (changed < 0.25)), changed)
    # The arm is yellow, the target red, elsewhere in each row; all else blue.
    red, green, blue = np.moveaxis(frames.astype(np.int32), -1, 0)
    arm = (red > blue + 40) & (green > blue + 40)
    target = (red > blue + 40) & (green < red - 60)
    self.assertTrue(np.all(arm.sum(axis=(2, 3)) > 20))
    self.assertTrue(np.all(target.sum(axis=(2, 3)) > 20))
    self.assertTrue(np.any(target[0, 0] != target[0, 1]))
    state = env.get_state()
    following = env.step(np.ones([2, 2], np.float32))[0]
    env.reset(seed=8)
    env.set_state(state)
    again = env.step(np.ones([2, 2], np.float32))[0]
    np.testing.assert_array_equal(again, following)

  def test_spaces_need_no_opengl(self):
    frames, actions = control.spaces_of('quadruped/walk', PIXELS)
    self.assertEqual((frames.shape, frames.dtype), ((64, 64, 3), np.uint8))
    self.assertEqual(actions.shape, (12,))
    protocol = dataclasses.replace(PIXELS, frame_height=48, frame_width=32)
    frames, _ = control.spaces_of('quadruped/walk', protocol)
    self.assertEqual(frames.shape, (48, 32, 3))

  @parameterized.named_parameters(
    ('both', None, ['egl', 'osmesa'], 'egl'),
    ('second', None, ['osmesa'], 'osmesa'),
    ('chosen', 'glfw', ['egl', 'osmesa', 'glfw'], 'glfw'),
  )
  def test_first_backend_that_draws(self, chosen, drawing, expected):
    find = control.rendering_backend.__wrapped__
    with mock.patch.object(control, '_draws', drawing.__contains__):
      self.assertEqual(find(chosen), expected)

  def test_no_backend_draws(self):
    find = control.rendering_backend.__wrapped__
    with mock.patch.object(control, '_draws', lambda backend: False):
      with self.assertRaisesRegex(UserError, 'and neither EGL nor OSMesa draw'):
        find(None)
      with self.assertRaisesRegex(UserError, 'and MUJOCO_GL=egl does not draw'):
        find('egl')

  def test_a_backend_that_does_not_exist(self):
    with self.assertRaisesRegex(UserError, 'MUJOCO_GL=windows does not draw'):
      control.rendering_backend('windows')


class InstallationTest(absltest.TestCase):
  def test_missing(self):
    with (
      mock.patch.object(importlib.util, 'find_spec', lambda name: None),
      mock.patch.object(sys, 'version_info', (3, 11)),
      self.assertRaisesRegex(
        UserError, '^DeepMind Control is not installed: .*pip install dm-con'
      ),
    ):
      control.make_vector_env(['cartpole/swingup'], FEATURES, 1)

  def test_python_that_has_no_wheel(self):
    with (
      mock.patch.object(importlib.util, 'find_spec', lambda name: None),
      mock.patch.object(sys, 'version_info', (3, 13)),
      self.assertRaisesRegex(UserError, 'needs Python 3.10 to 3.12: labmaze'),
    ):
      ControlEnv('cartpole/swingup', FEATURES)

  def test_command_is_that_of_the_lock_file(self):
    lock = (control.ROOT / 'requirements-lock.txt').read_text()
    with mock.patch.object(importlib.util, 'find_spec', lambda name: None):
      try:
        control.check_installation()
      except UserError as error:
        pins = [word for word in str(error).split() if '==' in word]
    self.assertLen(pins, 2)
    for pin in pins:
      self.assertIn(f'\n{pin};', lock)

  def test_says_nothing(self):
    child = subprocess.run(
      [sys.executable, '-c', QUIET],
      cwd=control.ROOT,
      capture_output=True,
      text=True,
    )
    self.assertEqual((child.returncode, child.stderr), (0, ''))

  def test_environment_variables_stay(self):
    for value in (None, 'egl'):
      changes = {} if value is None else {'MUJOCO_GL': value}
      with mock.patch.dict(os.environ, changes):
        if value is None:
          os.environ.pop('MUJOCO_GL', None)
        before = dict(os.environ)
        its_own('cartpole/swingup', 0)
        ControlEnv('cartpole/swingup', FEATURES).close()
        self.assertEqual(dict(os.environ), before)


if __name__ == '__main__':
  absltest.main()
