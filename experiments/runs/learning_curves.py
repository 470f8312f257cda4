"""Learning curves of agents: every run, and the mean and band of its runs.

A point of a run is the mean of its last 100 episodes of the task; where only
bins are recorded, the mean of the bin. Bands are bootstrap intervals over runs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from experiments.runs import bootstrap, grouping, scoring, wording
from experiments.runs.grouping import Agents, NotComparable
from experiments.runs.reader import Run
from experiments.runs.scoring import References

NUM_POINTS = 200  # Of a mean, and at most about so many of a run.
NUM_RESAMPLES = 1000
MIN_EPISODES = 20  # Of a running mean, if there are as many.

Points = tuple[np.ndarray, np.ndarray]
"""Environment frames, float [P] and rising, and values, float [P]."""


class RunCurve(NamedTuple):
  """One run.

  Attributes:
    name: of the run.
    is_complete: whether it counts in the mean.
    env_frames: float [P], rising.
    values: float [P].
  """

  name: str
  is_complete: bool
  env_frames: np.ndarray
  values: np.ndarray


class AgentCurve(NamedTuple):
  """The runs of an agent in one task, or in the aggregate.

  Attributes:
    runs: all of them; incomplete ones do not count in what follows.
    env_frames: float [G], where all complete runs have a value; may be empty.
    mean: float [G], over the complete runs.
    low: float [G], of the band; empty with fewer than two complete runs.
    high: float [G].
  """

  runs: list[RunCurve]
  env_frames: np.ndarray
  mean: np.ndarray
  low: np.ndarray
  high: np.ndarray

  @property
  def num_complete(self) -> int:
    """How many runs count in the mean."""
    return sum(run.is_complete for run in self.runs)


class Curves(NamedTuple):
  """All curves of several agents.

  Attributes:
    tasks: by task, curves by agent.
    aggregate: by agent, of normalised scores in percent; empty if some task has
      no reference, there is one task only, or no run has all tasks.
    aggregate_name: how the tasks are reduced to one.
    references: of the tasks that have one.
    window: what a point is, in words.
  """

  tasks: dict[str, dict[str, AgentCurve]]
  aggregate: dict[str, AgentCurve]
  aggregate_name: str
  references: References
  window: str


def make_curves(
  agents: Agents,
  window: int = scoring.WINDOW,
  aggregate_name: str = '',
  references: str = '',
) -> Curves:
  """Computes the curves of all tasks and of their aggregate.

  Args:
    agents: from `grouping.read_agents`.
    window: episodes of a running mean.
    aggregate_name: one of scoring.AGGREGATES; '' for the suite's own.
    references: CSV file of further references, or ''.

  Raises:
    NotComparable: no run has an episode.
    UserError: a table is malformed.
  """
  smoothed, windows = {}, {}
  for run in grouping.runs_of(agents):
    smoothed[run], kind = smooth_run(run, window)
    windows[kind] = None
  names = dict.fromkeys(t for of_run in smoothed.values() for t in of_run)
  if not names:
    folders = ', '.join(run.folder for run in smoothed)
    raise NotComparable(f'no finished episode in {folders}')
  tasks = grouping.order_tasks(names, list(smoothed))
  by_task = {
    task: {
      label: _agent_curve([(run, smoothed[run].get(task)) for run in runs])
      for label, runs in agents.items()
    }
    for task in tasks
  }
  name = aggregate_name or scoring.default_aggregate(tasks)
  aggregate = {}
  # Training never starts from a human's states.
  known = scoring.find_references(tasks, path=references)
  if len(tasks) > 1 and all(task in known for task in tasks):
    for label, runs in agents.items():
      pairs = [
        (run, _aggregate_run(smoothed[run], tasks, known, name)) for run in runs
      ]
      if any(pair[1] for pair in pairs):
        aggregate[label] = _agent_curve(pairs)
  return Curves(by_task, aggregate, name, known, ' or '.join(windows))


def smooth_run(
  run: Run, window: int = scoring.WINDOW
) -> tuple[dict[str, Points], str]:
  """Returns a run's points by task, and what a point is in words.

  Raises:
    UserError: a table is malformed.
  """
  episodes = run.table('episodes')
  bins = run.table('returns') if episodes is None else None
  result = {}
  if bins is not None:
    for task, rows in bins.groupby('task', sort=False):
      frames = rows.env_frames.to_numpy(np.float64)
      result[task] = frames, rows.mean_return.to_numpy()
    ends = np.unique(bins.env_frames)
    width = wording.format_frames(np.diff(ends, prepend=0.0).min())
    return result, f'mean of a bin of {width} frames'
  if episodes is not None:
    for task, rows in episodes.groupby('task', sort=False):
      least = min(MIN_EPISODES, window, len(rows))
      means = rows.episode_return.rolling(window, min_periods=least).mean()
      frames = rows.env_frames.to_numpy(np.float64)
      result[task] = frames[least - 1 :], means.to_numpy()[least - 1 :]
  return result, f'mean of {window} episodes'


def range_curve(table: pd.DataFrame) -> AgentCurve:
  """Returns a curve whose band is from the worst to the best run.

  Args:
    table: a column per run, indexed by frames.
  """
  frames = table.index.to_numpy(np.float64)
  runs = [
    RunCurve(f'seed {name}', True, frames, values.to_numpy())
    for name, values in table.items()
  ]
  mean, low, high = table.mean(axis=1), table.min(axis=1), table.max(axis=1)
  return AgentCurve(runs, frames, *(s.to_numpy() for s in (mean, low, high)))


def read_statistics(
  agents: Agents,
) -> tuple[dict[Run, pd.DataFrame], list[str]]:
  """Reads tasks.csv of the runs that have columns shift and scale.

  Returns:
    Tables by run, and all their tasks in order.
  """
  tables = {}
  for run in grouping.runs_of(agents):
    table = run.table('tasks')
    if table is not None and {'shift', 'scale'} <= set(table.columns):
      tables[run] = run.table('tasks', ('shift', 'scale'))
  found = {task for table in tables.values() for task in table.task}
  return tables, grouping.order_tasks(found, list(tables))


def _agent_curve(pairs: Sequence[tuple[Run, Points | None]]) -> AgentCurve:
  """Joins the curves of runs, some of which may have none."""
  present = [(run, *curve) for run, curve in pairs if curve]
  complete = [(x, y) for run, x, y in present if run.is_complete]
  grid, values = np.empty(0), np.empty([0, 0])
  if complete:
    # Where no run's curve would have to be prolonged.
    start = max(x[0] for x, _ in complete)
    end = min(x[-1] for x, _ in complete)
    grid = np.linspace(start, end, NUM_POINTS) if end > start else grid
    values = np.stack([np.interp(grid, x, y) for x, y in complete])
  low = high = mean = grid
  if len(grid):
    mean = values.mean(axis=0)
    low, high = bootstrap.mean_interval(values, NUM_RESAMPLES)
  runs = [
    RunCurve(run.name, run.is_complete, *_thin(x, y)) for run, x, y in present
  ]
  return AgentCurve(runs, grid, mean, low, high)


def _aggregate_run(smoothed, tasks, references, name):
  """Returns a run's frames and aggregate, None if it lacks a task."""
  if any(task not in smoothed for task in tasks):
    return None
  start = max(smoothed[task][0][0] for task in tasks)
  end = min(smoothed[task][0][-1] for task in tasks)
  if end <= start:
    return None
  grid = np.linspace(start, end, 2 * NUM_POINTS)
  scores = [
    scoring.normalize(np.interp(grid, *smoothed[task]), references[task])
    for task in tasks
  ]
  return grid, scoring.AGGREGATES[name](np.stack(scores), axis=0)


def _thin(x, y):
  """Keeps the first, the last and evenly spaced points between."""
  if len(x) <= 2 * NUM_POINTS:
    return x, y
  kept = np.linspace(0, len(x) - 1, 2 * NUM_POINTS).round().astype(int)
  return x[kept], y[kept]
