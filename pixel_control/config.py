"""Hyperparameters of Pixel-PopArt-IMPALA (Hessel et al., arXiv:1809.04474).

Presets name what the paper's tables used. Each field's documentation is the
help of the flag of the same name.
"""

import dataclasses

from core.config import field
from popart import config as popart_config


@dataclasses.dataclass(frozen=True)
class Config(popart_config.Config):
  """One run of PopArt-IMPALA or a baseline with pixel control.

  The fields of PopArt's and IMPALA's configs, and these; every one is a flag.
  """

  pixel_control_cost: float = field(
    0.01,
    'Weight of the pixel-control loss; not printed (D1). 0: the agent without '
    'it.',
    minimum=0,
  )
  pixel_control_discount: float = field(
    0.9, 'Discount of the pseudo-rewards (appendix).', minimum=0, maximum=1
  )
  pixel_control_cell_size: int = field(
    4, "Pixels along a cell's side (appendix).", minimum=1
  )
  pixel_control_border: int = field(
    0,
    'Pixels left out of the grid on all four sides of the frame. 2: the '
    'central 80x80 of Atari (D3).',
    minimum=0,
  )


DMLAB30 = dataclasses.replace(
  Config(),
  level_name='dmlab30',
  total_environment_frames=int(2e9),  # Figures 5 and 7.
  action_set='popart',  # Table 2, 15 actions.
  num_environments=150,  # Espeholt et al. 2018: 5 actors per level.
  batch_size=32,  # Table 6.
  unroll_length=100,  # Table 6.
  reward_clipping='soft_asymmetric',  # As released (popart/README, D5).
  entropy_cost=0.0033391318945337044,  # D7: scalable_agent's README.
  learning_rate=0.00031866995608948655,  # D7: likewise.
  log_updates=4,  # 51,200 frames.
)
"""One deep recurrent agent on the 30 levels of DMLab-30, for 2B frames."""

ATARI57 = dataclasses.replace(
  Config(),
  level_name='atari57',
  total_environment_frames=int(11.4e9),  # 57 x 200M, figure 1.
  full_action_space=True,  # Espeholt et al. 2018, appendix G.1.
  num_environments=114,  # Ours: two of each game.
  batch_size=32,  # Table 6.
  unroll_length=20,  # Table 6.
  use_lstm=False,  # Table 7: DmLab only.
  entropy_cost=0.01,  # D7.
  learning_rate=0.0006,  # D7.
  epsilon=0.01,  # D7.
  max_gradient_norm=40.0,  # D7.
  pixel_control_border=2,  # D3: the central 80x80.
  pixel_control_cost=0.001,  # D1: UNREAL's range for Atari is lower.
  log_updates=20,  # 51,200 frames; scalable_agent logs every 50,000.
)
"""One deep agent on 57 games, rewards clipped. The paper has pixel control on
DeepMind Lab alone; this is its Atari agent with it."""

DEBUG = dataclasses.replace(
  ATARI57,
  level_name='catch',
  torso='shallow',
  num_action_repeats=1,
  total_environment_frames=20000,
  num_environments=8,
  batch_size=8,
  pixel_control_border=0,
  pixel_control_cell_size=2,  # 10x10 cells: 4x4 ones are too few.
  log_updates=1,
  checkpoint_updates=20,
)
"""Catch, end to end in seconds."""

PRESETS = {'dmlab30': DMLAB30, 'atari57': ATARI57, 'debug': DEBUG}
