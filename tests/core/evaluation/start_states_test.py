"""Tests of core/evaluation/start_states.py."""

import collections
import os
import pathlib
import tempfile

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from core.environments import ale_state
from core.environments.ale_game import AleGame
from core.environments.atari import AtariProtocol
from core.errors import UserError
from core.evaluation import start_states
from core.evaluation.episodes import Policy
from core.types import AgentOutput
from tests.tasks import PlayedAs

PROTOCOL = AtariProtocol(
  life_loss_is_done=False, noop_max=3, max_frames_per_episode=400
)


def act(last_action, env_output, core_state, seed):
  del last_action, env_output
  action = tf.random.stateless_uniform([1], seed, 0, 6, tf.int32)
  return AgentOutput(action, None), core_state


def policy_of(act):
  return Policy(act, lambda n: (), lambda n: np.zeros(n, np.int32))


TASKS = PlayedAs(['pong'], PROTOCOL)


def save(folder, num_start_states, seed=1, **kwargs):
  return list(
    start_states.save_start_states(
      folder,
      TASKS,
      'pong',
      policy_of(act),
      num_start_states,
      seed,
      **kwargs,
    )
  )


def play(states):
  return list(
    start_states.play_start_states(
      TASKS, 'pong', states, policy_of(act), 'p', num_action_repeats=4, seed=1
    )
  )


class StartStatesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.enter_context(tempfile.TemporaryDirectory())

  def test_saved_states_are_loaded_and_played(self):
    paths = save(self.folder, 12, num_states_per_game=5)
    self.assertEqual(
      paths, [f'{self.folder}/pong/{i:04d}.bin' for i in range(12)]
    )
    ale_state._safe_states.clear()
    states = start_states.load_start_states(self.folder, 'pong')
    self.assertEqual(list(states), paths)
    self.assertLen(set(states.values()), 12)
    rows = play(states)
    self.assertEqual([row['episode'] for row in rows], list(range(12)))
    self.assertEqual({row['task'] for row in rows}, {'pong'})
    game = AleGame('pong', PROTOCOL)
    for row, state in zip(rows, states.values(), strict=True):
      _, info = game.reset(options={'start_state': state})
      # To the frame cap, in whole steps.
      expected = -(-(400 - info['episode_frame_number']) // 4) * 4
      self.assertEqual(row['length'], expected)

  def test_only_rewards_after_the_start_count(self):
    game = AleGame('pong', AtariProtocol(life_loss_is_done=False))
    game.reset(seed=0)
    score = 0.0
    while score > -3:
      score += game.step(0)[1]
    state = game.save_state()
    num_frames = game._ale.getEpisodeFrameNumber()
    later = 0.0
    protocol = AtariProtocol(
      life_loss_is_done=False, max_frames_per_episode=num_frames + 800
    )
    for _ in range(200):
      later += game.step(0)[1]
    self.assertLess(later, 0.0)
    (row,) = start_states.play_start_states(
      PlayedAs(['pong'], protocol),
      'pong',
      {'s': state},
      policy_of(
        lambda last, env, core, seed: (
          AgentOutput(tf.zeros(1, tf.int32), None),
          core,
        )
      ),
      'p',
      num_action_repeats=4,
      seed=0,
    )
    self.assertEqual((row['return'], row['length']), (later, 800))

  def test_times_are_uniform_within_a_game(self):
    class Clock:
      def save_state(self):
        return self.time

    clock = Clock()

    def steps():
      for clock.time in range(11):
        yield 0.0, clock.time == 10

    rng = np.random.default_rng(0)
    counts = collections.Counter()
    for _ in range(2000):
      states = start_states._sample_states(clock, steps(), 3, rng)
      self.assertLen(set(states), 3)
      counts.update(states)
    # Never the end; 600 each, standard deviation 20.
    self.assertSameElements(counts, range(10))
    self.assertGreater(min(counts.values()), 520)
    self.assertLess(max(counts.values()), 680)

  def test_folder_with_states_is_not_written_to(self):
    save(self.folder, 1)
    with self.assertRaisesRegex(UserError, 'has start states already'):
      save(self.folder, 1)

  def test_folder_that_cannot_be_written_is_an_error(self):
    pathlib.Path(self.folder, 'pong').write_bytes(b'a file')
    with self.assertRaisesRegex(UserError, '0000.bin'):
      save(self.folder, 1)

  def test_missing_folder_is_an_error(self):
    with self.assertRaisesRegex(UserError, 'start states of pong: .*No such'):
      start_states.load_start_states(self.folder, 'pong')

  def test_folder_without_states_is_an_error(self):
    os.makedirs(f'{self.folder}/pong')
    with self.assertRaisesRegex(UserError, 'no start states .*pong'):
      start_states.load_start_states(self.folder, 'pong')

  def test_a_named_pipe_is_an_error(self):
    path = pathlib.Path(self.folder, 'pong', '1.bin')
    path.parent.mkdir()
    os.mkfifo(path)  # Reading it would wait for ever.
    with self.assertRaisesRegex(UserError, f'{path} is a named pipe'):
      start_states.load_start_states(self.folder, 'pong')

  def test_numbers_are_ordered_by_size(self):
    state = AleGame('pong', PROTOCOL).save_state()
    os.makedirs(f'{self.folder}/pong')
    for name in ('10.bin', '9.bin', '2.bin', 'README'):
      pathlib.Path(self.folder, 'pong', name).write_bytes(state)
    states = start_states.load_start_states(self.folder, 'pong')
    names = [os.path.basename(path) for path in states]
    self.assertEqual(names, ['2.bin', '9.bin', '10.bin'])

  @parameterized.named_parameters(
    ('truncated', lambda s: s[:-9], 'damaged'),
    ('empty', lambda s: b'', 'truncated'),
    ('damaged_inside', lambda s: s[:9000] + b'\xff\xff' + s[9002:], 'damaged'),
  )
  def test_bad_file_is_named(self, damage, message):
    paths = save(self.folder, 3)
    state = pathlib.Path(paths[1]).read_bytes()
    pathlib.Path(paths[1]).write_bytes(damage(state))
    ale_state._safe_states.clear()
    with self.assertRaisesRegex(UserError, f'^{paths[1]}: {message}'):
      start_states.load_start_states(self.folder, 'pong')


if __name__ == '__main__':
  absltest.main()
