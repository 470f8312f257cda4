"""Scores of runs: mean returns per task, normalised, and their aggregates.

What a task's returns are compared with are the reference scores of its suite;
for the copies of Catch 0 and the best return; for other tasks a CSV file with
the columns task, random, human.
"""

import math
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from core.errors import UserError
from core.suites import tasks as suites
from core.suites.suite import Reference
from experiments.popart import scaled_catch
from experiments.runs import csv_files, grouping
from experiments.runs.grouping import Agents, NotComparable
from experiments.runs.reader import Run

WINDOW = 100  # Episodes of a mean.
HUMAN_STARTS = 'start: states of'  # In the protocol of an evaluation.
AGGREGATES = {
  'median': np.median,
  'mean': np.mean,
  'iqm': lambda scores, axis: _interquartile_mean(scores, axis),
  'capped mean': lambda scores, axis: np.minimum(scores, 100.0).mean(axis),
}
"""Functions of scores in percent and the axis of the tasks."""

References = Mapping[str, Reference]


class Scores(NamedTuple):
  """Returns of the complete runs of several agents.

  Attributes:
    returns: by agent, for each run float arrays of raw returns by task. Of a
      run whose episodes are recorded in bins, the mean is the only element.
    source: one line about what they are.
    references: of the tasks that have one.
  """

  returns: dict[str, list[dict[str, np.ndarray]]]
  source: str
  references: References

  @property
  def tasks(self) -> list[str]:
    """All tasks, in the order of the records."""
    return list(
      dict.fromkeys(
        t for runs in self.returns.values() for r in runs for t in r
      )
    )


def read_scores(agents: Agents, references: str = '') -> Scores:
  """Reads the returns by which the complete runs are judged.

  Those are evaluation.csv if all have one; else, for all, the last 100 episodes
  of training per task.

  Args:
    agents: incomplete runs are left out.
    references: CSV file that adds to the known references, or ''.

  Raises:
    NotComparable: no run of an agent is complete, the protocols of the runs or
      of their evaluations differ, or a run has no returns.
    UserError: a file is malformed.
  """
  complete = grouping.complete_runs(agents)
  for label, runs in complete.items():
    if not runs:
      states = ', '.join(f'{r.folder} ({r.state})' for r in agents[label])
      raise NotComparable(f'{label} has no complete run: {states}')
  runs = grouping.runs_of(complete)
  grouping.check_same_protocol(runs)
  untested = [run for run in runs if run.evaluation.empty]
  if untested:
    source = (
      f'last {WINDOW} training episodes per task: {len(untested)} of '
      f'{len(runs)} runs have no evaluation.csv'
    )
    by_run = {run: last_returns(run) for run in runs}
  else:
    source = f'evaluation.csv: {_common_test_protocol(runs)}'
    by_run = {run: _split(run.evaluation, 'return') for run in runs}
  returns = {
    label: [by_run[run] for run in runs] for label, runs in complete.items()
  }
  scores = Scores(returns, source, {})
  known = find_references(scores.tasks, HUMAN_STARTS in source, references)
  return scores._replace(references=known)


def last_returns(run: Run) -> dict[str, np.ndarray]:
  """Returns the returns of a run's last training episodes by task.

  Raises:
    NotComparable: its episodes are not recorded.
    UserError: a file is malformed.
  """
  episodes = run.table('episodes')
  if episodes is not None:
    by_task = _split(episodes, 'episode_return')
    return {task: values[-WINDOW:] for task, values in by_task.items()}
  bins = run.table('returns')
  if bins is None:
    raise NotComparable(f'no evaluation and no episodes in {run.folder}')
  result = {}
  for task, rows in bins.groupby('task', sort=False):
    # The fewest last bins that hold that many episodes.
    counts = rows.num_episodes.to_numpy()[::-1]
    needed = int(np.searchsorted(counts.cumsum(), WINDOW)) + 1
    means = rows.mean_return.to_numpy()[::-1]
    mean = np.average(means[:needed], weights=counts[:needed])
    result[task] = np.array([mean])
  return result


def standard_error(values: np.ndarray) -> float:
  """Returns the standard error of a mean; NaN of a single value."""
  if len(values) < 2:
    return math.nan
  return float(values.std(ddof=1) / math.sqrt(len(values)))


def find_references(
  tasks: Sequence[str], is_human_starts: bool = False, path: str = ''
) -> dict[str, Reference]:
  """Returns the references of those tasks that have one.

  Args:
    tasks: training or test levels, games, or other.
    is_human_starts: of the games.
    path: CSV file that adds to the known ones, '' for none.

  Raises:
    UserError: the file cannot be read, with the line.
  """
  known = {task: suites.reference(task, is_human_starts) for task in tasks}
  for task, scale in scaled_catch.SCALE_OF_TASK.items():
    known[task] = Reference(0.0, scale, False)
  if path:
    if not os.path.exists(path):
      raise UserError(f'there is no {path}')
    table = csv_files.read(path, ('random', 'human'), ('task',))
    for row in table.itertuples():
      known[row.task] = Reference(row.random, row.human, False)
  return {task: known[task] for task in tasks if known[task]}


def check_references(scores: Scores) -> None:
  """Refuses tasks that cannot be scored.

  Raises:
    UserError: naming them.
  """
  missing = [task for task in scores.tasks if task not in scores.references]
  if missing:
    raise UserError(
      f'no score of 0 and 100 % is known for {", ".join(missing)}: give '
      '--references=FILE.csv with the columns task, random, human'
    )


def normalize(
  returns: float | np.ndarray, reference: Reference
) -> float | np.ndarray:
  """Returns scores in percent, as core.suites.scores.human_normalized_score."""
  span = abs(reference.high - reference.low)
  return 100.0 * (returns - reference.low) / span


def score_name(references: References) -> str:
  """Returns how to call the scores on an axis."""
  kinds = {reference.is_human for reference in references.values()}
  if kinds == {True}:
    return 'human-normalised score, %'
  if True in kinds:
    return 'score, %'
  if all(reference.low == 0.0 for reference in references.values()):
    return 'score, % of the best return'
  return 'score, % from random play to a reference'


def default_aggregate(tasks: Sequence[str]) -> str:
  """Returns the suite's own: median for Atari, capped mean for DMLab-30."""
  found = {suites.find_suite(task) for task in tasks}
  (suite, *others) = found
  return suite.aggregate if suite and not others else 'mean'


def aggregate_names(tasks: Sequence[str]) -> list[str]:
  """Returns those of `AGGREGATES` that are usual for these tasks."""
  is_capped = default_aggregate(tasks) == 'capped mean'
  return [name for name in AGGREGATES if is_capped or name != 'capped mean']


def score_matrix(scores: Scores, label: str) -> np.ndarray:
  """Returns an agent's normalised scores as rliable wants them.

  Args:
    scores: from `read_scores`, with references of all tasks.
    label: of the agent.

  Returns:
    float64 [num_runs, num_tasks], percent, of `scores.tasks`.

  Raises:
    UserError: the tasks have not all the same number of runs.
  """
  columns = {
    task: [r[task].mean() for r in scores.returns[label] if task in r]
    for task in scores.tasks
  }
  counts = {task: len(column) for task, column in columns.items()}
  if len(set(counts.values())) > 1 or not all(counts.values()):
    described = ', '.join(f'{task} {count}' for task, count in counts.items())
    raise UserError(
      f'{label} has not the same number of complete runs of every task: '
      + described
    )
  scored = [
    normalize(np.array(column), scores.references[task])
    for task, column in columns.items()
  ]
  return np.stack(scored, axis=1)


def _interquartile_mean(scores, axis):
  from scipy import stats

  return stats.trim_mean(scores, 0.25, axis=axis)


def _common_test_protocol(runs):
  """Returns the line that says how all the runs were tested.

  Raises:
    NotComparable: they were not all tested in the same way.
  """
  labels: dict[str, dict[str, None]] = {}
  for run in runs:
    for line in run.evaluation.protocol.unique():
      labels.setdefault(line, {})[run.label] = None
  if len(labels) > 1:
    lines = [f'{line!r} ({", ".join(of)})' for line, of in labels.items()]
    raise NotComparable(
      'the evaluations differ in protocol: ' + '; '.join(lines)
    )
  return next(iter(labels))


def _split(table, column):
  return {
    task: rows[column].to_numpy(np.float64)
    for task, rows in table.groupby('task', sort=False)
  }
