"""Trains, tests and measures IMPALA; see impala/README.md.

    python -m impala.experiment --preset=atari_expert_shallow \\
      --level_name=breakout --logdir=runs/breakout
"""

from core import flags, start
from impala.config import PRESETS, Config


def main(unused_argv: list[str]) -> None:
  """Runs the mode that the flags ask for."""
  config = flags.resolve(Config, PRESETS)
  flags.announce(config, PRESETS)
  with start.quiet_tensorflow():  # Here: a wrong flag should not wait for it.
    from core import modes
    from impala.agent import Agent
  modes.run(config, Agent)


if __name__ == '__main__':
  flags.define(Config, PRESETS)
  flags.run(main)
