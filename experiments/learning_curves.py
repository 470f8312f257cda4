"""Learning curves of agents: every run, and the mean and band of its runs.

A point of a run is the mean of its last 100 episodes of the task; where only
bins are recorded, the mean of the bin. Bands are bootstrap intervals over runs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments import curves, run_records, run_scores
from experiments.run_records import Agents, NotComparable, Run
from experiments.run_scores import References

NUM_POINTS = 200  # Of a mean, and at most about so many of a run.
NUM_RESAMPLES = 1000
CONFIDENCE = 0.95


class RunCurve(NamedTuple):
  """One run.

  Attributes:
    run: Run.
    env_frames: float [P], rising.
    values: float [P].
  """

  run: Run
  env_frames: np.ndarray
  values: np.ndarray


class AgentCurve(NamedTuple):
  """The runs of an agent in one task, or in the aggregate.

  Attributes:
    runs: all of them; incomplete ones do not count in what follows.
    env_frames: float [G], where all complete runs have a value; may be empty.
    mean: float [G], over the complete runs.
    low: float [G], of the interval; empty with fewer than two complete runs.
    high: float [G].
  """

  runs: list[RunCurve]
  env_frames: np.ndarray
  mean: np.ndarray
  low: np.ndarray
  high: np.ndarray


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
  window: int = curves.WINDOW,
  aggregate_name: str = '',
  references: str = '',
) -> Curves:
  """Computes the curves of all tasks and of their aggregate.

  Args:
    agents: from `run_records.read_agents`.
    window: episodes of a running mean.
    aggregate_name: one of run_scores.AGGREGATES; '' for the suite's own.
    references: CSV file of further references, or ''.

  Raises:
    NotComparable: no run has an episode.
    UserError: a table is malformed.
  """
  smoothed, windows = {}, {}
  for run in run_scores.runs_of(agents):
    smoothed[run.folder], kind = _smooth_run(run.folder, window)
    windows[kind] = None
  names = dict.fromkeys(t for of_run in smoothed.values() for t in of_run)
  if not names:
    raise NotComparable('no finished episode in ' + ', '.join(smoothed))
  tasks = run_records.order_tasks(names, run_scores.runs_of(agents))
  by_task = {
    task: {
      label: _agent_curve([(r, smoothed[r.folder].get(task)) for r in runs])
      for label, runs in agents.items()
    }
    for task in tasks
  }
  name = aggregate_name or run_scores.default_aggregate(tasks)
  aggregate = {}
  # Training never starts from a human's states.
  known = run_scores.find_references(tasks, path=references)
  if len(tasks) > 1 and all(task in known for task in tasks):
    for label, runs in agents.items():
      pairs = [
        (run, _aggregate_run(smoothed[run.folder], tasks, known, name))
        for run in runs
      ]
      if any(pair[1] for pair in pairs):
        aggregate[label] = _agent_curve(pairs)
  return Curves(by_task, aggregate, name, known, ' or '.join(windows))


def interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns the bootstrap interval of a mean over runs, by scipy.

  Args:
    values: float [num_runs, ...].

  Returns:
    Lower and upper end, float [...]: percentiles, 95 %; empty arrays for a
    single run, from which no spread can be told.
  """
  if len(values) < 2:
    return np.empty(0), np.empty(0)
  from scipy import stats

  result = stats.bootstrap(
    *((values,), np.mean),
    axis=0,
    n_resamples=NUM_RESAMPLES,
    confidence_level=CONFIDENCE,
    method='percentile',
    rng=np.random.default_rng(0),
  )
  return result.confidence_interval.low, result.confidence_interval.high


def _smooth_run(folder, window):
  """Returns frames and running means by task, and what a point is."""
  episodes = run_records.read_table(folder, 'episodes')
  if episodes is not None:
    result = {}
    for task, rows in episodes.groupby('task', sort=False):
      least = min(20, window, len(rows))
      means = rows.episode_return.rolling(window, min_periods=least).mean()
      frames = rows.env_frames.to_numpy(np.float64)[least - 1 :]
      result[task] = frames, means.to_numpy()[least - 1 :]
    return result, f'mean of {window} episodes'
  bins = run_records.read_table(folder, 'returns')
  if bins is None:
    return {}, f'mean of {window} episodes'
  result = {
    task: (rows.env_frames.to_numpy(np.float64), rows.mean_return.to_numpy())
    for task, rows in bins.groupby('task', sort=False)
  }
  ends = np.unique(bins.env_frames)
  width = run_records.format_frames(np.diff(ends, prepend=0.0).min())
  return result, f'mean of a bin of {width} frames'


def _agent_curve(
  pairs: Sequence[tuple[Run, tuple[np.ndarray, np.ndarray] | None]],
) -> AgentCurve:
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
  low, high = interval(values) if len(grid) else (grid, grid)
  runs = [RunCurve(run, *_thin(x, y)) for run, x, y in present]
  mean = values.mean(axis=0) if len(grid) else grid
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
  scores = np.stack(
    [
      run_scores.normalize(np.interp(grid, *smoothed[task]), references[task])
      for task in tasks
    ]
  )
  return grid, run_scores.AGGREGATES[name](scores, axis=0)


def _thin(x, y):
  """Keeps the first, the last and evenly spaced points between."""
  if len(x) <= 2 * NUM_POINTS:
    return x, y
  kept = np.linspace(0, len(x) - 1, 2 * NUM_POINTS).round().astype(int)
  return x[kept], y[kept]
