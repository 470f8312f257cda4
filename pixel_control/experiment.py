"""Trains, tests and measures Pixel-PopArt-IMPALA; see pixel_control/README.md.

    python -m pixel_control.experiment --preset=atari57 \\
      --level_name=pong,breakout --logdir=runs/pixel_control
"""

from core import flags, start
from pixel_control.config import PRESETS, Config


def main(unused_argv: list[str]) -> None:
  """Runs the mode that the flags ask for."""
  config = flags.resolve(Config, PRESETS)
  flags.announce(config, PRESETS)
  with start.quiet_tensorflow():  # Here: a wrong flag should not wait for it.
    from core import modes
    from pixel_control.agent import Agent
  modes.run(config, Agent)


if __name__ == '__main__':
  flags.define(Config, PRESETS)
  flags.run(main)
