"""Trains, tests and measures PopArt-IMPALA; see popart/README.md.

    python -m popart.experiment --preset=atari57_unclipped \\
      --level_name=pong,breakout --logdir=runs/popart
"""

from core import flags, start
from popart.config import PRESETS, Config


def main(unused_argv: list[str]) -> None:
  """Runs the mode that the flags ask for."""
  config = flags.resolve(Config, PRESETS)
  flags.announce(config, PRESETS)
  with start.quiet_tensorflow():  # Here: a wrong flag should not wait for it.
    from core import modes
    from popart.agent import Agent
  modes.run(config, Agent)


if __name__ == '__main__':
  flags.define(Config, PRESETS)
  flags.run(main)
