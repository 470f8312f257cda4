"""Hyperparameters of BRC on Atari (Nauman et al. 2025, arXiv:2505.23150).

Defaults are the paper's second table in appendix F. Where that is silent they
are Dopamine's for DrQ(eps) (labs/atari_100k/configs/DrQ_eps.gin; Agarwal et al.
2021, arXiv:2108.13264), on which the paper says to build. Each field's
documentation is the help of the flag of the same name.
"""

import dataclasses

from core.config import field
from core.errors import UserError
from core.run_config import ReplayConfig
from core.types import EnvSpec


@dataclasses.dataclass(frozen=True)
class Config(ReplayConfig):
  """One run of DrQ(eps) with BRC; every field is a flag of the same name."""

  mode: str = field(
    'train',
    'train, test or benchmark.',
    choices=('train', 'test', 'benchmark'),
    may_change=True,
    changes_learning=False,
  )
  num_action_repeats: int = field(
    4,
    "Environment frames per agent step: the emulator's usual 4; appendix F "
    'adds no repeat of its own.',
    minimum=1,
    changes_play=True,
  )
  full_action_space: bool = field(
    True,
    "Atari: all 18 actions in every game (appendix E.1) instead of the game's "
    'own.',
    changes_play=True,
  )
  precision: str = field(
    'float32',
    'Arithmetic of convolutions and matrix products; weights and losses stay '
    'float32.',
    choices=('float32', 'bfloat16'),
    changes_play=True,
  )

  # Replay and updates.
  replay_capacity: int = field(
    100_000,
    'Newest transitions of each task that are kept (appendix F).',
    minimum=1,
  )
  replay_memory_gb: float = field(
    0.5,
    'A replay of more GB lies in files of the logdir, mapped into memory.',
    minimum=0,
    changes_learning=False,
  )
  batch_size: int = field(
    256,
    'B, transitions per gradient step (appendix F).',
    minimum=1,
    maximum=1_000_000,
  )
  warm_up_steps: int = field(
    1600,
    'First step on which the policy acts and learning begins; before it '
    'actions are random. Source: min_replay_history of DrQ(eps).',
    minimum=1,
  )
  n_step: int = field(
    3,
    'Steps whose rewards a target adds up (appendix F).',
    minimum=1,
    maximum=100,
  )
  learning_rate: float = field(1e-4, "AdamW's (appendix F).", minimum=0)
  adam_epsilon: float = field(
    1.5e-4,
    "Added to the root of AdamW's mean square. Source: DrQ(eps).",
    minimum=1e-12,
  )
  weight_decay: float = field(
    1e-4, 'Of all parameters (appendix F).', minimum=0
  )
  discounting: float = field(
    0.99, 'gamma (appendix F).', minimum=0, maximum=0.999999
  )
  polyak: float = field(
    0.005,
    'Share of the network that its target takes on in each gradient step '
    '(appendix F).',
    minimum=0,
    maximum=1,
  )
  double_q: bool = field(
    True,
    "The network chooses the target's action and the target values it. "
    'Source: DrQ(eps).',
  )

  # Network.
  encoder_channels: str = field(
    '128,256,256',
    'Channels of the sections of the encoder (appendix F).',
    changes_play=True,
  )
  critic_width: int = field(
    512,
    'Units of a dense layer (appendix F).',
    minimum=1,
    maximum=65_536,
    changes_play=True,
  )
  critic_depth: int = field(
    2,
    'Dense layers (appendix F).',
    minimum=1,
    maximum=100,
    changes_play=True,
  )
  task_conditioning: str = field(
    'auto',
    'How the network learns of the task. embedding: of section 3; heads: one '
    'per task (Figure 5); none; auto: embedding if there are several tasks, '
    'else none.',
    choices=('auto', 'embedding', 'heads', 'none'),
    changes_play=True,
  )
  embedding_size: int = field(
    32,
    'Numbers of an embedding (appendix F).',
    minimum=1,
    maximum=10_000,
    changes_play=True,
  )
  embedding_norm: str = field(
    'l2',
    'Which norm of an embedding is 1: l2 in the official code, l1 in the '
    'paper (D1).',
    choices=('l2', 'l1'),
    changes_play=True,
  )

  # Values.
  loss: str = field(
    'cross_entropy',
    'cross_entropy on a support, or mse.',
    choices=('cross_entropy', 'mse'),
    changes_play=True,
  )
  num_atoms: int = field(
    101,
    'N of the support (appendix F).',
    minimum=2,
    maximum=10_000,
    changes_play=True,
  )
  v_max: float = field(
    10.0,
    'Greatest atom, and greatest normalised return; the least is its '
    'negative. Source: the official code, which is of continuous control.',
    minimum=1e-3,
    changes_play=True,
  )
  normalise_rewards: bool = field(
    True, 'Divide rewards by the greatest return (equation 3).'
  )
  return_bootstrap: str = field(
    'mean_reward',
    'How the return of a truncated episode goes on: with its mean_reward / '
    '(1 - gamma), as in the official code, or with the critic, as in the '
    'paper (D2).',
    choices=('mean_reward', 'critic'),
  )

  # Frames and actions.
  augmentation: bool = field(
    True, 'Shift frames and change their intensity (appendix F).'
  )
  shift_pixels: int = field(
    4,
    'Greatest shift of a frame, in any direction. Source: DrQ(eps).',
    minimum=0,
    maximum=1000,
  )
  intensity_scale: float = field(
    0.05,
    'Scale of the noise that frames are multiplied by. Source: DrQ(eps).',
    minimum=0,
    maximum=0.5,
  )
  final_epsilon: float = field(
    0.01,
    'Share of random actions in the end (appendix F).',
    minimum=0,
    maximum=1,
  )
  epsilon_decay_steps: int = field(
    5000,
    'Steps after warm_up_steps over which it falls from 1 (appendix F).',
    minimum=1,
  )
  evaluation_epsilon: float = field(
    0.001,
    'The same in evaluation. Source: DrQ(eps).',
    minimum=0,
    maximum=1,
    changes_play=True,
  )
  test_num_episodes: int = field(
    100,
    'Whole episodes per task in test mode. Source: DrQ(eps).',
    minimum=1,
    modes=('test',),
    may_change=True,
    changes_learning=False,
  )

  # Variants.
  init_from: str = field(
    '',
    'Logdir of a run whose networks this one begins with; its tasks may be '
    'others with the same frames and actions, their embeddings are drawn anew.',
  )


def channels_of(config: Config) -> tuple[int, ...]:
  """Returns the encoder's channels by section.

  Raises:
    UserError: they are no numbers.
  """
  text = config.encoder_channels
  channels = [int(part) for part in text.split(',') if part.isdecimal()]
  is_list = len(channels) == text.count(',') + 1
  if not is_list or len(channels) > 6 or min(channels) < 1:
    raise UserError(
      f'--encoder_channels={text}: write up to six numbers such as 16,32,32'
    )
  if max(channels) > 65_536:
    raise UserError(f'--encoder_channels={text}: at most 65536 each')
  return tuple(channels)


def check(config: Config, env_spec: EnvSpec, num_replicas: int) -> None:
  """Refuses what this agent is not for, and what it could not begin with.

  Raises:
    UserError: tasks without frames and discrete actions alone, several
      devices, or too few steps before learning begins.
  """
  first = env_spec.task_names[0]
  if not env_spec.frame_shape or env_spec.num_features:
    raise UserError(
      f'{first}: this agent sees frames alone; python -m brc.experiment is for '
      'feature vectors'
    )
  if env_spec.instruction_length:
    raise UserError(f'{first} has instructions, which this agent does not read')
  if env_spec.action_box is not None:
    raise UserError(f'{first} has continuous actions, this agent discrete ones')
  if num_replicas > 1:
    raise UserError('BRC learns on one device: leave --strategy at one_device')
  if config.warm_up_steps <= config.n_step:
    raise UserError(
      f'--warm_up_steps={config.warm_up_steps} must be more than '
      f'--n_step={config.n_step}: learning begins with a whole transition'
    )
  channels_of(config)


ATARI_100K = dataclasses.replace(
  Config(),
  level_name='atari26',
  total_environment_frames=26 * 100_000 * 4,
  evaluation_episodes=3,
  log_updates=1000,
)
"""The 26 games of Atari 100k at once, 100k steps of each (appendix E.1)."""

SINGLE = dataclasses.replace(
  ATARI_100K,
  level_name='pong',
  total_environment_frames=100_000 * 4,
  batch_size=64,
)
"""One game, with a quarter of the batch (D22)."""

SMALL = dataclasses.replace(
  SINGLE,
  encoder_channels='16,32,32',
  batch_size=32,
  evaluation_steps=20_000,
  evaluation_episodes=1,
  log_updates=200,
)
"""One game with IMPALA's channels and DrQ's batch, for two cores (D22)."""

DEBUG = dataclasses.replace(
  SMALL,
  level_name='catch',
  num_action_repeats=1,
  total_environment_frames=300,
  encoder_channels='4,4,4',
  critic_width=16,
  batch_size=16,
  warm_up_steps=101,
  epsilon_decay_steps=100,
  replay_capacity=150,
  evaluation_steps=150,
  test_num_episodes=10,
  log_updates=1,
  checkpoint_updates=40,
)
"""The same, end to end in seconds, on Catch."""

PRESETS = {
  'atari_100k': ATARI_100K,
  'atari_100k_single': SINGLE,
  'atari_100k_small': SMALL,
  'debug': DEBUG,
}
