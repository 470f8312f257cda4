"""What a suite of tasks says of itself: names, protocol, engine, scores.

A suite is one file beside this one, and a line in `core.suites.tasks.SUITES`.
"""

import abc
import csv
import difflib
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from core.errors import UserError
from core.types import ActionBox, EnvSpec, Episode

FOLDER = pathlib.Path(__file__).resolve().parent


class Reference(NamedTuple):
  """What a task's score of 0 and of 100 % is.

  Attributes:
    low: mean return of random play, or the least possible.
    high: mean return of a human tester, or the greatest possible.
    is_human: whether `high` is a human's.
  """

  low: float
  high: float
  is_human: bool = True


class TrainingScore(abc.ABC):
  """A suite's score while training."""

  @abc.abstractmethod
  def add(self, episodes: Sequence[Episode]) -> dict[str, float]:
    """Takes in finished episodes; returns due scores by TensorBoard tag."""


class Suite(abc.ABC):
  """A family of tasks that share an engine, a protocol and scores.

  Attributes:
    name: what --level_name calls the whole suite, or a short word.
    title: what people call it.
    examples: how its tasks are named, for messages.
    names: the tasks of the whole suite, as evaluation plays them.
    lists: what --level_name calls sets of its tasks.
    packages: distributions whose version decides how tasks play.
    has_protocol: whether there is a choice of how to play.
    has_success: whether episodes can succeed; its score is how many do.
    aggregate: the suite's own aggregate of scores: 'median', 'mean', 'iqm' or
      'capped mean' (at 100 a task).
    reference_name: what its reference scores are, in a caption.
    max_test_rows: environments that test mode plays at once.
  """

  name: str
  title: str
  examples: str
  names: tuple[str, ...] = ()
  lists: tuple[str, ...] = ()
  packages: tuple[str, ...] = ()
  has_protocol = False
  has_success = False
  aggregate = 'mean'
  reference_name = ''
  max_test_rows = 30

  @abc.abstractmethod
  def owns(self, task: str) -> bool:
    """Tells whether a task is, by its name, of this suite."""

  @abc.abstractmethod
  def expand(self, name: str) -> tuple[str, ...] | None:
    """Lists the tasks that one name of --level_name stands for.

    Args:
      name: as the user wrote it.

    Returns:
      Their names; None if it is none of this suite's.

    Raises:
      UserError: it is meant for this suite, but wrong.
    """

  def suggest(self, name: str) -> list[str]:
    """Returns the suite's names that an unknown one may have meant."""
    known = {known: known for known in (*self.names, *self.lists)}
    for known_name in self.names:  # Also without what stands before a colon.
      known.setdefault(known_name.rpartition(':')[2], known_name)
    nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.7)
    return list(dict.fromkeys(known[found] for found in nearest))

  def protocol(self, config: Any) -> Any:
    """Returns how tasks are played, a frozen dataclass; None: no choice."""
    del config

  def protocol_line(self, protocol: Any) -> str:
    """Says in one line what a run must tell of how it plays; '': nothing."""
    del protocol
    return ''

  def env_spec(self, task: str, protocol: Any) -> EnvSpec:
    """Describes one task, here by building an environment and asking it."""
    (env,) = self.make([task], protocol, is_training=True, num_threads=1)
    observations, actions = (
      env.single_observation_space,
      env.single_action_space,
    )
    env.close()
    return spec_of_spaces(task, observations, actions)

  @abc.abstractmethod
  def make(
    self,
    rows: Sequence[str],
    protocol: Any,
    is_training: bool,
    num_threads: int,
  ) -> list[VectorEnv]:
    """Builds environments.

    Args:
      rows: the task of each row; equal ones stand together.
      protocol: how they are played.
      is_training: False in evaluation.
      num_threads: threads that each may use to step its rows.

    Returns:
      Vector environments that together have these rows in this order. They
      reset in the step that ends an episode, and give rewards raw.
    """

  def test_task(self, task: str) -> str:
    """Returns the task that is played to test an agent trained on `task`."""
    return task

  def evaluation_line(self, protocol: Any, starts: str | None = None) -> str:
    """Says in one line how evaluation plays.

    Args:
      protocol: its part that evaluation uses.
      starts: how episodes start; None: as the protocol says.
    """
    del protocol, starts
    return 'whole episodes; sampled policy; raw rewards'

  def requires_noops(self, protocol: Any) -> bool:
    """Tells whether only episodes that began with a no-op count in tests."""
    del protocol
    return False

  def make_game(self, task: str, protocol: Any) -> gymnasium.Env:
    """Builds one environment to film, or to begin from a saved state.

    Returns:
      An environment whose `render()` gives uint8 [height, width, 3] at
      `metadata['render_fps']`, with `save_state()` -> bytes, and whose reset
      takes the options `start_state` and `name`.

    Raises:
      UserError: the suite has none.
    """
    raise UserError(
      f'{task} can neither be filmed nor begin from a saved state'
    )

  def check_start_states(self, task: str, states: Mapping[str, bytes]) -> None:
    """Refuses bytes that are no state of the task.

    Args:
      task: its name.
      states: by the name of their file.

    Raises:
      UserError: naming the first bad file.
    """
    del states
    raise UserError(f'{task} has no saved states')

  def controls(self, task: str, protocol: Any) -> np.ndarray:
    """Says what each discrete action of a task presses.

    Returns:
      int32 [A, 3]: fire 0 or 1, horizontal and vertical -1, 0 or 1, right and
      up being 1.

    Raises:
      UserError: that is not known.
    """
    raise UserError(f'what the actions of {task} press is not known')

  def counts_lives(self, task: str) -> bool:
    """Tells whether a lost life ends what the learner sees as an episode."""
    del task
    return False

  def training_score(self, task_names: Sequence[str]) -> TrainingScore | None:
    """Returns the suite's score while these tasks are trained, if any."""
    del task_names

  def reference(
    self, task: str, is_human_starts: bool = False
  ) -> Reference | None:
    """Returns what scores of a task are measured by, None if nothing is known.

    Args:
      task: as evaluation plays it.
      is_human_starts: the reference of episodes from a human's states.
    """
    del task, is_human_starts

  def yardsticks(self) -> dict[str, dict[str, float]]:
    """Returns mean returns to stand beside an agent's that nobody published.

    Column of the table of scores to task to value; none here.
    """
    return {}

  def published_rows(self) -> list[dict[str, str]]:
    """Returns published mean returns per task.

    Rows of `<name>_published.csv`, a file with the columns of
    experiments/reference; none without one.
    """
    path = FOLDER / f'{self.name}_published.csv'
    return read_table(path) if path.exists() else []

  def published(self) -> dict[str, dict[str, float]]:
    """Returns published mean returns: method to task to value."""
    columns: dict[str, dict[str, float]] = {}
    for row in self.published_rows():
      columns.setdefault(row['row'], {})[row['task']] = float(row['value'])
    return columns


def check_known(
  name: str, tasks: Sequence[str], lists: Iterable[str] = ()
) -> None:
  """Refuses a name that none of a suite's tasks has.

  Args:
    name: as the user wrote it.
    tasks: all there are.
    lists: names of sets of them, which may be meant too.

  Raises:
    UserError: it is unknown; with the three nearest.
  """
  if name not in tasks:
    known = (*tasks, *lists)
    nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.0)
    raise UserError(
      f'unknown task {name!r}; did you mean {" or ".join(nearest)}?'
    )


def expand_prefixed(
  name: str,
  prefix: str,
  tasks: Sequence[str],
  lists: Mapping[str, tuple[str, ...]],
) -> tuple[str, ...] | None:
  """Lists the tasks that a name stands for; see `Suite.expand`.

  Args:
    name: as the user wrote it.
    prefix: that all tasks of the suite have.
    tasks: all of them.
    lists: sets of them by name.

  Raises:
    UserError: it has the prefix, but there is no such task.
  """
  if name in lists:
    return lists[name]
  if not name.startswith(prefix):
    return None
  check_known(name, tasks, lists)
  return (name,)


def read_table(path: pathlib.Path) -> list[dict[str, str]]:
  """Reads a CSV file whose first lines may be comments (#)."""
  with open(path, newline='', encoding='utf-8') as file:
    lines = (line for line in file if not line.startswith('#'))
    return list(csv.DictReader(lines, strict=True))


def spec_of_spaces(
  task: str, observations: spaces.Space, actions: spaces.Space
) -> EnvSpec:
  """Describes a task by gymnasium's spaces of one environment.

  Args:
    task: its name.
    observations: uint8 [H, W, C], float32 [F], or a Dict of `frame`,
      `features` and `instruction` (int32 [L]).
    actions: Discrete from 0, or a bounded Box [D] of floats.

  Raises:
    UserError: they are of another kind.
  """
  parts = observations
  if not isinstance(observations, spaces.Dict):
    name = 'features' if observations.dtype == np.float32 else 'frame'
    parts = {name: observations}
  kinds = {
    'frame': (3, np.uint8),
    'features': (1, np.float32),
    'instruction': (1, np.int32),
  }
  fits = len(parts) > 0 and all(
    isinstance(part, spaces.Box)
    and (len(part.shape), part.dtype) == kinds.get(name)
    for name, part in parts.items()
  )
  is_discrete = isinstance(actions, spaces.Discrete) and actions.start == 0
  is_box = (
    isinstance(actions, spaces.Box)
    and len(actions.shape) == 1
    and np.issubdtype(actions.dtype, np.floating)
    and actions.is_bounded()
  )
  if not fits or not (is_discrete or is_box):
    raise UserError(
      f'{task}: observations must be uint8 [H, W, C], float32 [F] or a Dict of '
      'frame, features and instruction, actions Discrete or a bounded Box [D] '
      f'of floats, not {observations} and {actions}'
    )
  shapes = {name: part.shape for name, part in parts.items()}
  box = None
  if is_box:
    box = ActionBox(tuple(actions.low.tolist()), tuple(actions.high.tolist()))
  return EnvSpec(
    task_names=(task,),
    num_actions=int(actions.n) if is_discrete else 0,
    action_box=box,
    frame_shape=shapes.get('frame', ()),
    instruction_length=shapes.get('instruction', (0,))[0],
    num_features=shapes.get('features', (0,))[0],
  )
