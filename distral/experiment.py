"""Trains, tests and measures Distral; see distral/README.md.

    python -m distral.experiment --preset=kl_ent_2col --nouse_lstm \\
      --level_name=pong,breakout --full_action_space --num_environments=32 \\
      --batch_size=32 --logdir=runs/distral
"""

from core import flags, start
from distral.config import PRESETS, Config


def main(unused_argv: list[str]) -> None:
  """Runs the mode that the flags ask for."""
  config = flags.resolve(Config, PRESETS)
  flags.announce(config, PRESETS)
  with start.quiet_tensorflow():  # Here: a wrong flag should not wait for it.
    from core import modes
    from distral.agent import Agent
  modes.run(config, Agent)


if __name__ == '__main__':
  flags.define(Config, PRESETS)
  flags.run(main)
