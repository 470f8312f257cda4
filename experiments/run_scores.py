"""Scores of runs: mean returns per task, normalised, and their aggregates.

What a task's returns are compared with is core's random and human scores (of
human starts, where the evaluation says so); for the copies of Catch 0 and the
best return; for other tasks a CSV file with the columns task, random, human.
"""

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from core import atari57, dmlab30
from core.errors import UserError
from experiments import curves, run_records
from experiments.popart import scaled_catch
from experiments.run_records import Agents, NotComparable, Run

HUMAN_STARTS = 'start: states of'  # In the protocol of an evaluation.
AGGREGATES = {
  'median': np.median,
  'mean': np.mean,
  'iqm': lambda scores, axis: _interquartile_mean(scores, axis),
  'capped mean': lambda scores, axis: np.minimum(scores, 100.0).mean(axis),
}
"""Functions of scores in percent and the axis of the tasks."""


class Reference(NamedTuple):
  """What a task's score of 0 and of 100 % is.

  Attributes:
    random: float, return of random play; 0 % of the score.
    human: float, return of the human tester; 100 %.
    is_human: whether these are the published scores of Atari or DMLab-30.
  """

  random: float
  human: float
  is_human: bool


References = Mapping[str, Reference]


class Scores(NamedTuple):
  """Returns of the complete runs of several agents.

  Attributes:
    returns: by agent, for each run float arrays of raw returns by task. Of a
      run whose episodes are recorded in bins, the mean is the only element.
    source: one line about what they are.
    is_evaluation: whether they are of evaluation.csv.
    is_human_starts: whether games start from a human's states.
  """

  returns: dict[str, list[dict[str, np.ndarray]]]
  source: str
  is_evaluation: bool
  is_human_starts: bool

  @property
  def tasks(self) -> list[str]:
    """All tasks, in the order of the records."""
    return list(
      dict.fromkeys(
        t for runs in self.returns.values() for r in runs for t in r
      )
    )


def read_scores(agents: Agents) -> Scores:
  """Reads the returns by which the complete runs are judged.

  Those are evaluation.csv if all have one; else, for all, the last 100 episodes
  of training per task.

  Args:
    agents: incomplete runs are left out.

  Raises:
    NotComparable: no run of an agent is complete, the protocols of the runs or
      of their evaluations differ, or a run has no returns.
    UserError: a file is malformed.
  """
  complete = run_records.complete_runs(agents)
  for label, runs in complete.items():
    if not runs:
      states = ', '.join(f'{r.folder} ({r.state})' for r in agents[label])
      raise NotComparable(f'{label} has no complete run: {states}')
  runs = [run for of_agent in complete.values() for run in of_agent]
  run_records.check_same_protocol(runs)
  evaluations = [run_records.read_table(r.folder, 'evaluation') for r in runs]
  is_evaluation = all(e is not None and len(e) for e in evaluations)
  if is_evaluation:
    source, is_human_starts = _check_evaluations(runs, evaluations)
    tables = iter(evaluations)
    by_task = {run.folder: _split(next(tables), 'return') for run in runs}
  else:
    by_task = {run.folder: _last_returns(run.folder) for run in runs}
    without = len([e for e in evaluations if e is None or not len(e)])
    source = (
      f'last {curves.WINDOW} training episodes per task: {without} of '
      f'{len(runs)} runs have no evaluation.csv'
    )
    is_human_starts = False
  returns = {
    label: [by_task[run.folder] for run in runs]
    for label, runs in complete.items()
  }
  return Scores(returns, source, is_evaluation, is_human_starts)


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
  random = atari57.RANDOM_SCORES | dmlab30.RANDOM_SCORES
  human = atari57.HUMAN_SCORES | dmlab30.HUMAN_SCORES
  if is_human_starts:
    random = atari57.RANDOM_SCORES_HUMAN_STARTS
    human = atari57.HUMAN_SCORES_HUMAN_STARTS
  known = {task: Reference(random[task], human[task], True) for task in random}
  known['catch'] = Reference(0.0, 1.0, False)
  for task, scale in zip(scaled_catch.TASKS, scaled_catch.SCALES, strict=True):
    task = f'experiments.popart.scaled_catch:{task}'
    known[task] = Reference(0.0, scale, False)
  if path:
    if not os.path.exists(path):
      raise UserError(f'there is no {path}')
    table = run_records.read_csv(path, ('random', 'human'), ('task',))
    for row in table.itertuples():
      known[row.task] = Reference(row.random, row.human, False)
  test_levels = {task: dmlab30.LEVEL_MAPPING.get(task, task) for task in tasks}
  return {t: known[level] for t, level in test_levels.items() if level in known}


def check_references(tasks: Sequence[str], references: References) -> None:
  """Refuses tasks that cannot be scored.

  Raises:
    UserError: naming them.
  """
  missing = [task for task in tasks if task not in references]
  if missing:
    raise UserError(
      f'no score of 0 and 100 % is known for {", ".join(missing)}: give '
      '--references=FILE.csv with the columns task, random, human'
    )


def normalize(
  returns: float | np.ndarray, reference: Reference
) -> float | np.ndarray:
  """Returns scores in percent, as core.scores.human_normalized_score."""
  span = abs(reference.human - reference.random)
  return 100.0 * (returns - reference.random) / span


def score_name(references: References) -> str:
  """Returns how to call the scores on an axis."""
  kinds = {reference.is_human for reference in references.values()}
  if kinds == {True}:
    return 'human-normalised score, %'
  return 'score, %' if True in kinds else 'score, % of the best return'


def default_aggregate(tasks: Sequence[str]) -> str:
  """Returns the suite's own: median for Atari, capped mean for DMLab-30."""
  levels = set(dmlab30.LEVEL_MAPPING) | set(dmlab30.RANDOM_SCORES)
  if set(tasks) <= levels:
    return 'capped mean'
  return 'median' if set(tasks) <= set(atari57.GAMES) else 'mean'


def score_matrix(
  scores: Scores, label: str, tasks: Sequence[str], references: References
) -> np.ndarray:
  """Returns an agent's normalised scores as rliable wants them.

  Args:
    scores: from `read_scores`.
    label: of the agent.
    tasks: columns of the matrix.
    references: of all of them.

  Returns:
    float64 [num_runs, num_tasks], percent.

  Raises:
    UserError: the tasks have not all the same number of runs.
  """
  columns = [
    [r[task].mean() for r in scores.returns[label] if task in r]
    for task in tasks
  ]
  counts = {task: len(c) for task, c in zip(tasks, columns, strict=True)}
  if len(set(counts.values())) > 1 or not all(counts.values()):
    described = ', '.join(f'{task} {count}' for task, count in counts.items())
    raise UserError(
      f'{label} has not the same number of complete runs of every task: '
      + described
    )
  scored = [
    normalize(np.array(column), references[task])
    for task, column in zip(tasks, columns, strict=True)
  ]
  return np.stack(scored, axis=1)


def _interquartile_mean(scores, axis):
  from scipy import stats

  return stats.trim_mean(scores, 0.25, axis=axis)


def _check_evaluations(runs, evaluations):
  """Returns a line about evaluations, and whether they are from human starts.

  Raises:
    NotComparable: they were not all played in the same way.
  """
  labels: dict[str, list[str]] = {}
  for run, table in zip(runs, evaluations, strict=True):
    for line in table.protocol.unique():
      of_line = labels.setdefault(line, [])
      if run.label not in of_line:
        of_line.append(run.label)
  if len(labels) > 1:
    lines = [f'{line!r} ({", ".join(of)})' for line, of in labels.items()]
    raise NotComparable(
      'the evaluations differ in protocol: ' + '; '.join(lines)
    )
  (line,) = labels
  return f'evaluation.csv: {line}', HUMAN_STARTS in line


def _split(table, column):
  return {
    task: rows[column].to_numpy(np.float64)
    for task, rows in table.groupby('task', sort=False)
  }


def _last_returns(folder: str) -> dict[str, np.ndarray]:
  """Returns the returns of a run's last training episodes by task."""
  episodes = run_records.read_table(folder, 'episodes')
  if episodes is not None:
    by_task = _split(episodes, 'episode_return')
    return {task: values[-curves.WINDOW :] for task, values in by_task.items()}
  bins = run_records.read_table(folder, 'returns')
  if bins is None:
    raise NotComparable(f'no evaluation.csv and no episodes.csv in {folder}')
  result = {}
  for task, rows in bins.groupby('task', sort=False):
    # The fewest last bins that hold that many episodes.
    counts = rows.num_episodes.to_numpy()[::-1]
    needed = int(np.searchsorted(counts.cumsum(), curves.WINDOW)) + 1
    means = rows.mean_return.to_numpy()[::-1]
    mean = np.average(means[:needed], weights=counts[:needed])
    result[task] = np.array([mean])
  return result


def runs_of(agents: Agents) -> list[Run]:
  """Returns the runs of all agents in one list."""
  return [run for runs in agents.values() for run in runs]
