"""HumanoidBench: single tasks (humanoidbench:h1-walk) and sets of them."""

import functools
import importlib.metadata
import pathlib
from collections.abc import Sequence
from typing import Any

from gymnasium.vector import VectorEnv

from core.environments import workers
from core.environments.robots import humanoid_bench
from core.environments.robots.humanoid_bench import HumanoidBenchProtocol
from core.suites import suite
from core.suites.suite import Reference
from core.types import EnvSpec

_PREFIX = 'humanoidbench:'
_TABLE = pathlib.Path(__file__).with_name('humanoid_bench.csv')
_SCORES = {row['task']: row for row in suite.read_table(_TABLE)}

TASKS = tuple(_SCORES)
"""The tasks whose scores are known, robot and task."""

_MEDIUM_TRAIN = ('walk', 'stand', 'stair', 'crawl', 'pole', 'slide')
_MEDIUM_TRANSFER = ('run', 'hurdle', 'maze')
_MEDIUM = (
  *('walk', 'stand', 'run', 'stair', 'crawl', 'pole', 'slide', 'hurdle'),
  'maze',
)
_HARD = (
  *(*_MEDIUM, 'sit_simple', 'sit_hard', 'balance_simple', 'balance_hard'),
  *('reach', 'spoon', 'window', 'insert_small', 'insert_normal'),
  *('bookshelf_simple', 'bookshelf_hard'),
)
_HARD_TRANSFER = (
  *('truck', 'powerlift', 'room', 'door', 'basketball', 'push', 'cabinet'),
)

LISTS = {
  _PREFIX + name: tuple(f'{_PREFIX}{robot}-{task}' for task in tasks)
  for name, robot, tasks in (
    ('medium', 'h1', _MEDIUM),
    ('medium_train', 'h1', _MEDIUM_TRAIN),
    ('medium_transfer', 'h1', _MEDIUM_TRANSFER),
    ('three', 'h1', ('walk', 'stair', 'slide')),
    ('hard', 'h1hand', _HARD),
    ('hard_transfer', 'h1hand', _HARD_TRANSFER),
  )
}
"""Sets of Nauman et al. 2025 (arXiv:2505.23150): E.1, E.2, and Figure 10."""


class HumanoidBench(suite.Suite):
  """Single tasks and sets of them, from features."""

  name = 'humanoidbench'
  title = 'HumanoidBench'
  examples = (
    f'tasks of HumanoidBench (humanoidbench:h1-walk), {", ".join(LISTS)}'
  )
  names = TASKS
  lists = tuple(LISTS)
  packages = ('mujoco', 'dm-control')
  has_protocol = True
  reference_name = 'random play and success'

  def owns(self, task: str) -> bool:
    """Tells whether a task is one of HumanoidBench."""
    return task.startswith(_PREFIX)

  def expand(self, name: str) -> tuple[str, ...] | None:
    """Lists a set, or one task.

    Raises:
      UserError: there is no such task.
    """
    return suite.expand_prefixed(name, _PREFIX, TASKS, LISTS)

  def protocol(self, config: Any) -> HumanoidBenchProtocol:
    """Returns the way to play that the config says."""
    return HumanoidBenchProtocol(num_action_repeats=config.num_action_repeats)

  def protocol_line(self, protocol: HumanoidBenchProtocol) -> str:
    """Says whose physics it is."""
    del protocol
    humanoid_bench.check_installation()
    version = importlib.metadata.version('mujoco')
    return f'HumanoidBench with MuJoCo {version}, where it asks for 3.1.6'

  def env_spec(self, task: str, protocol: HumanoidBenchProtocol) -> EnvSpec:
    """Describes a task without starting a process.

    Raises:
      UserError: HumanoidBench is missing.
    """
    spaces = _spaces_of(task.removeprefix(_PREFIX), protocol)
    return suite.spec_of_spaces(task, *spaces)

  def make(
    self,
    rows: Sequence[str],
    protocol: HumanoidBenchProtocol,
    is_training: bool,
    num_threads: int,
  ) -> list[VectorEnv]:
    """Builds one vector environment, whose processes play several rows each.

    Raises:
      UserError: HumanoidBench is missing.
    """
    del is_training
    humanoid_bench.check_installation()
    makers = [
      functools.partial(
        humanoid_bench.make, task.removeprefix(_PREFIX), protocol
      )
      for task in rows
    ]
    num_workers = workers.num_workers(rows, num_threads)
    return [workers.WorkerVectorEnv(makers, num_workers)]

  def evaluation_line(
    self, protocol: HumanoidBenchProtocol, starts: str | None = None
  ) -> str:
    """Says how tasks are played."""
    del starts
    return (
      'whole episodes; sampled policy; raw rewards; action repeat '
      f'{protocol.num_action_repeats}; {self.protocol_line(protocol)}'
    )

  def reference(
    self, task: str, is_human_starts: bool = False
  ) -> Reference | None:
    """Returns the scores of random play and of success."""
    if is_human_starts or task not in _SCORES:
      return None
    row = _SCORES[task]
    return Reference(float(row['random']), float(row['success']), False)


@functools.cache
def _spaces_of(task, protocol):
  env = humanoid_bench.make(task, protocol)
  env.close()
  return env.observation_space, env.action_space
