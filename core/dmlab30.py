"""The 30 levels of DMLab-30 and the scores that normalise them.

Levels, their order and both scores are those of scalable_agent's dmlab30.py
(google-deepmind/scalable_agent), names and behaviour too. Table B.1 of Espeholt
et al. 2018 (arXiv:1802.01561) pairs the four lasertag levels otherwise; the
published aggregates of later papers follow the pairing that stands here.
"""

import collections
from collections.abc import Mapping, Sequence

from core import scores
from core.types import Episode

_LEVELS = (
  # level, random, human; two levels are played with other rooms in tests.
  ('rooms_collect_good_objects_train', 0.073, 10.0),
  ('rooms_exploit_deferred_effects_train', 8.501, 85.65),
  ('rooms_select_nonmatching_object', 0.312, 65.9),
  ('rooms_watermaze', 4.065, 54.0),
  ('rooms_keys_doors_puzzle', 4.135, 53.8),
  ('language_select_described_object', -0.07, 389.5),
  ('language_select_located_object', 1.929, 280.7),
  ('language_execute_random_task', -5.913, 254.05),
  ('language_answer_quantitative_question', -0.33, 184.5),
  ('lasertag_one_opponent_small', -0.224, 12.65),
  ('lasertag_three_opponents_small', -0.214, 18.55),
  ('lasertag_one_opponent_large', -0.083, 18.6),
  ('lasertag_three_opponents_large', -0.102, 31.5),
  ('natlab_fixed_large_map', 2.173, 36.9),
  ('natlab_varying_map_regrowth', 2.989, 24.45),
  ('natlab_varying_map_randomized', 7.346, 42.35),
  ('skymaze_irreversible_path_hard', 0.1, 100.0),
  ('skymaze_irreversible_path_varied', 14.4, 100.0),
  ('psychlab_arbitrary_visuomotor_mapping', 0.163, 58.75),
  ('psychlab_continuous_recognition', 0.224, 58.3),
  ('psychlab_sequential_comparison', 0.129, 39.5),
  ('psychlab_visual_search', 0.085, 78.5),
  ('explore_object_locations_small', 3.575, 74.45),
  ('explore_object_locations_large', 4.673, 65.65),
  ('explore_obstructed_goals_small', 6.76, 206.0),
  ('explore_obstructed_goals_large', 2.61, 119.5),
  ('explore_goal_locations_small', 7.66, 267.5),
  ('explore_goal_locations_large', 3.14, 194.5),
  ('explore_object_rewards_few', 2.073, 77.7),
  ('explore_object_rewards_many', 2.438, 106.7),
)

LEVEL_MAPPING = {
  level: level.replace('_train', '_test') for level, *_ in _LEVELS
}
"""Test level by training level, in the order of task ids."""

ALL_LEVELS = frozenset([*LEVEL_MAPPING, *LEVEL_MAPPING.values()])
"""The 32 names of training and test levels."""

RANDOM_SCORES = {LEVEL_MAPPING[level]: low for level, low, _ in _LEVELS}
"""Mean return of random play by test level."""

HUMAN_SCORES = {LEVEL_MAPPING[level]: high for level, _, high in _LEVELS}
"""Mean return of a human by test level."""

NEED_STIMULI = (
  'psychlab_arbitrary_visuomotor_mapping',
  'psychlab_continuous_recognition',
)
"""Levels that show the pictures of Brady et al. 2008."""


def compute_human_normalized_score(
  level_returns: Mapping[str, Sequence[float]], per_level_cap: float | None
) -> float:
  """Scores the suite so that random play is 0 and the human is 100.

  Returns of training levels count against the random and human scores of their
  test levels.

  Args:
    level_returns: raw returns by training or test level; others are ignored.
    per_level_cap: upper limit of a level's score in percent, or None.

  Returns:
    The mean of the 30 levels, percent.

  Raises:
    ValueError: a level is missing or has no returns.
  """
  returns = {
    LEVEL_MAPPING.get(level, level): values
    for level, values in level_returns.items()
  }
  levels = tuple(LEVEL_MAPPING.values())
  level_scores = scores.task_scores(
    returns, levels, RANDOM_SCORES, HUMAN_SCORES, per_level_cap
  )
  return float(level_scores.mean())


class TrainingScore:
  """The suite's score while training, as scalable_agent shows it.

  It is due as soon as every level has ended an episode; then all is cleared.
  """

  def __init__(self, task_names: Sequence[str]):
    """Begins without episodes.

    Args:
      task_names: of the run; unless the 30 levels are among them there is no
        score.
    """
    self._has_suite = set(LEVEL_MAPPING) <= set(task_names)
    self._returns: dict[str, list[float]] = collections.defaultdict(list)

  def add(self, episodes: Sequence[Episode]) -> dict[str, float]:
    """Takes in finished episodes.

    Returns:
      The scores that are due by TensorBoard tag, mostly none.
    """
    if not self._has_suite:
      return {}
    for episode in episodes:
      self._returns[episode.task_name].append(episode.episode_return)
    if any(level not in self._returns for level in LEVEL_MAPPING):
      return {}
    returns = dict(self._returns)
    self._returns.clear()
    return {
      'dmlab30/training_no_cap': compute_human_normalized_score(returns, None),
      'dmlab30/training_cap_100': compute_human_normalized_score(returns, 100),
    }
