"""Hyperparameters of BRC (Nauman et al. 2025, arXiv:2505.23150).

Defaults are the paper's tables in appendix F and, where those are silent, the
official code; presets name benchmarks. Each field's documentation is the help
of the flag of the same name.
"""

import dataclasses

from core.config import field
from core.errors import UserError
from core.run_config import ReplayConfig
from core.types import EnvSpec


@dataclasses.dataclass(frozen=True)
class Config(ReplayConfig):
  """One run of SAC with BRC; every field is a flag of the same name."""

  mode: str = field(
    'train',
    'train, test or benchmark.',
    choices=('train', 'test', 'benchmark'),
    may_change=True,
    changes_learning=False,
  )
  num_action_repeats: int = field(
    1,
    'Environment frames per agent step (appendix F).',
    minimum=1,
    changes_play=True,
  )
  precision: str = field(
    'float32',
    'Arithmetic of the matrix products; weights and losses stay float32.',
    choices=('float32', 'bfloat16'),
    changes_play=True,
  )

  # Networks.
  architecture: str = field(
    'bronet',
    'Of critics and actor: bronet, or the baselines of Figure 4, simba and '
    'mlp (D7).',
    choices=('bronet', 'simba', 'mlp'),
    changes_play=True,
  )
  critic_width: int = field(
    4096,
    'Units per layer (appendix F).',
    minimum=1,
    maximum=65_536,
    changes_play=True,
  )
  critic_depth: int = field(
    2,
    'Residual blocks (appendix F); of mlp, layers.',
    minimum=1,
    maximum=100,
    changes_play=True,
  )
  actor_width: int = field(
    256,
    'Units per layer (appendix F).',
    minimum=1,
    maximum=65_536,
    changes_play=True,
  )
  actor_depth: int = field(
    1,
    'Residual blocks (appendix F); of mlp, layers.',
    minimum=1,
    maximum=100,
    changes_play=True,
  )
  num_critics: int = field(
    2, 'E (appendix F).', minimum=1, maximum=100, changes_play=True
  )
  task_conditioning: str = field(
    'auto',
    'How networks learn of the task. embedding: of section 3; heads: one per '
    'task (Figure 5); none; auto: embedding if there are several tasks, else '
    'none, as in the official code.',
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
    'Of the critics: cross_entropy on a support, or mse (Figures 3, 4, 6).',
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
    'negative. Source: the official code.',
    minimum=1e-3,
  )
  discounting: float = field(
    0.99, 'gamma (appendix F).', minimum=0, maximum=0.999999
  )
  polyak: float = field(
    0.005,
    'Share of the critics that their target takes on.',
    minimum=0,
    maximum=1,
  )

  # Rewards.
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
  entropy_correction: str = field(
    'target',
    'H of equation 4: half the target entropy, as in the official code, or '
    'the empirical one of each task, as in the paper (D3).',
    choices=('target', 'empirical'),
  )

  # Optimisers.
  critic_learning_rate: float = field(3e-4, "AdamW's (appendix F).", minimum=0)
  actor_learning_rate: float = field(3e-4, "AdamW's (appendix F).", minimum=0)
  temperature_learning_rate: float = field(
    3e-4, "Adam's (appendix F).", minimum=0
  )
  temperature_beta_1: float = field(
    0.5, "Adam's b1. Source: the official code.", minimum=0, maximum=0.999999
  )
  weight_decay: float = field(
    1e-4,
    'Of all parameters of critics and actor (appendix F; all of them: the '
    'official code).',
    minimum=0,
  )
  initial_temperature: float = field(
    0.1, 'tau at the start (appendix F).', minimum=1e-9
  )
  target_entropy_scale: float = field(
    0.5,
    'Target entropy: minus this times the length of an action. Source: the '
    'official code.',
    minimum=0,
  )

  # Variants.
  behaviour_cloning_cost: float = field(
    0.0,
    "Weight in the actor's loss of the squared distance to the replay's "
    'action; for offline training (D9).',
    minimum=0,
  )
  init_from: str = field(
    '',
    'Logdir of a run whose networks this one begins with; its tasks may be '
    'others of the same sizes.',
  )
  embedding_transfer: str = field(
    'reset',
    'Embeddings of new tasks after init_from. reset: drawn anew; nearest: the '
    'old one with the least loss; fitted: from there by gradient steps, '
    'networks fixed (D8).',
    choices=('reset', 'nearest', 'fitted'),
  )
  transfer_transitions: int = field(
    300,
    'Transitions of each new task that embeddings are chosen or fitted by '
    '(section 5).',
    minimum=1,
  )


def conditioning_of(config: Config, num_tasks: int) -> str:
  """Returns how networks learn of the task: 'embedding', 'heads' or 'none'.

  Args:
    config: a Config.
    num_tasks: n.

  Raises:
    UserError: one task has nothing to be told apart from.
  """
  if config.task_conditioning == 'auto':
    is_told = num_tasks > 1 or config.init_from
    return 'embedding' if is_told else 'none'
  is_alone = num_tasks == 1 and not config.init_from
  if is_alone and config.task_conditioning != 'none':
    raise UserError(
      f'--task_conditioning={config.task_conditioning} needs several tasks: '
      'one has nothing to be told apart from; leave it at auto'
    )
  return config.task_conditioning


def check_tasks(env_spec: EnvSpec, num_replicas: int) -> None:
  """Refuses what BRC's agent is not for.

  Raises:
    UserError: tasks without feature vectors or continuous actions, or several
      devices.
  """
  first = env_spec.task_names[0]
  if env_spec.frame_shape or not env_spec.num_features:
    raise UserError(f'{first}: this agent sees feature vectors, not frames')
  if env_spec.action_box is None:
    raise UserError(f'{first} has discrete actions, this agent continuous ones')
  if num_replicas > 1:
    raise UserError('BRC learns on one device: leave --strategy at one_device')


CONTROL = dataclasses.replace(
  Config(),
  level_name='control:humanoid/stand,control:humanoid/walk,'
  'control:humanoid/run',
  total_environment_frames=3 * 500_000,
  log_updates=1000,
)
"""The humanoids of DMC-Hard: 500k steps of each task (appendix E.1)."""

SINGLE = dataclasses.replace(
  CONTROL,
  level_name='control:humanoid/stand',
  total_environment_frames=500_000,
  batch_size=256,
)
"""One task, with the batch of the official code."""

SMALL_CONTROL = dataclasses.replace(
  CONTROL,
  level_name='control:cartpole/balance,control:cartpole/swingup',
  total_environment_frames=2 * 30_000,
  critic_width=128,
  actor_width=128,
  batch_size=256,
  warm_up_steps=1000,
  evaluation_steps=5000,
  evaluation_episodes=3,
  log_updates=200,
)
"""Two tasks on which two cores see learning within half an hour (D10)."""

POINT_MASS = dataclasses.replace(
  Config(),
  level_name='point_mass/1,point_mass/2',
  total_environment_frames=2 * 8000,
  critic_width=64,
  actor_width=64,
  batch_size=128,
  critic_learning_rate=0.001,
  actor_learning_rate=0.001,
  warm_up_steps=500,
  initial_temperature=0.01,
  replay_capacity=100_000,
  evaluation_steps=1000,
  log_updates=100,
)
"""Two point masses, to see the mechanism within minutes (D10)."""

DEBUG = dataclasses.replace(
  POINT_MASS,
  total_environment_frames=2 * 300,
  critic_width=16,
  actor_width=16,
  batch_size=16,
  warm_up_steps=101,
  replay_capacity=150,
  evaluation_steps=150,
  evaluation_episodes=1,
  log_updates=1,
  checkpoint_updates=40,
)
"""The same, end to end in seconds."""

PRESETS = {
  'control': CONTROL,
  'single': SINGLE,
  'small_control': SMALL_CONTROL,
  'point_mass': POINT_MASS,
  'debug': DEBUG,
}
