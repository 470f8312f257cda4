"""The report's tables: runs, configuration, scores beside published ones."""

import json
import math
import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from core.errors import UserError
from core.files import refuse_pipe
from core.suites import scores as core_scores
from core.suites import tasks as suites
from experiments.runs import grouping, scoring, wording
from experiments.runs.grouping import Agents
from experiments.runs.reader import Run
from experiments.runs.scoring import Scores
from experiments.tables import published

NONE = '–'
_OF_A_RUN = ('seed', 'logdir', 'mode')  # Never part of what was compared.


class ScoreTable(NamedTuple):
  """Scores per task and aggregate.

  Attributes:
    agents: headings of our columns.
    published: headings of the published columns.
    rows: name, our cells (return and score), random, human, published cells.
    source: what the returns are.
    score_name: what the second number of our cells is.
  """

  agents: list[str]
  published: list[str]
  rows: list[tuple[str, list[tuple[str, str]], str, str, list[str]]]
  source: str
  score_name: str


def run_rows(agents: Agents) -> list[dict[str, str]]:
  """Returns a row per run: how far, how long, on what, by which command."""
  return [
    {
      'agent': run.label,
      'seed': run.seed,
      'frames': wording.format_frames(run.frames),
      'state': run.state,
      'hours': f'{run.wall_secs / 3600:.2f}' if run.wall_secs else NONE,
      'frames per second': _speed(run),
      'hardware': wording.describe_hardware(run.info.get('hardware')),
      'started': str(run.info.get('start_time', NONE))[:16].replace('T', ' '),
      'commit': wording.describe_commit(run.info.get('git')),
      'command': str(run.info.get('command', NONE)),
      'folder': run.folder,
    }
    for run in grouping.runs_of(agents)
  ]


def config_rows(
  agents: Agents, part: str
) -> tuple[list[tuple[str, str]], list[tuple[str, list[str]]]]:
  """Returns the fields of a part of run.json.

  Args:
    agents: some.
    part: 'config', 'protocol' or 'versions'.

  Returns:
    Fields with the one value that all runs have; and those that differ, with a
    cell per agent.
  """
  parts = {
    label: [run.info.get(part) or {} for run in runs]
    for label, runs in agents.items()
  }
  fields = dict.fromkeys(f for of in parts.values() for p in of for f in p)
  same, different = [], []
  for field in fields:
    if field in _OF_A_RUN:
      continue
    cells = [
      ' or '.join(dict.fromkeys(_value(p, field) for p in of_agent))
      for of_agent in parts.values()
    ]
    if len(set(cells)) == 1:
      same.append((field, cells[0]))
    else:
      different.append((field, cells))
  return same, different


def score_table(scores: Scores, runs: Sequence[Run]) -> ScoreTable:
  """Sets our returns beside random, human and published ones.

  Args:
    scores: from `scoring.read_scores`.
    runs: of which the scores are; their papers' numbers are shown.
  """
  tasks = grouping.order_tasks(scores.tasks, runs)
  names = grouping.short_names(tasks)
  columns = published_columns(papers(runs), tasks)
  rows = []
  for task in tasks:
    reference = scores.references.get(task)
    rows.append(
      (
        names[task],
        [_cell(runs, task, reference) for runs in scores.returns.values()],
        _number(reference and reference.low),
        _number(reference and reference.high),
        [_number(column.get(task)) for column in columns.values()] or [NONE],
      )
    )
  rows += _aggregate_rows(scores, list(columns.values()))
  return ScoreTable(
    [
      f'{label} ({wording.plural(len(of_agent), "run")})'
      for label, of_agent in scores.returns.items()
    ],
    list(columns) or ['none per task'],
    rows,
    scores.source,
    scoring.score_name(scores.references) if scores.references else '',
  )


def papers(runs: Sequence[Run]) -> list[str]:
  """Returns the papers whose published numbers stand beside these runs."""
  found = ['impala']
  for run in runs:
    match = re.search(r'-m (\w+)\.experiment', str(run.info.get('command')))
    name = {'pixel_control': 'popart'}.get(match[1], match[1]) if match else ''
    if name in published.PAPERS and name not in found:
      found.append(name)
  return found


def published_columns(
  names: Sequence[str], tasks: Sequence[str]
) -> dict[str, dict[str, float]]:
  """Returns published mean returns by heading and task.

  Args:
    names: papers.
    tasks: ours; training levels are looked up as their test levels.
  """
  columns: dict[str, dict[str, float]] = {}
  for name in names:
    table = published.read(name)
    for row in table[table.statistic == 'mean return'].itertuples():
      for task in tasks:
        if suites.test_task(task) == row.task:
          heading = f'{row.row} ({name}, {row.item}; {row.protocol}'
          if not pd.isna(row.frames):
            heading += f', {wording.format_frames(row.frames)} frames'
          columns.setdefault(f'{heading})', {})[task] = row.value
  return columns


def published_aggregates(
  names: Sequence[str], tasks: Sequence[str]
) -> list[list[str]]:
  """Returns published scores of the suites that our tasks belong to.

  Args:
    names: papers.
    tasks: ours.

  Returns:
    Rows of paper and item, method, suite, protocol, statistic, value, frames,
    note.
  """
  found = {suites.find_suite(task) for task in tasks} - {None}
  ours = {suite.name for suite in found}
  rows = []
  for name in names:
    for row in published.read(name).itertuples():
      is_score = 'human-normalised %' in row.statistic
      if is_score and row.task.startswith(tuple(ours)):
        rows.append(
          [
            f'{name}, {row.item}',
            row.row,
            row.task,
            row.protocol,
            row.statistic,
            f'{row.value:g}',
            wording.format_frames(row.frames),
            row.note or '',
          ]
        )
  return rows


def videos(agents: Agents, page: str, limit_bytes: int) -> list[dict[str, Any]]:
  """Returns the mp4 files in the runs' folders.

  Args:
    agents: some.
    page: path of the report, to which links are relative.
    limit_bytes: of what is embedded altogether; later files are linked.

  Returns:
    Dicts of name, link (relative path) and content: bytes, or None if the file
    is only linked.

  Raises:
    UserError: one cannot be read.
  """
  found = []
  for run in grouping.runs_of(agents):
    for name in sorted(os.listdir(run.folder)):
      if not name.endswith('.mp4') or name.endswith('.tmp.mp4'):
        continue
      path = os.path.join(run.folder, name)
      content = _read_up_to(limit_bytes, path)
      limit_bytes -= len(content or b'')
      found.append(
        dict(
          name=f'{run.name}: {name[:-4]}',
          link=os.path.relpath(path, os.path.dirname(page) or '.'),
          content=content,
        )
      )
  return found


def _read_up_to(limit_bytes, path):
  """Returns what is in a file, None if that is more than the limit."""
  refuse_pipe(path)
  try:
    if os.path.getsize(path) > limit_bytes:
      return None
    with open(path, 'rb') as file:
      return file.read()
  except OSError as error:
    raise UserError(f'cannot read {path}: {error.strerror}') from error


def _aggregate_rows(scores, published_returns):
  """Returns rows of normalised scores over all tasks, published ones too."""
  tasks = scores.tasks
  if len(tasks) < 2 or any(task not in scores.references for task in tasks):
    return []
  aggregates = []
  for label in scores.returns:
    try:
      matrix = scoring.score_matrix(scores, label)
    except UserError:  # It has not played all tasks equally often.
      aggregates.append({})
      continue
    of_agent = core_scores.aggregate(matrix, seed=0)
    capped = np.minimum(matrix.mean(axis=0), 100.0).mean()
    of_agent['capped mean'] = core_scores.Aggregate(capped, math.nan, math.nan)
    aggregates.append(of_agent)
  if not any(aggregates):
    return []
  rows = []
  for name in scoring.aggregate_names(tasks):
    ours = [(_interval(of_agent.get(name)), '') for of_agent in aggregates]
    others = [
      _published_aggregate(returns, scores.references, name)
      for returns in published_returns
    ]
    title = f'{name} of {len(tasks)}, %'
    rows.append((title, ours, NONE, NONE, others or [NONE]))
  return rows


def _published_aggregate(returns, references, name) -> str:
  """Returns the aggregate of published returns of just these tasks."""
  if any(task not in returns for task in references):
    return NONE  # Over fewer tasks it would not compare.
  scored = [scoring.normalize(returns[t], r) for t, r in references.items()]
  return f'{scoring.AGGREGATES[name](np.array(scored), axis=0):,.1f}'


def _cell(runs, task, reference) -> tuple[str, str]:
  """Returns mean ± standard error (of runs if there are several), and score."""
  returns = [run[task] for run in runs if task in run]
  if not returns:
    return NONE, ''
  means = np.array([values.mean() for values in returns])
  text = _number(means.mean())
  error = scoring.standard_error(means if len(means) > 1 else returns[0])
  if not math.isnan(error):
    text += f' ± {_number(error)}'
  if not reference:
    return text, ''
  return text, f'{scoring.normalize(means.mean(), reference):,.1f} %'


def _interval(aggregate) -> str:
  if aggregate is None:
    return NONE
  text = f'{aggregate.point:,.1f}'
  if math.isnan(aggregate.low):
    return text
  return f'{text} [{aggregate.low:,.1f}, {aggregate.high:,.1f}]'


def _number(value) -> str:
  return NONE if value is None else wording.format_number(value)


def _speed(run) -> str:
  updates = run.table('updates')
  if updates is None or updates.empty:
    return NONE
  return f'{updates.frames_per_sec.median():,.0f}'


def _value(fields, name) -> str:
  return json.dumps(fields[name]) if name in fields else 'not recorded'
