"""Tests of ale_game.py and ale_state.py in core/environments."""

import dataclasses
import struct

import numpy as np
from absl.testing import absltest, parameterized
from ale_py.vector_env import AtariVectorEnv
from gymnasium.vector import AutoresetMode

from core.environments import ale_state
from core.environments.ale_game import AleGame
from core.environments.atari import AtariProtocol
from core.errors import UserError

PROTOCOL = AtariProtocol(life_loss_is_done=False, noop_max=0)


def make_ale_py_env(game, full_action_space=False, max_frames=108_000):
  return AtariVectorEnv(
    game,
    1,
    num_threads=1,
    max_num_frames_per_episode=max_frames,
    full_action_space=full_action_space,
    noop_max=1,  # ale-py then draws none.
    use_fire_reset=False,
    reward_clipping=False,
    autoreset_mode=AutoresetMode.SAME_STEP,
  )


def play(game, num_steps, seed=0):
  """Plays random actions; returns all observations and rewards."""
  rng = np.random.RandomState(seed)
  steps = [
    game.step(rng.randint(game.action_space.n)) for _ in range(num_steps)
  ]
  return np.stack([s[0] for s in steps]), [s[1] for s in steps]


class AleGameTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('pong', 'pong', False),
    ('breakout_paddles', 'breakout', False),
    ('road_runner_three_games', 'road_runner', False),
    ('skiing_full_actions', 'skiing', True),
  )
  def test_equals_ale_pys_vector_environment(self, name, full_action_space):
    protocol = dataclasses.replace(
      PROTOCOL, full_action_space=full_action_space
    )
    game = AleGame(name, protocol)
    other = make_ale_py_env(name, full_action_space)
    table = game._action_table
    frames, info = game.reset(seed=5)
    other_frames, other_infos = other.reset(seed=5)
    rng = np.random.RandomState(0)
    for _ in range(300):
      np.testing.assert_array_equal(frames, other_frames[0])
      self.assertEqual(info['lives'], other_infos['lives'][0])
      self.assertEqual(
        info['episode_frame_number'], other_infos['episode_frame_number'][0]
      )
      action = rng.randint(game.action_space.n)
      frames, reward, terminated, truncated, info = game.step(action)
      other_frames, *other_outputs, other_infos = other.step(table[[action]])
      self.assertEqual(
        [reward, terminated, truncated], [x[0] for x in other_outputs]
      )
      if terminated:
        np.testing.assert_array_equal(frames, other_infos['final_obs'][0])
        frames, info = game.reset()

  @parameterized.named_parameters(
    ('whole_steps', 100), ('cut_step', 101), ('one_frame_less', 99)
  )
  def test_frame_cap_is_ale_pys(self, max_frames):
    protocol = dataclasses.replace(
      PROTOCOL, noop_max=30, max_frames_per_episode=max_frames
    )
    game, other = AleGame('pong', protocol), make_ale_py_env('pong')
    other = make_ale_py_env('pong', max_frames=max_frames)
    game.reset(seed=0)
    other.reset(seed=0)
    truncated = other_truncated = False
    num_steps = other_num_steps = 0
    while not truncated:
      truncated, num_steps = game.step(0)[3], num_steps + 1
    while not other_truncated:
      other_truncated = other.step(np.zeros(1, np.int32))[3][0]
      other_num_steps += 1
    self.assertEqual(num_steps, other_num_steps)

  def test_no_ops_are_uniform_from_one_to_the_maximum(self):
    protocol = dataclasses.replace(PROTOCOL, noop_max=3)
    game = AleGame('pong', protocol)
    game.reset(seed=0)
    starts = [game.reset()[1]['episode_frame_number'] for _ in range(150)]
    numbers, counts = np.unique(starts, return_counts=True)
    self.assertSequenceEqual(list(numbers), [1, 2, 3])
    self.assertGreater(min(counts), 30)

  def test_seed_fixes_the_game(self):
    game = AleGame('pong', AtariProtocol(life_loss_is_done=False))
    starts = []
    for seed in (1, 1, 2):
      starts.append(game.reset(seed=seed)[1]['episode_frame_number'])
    self.assertEqual(starts[0], starts[1])
    self.assertNotEqual(starts[0], starts[2])

  def test_seed_fixes_sticky_actions(self):
    protocol = dataclasses.replace(PROTOCOL, repeat_action_probability=0.5)
    game = AleGame('breakout', protocol)
    last_frames = []
    for seed in (1, 1, 2):
      game.reset(seed=seed)
      last_frames.append(play(game, 60)[0][-1])
    np.testing.assert_array_equal(last_frames[0], last_frames[1])
    self.assertTrue(np.any(last_frames[0] != last_frames[2]))

  def test_render_shows_the_screen_in_colour(self):
    game = AleGame('pong', PROTOCOL)
    game.reset(seed=0)
    play(game, 20)
    picture = game.render()
    self.assertEqual((picture.shape, picture.dtype), ((210, 160, 3), np.uint8))
    self.assertGreater(np.ptp(picture.astype(int), axis=2).max(), 50)

  def test_refuses_a_training_protocol(self):
    with self.assertRaisesRegex(ValueError, 'whole games'):
      AleGame('pong', AtariProtocol(life_loss_is_done=True))


class StartStateTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.game = AleGame('breakout', PROTOCOL)
    self.game.reset(seed=1)
    play(self.game, 50, seed=1)
    self.state = self.game.save_state()

  def restore(self, state, protocol=PROTOCOL, game='breakout'):
    ale_state._safe_states.clear()
    fresh = AleGame(game, protocol)
    outputs = fresh.reset(options={'start_state': state, 'name': 'a/7.bin'})
    return fresh, *outputs

  def test_restored_game_goes_on_as_the_saved_one(self):
    restored, _, info = self.restore(self.state)
    self.assertEqual(info['episode_frame_number'], 200)
    frames, rewards = play(self.game, 60)
    restored_frames, restored_rewards = play(restored, 60)
    self.assertEqual(restored_rewards, rewards)
    # From the fourth step on the stack has forgotten how it began.
    np.testing.assert_array_equal(restored_frames[3:], frames[3:])

  def test_stack_is_four_copies_of_the_screen_drawn_next(self):
    _, frames, _ = self.restore(self.state)
    one_frame = dataclasses.replace(
      PROTOCOL, num_action_repeats=1, max_pool=False
    )
    restored, *_ = self.restore(self.state, one_frame)
    drawn_next = restored.step(0)[0][-1]
    self.assertGreater(drawn_next.max(), 0)
    for frame in frames:
      np.testing.assert_array_equal(frame, drawn_next)

  def test_state_without_random_generator_is_good(self):
    emulator = self.game._ale
    state = emulator.cloneState(include_rng=False).__getstate__()
    self.assertLess(len(state), len(self.state))
    _, _, info = self.restore(state)
    self.assertEqual(info['episode_frame_number'], 200)

  def test_frames_before_the_start_count_towards_the_cap(self):
    protocol = dataclasses.replace(PROTOCOL, max_frames_per_episode=208)
    restored, *_ = self.restore(self.state, protocol)
    self.assertEqual([restored.step(0)[3] for _ in range(2)], [False, True])

  def test_state_past_the_cap_is_refused(self):
    protocol = dataclasses.replace(PROTOCOL, max_frames_per_episode=200)
    with self.assertRaisesRegex(UserError, 'a/7.bin: the game is over'):
      self.restore(self.state, protocol)

  def test_reset_without_a_state_starts_a_game(self):
    restored, *_ = self.restore(self.state)
    _, info = restored.reset(seed=1)
    self.assertEqual(info['episode_frame_number'], 0)

  @parameterized.named_parameters(
    ('empty', lambda s: b'', 'truncated'),
    ('short', lambda s: s[:50], 'truncated'),
    ('half', lambda s: s[: len(s) // 2], 'damaged ALE'),
    ('last_byte_gone', lambda s: s[:-1], 'damaged ALE'),
    ('byte_too_many', lambda s: s + b'x', 'damaged ALE'),
    (
      'random_bytes',
      lambda s: np.random.RandomState(0).bytes(len(s)),
      'no ALE',
    ),
    ('zeros', lambda s: bytes(len(s)), 'no ALE'),
    ('pickle', lambda s: b'\x80\x04\x95' + s, 'no ALE'),
    (
      'huge_length',
      lambda s: s[:24] + b'\xff\xff\xff\x7f' + s[28:],
      'damaged ALE',
    ),
    ('paddle_limits', lambda s: s[:-1] + b'\x01', 'damaged'),
    ('mode', lambda s: s[:16] + b'\x01' + s[17:], 'damaged'),
    (
      'inner_part',
      lambda s: s.replace(b'\x08\0\0\0M6502Low', b'\x08\0\0\0M6502Lox'),
      'damaged',
    ),
    ('rng', lambda s: s[:9000] + b'\xff\xff\xff' + s[9003:], 'damaged'),
  )
  def test_damaged_state_is_refused(self, damage, message):
    damaged = damage(self.state)
    self.assertNotEqual(damaged, self.state)
    with self.assertRaisesRegex(UserError, f'^a/7.bin: {message}'):
      self.restore(damaged)

  def test_state_of_another_game_is_refused(self):
    with self.assertRaisesRegex(UserError, '^a/7.bin: state of another game'):
      self.restore(self.state, game='pong')

  def test_state_that_kills_the_emulator_is_refused(self):
    game = AleGame('montezuma_revenge', PROTOCOL)
    game.reset(seed=1)
    state = bytearray(game.save_state())
    # The bank number of the cartridge: memory far outside of it.
    struct.pack_into('<i', state, state.find(b'CartridgeE0') + 25, 67 << 24)
    good = game.save_state()
    ale_state._safe_states.clear()
    self.assertEqual(
      ale_state._count_good_in_child(game.game, [good, bytes(state), good]), 1
    )
    with self.assertRaisesRegex(UserError, '^b: damaged'):
      ale_state.check_states(game.game, {'a': good, 'b': bytes(state)})
    # The good one before it needs no second check.
    self.assertLen(ale_state._safe_states, 1)

  def test_state_of_a_finished_game_is_refused(self):
    while not self.game.step(1)[2]:
      pass
    with self.assertRaisesRegex(UserError, 'a/7.bin: the game is over'):
      self.restore(self.game.save_state())


if __name__ == '__main__':
  absltest.main()
