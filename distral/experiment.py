"""Trains, tests and measures Distral; see distral/README.md.

    python -m distral.experiment --preset=kl_ent_2col --nouse_lstm \\
      --level_name=pong,breakout --full_action_space --num_environments=32 \\
      --batch_size=32 --logdir=runs/distral
"""

import dataclasses
import pathlib

from core import (
  actor_learner,
  benchmark,
  config_flags,
  environments,
  test_mode,
)
from distral.agent import Agent
from distral.config import PRESETS, Config

ROOT = pathlib.Path(__file__).resolve().parents[1]
REFERENCE = ROOT / 'experiments' / 'reference'


def main(unused_argv: list[str]) -> None:
  """Runs the mode that the flags ask for."""
  config = config_flags.resolve(Config, PRESETS)
  tasks = environments.task_names(config.level_name)
  protocol = environments.make_protocol(config, tasks)
  env_spec = environments.env_spec(tasks, protocol)
  if config.mode == 'train':
    info = config_flags.run_info(config, dataclasses.asdict(protocol))
    config_flags.write_run_info(config.logdir, info)
  agent = Agent(config, env_spec)
  if config.mode == 'train':
    actor_learner.train(config, agent, protocol)
  elif config.mode == 'test':
    published = REFERENCE / f'{environments.suite(tasks)}_published.csv'
    test_mode.test(config, agent, protocol, tasks, str(published))
  elif config.mode == 'save_start_states':
    test_mode.save_states(config, agent, protocol, tasks)
  else:
    benchmark.benchmark(config, agent, protocol)


if __name__ == '__main__':
  config_flags.define(Config, PRESETS)
  config_flags.run(main)
