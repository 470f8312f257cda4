"""Hyperparameters of PopArt-IMPALA (Hessel et al. 2018, arXiv:1809.04474).

Presets name what the paper's tables used. Each field's documentation is the
help of the flag of the same name.
"""

import dataclasses

from core.config import field
from impala import config as impala_config


@dataclasses.dataclass(frozen=True)
class Config(impala_config.Config):
  """One run of PopArt-IMPALA or a baseline.

  The fields of IMPALA's config, and these; every one is a flag.
  """

  value_head: str = field(
    'popart',
    'popart: a normalised value per task (PopArt-IMPALA); multi_head: a value '
    'per task, not normalised (MultiHead-IMPALA); single: one for all tasks '
    '(IMPALA).',
    choices=('popart', 'multi_head', 'single'),
    changes_play=True,
  )
  statistics_step_size: float = field(
    0.0003, 'beta, step size of the statistics (Table 3).', minimum=0, maximum=1
  )
  scale_lower_bound: float = field(
    0.0001, 'Least scale (Table 3).', minimum=1e-12
  )
  scale_upper_bound: float = field(
    1e6, 'Largest scale (Table 3).', minimum=1e-12
  )
  initial_second_moment: float = field(
    1.0, 'nu at the start; not printed (popart/README, D3).', minimum=0
  )
  second_moment: str = field(
    'square_of_mean',
    "square_of_mean: the rollout's mean target, squared, as printed; "
    'mean_of_squares: the mean of its squared targets (popart/README, D1).',
    choices=('square_of_mean', 'mean_of_squares'),
  )


ATARI57 = dataclasses.replace(
  Config(),
  level_name='atari57',
  total_environment_frames=int(11.4e9),  # 57 x 200M, figure 1.
  full_action_space=True,  # Espeholt et al. 2018, appendix G.1.
  num_environments=114,  # Ours: two of each game.
  batch_size=32,  # Table 6.
  unroll_length=20,  # Table 6.
  use_lstm=False,  # Table 7: DmLab only.
  entropy_cost=0.01,  # D4: tuned by PBT in the paper.
  learning_rate=0.0006,  # D4.
  epsilon=0.01,  # D4.
  max_gradient_norm=40.0,  # D4.
  log_updates=20,  # 51,200 frames; scalable_agent logs every 50,000.
)
"""One deep agent on 57 games, rewards clipped. The values that the paper tuned
by PBT are those of the IMPALA paper's Atari experts (D4)."""

ATARI57_UNCLIPPED = dataclasses.replace(ATARI57, reward_clipping='none')
"""The same on unclipped rewards."""

DMLAB30 = dataclasses.replace(
  Config(),
  level_name='dmlab30',
  total_environment_frames=int(10e9),  # Figure 4.
  action_set='popart',  # Table 2, 15 actions.
  num_environments=150,  # Espeholt et al. 2018: 5 actors per level.
  batch_size=32,  # Table 6.
  unroll_length=100,  # Table 6.
  reward_clipping='soft_asymmetric',  # D5: as released.
  entropy_cost=0.0033391318945337044,  # D4: scalable_agent's README.
  learning_rate=0.00031866995608948655,  # D4: likewise.
  log_updates=4,  # 51,200 frames.
)
"""One deep recurrent agent on the 30 levels of DMLab-30."""

DEBUG = dataclasses.replace(
  ATARI57,
  level_name='catch',
  torso='shallow',
  num_action_repeats=1,
  total_environment_frames=20000,
  num_environments=8,
  batch_size=8,
  log_updates=1,
  checkpoint_updates=20,
)
"""Catch, end to end in seconds."""

PRESETS = {
  'atari57': ATARI57,
  'atari57_unclipped': ATARI57_UNCLIPPED,
  'dmlab30': DMLAB30,
  'debug': DEBUG,
}
