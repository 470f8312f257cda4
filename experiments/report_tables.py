"""The report's tables: runs, configuration, scores beside published ones."""

import json
import math
import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from core import atari57, dmlab30
from core import scores as core_scores
from core.errors import UserError
from experiments import published, run_records, run_scores
from experiments.run_records import Agents, Run
from experiments.run_scores import References, Scores

NONE = '–'
_OF_A_RUN = ('seed', 'logdir', 'mode')  # Never part of what was compared.
_AGGREGATES = ('median', 'mean', 'iqm')


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
  rows = []
  for run in run_scores.runs_of(agents):
    info = run.info
    hardware, git = info.get('hardware') or {}, info.get('git') or {}
    devices = hardware.get('accelerators') or [hardware.get('cpu')]
    cores = hardware.get('cpu_cores')
    updates = run_records.read_table(run.folder, 'updates')
    hours, speed = NONE, NONE
    if updates is not None and len(updates) and 'wall_secs' in updates:
      hours = f'{updates.wall_secs.iloc[-1] / 3600:.2f}'
    if updates is not None and len(updates) and 'frames_per_sec' in updates:
      speed = f'{updates.frames_per_sec.median():,.0f}'
    dirty = ' and changes' if git.get('dirty') else ''
    rows.append(
      {
        'agent': run.label,
        'seed': run.seed,
        'frames': run_records.format_frames(run.frames),
        'state': run.state,
        'hours': hours,
        'frames per second': speed,
        'hardware': f'{cores} cores, {", ".join(map(str, devices))}',
        'started': str(info.get('start_time', NONE))[:16].replace('T', ' '),
        'commit': str(git.get('commit', NONE))[:10] + dirty,
        'command': str(info.get('command', NONE)),
        'folder': run.folder,
      }
    )
  return rows


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


def score_table(
  scores: Scores, references: References, runs: Sequence[Run]
) -> ScoreTable:
  """Sets our returns beside random, human and published ones.

  Args:
    scores: from `run_scores.read_scores`.
    references: of the tasks that have one.
    runs: of which the scores are; their papers' numbers are shown.
  """
  tasks = run_records.order_tasks(scores.tasks, runs)
  names = run_records.short_names(tasks)
  columns = published_columns(papers(runs), tasks)
  rows = []
  for task in tasks:
    reference = references.get(task)
    ours = [
      _cell(of_agent, task, reference) for of_agent in scores.returns.values()
    ]
    rows.append(
      (
        names[task],
        ours,
        _number(reference.random) if reference else NONE,
        _number(reference.human) if reference else NONE,
        [_number(column.get(task)) for column in columns.values()] or [NONE],
      )
    )
  rows += _aggregate_rows(scores, references, tasks, list(columns.values()))
  counts = [len(of_agent) for of_agent in scores.returns.values()]
  headings = [
    f'{label} ({count} run{"s" * (count != 1)})'
    for label, count in zip(scores.returns, counts, strict=True)
  ]
  return ScoreTable(
    headings,
    list(columns) or ['none per task'],
    rows,
    scores.source,
    run_scores.score_name(references) if references else '',
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
  levels = {task: dmlab30.LEVEL_MAPPING.get(task, task) for task in tasks}
  columns: dict[str, dict[str, float]] = {}
  for name in names:
    table = published.read(name)
    table = table[table.statistic == 'mean return']
    for row in table.itertuples():
      of_row = [task for task, level in levels.items() if level == row.task]
      for task in of_row:
        frames = (
          '' if pd.isna(row.frames) else f', {_frames(row.frames)} frames'
        )
        heading = f'{row.row} ({name}, {row.item}; {row.protocol}{frames})'
        columns.setdefault(heading, {})[task] = row.value
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
  suites = []
  if set(tasks) & set(atari57.GAMES):
    suites.append('atari57')
  if set(tasks) & (set(dmlab30.LEVEL_MAPPING) | set(dmlab30.RANDOM_SCORES)):
    suites.append('dmlab30')
  rows = []
  for name in names:
    for row in published.read(name).itertuples():
      is_wanted = 'human-normalised %' in row.statistic
      if is_wanted and row.task.startswith(tuple(suites or ['\0'])):
        frames = NONE if pd.isna(row.frames) else _frames(row.frames)
        rows.append(
          [
            *(f'{name}, {row.item}', row.row, row.task, row.protocol),
            *(row.statistic, f'{row.value:g}', frames, row.note or ''),
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
  """
  found = []
  for run in run_scores.runs_of(agents):
    for name in sorted(os.listdir(run.folder)):
      if not name.endswith('.mp4') or name.endswith('.tmp.mp4'):
        continue
      path = os.path.join(run.folder, name)
      content = None
      if os.path.getsize(path) <= limit_bytes:
        with open(path, 'rb') as file:
          content = file.read()
        limit_bytes -= len(content)
      found.append(
        dict(
          name=f'{run.name}: {name[:-4]}',
          link=os.path.relpath(path, os.path.dirname(page) or '.'),
          content=content,
        )
      )
  return found


def _aggregate_rows(scores, references, tasks, published_returns):
  """Returns rows of normalised scores over all tasks, published ones too."""
  if len(tasks) < 2 or any(task not in references for task in tasks):
    return []
  aggregates = []
  for label in scores.returns:
    try:
      matrix = run_scores.score_matrix(scores, label, tasks, references)
    except UserError:  # It has not played all tasks equally often.
      aggregates.append(None)
      continue
    of_agent = core_scores.aggregate(matrix, seed=0)
    capped = np.minimum(matrix.mean(axis=0), 100.0).mean()
    nan = math.nan
    of_agent['capped mean'] = core_scores.Aggregate(float(capped), nan, nan)
    aggregates.append(of_agent)
  if not any(aggregates):
    return []
  names = [*_AGGREGATES]
  if run_scores.default_aggregate(tasks) == 'capped mean':
    names.append('capped mean')
  return [
    (
      f'{name} of {len(tasks)}, %',
      [(_interval(of_agent and of_agent[name]), '') for of_agent in aggregates],
      *(NONE, NONE),
      [_published_aggregate(c, tasks, references, name)
       for c in published_returns] or [NONE],
    )
    for name in names
  ]  # fmt: skip


def _published_aggregate(returns, tasks, references, name) -> str:
  """Returns the aggregate of published returns of just these tasks."""
  if any(task not in returns for task in tasks):
    return NONE  # Over fewer tasks it would not compare.
  scored = [run_scores.normalize(returns[t], references[t]) for t in tasks]
  return f'{run_scores.AGGREGATES[name](np.array(scored), axis=0):,.1f}'


def _cell(runs, task, reference) -> tuple[str, str]:
  """Returns mean ± standard error (of runs if there are several), and score."""
  returns = [run[task] for run in runs if task in run]
  if not returns:
    return NONE, ''
  means = np.array([values.mean() for values in returns])
  sample = means if len(means) > 1 else returns[0]
  text = _number(means.mean())
  if len(sample) > 1:
    text += f' ± {_number(sample.std(ddof=1) / math.sqrt(len(sample)))}'
  if not reference:
    return text, ''
  return text, f'{run_scores.normalize(means.mean(), reference):,.1f} %'


def _interval(aggregate) -> str:
  if aggregate is None:
    return NONE
  text = f'{aggregate.point:,.1f}'
  if math.isnan(aggregate.low):
    return text
  return f'{text} [{aggregate.low:,.1f}, {aggregate.high:,.1f}]'


def _number(value) -> str:
  if value is None:
    return NONE
  return f'{value:,.1f}' if abs(value) >= 100 else f'{value:.3g}'


def _frames(frames) -> str:
  return run_records.format_frames(int(frames))


def _value(fields, name) -> str:
  return json.dumps(fields[name]) if name in fields else 'not recorded'
