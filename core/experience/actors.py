"""The actors of a run: their tasks, seeds and groups of environments."""

import contextlib
from typing import Any

import numpy as np

from core.errors import UserError
from core.experience.actor import Actor
from core.experience.timing import Timer
from core.interrupt import ignored_by_children
from core.run_config import ActorLearnerConfig
from core.suites.task_environments import TaskEnvironments
from core.suites.tasks import Tasks, assign_tasks

SEEDS_PER_ACTOR = 10_007


def make_actor(
  config: ActorLearnerConfig,
  agent: Any,
  tasks: Tasks,
  timer: Timer,
  index: int = 0,
  seed_offset: int = 0,
  num_cores: int | None = None,
) -> Actor:
  """Builds an actor and its environments.

  Args:
    config: a paper's Config.
    agent: whose `act` it calls.
    tasks: what is played.
    timer: where its phases are counted.
    index: number of this actor.
    seed_offset: added to its seeds; a resumed run must not begin with the games
      that the first start began with.
    num_cores: that its environments may use; None: all of the machine.

  Returns:
    An Actor with fresh episodes.

  Raises:
    UserError: there are more groups than environments, or more tasks; or
      unrolls cannot overlap so.
  """
  n, num_groups = config.num_environments, config.num_groups
  if num_groups > n:
    raise UserError(f'--num_groups={num_groups} exceeds --num_environments={n}')
  all_task_ids = assign_tasks(config.all_environments, len(tasks.names))
  task_ids = all_task_ids[index * n : (index + 1) * n]
  seed = first_seed(config.seed, index, seed_offset)
  if config.new_steps < 1 or config.unroll_length % config.new_steps:
    raise UserError(
      f'--unroll_overlap={config.unroll_overlap} leaves {config.new_steps} new '
      f'steps, which do not divide --unroll_length={config.unroll_length}'
    )
  groups = []
  with contextlib.ExitStack() as built:
    ends = np.cumsum(config.group_widths(len(tasks.names)))
    for ids in np.split(task_ids, ends[:-1]):
      with ignored_by_children():
        groups.append(
          TaskEnvironments(tasks, ids, is_training=True, num_cores=num_cores)
        )
        built.callback(groups[-1].close)
    actor = Actor(
      agent.act,
      agent.initial_state,
      groups,
      agent.env_spec,
      config.new_steps,
      seed,
      timer,
      num_joined=config.unroll_length // config.new_steps,
    )
    built.pop_all()
  return actor


def first_seed(run_seed: int, index: int, seed_offset: int) -> int:
  """Returns an actor's seed, far from those of test mode.

  Test mode counts up from the run's seed, an actor's environments from this.

  Args:
    run_seed: of the run, at least 0.
    index: number of the actor.
    seed_offset: of a resumed run.
  """
  seed = 1_000_003 * run_seed + SEEDS_PER_ACTOR * index + seed_offset
  seed %= 2**30
  if abs(seed - run_seed) < 2**19:
    seed = (seed + 2**29) % 2**30
  return seed
