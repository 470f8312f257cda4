"""Trains and tests the Gaussian actor-critic."""

from core import flags, modes
from tests.gaussian.agent import Agent
from tests.gaussian.config import PRESETS, Config


def main(unused_argv: list[str]) -> None:
  """Runs the mode that the flags ask for."""
  modes.run(flags.resolve(Config, PRESETS), Agent)


if __name__ == '__main__':
  flags.define(Config, PRESETS)
  flags.run(main)
