"""Hyperparameters of IMPALA (Espeholt et al. 2018, arXiv:1802.01561).

Defaults are scalable_agent's flags, but for the number of environments
(README, D5); presets name what the papers' tables used.
Each field's documentation is the help of the flag of the same name.
"""

import dataclasses

from core.config import field
from core.run_config import ActorLearnerConfig


@dataclasses.dataclass(frozen=True)
class Config(ActorLearnerConfig):
  """One run of IMPALA; every field is a flag of the same name."""

  # The network.
  torso: str = field(
    'deep',
    'For frames, deep: 15-layer ResNet; shallow: 2 convolutions (Figure 3).',
    choices=('deep', 'shallow'),
    changes_play=True,
  )
  use_lstm: bool = field(
    True, 'LSTM core; Atari agents have none.', changes_play=True
  )

  # Losses.
  entropy_cost: float = field(
    0.00025, 'Weight of the entropy bonus.', minimum=0, explored=True
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
    0.00048,
    'Initial rate, linear to 0 over the run.',
    minimum=0,
    explored=True,
  )
  final_learning_rate_fraction: float = field(
    0.0,
    'What is left of the learning rate at the last frame.',
    minimum=0,
    maximum=1,
  )
  decay: float = field(0.99, 'RMSProp decay.', minimum=0, maximum=1)
  momentum: float = field(0.0, 'RMSProp momentum.', minimum=0)
  epsilon: float = field(
    0.1, 'RMSProp epsilon, inside the root.', minimum=0, explored=True
  )
  max_gradient_norm: float = field(
    0.0,
    'Global gradient norm to clip to; 0: no clipping.',
    minimum=0,
    explored=True,
  )


SCALABLE_AGENT_DMLAB = dataclasses.replace(Config(), num_environments=4)
"""scalable_agent's flags, single level of DeepMind Lab: 4 actors."""

DMLAB_SINGLE_LEVEL = dataclasses.replace(
  Config(), num_environments=48, batch_size=32
)
"""scalable_agent's README, one level: 48 actors, batches of 32."""

DMLAB30_MULTITASK = dataclasses.replace(
  DMLAB_SINGLE_LEVEL,
  level_name='dmlab30',
  num_environments=150,  # 5 per level.
  total_environment_frames=int(1e10),
  entropy_cost=0.0033391318945337044,
  learning_rate=0.00031866995608948655,
  reward_clipping='soft_asymmetric',
  log_updates=4,  # 51,200 frames; scalable_agent logs every 50,000.
)
"""scalable_agent's README, one agent on the 30 levels of DMLab-30."""

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
  'dmlab_single_level': DMLAB_SINGLE_LEVEL,
  'dmlab30_multitask': DMLAB30_MULTITASK,
  'atari_expert_shallow': ATARI_EXPERT_SHALLOW,
  'atari_expert_deep': ATARI_EXPERT_DEEP,
  'atari57_multitask': ATARI57_MULTITASK,
  'debug': DEBUG,
}
