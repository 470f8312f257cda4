"""Trains an agent whose actors have the weights of some updates ago.

    python -m experiments.stacx.off_policyness_run \\
      --flagfile=experiments/stacx/delayed_catch.flags --policy_age=20 \\
      --logdir=runs/off_policyness

Takes the flags of stacx.experiment and one more. With --actor_mode=sync and one
batch per round, all data are exactly so old. The same command resumes, to the
bit: checkpoints hold the older weights too.
"""

import dataclasses

from core import flags, start
from core.config import field
from stacx import config as stacx_config


@dataclasses.dataclass(frozen=True)
class Config(stacx_config.Config):
  """One run; every field is a flag of the same name."""

  policy_age: int = field(
    0,
    'Updates that the weights of the actors are behind.',
    minimum=0,
    maximum=1000,
  )


PRESETS = {
  name: Config(**dataclasses.asdict(preset))
  for name, preset in stacx_config.PRESETS.items()
}


def main(unused_argv: list[str]) -> None:
  """Runs what the flags ask for."""
  config = flags.resolve(Config, PRESETS)
  flags.announce(config, PRESETS)
  with start.quiet_tensorflow():  # Here: a wrong flag should not wait for it.
    from core import modes
    from experiments.stacx.off_policyness_agent import Agent
  modes.run(config, Agent)


if __name__ == '__main__':
  flags.define(Config, PRESETS)
  flags.run(main)
