"""Trains and tests BRC; see brc/README.md.

python -m brc.experiment --preset=point_mass --logdir=runs/brc
"""

import functools

from brc.config import PRESETS, Config
from core import flags, start


def main(unused_argv: list[str]) -> None:
  """Runs the mode that the flags ask for."""
  config = flags.resolve(Config, PRESETS)
  flags.announce(config, PRESETS)
  with start.quiet_tensorflow():  # Here: a wrong flag should not wait for it.
    from brc.agent import Agent
    from core import modes
    from core.evaluation.greedy import make_evaluation
    from core.training import replay_train
  train = functools.partial(replay_train.train, make_evaluation=make_evaluation)
  modes.run(config, Agent, train)


if __name__ == '__main__':
  flags.define(Config, PRESETS)
  flags.run(main)
