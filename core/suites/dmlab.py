"""DeepMind Lab: DMLab-30 and every other level.

Names, order and behaviour of what scalable_agent's dmlab30.py has are its own
(google-deepmind/scalable_agent).
"""

import collections
import difflib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from gymnasium.vector import VectorEnv

from core.environments import dmlab, dmlab_processes
from core.environments.dmlab import DmLabProtocol
from core.errors import UserError
from core.suites import scores, suite
from core.suites.suite import Reference
from core.types import EnvSpec, Episode

FOLDER = 'contributed/dmlab30/'  # Of the suite, among Lab's levels.

_SCORES = suite.read_table(suite.FOLDER / 'dmlab30.csv')

LEVEL_MAPPING = {row['task']: row['test_task'] for row in _SCORES}
"""Test level by training level, in the order of task ids."""

ALL_LEVELS = frozenset([*LEVEL_MAPPING, *LEVEL_MAPPING.values()])
"""The 32 names of training and test levels."""

RANDOM_SCORES = {row['test_task']: float(row['random']) for row in _SCORES}
"""Mean return of random play by test level."""

HUMAN_SCORES = {row['test_task']: float(row['human']) for row in _SCORES}
"""Mean return of a human by test level."""

NEED_STIMULI = (
  'psychlab_arbitrary_visuomotor_mapping',
  'psychlab_continuous_recognition',
)
"""Levels that show the pictures of Brady et al. 2008."""

_PICTURES = tuple(f'{number:04d}.png' for number in range(1, 2401))


class DmLab(suite.Suite):
  """Levels, each in a process of its own."""

  name = 'dmlab30'
  title = 'DMLab-30'
  examples = (
    'levels of DeepMind Lab (rooms_watermaze, contributed/psychlab/harlow, '
    'lab:seekavoid_arena_01) and dmlab30'
  )
  names = tuple(LEVEL_MAPPING.values())
  has_protocol = True
  aggregate = 'capped mean'
  reference_name = "DMLab-30's"
  max_test_rows = 10  # Each is a process of hundreds of MB.

  def owns(self, task: str) -> bool:
    """Tells whether a task is a level.

    Args:
      task: a level of DMLab-30; one in a folder (tests/empty_room_test); or any
        other, written lab:seekavoid_arena_01.
    """
    if task.startswith('ALE/'):  # Gymnasium's names of Atari games.
      return False
    return task in ALL_LEVELS or task.startswith('lab:') or '/' in task

  def expand(self, name: str) -> tuple[str, ...] | None:
    """Lists the 30 training levels, or one level."""
    if name == self.name:
      return tuple(LEVEL_MAPPING)
    name = name.removeprefix(FOLDER)
    return (name,) if self.owns(name) else None

  def suggest(self, name: str) -> list[str]:
    """Returns the nearest levels, of training too."""
    return sorted(difflib.get_close_matches(name, ALL_LEVELS, cutoff=0.7))

  def protocol(self, config: Any) -> DmLabProtocol:
    """Returns the way to play that the config says."""
    return DmLabProtocol(
      width=config.width,
      height=config.height,
      num_action_repeats=config.num_action_repeats,
      action_set=config.action_set,
      dataset_path=config.dataset_path,
      level_cache_dir=config.level_cache_dir,
    )

  def env_spec(self, task: str, protocol: DmLabProtocol) -> EnvSpec:
    """Describes a level without the engine."""
    return EnvSpec(
      task_names=(task,),
      num_actions=len(dmlab.ACTION_SETS[protocol.action_set]),
      frame_shape=(protocol.height, protocol.width, 3),
      instruction_length=dmlab.MAX_INSTRUCTION_WORDS,
    )

  def make(
    self,
    rows: Sequence[str],
    protocol: DmLabProtocol,
    is_training: bool,
    num_threads: int,
  ) -> list[VectorEnv]:
    """Builds one vector environment of all rows: they start at the same time.

    Raises:
      UserError: Lab, a level, the pictures or the folder of maps is missing.
    """
    del num_threads
    dmlab_processes.check_installation()
    _check_pictures(rows, protocol.dataset_path)
    levels = [_path(row) for row in rows]
    return [dmlab_processes.DmLabVectorEnv(levels, protocol, is_training)]

  def test_task(self, task: str) -> str:
    """Returns the level that is held out of training, in two cases."""
    return LEVEL_MAPPING.get(task, task)

  def evaluation_line(
    self, protocol: DmLabProtocol, starts: str | None = None
  ) -> str:
    """Says how levels are played."""
    del starts
    return (
      'test levels, whole episodes; sampled policy; raw rewards; action repeat '
      f'{protocol.num_action_repeats}; {protocol.action_set} actions; '
      f'{protocol.width}x{protocol.height} pixels'
    )

  def training_score(self, task_names: Sequence[str]) -> 'TrainingScore | None':
    """Returns the suite's score if all of its levels are trained."""
    if set(LEVEL_MAPPING) <= set(task_names):
      return TrainingScore()
    return None

  def reference(
    self, task: str, is_human_starts: bool = False
  ) -> Reference | None:
    """Returns random and human scores of a training or test level."""
    level = LEVEL_MAPPING.get(task, task)
    if is_human_starts or level not in RANDOM_SCORES:
      return None
    return Reference(RANDOM_SCORES[level], HUMAN_SCORES[level])


class TrainingScore(suite.TrainingScore):
  """The suite's score while training, as scalable_agent shows it.

  It is due as soon as every level has ended an episode; then all is cleared.
  """

  def __init__(self):
    """Begins without episodes."""
    self._returns: dict[str, list[float]] = collections.defaultdict(list)

  def add(self, episodes: Sequence[Episode]) -> dict[str, float]:
    """Takes in finished episodes; returns due scores by TensorBoard tag."""
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


def _path(level):
  """Returns the level's name for the engine."""
  level = level.removeprefix('lab:')
  return FOLDER + level if level in ALL_LEVELS else level


def _check_pictures(levels, folder):
  """Refuses what the engine would end its process of."""
  needing = [level for level in levels if level in NEED_STIMULI]
  if not needing or folder == 'dummy':
    return
  found = set(os.listdir(folder)) if os.path.isdir(folder) else ()
  missing = [name for name in _PICTURES if name not in found]
  if missing:
    raise UserError(
      f'{needing[0]} shows the pictures of Brady et al. 2008, and '
      f'--dataset_path={folder} lacks {missing[0]}: give the folder of '
      '0001.png to 2400.png, or --dataset_path=dummy for coloured squares'
    )
