"""Trains, tests and measures BRC; see brc/README.md.

python -m brc.experiment --preset=point_mass --logdir=runs/brc
"""

import contextlib
import dataclasses
import pathlib
from typing import Any

from brc.config import PRESETS, Config
from core import flags, start


def main(unused_argv: list[str]) -> None:
  """Runs the mode that the flags ask for."""
  config = flags.resolve(Config, PRESETS)
  flags.announce(config, PRESETS)
  with start.quiet_tensorflow():  # Here: a wrong flag should not wait for it.
    from brc.agent import Agent
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
    _start_from(config, agent, tasks)
  return replay_train.train(config, agent, tasks, make_evaluation)


def _start_from(config, agent, tasks):
  """Takes over the networks of `init_from`; chooses embeddings (D8)."""
  from brc import transfer
  from core import checkpointing
  from core.errors import UserError
  from core.optimizers import AdamW
  from core.training import resume

  directory = checkpointing.directory_of(config.init_from)
  restored = checkpointing.restore_latest(directory, print)
  if restored is None:
    raise UserError(f'no checkpoint in {directory}: train there first')
  arrays, metadata, path = restored
  resume.assign_variables(transfer.taken_over(agent.variables()), arrays)
  print(f'starting with the networks of {path}', flush=True)
  if agent.networks.embeddings is None or config.embedding_transfer == 'reset':
    return
  names = [f'agent/{prefix}embedding' for prefix in ('', 'target_')]
  if not arrays.keys() >= set(names):
    raise UserError(f'{config.init_from} was trained without embeddings')
  batches = _play_randomly(config, agent, tasks)
  chosen = transfer.choose(agent, batches, [arrays[name] for name in names])
  for task, old in zip(tasks.names, chosen, strict=True):
    print(f'{task} is nearest to {metadata["task_names"][old]}', flush=True)
  if config.embedding_transfer == 'fitted':
    table = agent.networks.embeddings.table
    transfer.fit(agent, batches, AdamW([table], learning_rate=0.01))


def _play_randomly(config, agent, tasks):
  """Returns transitions of each task, ready for the agent's networks."""
  import numpy as np

  from brc import transfer
  from core.experience.player import Player
  from core.experience.timing import Timer

  num_steps = config.transfer_transitions
  playing = dataclasses.replace(
    config,
    replay_capacity=num_steps,
    replay_memory_gb=1e9,
    warm_up_steps=num_steps + 1,
  )
  state = agent.get_state()
  with contextlib.closing(Player(playing, agent, tasks, Timer(), {})) as player:
    for _ in range(num_steps):
      player.step()
  agent.set_state(state)  # A run's own returns are those that it sees.
  index = np.arange(num_steps)
  played = [
    player.replay.gather(np.full(num_steps, task), index)
    for task in range(len(tasks.names))
  ]
  return transfer.prepare(agent, played, config.discounting)


if __name__ == '__main__':
  flags.define(Config, PRESETS)
  flags.run(main)
