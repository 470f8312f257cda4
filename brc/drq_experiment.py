"""Trains, tests and measures BRC on frames; see brc/README.md.

python -m brc.drq_experiment --preset=atari_100k_small --logdir=runs/brc_pong
"""

import pathlib
from typing import Any

from brc.drq_config import PRESETS, Config
from core import flags, start


def main(unused_argv: list[str]) -> None:
  """Runs the mode that the flags ask for."""
  config = flags.resolve(Config, PRESETS)
  flags.announce(config, PRESETS)
  with start.quiet_tensorflow():  # Here: a wrong flag should not wait for it.
    from brc.drq_agent import Agent
    from core import modes
    from core.training.replay_benchmark import benchmark
  modes.run(config, Agent, train, benchmark)


def train(config: Config, agent: Any, tasks: Any) -> int:
  """Trains an agent, from another run's networks if the config says so.

  Args:
    config: a Config.
    agent: fresh, for the config's tasks.
    tasks: what it is trained on.

  Returns:
    The frame counter at the end.

  Raises:
    UserError: the other run does not fit, or what `replay_train` refuses.
  """
  from core import checkpointing
  from core.evaluation.greedy import make_evaluation
  from core.training import replay_train

  checkpoints = pathlib.Path(checkpointing.directory_of(config.logdir))
  is_resumed = any(checkpoints.glob('checkpoint_*.npz'))
  if config.init_from and not is_resumed:
    _start_from(config, agent)
  return replay_train.train(config, agent, tasks, make_evaluation)


def _start_from(config, agent):
  """Takes over the networks of `init_from`, but for embeddings."""
  from brc import transfer
  from core import checkpointing
  from core.errors import UserError
  from core.training import resume

  directory = checkpointing.directory_of(config.init_from)
  restored = checkpointing.restore_latest(directory, print)
  if restored is None:
    raise UserError(f'no checkpoint in {directory}: train there first')
  arrays, _, path = restored
  resume.assign_variables(transfer.taken_over(agent.variables()), arrays)
  print(f'starting with the networks of {path}', flush=True)


if __name__ == '__main__':
  flags.define(Config, PRESETS)
  flags.run(main)
