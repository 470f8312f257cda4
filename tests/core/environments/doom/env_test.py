"""Tests of core/environments/doom/env.py and engine.py, on the engine."""

import contextlib
import glob
import io
import json
import os
import signal
import sys
import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from core.environments.doom import engine
from core.environments.doom.env import ACTION_SETS, DoomEnv, DoomProtocol
from core.errors import UserError
from tests.doom import engines_of, needs_wheels, plain_textures

FORWARD, LEFT, RIGHT, FIRE = 0, 4, 5, 8
SHARED = '/dev/shm/ViZDoom*'


def make(task, num_tics=0, **options):
  return DoomEnv(task, DoomProtocol(**options), plain_textures(), num_tics)


def trace(env, actions, seed=None):
  """Returns all that an environment says over some steps."""
  found = [env.reset(seed=seed)[0]]
  for action in actions:
    observation, reward, terminated, truncated, _ = env.step(action)
    found += [observation, reward, terminated, truncated]
    if terminated or truncated:
      found.append(env.reset()[0])
  return found


def actions_of(num_steps, num_actions=9):
  rng = np.random.default_rng(0)
  # Mostly forward, so that something happens.
  drawn = rng.integers(num_actions, size=num_steps)
  return np.where(rng.random(num_steps) < 0.5, FORWARD, drawn).tolist()


@needs_wheels
class PlayTest(parameterized.TestCase):
  def assert_same(self, found, expected):
    self.assertEqual(len(found), len(expected))
    for a, b in zip(found, expected, strict=True):
      np.testing.assert_array_equal(a, b)

  def make(self, *args, **kwargs):
    env = make(*args, **kwargs)
    self.addCleanup(env.close)
    return env

  def test_equal_seeds_are_equal_and_states_go_on_exactly(self):
    # Over the end of an episode, on a map that changes.
    env, other = (self.make('nav_goal_doors', 240) for _ in range(2))
    actions = actions_of(100)
    found = trace(env, actions, seed=7)
    self.assert_same(found, trace(other, actions, seed=7))
    state = json.loads(json.dumps(env.get_state()))
    self.assertLen(state['actions'], 40)
    other.reset(seed=8)
    differing = trace(other, actions, seed=8)
    self.assertFalse(
      all(np.array_equal(a, b) for a, b in zip(found, differing, strict=True))
    )
    other.set_state(state)
    rest = [FORWARD, RIGHT] * 20
    for action in rest:
      self.assert_same(env.step(action), other.step(action))
    self.assert_same(env.reset()[0], other.reset()[0])

  def test_equal_seeds_of_laser_tag(self):
    env, actions = self.make('lasertag_one_small'), actions_of(60)
    first = trace(env, actions, seed=3)
    self.assert_same(first, trace(env, actions, seed=3))
    self.assertIsNone(env.get_state())

  def test_observation_and_end_of_an_episode(self):
    env = self.make('language_select', num_tics=20)
    observation, _ = env.reset(seed=0)
    self.assertTrue(env.observation_space.contains(observation))
    frame = observation[: 72 * 96 * 3].reshape(72, 96, 3)
    self.assertGreater(frame.std(), 5.0)
    text = observation[72 * 96 * 3 :].tobytes().rstrip(b'\0').decode()
    self.assertEqual(text, env.scene.instruction)
    self.assertEqual(env.render().shape, (120, 160, 3))
    outputs = [env.step(FORWARD) for _ in range(5)]
    self.assertEqual([o[2] for o in outputs], [False] * 4 + [True])
    self.assertFalse(any(o[3] for o in outputs))

  def test_measured_speeds(self):
    env = self.make('memory_cue', action_set='popart')
    env.reset(seed=0)
    angles, places = [env.seen.angle], [env.seen.y]
    for action in (
      4,
      5,
      6,
      7,
      *[7] * 7,
    ):  # Small left, small right, large ones.
      env.step(action)
      angles.append(env.seen.angle)
    turned = (np.diff(angles) + 180) % 360 - 180
    np.testing.assert_allclose(turned[:4], [4.4, -4.4, 26.4, -26.4], atol=0.03)
    for _ in range(8):
      env.step(FORWARD)
      places.append(env.seen.y)
    # From rest to 33 units a step; it walks down the corridor.
    ways = np.abs(np.diff(places))
    np.testing.assert_allclose(ways[:3], [7.1, 15.6, 21.4], atol=0.3)
    self.assertBetween(ways[-1], 30.0, 33.5)

  def test_looking_up_and_down_moves_the_picture(self):
    env = self.make('nav_goal', action_set='popart')
    env.reset(seed=1)
    for _ in range(8):
      env.step(0)
    level = env.render().copy()
    env.step(9)
    down = env.render().copy()
    env.step(8)
    moved = np.abs(level.astype(int) - down).mean()
    self.assertGreater(moved, 1.0)
    back = np.abs(level.astype(int) - env.render()).mean()
    self.assertLess(back, 0.3 * moved)

  def test_apples_are_counted(self):
    env = self.make('explore_object_locations_small')
    env.reset(seed=0)
    (x, y), item = self._place_of(env, 0)
    env._engine._game.send_game_command(f'warp {x} {y}')
    rewards = [env.step(FORWARD)[1] for _ in range(3)]
    self.assertEqual(sum(rewards), 1.0, item)

  def _place_of(self, env, index):
    from core.environments.doom.scene import centre

    item = env.scene.items[index]
    return centre(env.scene.maze, item.cell), item

  def test_a_killed_engine_is_started_again_once(self):
    env = self.make('mazes_0')
    env.reset(seed=0)
    # Nothing of it has a name any more.
    self.assertEmpty(
      glob.glob(f'{SHARED}{env._engine._game.get_instance_id()}')
    )
    (pid,) = engines_of(os.getpid())
    os.kill(pid, signal.SIGKILL)
    with contextlib.redirect_stderr(io.StringIO()) as said:
      *_, reward, terminated, truncated, _ = env.step(FORWARD)
    self.assertEqual((reward, terminated, truncated), (0.0, False, True))
    self.assertRegex(
      said.getvalue(), '^doom:mazes_0: the engine died and is started again: .+'
    )
    self.assertEqual(said.getvalue().count('\n'), 1)
    env.reset()
    self.assertFalse(env.step(FORWARD)[3])
    (pid,) = engines_of(os.getpid())
    os.kill(pid, signal.SIGKILL)
    with self.assertRaisesRegex(
      UserError, '^doom:mazes_0: the engine died twi'
    ):
      env.step(FORWARD)
    self.assertEmpty(engines_of(os.getpid()))


@needs_wheels
class FailureTest(parameterized.TestCase):
  def test_folder_that_is_not_there(self):
    with (
      mock.patch.object(tempfile, 'tempdir', '/nowhere'),
      self.assertRaisesRegex(
        UserError, 'an engine of Doom in /nowhere: No such file.*TMPDIR'
      ),
    ):
      make('mazes_0').reset(seed=0)

  def test_full_disk(self):
    folder = self.create_tempdir().full_path
    with (
      mock.patch.object(tempfile, 'tempdir', folder),
      mock.patch.object(
        engine, '_write', side_effect=OSError(28, 'No space left on device')
      ),
      self.assertRaisesRegex(UserError, 'No space left on device; TMPDIR'),
    ):
      make('mazes_0').reset(seed=0)
    self.assertEmpty(os.listdir(folder))


class MissingTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('vizdoom', ['vizdoom'], (3, 12), 'need vizdoom: pip install vizdoom==1.3'),
    ('both', ['vizdoom', 'PIL'], (3, 12), 'need vizdoom and PIL: pip install'),
    ('no_wheel', ['labmaze'], (3, 13), 'no wheel for Python 3.13: use Python'),
  )
  def test_one_line_says_what_to_install(self, missing, version, message):
    find = lambda name: None if name in missing else name  # noqa: E731
    with (
      mock.patch.object(engine.importlib.util, 'find_spec', find),
      mock.patch.object(sys, 'version_info', version),
      self.assertRaisesRegex(UserError, message) as caught,
    ):
      engine.check_installation()
    self.assertNotIn('\n', str(caught.exception))

  def test_action_sets(self):
    self.assertLen(ACTION_SETS['impala'], 9)
    self.assertLen(ACTION_SETS['popart'], 15)
    for actions in ACTION_SETS.values():
      self.assertLen(set(actions), len(actions))
      self.assertEqual({len(a) for a in actions}, {engine.NUM_BUTTONS})


if __name__ == '__main__':
  absltest.main()
