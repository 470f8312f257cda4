"""Tests of core/suites/atari.py and its tables."""

import dataclasses

import numpy as np
from absl.testing import absltest, parameterized
from ale_py import roms

from core.environments.ale_state import make_emulator
from core.environments.atari import AtariEnv, AtariProtocol
from core.errors import UserError
from core.suites import scores, tasks
from core.suites.atari import ATARI_26, GAMES, Atari
from tests.published_rows import column
from tests.tasks import tasks_of

SUITE = Atari()


class Atari57Test(parameterized.TestCase):
  def test_the_emulator_has_every_game(self):
    self.assertLen(set(GAMES), 57)
    self.assertLen(GAMES, 57)
    self.assertContainsSubset(GAMES, roms.get_all_rom_ids())

  @parameterized.named_parameters(
    ('pong', 'pong', -20.7, 14.6, -18.0, 15.5),
    ('breakout', 'breakout', 1.7, 30.5, 1.6, 27.9),
    ('alien', 'alien', 227.8, 7127.7, 128.3, 6371.3),
    ('enduro', 'enduro', 0.0, 860.5, -81.8, 740.2),
    (
      'pinball_random_beats_human',
      'video_pinball',
      16256.9,
      17667.9,
      20452.0,
      15641.1,
    ),
    ('zaxxon', 'zaxxon', 32.5, 9173.3, 475.0, 8443.0),
  )
  def test_scores(self, game, random, human, random_starts, human_starts):
    self.assertEqual(SUITE.reference(game), (random, human, True))
    self.assertEqual(
      SUITE.reference(game, is_human_starts=True),
      (random_starts, human_starts, True),
    )

  @parameterized.named_parameters(
    ('multitask', 'IMPALA (deep, multi-task)', 59.71),
    ('shallow_experts', 'IMPALA (shallow)', 93.23),
    ('deep_experts', 'IMPALA (deep)', 191.82),
    ('reactor', 'The Reactor', 186.83),
  )
  def test_published_columns_give_the_published_medians(self, name, median):
    returns = SUITE.published()[name]
    self.assertSameElements(returns, GAMES)
    references = {game: SUITE.reference(game) for game in GAMES}
    normalized = scores.task_scores(
      {game: [value] for game, value in returns.items()},
      GAMES,
      {game: reference.low for game, reference in references.items()},
      {game: reference.high for game, reference in references.items()},
    )
    self.assertAlmostEqual(np.median(normalized), median, delta=0.005)

  def test_sets(self):
    self.assertEqual(tasks.expand('atari26'), ATARI_26)
    transfer = tasks.expand('atari20_transfer')
    self.assertEqual((len(ATARI_26), len(transfer)), (26, 20))
    self.assertLen({*ATARI_26, *transfer}, 46)
    self.assertContainsSubset({*ATARI_26, *transfer}, GAMES)
    # The games of the published table, in its order.
    table = column('brc', 'Atari 100k table', 'Human')
    self.assertEqual(tuple(table), ATARI_26)
    for game, human in table.items():
      self.assertEqual(SUITE.reference(game).high, human)

  def test_atari_26_play_with_all_actions(self):
    run = tasks_of(*ATARI_26, full_action_space=True, num_action_repeats=4)
    self.assertEqual(run.names, ATARI_26)
    spec = run.env_spec
    self.assertEqual((spec.num_actions, spec.frame_shape), (18, (4, 84, 84)))
    protocol = run.protocol('alien')
    self.assertEqual(protocol.repeat_action_probability, 0.0)
    # 27,000 agent steps are the 30 minutes of the 57 games.
    steps = protocol.max_frames_per_episode / protocol.num_action_repeats
    self.assertEqual(steps, 27_000)
    self.assertTrue(protocol.life_loss_is_done)
    actions = np.random.default_rng(0).integers(18, size=60)
    num_rewarding = 0
    for game in ATARI_26:
      env = AtariEnv(game, 1, dataclasses.replace(protocol, noop_max=0), 1)
      env.reset(seed=5)
      emulator = make_emulator(game, 5, repeat_action_probability=0.0)
      emulator.reset_game()
      legal = emulator.getLegalActionSet()
      found, expected = [], []
      for action in actions:
        frames, rewards, *_ = env.step(np.array([action]))
        found.append(rewards[0])
        expected.append(sum(emulator.act(legal[action]) for _ in range(4)))
      env.close()
      self.assertEqual(frames.shape, (1, 4, 84, 84))
      self.assertEqual(found, expected, game)
      num_rewarding += any(expected)
    self.assertGreater(num_rewarding, 5)

  def test_known_game(self):
    self.assertEqual(SUITE.expand('ms_pacman'), ('ms_pacman',))

  @parameterized.named_parameters(
    ('typo', 'brakout', 'breakout'),
    ('camel_case', 'UpNDown', 'up_n_down'),
    ('upper_case', 'SEAQUEST', 'seaquest'),
    ('gymnasium_id', 'ALE/SpaceInvaders-v5', 'space_invaders'),
    ('old_gym_id', 'PongNoFrameskip-v4', 'pong'),
    ('set', 'atari-26', 'atari26'),
  )
  def test_unknown_game_gets_the_nearest_names(self, name, nearest):
    with self.assertRaisesRegex(UserError, f'did you mean {nearest}') as e:
      tasks.expand(name)
    self.assertIn(name, str(e.exception))
    self.assertNotIn('\n', str(e.exception))

  def test_game_like_no_other_gets_the_list(self):
    with self.assertRaisesRegex(
      UserError, r"'xxxx'; there are: .*Atari games \(pong\) and atari57"
    ):
      tasks.expand('xxxx')


class EvaluationLineTest(absltest.TestCase):
  def test_says_what_matters(self):
    line = SUITE.evaluation_line(AtariProtocol(full_action_space=True))
    for part in ('sampled', '1-30 no-ops', 'repeat 4', 'all 18', '108000'):
      self.assertIn(part, line)
    line = SUITE.evaluation_line(AtariProtocol(noop_max=5), 'states in x')
    self.assertIn('states in x', line)
    self.assertIn('minimal actions', line)
    self.assertNotIn('no-ops', line)


if __name__ == '__main__':
  absltest.main()
