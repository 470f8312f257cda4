"""The experiments on tasks of Doom: runs, records, draws and tabulates.

    python -m experiments.doom_results --run=doom_mazes
    python -m experiments.doom_results --write

--run launches experiments/<paper>/<name>_sweep.py, goes on where it was
stopped, and records the runs under experiments/results/<paper>/
<name>_<setting>/. --write draws <paper>/<name>.png of what is recorded and puts
the tables between their marks in <paper>/README.md. Scores count from random
play to the scripted player of core/suites/doom.csv.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from core.errors import UserError
from experiments import record
from experiments.launch import schedule
from experiments.plots import curves, drawing
from experiments.runs import (
  grouping,
  learning_curves,
  reader,
  recorded,
  scoring,
)
from experiments.runs.grouping import Agents
from experiments.runs.reader import Run
from experiments.runs.wording import NONE, format_frames, format_number
from experiments.tables import markdown, script

WINDOW = 100  # Episodes of a running mean.
NUM_BINS = 10  # Of a run's frames; the last is its end.
RETURNS = (10, 20, 40, 80, 120, 160, 200)  # Frames until them are counted.
MEASURES = {
  'curve': 'all of training',
  'end': f'last 1/{NUM_BINS} of training',
  'test': 'test',
}
POPART = 'PopArt-IMPALA'


class Experiment(NamedTuple):
  """What a sweep compares.

  Attributes:
    paper: whose.
    agents: settings of the sweep by the name of their agent.
    pairs: of agents whose difference counts, the first minus the second.
    counts_frames: whether frames to reach a return are told.
  """

  paper: str
  agents: Mapping[str, Sequence[str]]
  pairs: Sequence[tuple[str, str]] = ()
  counts_frames: bool = False


_SPARSE = ('nav_goal', 'explore_goal_locations_small')
EXPERIMENTS = {
  'doom_single': Experiment(
    'impala', {'IMPALA': ('explore_goal_locations_small', 'lasertag_one_small')}
  ),
  'doom_mazes': Experiment(
    'distral',
    {
      'A3C': ('a3c',),
      'A3C multitask': ('a3c_multitask',),
      'A3C 2col': ('a3c_2col',),
      'KL 2col': ('kl_2col',),
      'KL+ent 2col': ('kl_ent_2col',),
    },
    (
      *(('KL+ent 2col', 'A3C'), ('KL+ent 2col', 'A3C multitask')),
      *(('KL+ent 2col', 'A3C 2col'), ('KL 2col', 'A3C 2col')),
    ),
  ),
  'doom14': Experiment(
    'popart',
    {
      POPART: ('popart',),
      'MultiHead-IMPALA': ('multi_head',),
      'IMPALA': ('single',),
    },
    ((POPART, 'MultiHead-IMPALA'), (POPART, 'IMPALA')),
  ),
  'doom_sparse': Experiment(
    'pixel_control',
    {
      f'{name} pixel control': tuple(f'{task},{name}' for task in _SPARSE)
      for name in ('with', 'without')
    },
    (('with pixel control', 'without pixel control'),),
    counts_frames=True,
  ),
}


def run(name: str, num_parallel: int) -> None:
  """Trains, tests and records what is not done of an experiment.

  Raises:
    UserError: a run failed or was interrupted; the same command goes on.
  """
  paper = EXPERIMENTS[name].paper
  path = os.path.join('experiments', paper, f'{name}_sweep.py')
  for planned in schedule.run_sweep(path, num_parallel).runs:
    record.record(planned.logdir, f'{paper}/{name}_{planned.name}')


def read(name: str) -> Agents:
  """Returns the recorded runs of an experiment by agent, those there are."""
  paper, settings_of, *_ = EXPERIMENTS[name]
  known = recorded.names()
  agents: Agents = {}
  for label, settings in settings_of.items():
    for row in (f'{paper}/{name}_{setting}' for setting in settings):
      for one in recorded.read(row) if row in known else ():
        agents.setdefault(label, []).append(reader.read_run(one.folder, label))
  return agents


def measure(agents: Agents) -> pd.DataFrame:
  """Returns a row per run and task.

  Returns:
    Columns agent, seed, task, those of `MEASURES` (mean returns) and the same
    with `_score` behind (percent).

  Raises:
    UserError: a run has not got to its end, or was not tested.
  """
  rows = []
  for one in grouping.runs_of(agents):
    if one.problem:
      raise UserError(f'{one.folder}: {one.problem}')
    references = scoring.find_references(one.tasks)
    for task in one.tasks:
      found = _measure_task(one, task)
      scores = {
        f'{key}_score': scoring.normalize(value, references[task])
        for key, value in found.items()
      }
      keys = dict(agent=one.label, seed=one.seed, task=task)
      rows.append(keys | found | scores)
  return pd.DataFrame(rows)


def _measure_task(one: Run, task: str) -> dict[str, float]:
  episodes = one.table('episodes')
  episodes = episodes[episodes.task == task]
  edges = np.linspace(0, one.frames, NUM_BINS + 1)
  bins = np.clip(
    np.searchsorted(edges, episodes.env_frames) - 1, 0, NUM_BINS - 1
  )
  means = episodes.groupby(bins).episode_return.mean()
  if means.empty or means.index[-1] < NUM_BINS - 1:
    raise UserError(f'{one.folder} has no episode of {task} near its end')
  tests = one.evaluation[one.evaluation.task == task]
  return dict(
    curve=float(means.mean()),
    end=float(means.iloc[-1]),
    test=float(tests['return'].mean()),
  )


def make_text(name: str, agents: Agents) -> str:
  """Returns what README says of a recorded experiment, in Markdown."""
  experiment, table = EXPERIMENTS[name], measure(agents)
  texts = []
  if len(table.task.unique()) > 1 and len(experiment.agents) > 1:
    texts.append(scores_table(table))
  if pairs := [p for p in experiment.pairs if set(p) <= set(table.agent)]:
    texts.append(differences_table(table, pairs))
  if experiment.counts_frames:
    texts.append(frames_table(agents))
  texts.append(tasks_table(table))
  texts.append(f'![learning curves]({name}.png)')
  if POPART in agents:
    texts.append(f'![shift and scale]({name}_statistics.png)')
  return '\n\n'.join(texts)


def scores_table(table: pd.DataFrame) -> str:
  """Returns mean scores over the tasks, a line per agent."""
  by_seed = _mean_scores(table)
  body = [
    [agent, str(len(rows)), *(_cell(rows[key], 1) for key in MEASURES)]
    for agent, rows in by_seed.groupby('agent', sort=False)
  ]
  names = [f'{text}, %' for text in MEASURES.values()]
  header = ['mean score of all tasks (worst, best seed)', 'seeds', *names]
  return markdown.table(header, body)


def differences_table(
  table: pd.DataFrame, pairs: Sequence[tuple[str, str]]
) -> str:
  """Returns differences of mean scores, of equal seeds."""
  by_seed = _mean_scores(table).set_index(['agent', 'seed'])
  body = []
  for first, second in pairs:
    difference = (by_seed.loc[first] - by_seed.loc[second]).dropna()
    cells = [_cell(difference[key], 1) for key in MEASURES]
    body.append([f'{first} - {second}', *cells])
  names = [f'{text}, points' for text in MEASURES.values()]
  return markdown.table(['difference (least, largest)', *names], body)


def tasks_table(table: pd.DataFrame) -> str:
  """Returns mean test returns of every task, between random and scripted."""
  agents = list(table.agent.unique())
  names = grouping.short_names(list(table.task.unique()))
  references = scoring.find_references(list(names))
  body = []
  for task, short in names.items():
    rows = table[table.task == task]
    cells = [_cell(rows[rows.agent == agent].test, 1) for agent in agents]
    low, high = (format_number(x) for x in references[task][:2])
    body.append([short, low, *cells, high])
  header = ['test return (worst, best seed)', 'random play', *agents]
  return markdown.table([*header, 'scripted player'], body)


def frames_table(agents: Agents) -> str:
  """Returns the frames to a mean return, a line per task and agent.

  A run that never has it counts as none; the mean is of those that have.
  """
  reached = {}
  for one in grouping.runs_of(agents):
    points, _ = learning_curves.smooth_run(one, WINDOW)
    for task, (frames, values) in points.items():
      found = reached.setdefault((task, one.label), [])
      found.append([_first(frames, values, least) for least in RETURNS])
  names = grouping.short_names(list(dict.fromkeys(t for t, _ in reached)))
  body = []
  for (task, label), found in sorted(reached.items()):
    cells = []
    for column in zip(*found, strict=True):
      known = [frames for frames in column if frames is not None]
      mean = format_frames(np.mean(known)) if known else NONE
      cells.append(f'{mean} ({len(known)} of {len(column)})')
    body.append([names[task], label, *cells])
  header = ['task', f'frames to a mean of {WINDOW} episodes (runs) of']
  return markdown.table([*header, *map(str, RETURNS)], body)


def _first(frames, values, least):
  """Returns the first frames at which a value is reached, or None."""
  places = np.flatnonzero(values >= least)
  return float(frames[places[0]]) if len(places) else None


def _mean_scores(table):
  """Returns scores over tasks: columns agent, seed and those of MEASURES."""
  columns = {f'{key}_score': key for key in MEASURES}
  means = table.groupby(['agent', 'seed'], sort=False)[list(columns)].mean()
  return means.rename(columns=columns).reset_index()


def _cell(values, decimals):
  if not len(values):
    return NONE
  text = f'{values.mean():,.{decimals}f}'
  if len(values) > 1:
    text += f' ({values.min():,.{decimals}f}, {values.max():,.{decimals}f})'
  return text


def draw(name: str, agents: Agents) -> None:
  """Draws the figures of a recorded experiment."""
  paper, pyplot = EXPERIMENTS[name].paper, drawing.open_pyplot()
  options = argparse.Namespace(window=WINDOW, aggregate='mean', references='')
  figure = curves.draw_curves(pyplot, agents, options)
  drawing.save(figure, os.path.join(paper, f'{name}.png'))
  if POPART in agents:
    figure = curves.draw_statistics(pyplot, {POPART: agents[POPART]}, options)
    drawing.save(figure, os.path.join(paper, f'{name}_statistics.png'))


def read_all() -> dict[str, Agents]:
  """Returns every recorded experiment, by name."""
  found = {name: read(name) for name in EXPERIMENTS}
  return {name: agents for name, agents in found.items() if agents}


def make_texts() -> list[tuple[str, str, str]]:
  """Returns path of the README, mark and text of every recorded experiment."""
  return [
    (
      os.path.join(EXPERIMENTS[name].paper, 'README.md'),
      name,
      make_text(name, agents),
    )
    for name, agents in read_all().items()
  ]


def draw_all() -> None:
  """Draws the figures of every recorded experiment."""
  for name, agents in read_all().items():
    draw(name, agents)


def main() -> None:
  """Does what the command line asks for."""
  script.main(
    'experiments.doom_results',
    'Experiments on tasks of Doom.',
    EXPERIMENTS,
    run,
    make_texts,
    draw_all,
  )


if __name__ == '__main__':
  main()
