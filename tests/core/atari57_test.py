"""Tests of core/atari57.py and experiments/reference/atari57_published.csv."""

import pathlib

import numpy as np
from absl.testing import absltest, parameterized
from ale_py import roms

from core import atari57, score_table, scores
from core.errors import UserError

PUBLISHED = str(
  pathlib.Path(__file__).parents[2]
  / 'experiments/reference/atari57_published.csv'
)


class Atari57Test(parameterized.TestCase):
  def test_the_emulator_has_every_game(self):
    self.assertLen(set(atari57.GAMES), 57)
    self.assertLen(atari57.GAMES, 57)
    self.assertContainsSubset(atari57.GAMES, roms.get_all_rom_ids())

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
    self.assertEqual(atari57.RANDOM_SCORES[game], random)
    self.assertEqual(atari57.HUMAN_SCORES[game], human)
    self.assertEqual(atari57.RANDOM_SCORES_HUMAN_STARTS[game], random_starts)
    self.assertEqual(atari57.HUMAN_SCORES_HUMAN_STARTS[game], human_starts)

  @parameterized.named_parameters(
    ('multitask', 'impala_multitask_deep', 59.71),
    ('shallow_experts', 'impala_expert_shallow', 93.23),
    ('deep_experts', 'impala_expert_deep', 191.82),
    ('reactor', 'reactor', 186.83),
  )
  def test_published_columns_give_the_published_medians(self, name, median):
    returns = score_table.read_published(PUBLISHED)[name]
    self.assertSameElements(returns, atari57.GAMES)
    normalized = scores.task_scores(
      {game: [value] for game, value in returns.items()},
      atari57.GAMES,
      atari57.RANDOM_SCORES,
      atari57.HUMAN_SCORES,
    )
    self.assertAlmostEqual(np.median(normalized), median, delta=0.005)

  def test_known_game(self):
    self.assertEqual(atari57.check_game('ms_pacman'), 'ms_pacman')

  @parameterized.named_parameters(
    ('typo', 'brakout', 'breakout'),
    ('camel_case', 'UpNDown', 'up_n_down'),
    ('upper_case', 'SEAQUEST', 'seaquest'),
    ('gymnasium_id', 'ALE/SpaceInvaders-v5', 'space_invaders'),
    ('old_gym_id', 'PongNoFrameskip-v4', 'pong'),
  )
  def test_unknown_game_gets_the_nearest_names(self, name, nearest):
    with self.assertRaisesRegex(UserError, f'did you mean {nearest}') as e:
      atari57.check_game(name)
    self.assertIn(name, str(e.exception))
    self.assertNotIn('\n', str(e.exception))

  def test_game_like_no_other_gets_the_list(self):
    with self.assertRaisesRegex(UserError, 'the games are alien, .* zaxxon'):
      atari57.check_game('xxxx')


if __name__ == '__main__':
  absltest.main()
