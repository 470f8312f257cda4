"""What every paper's config shares: the run, its environments, the machine.

A paper's Config inherits these fields and adds the hyperparameters of its
network, losses and optimiser. Defaults are scalable_agent's flags.
"""

import dataclasses

from core.config_flags import field


@dataclasses.dataclass(frozen=True)
class RunConfig:
  """One run; every field is a flag of the same name."""

  # The run.
  logdir: str = field('/tmp/agent', 'Folder of records and checkpoints.')
  mode: str = field(
    'train',
    'train, test, benchmark or save_start_states.',
    choices=('train', 'test', 'benchmark', 'save_start_states'),
  )
  seed: int = field(
    1, 'Seed of weights, action sampling and environments.', minimum=0
  )
  total_environment_frames: int = field(
    int(1e9),
    'Environment frames (agent steps x action repeats) after which training '
    'stops and the learning rate ends its descent.',
    minimum=1,
  )
  final_learning_rate_fraction: float = field(
    0.0,
    'What is left of the learning rate at the last frame.',
    minimum=0,
    maximum=1,
  )
  stop_frames: int = field(
    0,
    'Environment frames after which to stop earlier, on the same '
    'learning-rate schedule; 0: at total_environment_frames.',
    minimum=0,
    modes=('train',),
  )

  # The environments.
  level_name: str = field(
    'explore_goal_locations_small',
    'A game (pong), several (pong,breakout), atari57; a level of DMLab-30 '
    '(rooms_watermaze), several, dmlab30, another level of DeepMind Lab '
    '(lab:seekavoid_arena_01); catch; a goal in two rooms (two_rooms/1/12); '
    'or package.module:function for an '
    'environment of your own.',
  )
  num_action_repeats: int = field(
    4, 'Environment frames per agent step.', minimum=1
  )
  full_action_space: bool = field(
    False,
    "Atari: all 18 actions in every game instead of the game's own. "
    'Source: full set for multi-task agents, Espeholt 2018, appendix G.1.',
  )
  width: int = field(96, 'Frame width, DeepMind Lab.', minimum=1)
  height: int = field(72, 'Frame height, DeepMind Lab.', minimum=1)
  action_set: str = field(
    'impala',
    'DeepMind Lab, impala: 9 actions (Espeholt 2018, appendix D.1); popart: '
    '15 (Hessel 2018, table 2).',
    choices=('impala', 'popart'),
  )
  dataset_path: str = field(
    '',
    'DeepMind Lab: folder of the pictures of Brady et al. 2008, which two '
    'levels show; dummy: coloured squares.',
  )
  level_cache_dir: str = field(
    '', 'DeepMind Lab: folder of compiled maps; empty: compile each time.'
  )

  # Actors.
  actor_mode: str = field(
    'async',
    'sync: act and learn in turn, reproducible to the bit; async: act '
    'beside the learner.',
    choices=('sync', 'async'),
  )
  num_actors: int = field(
    1,
    'Actors, each with environments of its own; sync mode has one.',
    minimum=1,
    modes=('train', 'benchmark'),
  )
  num_environments: int = field(
    32, 'Environments per actor.', minimum=1, modes=('train', 'benchmark')
  )
  num_groups: int = field(
    2,
    'Groups an actor cuts its environments into, a thread each: some step '
    'while others are in inference. Ours: measured, see README.',
    minimum=1,
    modes=('train', 'benchmark'),
  )
  queue_capacity: int = field(
    1,
    'Batches that may wait for the learner (async). scalable_agent holds one '
    'unroll in its queue and one batch in its staging area.',
    minimum=1,
    modes=('train', 'benchmark'),
  )
  batch_size: int = field(2, 'B, unrolls per update.', minimum=1)
  unroll_length: int = field(100, 'T, agent steps per unroll.', minimum=1)

  # The machine.
  strategy: str = field(
    'one_device',
    'tf.distribute strategy of the learner.',
    choices=('one_device', 'mirrored'),
  )
  xla: str = field(
    'auto',
    'auto: compile the whole update on GPU and TPU, on CPU only what gains; '
    'on; off.',
    choices=('auto', 'on', 'off'),
  )
  precision: str = field(
    'float32',
    'Arithmetic of the convolutions; weights and losses stay float32.',
    choices=('float32', 'bfloat16'),
  )

  # Records.
  log_updates: int = field(
    1, 'Updates per row of updates.csv.', minimum=1, modes=('train',)
  )
  checkpoint_secs: float = field(
    600.0, 'Seconds between checkpoints.', minimum=0, modes=('train',)
  )
  checkpoint_updates: int = field(
    0,
    'Updates between checkpoints; 0: by the clock (checkpoint_secs).',
    minimum=0,
    modes=('train',),
  )
  keep_checkpoints: int = field(
    3, 'Newest checkpoints that are kept.', minimum=1, modes=('train',)
  )

  # Evaluation.
  test_num_episodes: int = field(
    10, 'Whole episodes per task in test mode.', minimum=1, modes=('test',)
  )
  start_states: str = field(
    '',
    'Folder of ALE start states to begin test episodes from, or to write '
    'them to.',
    modes=('test', 'save_start_states'),
  )
  num_start_states: int = field(
    100,
    'Start states to write per game (about 100 in Nair et al. 2015).',
    minimum=1,
    modes=('save_start_states',),
  )
  record_video: bool = field(
    False, 'Write an mp4 of one episode per task.', modes=('test',)
  )
