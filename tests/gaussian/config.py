"""Settings of the Gaussian actor-critic."""

import dataclasses

from core.config import field
from core.run_config import ActorLearnerConfig


@dataclasses.dataclass(frozen=True)
class Config(ActorLearnerConfig):
  """One run on point masses."""

  learning_rate: float = field(0.001, 'Rate, linear to 0.', explored=True)
  entropy_cost: float = field(0.001, 'Weight of the entropy bonus.')
  discounting: float = field(0.95, 'Discount per agent step.')


DEBUG = dataclasses.replace(
  Config(),
  level_name='point_mass/2',
  num_action_repeats=1,
  total_environment_frames=20_000,
  num_environments=8,
  batch_size=8,
  unroll_length=20,
  checkpoint_updates=20,
)

PRESETS = {'debug': DEBUG}
