"""Trains, tests and measures STAC and STACX; see stacx/README.md.

    python -m stacx.experiment --preset=atari \\
      --level_name=james_bond --logdir=runs/stacx
"""

from core import flags, start
from stacx.config import PRESETS, Config


def main(unused_argv: list[str]) -> None:
  """Runs the mode that the flags ask for."""
  config = flags.resolve(Config, PRESETS)
  flags.announce(config, PRESETS)
  with start.quiet_tensorflow():  # Here: a wrong flag should not wait for it.
    from core import modes
    from stacx.agent import Agent
  modes.run(config, Agent)


if __name__ == '__main__':
  flags.define(Config, PRESETS)
  flags.run(main)
