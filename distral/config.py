"""Hyperparameters of Distral (Teh et al. 2017, arXiv:1707.04175).

Defaults are those of the DeepMind Lab experiments (appendix B.2); a preset is
one of the seven algorithms of table 1. Each field's documentation is the help
of the flag of the same name.
"""

import dataclasses

from core.config import field
from core.run_config import ActorLearnerConfig

# Appendix B.2: every algorithm is run with each pair of these.
ENTROPY_COSTS = (3e-4, 1e-3, 3e-3)  # 1 / beta.
LEARNING_RATES = (2e-4, 4e-4, 8e-4)
RUNS_PER_SETTING = 4


@dataclasses.dataclass(frozen=True)
class Config(ActorLearnerConfig):
  """One run of Distral or an A3C baseline; every field is a flag."""

  # The algorithm (table 1); a preset sets these.
  architecture: str = field(
    'two_column',
    "Logits of a task's policy. task: f, a network per task; shared: h, one "
    'network for all; two_column: alpha_arch h + f.',
    choices=('task', 'shared', 'two_column'),
    changes_play=True,
  )
  alpha_loss: float = field(
    0.5,
    'alpha in the objective: 1, KL divergence alone; 0, entropy alone; Distral '
    'with both: 0.5, not tuned (appendix B.2).',
    minimum=0,
    maximum=1,
  )
  alpha_arch: float = field(
    0.5,
    'alpha in the two-column policy, equation 12; apart from alpha_loss for '
    'a3c_2col (D1).',
    minimum=0,
    maximum=1,
    changes_play=True,
  )
  beta: float = field(
    1000.0,
    "beta; 1 / beta is the paper's entropy cost, of 3e-4, 1e-3 and 3e-3.",
    minimum=1e-9,
  )
  entropy: str = field(
    'in_return',
    'in_return: regularised rewards, equation 9; bonus: in the loss, for the '
    'A3C baselines (section 3).',
    choices=('in_return', 'bonus'),
  )
  value_regularization: str = field(
    'shared',
    "What the task values are pulled to (D3): shared: the shared column's "
    'value; zero; none.',
    choices=('shared', 'zero', 'none'),
  )
  value_regularization_cost: float = field(
    0.005, 'Weight of that pull (appendix B.2).', minimum=0
  )

  # The columns.
  torso: str = field(
    'conv',
    'conv: two convolutions and 256 units (Mnih 2016); mlp: two layers of 64, '
    'for grids.',
    choices=('conv', 'mlp'),
    changes_play=True,
  )
  use_lstm: bool = field(True, 'An LSTM in every column.', changes_play=True)

  # Losses.
  use_vtrace: bool = field(
    False, 'Correct n-step returns off policy (not in the paper).'
  )
  baseline_cost: float = field(
    0.5, 'Weight of the value loss; not printed (D5).', minimum=0
  )
  discounting: float = field(
    0.99, 'Discount per agent step; not printed (D5).', minimum=0, maximum=1
  )
  reward_clipping: str = field(
    'none',
    'none (D5); abs_one: clip to [-1, 1]; soft_asymmetric and '
    "soft_asymmetric_paper: IMPALA's on DeepMind Lab.",
    choices=('abs_one', 'soft_asymmetric', 'soft_asymmetric_paper', 'none'),
  )

  # The optimiser.
  learning_rate: float = field(
    0.0004, 'Initial rate, of 2e-4, 4e-4 and 8e-4.', minimum=0
  )
  final_learning_rate_fraction: float = field(
    1 / 6, 'What is left at the last frame.', minimum=0, maximum=1
  )
  decay: float = field(
    0.99, 'RMSProp decay; not printed (D5).', minimum=0, maximum=1
  )
  momentum: float = field(0.0, 'RMSProp momentum.', minimum=0)
  epsilon: float = field(
    0.1, 'RMSProp epsilon, inside the root; not printed (D5).', minimum=0
  )
  max_gradient_norm: float = field(
    0.0,
    'Global gradient norm to clip to; 0: no clipping, which over networks of '
    'several tasks would couple them.',
    minimum=0,
  )

  # Test mode.
  test_policy: str = field(
    'task',
    "task: each task's own policy; distilled: pi_0 in every task.",
    choices=('task', 'distilled'),
    modes=('test',),
    may_change=True,
    changes_play=True,
  )

  # Frames and unrolls of the suites on DeepMind Lab.
  width: int = field(
    84,
    'Frame width, DeepMind Lab (appendix B.2).',
    minimum=1,
    changes_play=True,
  )
  height: int = field(
    84,
    'Frame height, DeepMind Lab (appendix B.2).',
    minimum=1,
    changes_play=True,
  )
  unroll_length: int = field(
    20,
    'T, agent steps per unroll (appendix B.2).',
    minimum=1,
    maximum=10_000,
  )


A3C = dataclasses.replace(
  Config(),
  architecture='task',
  alpha_loss=0.0,
  entropy='bonus',
  value_regularization='none',
)
"""A network per task."""

A3C_MULTITASK = dataclasses.replace(A3C, architecture='shared')
"""One network for all tasks."""

A3C_2COL = dataclasses.replace(A3C, architecture='two_column', alpha_arch=1.0)
"""Two columns without a KL divergence; the shared one has full weight (D1)."""

KL_1COL = dataclasses.replace(
  Config(), architecture='task', alpha_loss=1.0, alpha_arch=0.0
)
"""A network per task and one that is distilled from them."""

KL_2COL = dataclasses.replace(Config(), alpha_loss=1.0, alpha_arch=1.0)
"""The distilled policy is the shared column of the task policies."""

KL_ENT_1COL = dataclasses.replace(KL_1COL, alpha_loss=0.5)
"""KL_1COL with an entropy term of the same weight."""

KL_ENT_2COL = Config()
"""KL_2COL with an entropy term of the same weight."""

DEBUG = dataclasses.replace(
  KL_ENT_2COL,
  level_name='two_rooms/1/12,two_rooms/5/4',
  torso='mlp',
  use_lstm=False,
  num_action_repeats=1,
  total_environment_frames=10_000,
  num_environments=8,
  batch_size=8,
  log_updates=1,
  checkpoint_updates=20,
)
"""Two goals of the grid world, end to end in seconds."""

ALGORITHMS = {
  'a3c': A3C,
  'a3c_multitask': A3C_MULTITASK,
  'a3c_2col': A3C_2COL,
  'kl_1col': KL_1COL,
  'kl_2col': KL_2COL,
  'kl_ent_1col': KL_ENT_1COL,
  'kl_ent_2col': KL_ENT_2COL,
}

PRESETS = {**ALGORITHMS, 'debug': DEBUG}
