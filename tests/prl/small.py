"""Small PRL runs for tests: Catch, whose whole state is in a frame."""

import dataclasses
from typing import Any

from core.device import Device
from core.suites.tasks import Tasks
from prl.agent import Agent
from prl.config import DEBUG, Config


def config(**changes: Any) -> Config:
  """Returns the config of a run of seconds."""
  small = dict(
    level_name='catch',
    num_action_repeats=1,
    full_action_space=False,
    perception='tiny',
    state_size=12,
    hidden_size=24,
    horizon=4,
    num_environments=4,
    random_cases=160,
    cases=80,
    held_out_cases=24,
    updates_per_game=12,
    batch_size=16,
    num_candidates='5',
    checkpoint_updates=5,
    collection_memory_mb=0.02,  # 12 steps.
    xla='off',
  )
  return dataclasses.replace(DEBUG, **{**small, **changes})


def make_agent(of: Config) -> Agent:
  """Returns a fresh agent."""
  device = Device(of.strategy, of.xla, of.seed)
  return Agent(of, Tasks.of(of).env_spec, device)
