"""Hyperparameters of IMPALA (Espeholt et al. 2018, arXiv:1802.01561).

Defaults are scalable_agent's flags; presets name what the papers' tables used.
Each field's documentation is the help of the flag of the same name.
"""

import dataclasses

from core.config_flags import field


@dataclasses.dataclass(frozen=True)
class Config:
  """One run of IMPALA; every field is a flag of the same name."""

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
    'stops and the learning rate is 0.',
    minimum=1,
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
    'A game (pong), several (pong,breakout), atari57, catch, or '
    'package.module:function for an environment of your own.',
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

  # Actors.
  actor_mode: str = field(
    'async',
    'sync: act and learn in turn, reproducible to the bit; async: actor '
    'threads beside the learner.',
    choices=('sync', 'async'),
  )
  num_actors: int = field(
    1, 'Actor threads; sync mode has one.', minimum=1, modes=('train',)
  )
  num_environments: int = field(
    32, 'Environments per actor.', minimum=1, modes=('train', 'benchmark')
  )
  num_groups: int = field(
    2,
    'Groups an actor cuts its environments into: one steps while the other '
    'is in inference. Ours: measured, see README.',
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

  # The network.
  torso: str = field(
    'deep',
    'deep: 15-layer ResNet; shallow: 2 convolutions (Figure 3).',
    choices=('deep', 'shallow'),
  )
  use_lstm: bool = field(True, 'LSTM core; Atari agents have none.')

  # Losses.
  entropy_cost: float = field(
    0.00025, 'Weight of the entropy bonus.', minimum=0
  )
  baseline_cost: float = field(0.5, 'Weight of the value loss.', minimum=0)
  discounting: float = field(
    0.99, 'Discount per agent step.', minimum=0, maximum=1
  )
  reward_clipping: str = field(
    'abs_one',
    'abs_one: clip to [-1, 1]; soft_asymmetric: as released; '
    'soft_asymmetric_paper: as printed in Figure D.1; none.',
    choices=('abs_one', 'soft_asymmetric', 'soft_asymmetric_paper', 'none'),
  )

  # The optimiser.
  learning_rate: float = field(
    0.00048, 'Initial rate, linear to 0 over the run.', minimum=0
  )
  decay: float = field(0.99, 'RMSProp decay.', minimum=0, maximum=1)
  momentum: float = field(0.0, 'RMSProp momentum.', minimum=0)
  epsilon: float = field(0.1, 'RMSProp epsilon, inside the root.', minimum=0)
  max_gradient_norm: float = field(
    0.0, 'Global gradient norm to clip to; 0: no clipping.', minimum=0
  )

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


SCALABLE_AGENT_DMLAB = Config()
"""scalable_agent's flags, single level of DeepMind Lab."""

ATARI_EXPERT_SHALLOW = dataclasses.replace(
  Config(),
  level_name='pong',
  total_environment_frames=int(200e6),  # Table G.1.
  batch_size=32,  # Table G.1.
  unroll_length=20,  # Table G.1.
  torso='shallow',  # Appendix G.1.
  use_lstm=False,  # 4 stacked frames instead.
  entropy_cost=0.01,  # Table G.1.
  learning_rate=0.0006,  # Table G.1.
  epsilon=0.01,  # Table G.1.
  max_gradient_norm=40.0,  # Table G.1.
  log_updates=20,  # 51,200 frames; scalable_agent logs every 50,000.
)
"""Single-game shallow expert, Table G.1 of Espeholt et al. 2018."""

ATARI_EXPERT_DEEP = dataclasses.replace(ATARI_EXPERT_SHALLOW, torso='deep')
"""Single-game deep expert: the shallow one with the residual network."""

ATARI57_MULTITASK = dataclasses.replace(
  ATARI_EXPERT_DEEP,
  level_name='atari57',
  total_environment_frames=int(11.4e9),  # 57 x 200M.
  full_action_space=True,  # Appendix G.1.
  num_environments=114,  # Ours: two of each game.
)
"""One deep agent on 57 games. The paper tuned learning rate, entropy cost,
epsilon and gradient norm by PBT; the expert's fixed values stand here (D6)."""

DEBUG = dataclasses.replace(
  ATARI_EXPERT_SHALLOW,
  level_name='catch',
  num_action_repeats=1,
  total_environment_frames=20000,
  num_environments=8,
  batch_size=8,
  log_updates=1,
  checkpoint_updates=20,
)
"""Catch, end to end in seconds."""

PRESETS = {
  'scalable_agent_dmlab': SCALABLE_AGENT_DMLAB,
  'atari_expert_shallow': ATARI_EXPERT_SHALLOW,
  'atari_expert_deep': ATARI_EXPERT_DEEP,
  'atari57_multitask': ATARI57_MULTITASK,
  'debug': DEBUG,
}
