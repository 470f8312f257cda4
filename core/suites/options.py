"""What a run may say of its environments; every field is a flag."""

import dataclasses

from core.config import field


@dataclasses.dataclass(frozen=True)
class SuiteOptions:
  """Tasks, and how they are played: the options of all suites."""

  level_name: str = field(
    'explore_goal_locations_small',
    'A game (pong), several (pong,breakout), atari57; a level of DMLab-30 '
    '(rooms_watermaze), several, dmlab30, another level of DeepMind Lab '
    '(lab:seekavoid_arena_01); catch; a goal in two rooms (two_rooms/1/12); '
    'an id of Gymnasium (gym:CartPole-v1); a task of DeepMind Control '
    '(control:cartpole/swingup), its 28 (control) or another set of them '
    '(control:hard); one of the Real-World RL challenge '
    '(rwrl:walker/walk/hard); a task of MetaWorld (metaworld:door-open) or its '
    '50 (metaworld), of HumanoidBench (humanoidbench:h1-walk), an object of '
    'Shadow Hand (shadow_hand:rubber_duck); a first-person task '
    '(doom:nav_goal) or a set of them (doom_mazes, doom14); or '
    'package.module:function for an environment of your own. README lists all '
    'sets.',
    changes_play=True,
  )
  num_action_repeats: int = field(
    4, 'Environment frames per agent step.', minimum=1, changes_play=True
  )
  full_action_space: bool = field(
    False,
    "Atari: all 18 actions in every game instead of the game's own. "
    'Source: full set for multi-task agents, Espeholt 2018, appendix G.1.',
    changes_play=True,
  )
  width: int = field(
    96, 'Frame width, DeepMind Lab and Doom.', minimum=1, changes_play=True
  )
  height: int = field(
    72, 'Frame height, DeepMind Lab and Doom.', minimum=1, changes_play=True
  )
  action_set: str = field(
    'impala',
    'DeepMind Lab and Doom, impala: 9 actions (Espeholt 2018, appendix D.1); '
    'popart: 15 (Hessel 2018, table 2).',
    choices=('impala', 'popart'),
    changes_play=True,
  )
  control_observations: str = field(
    'features',
    'DeepMind Control, features: what dm_control observes, in its order; '
    'pixels: 64x64 frames.',
    choices=('features', 'pixels'),
    changes_play=True,
  )
  metaworld_rewards: str = field(
    'v2',
    'MetaWorld: the rewards of its second or of its first version.',
    choices=('v2', 'v1'),
    changes_play=True,
  )
  metaworld_goals: str = field(
    'frozen',
    'MetaWorld, frozen: each environment draws a goal from its seed and keeps '
    'it, as the code of Nauman et al. 2025 does; random: each episode draws.',
    choices=('frozen', 'random'),
    changes_play=True,
  )
  dataset_path: str = field(
    '',
    'DeepMind Lab: folder of the pictures of Brady et al. 2008, which two '
    'levels show; dummy: coloured squares.',
    may_change=True,
    changes_learning=False,
  )
  level_cache_dir: str = field(
    '',
    'DeepMind Lab: folder of compiled maps; empty: compile each time.',
    may_change=True,
    changes_learning=False,
  )
