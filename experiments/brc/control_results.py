"""What the runs on four tasks of DeepMind Control say: tables in Markdown.

Scores are returns in % of the greatest, 1000. "At the end" is the mean of the
last two evaluations.
"""

import itertools
import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from experiments.brc import small_records
from experiments.tables import markdown

SWEEPS = ('multi_task', 'width', 'heads', 'ablation')
AGENTS = {
  'multi': 'multi-task, embeddings',
  'heads': 'multi-task, heads',
  'single': 'single-task',
}
CHOICES = ('scale', 'cross-entropy', 'embeddings')
END = 2  # Evaluations.


def read_all() -> pd.DataFrame | None:
  """Reads what is recorded of all sweeps.

  Returns:
    A row per run, evaluation and task: agent, width, seed, task, steps (of that
    task), updates (gradient steps of the run), score, and what the agent
    measured; None if nothing is recorded.
  """
  found = {name: small_records.read(name) for name in SWEEPS}
  tables = []
  for name, table in found.items():
    if table is not None:
      config = small_records.read_config(name)
      num_tasks = table.groupby('setting').task.transform('nunique')
      steps = table.env_frames // (num_tasks * config['num_action_repeats'])
      learned = (steps - config['warm_up_steps'] + 1).clip(lower=0)
      updates = config['updates_per_step'] * learned
      tables.append(table.assign(steps=steps, updates=updates))
  if not tables:
    return None
  table = pd.concat(tables, ignore_index=True)
  split = table.setting.str.extract(r'^(\w+),width=(\d+)')
  return table.assign(
    agent=split[0],
    width=split[1].astype(int),
    score=table.evaluation_return / 10.0,
  )


def at_end(table: pd.DataFrame, column: str = 'score') -> pd.Series:
  """Returns means over tasks at the end, by agent, width and seed."""
  last = small_records.latest(table, END)
  by_task = last.groupby(['agent', 'width', 'seed', 'task'])[column].mean()
  return by_task.groupby(['agent', 'width', 'seed']).mean()


def widths_table(table: pd.DataFrame) -> str:
  """Returns scores by agent and width, at the end and over all of training."""
  keys = ['agent', 'width', 'seed', 'task']
  whole = table.groupby(keys).score.mean().groupby(keys[:3]).mean()
  parts = [
    _by_width(at_end(table), 'at the end; width', 1),
    _by_width(whole, 'all of training; width', 1),
  ]
  return '\n\n'.join(parts)


def conflicts(table: pd.DataFrame) -> pd.Series:
  """Returns the share of pairs of tasks whose gradients conflict.

  The mean over all of training, by agent, width and seed.
  """
  several = table[table.agent.isin(['multi', 'heads'])]
  return several.groupby(['agent', 'width', 'seed']).gradient_conflicts.mean()


def conflicts_table(table: pd.DataFrame) -> str:
  """Returns those shares in %."""
  return _by_width(100.0 * conflicts(table), 'conflicting pairs, %; width', 1)


def tasks_table(table: pd.DataFrame) -> str:
  """Returns scores at the end, a line per agent and width."""
  last = small_records.latest(table, END)
  scores = last.groupby(['agent', 'width', 'task', 'seed']).score.mean()
  tasks = sorted(table.task.unique())
  names = [task.partition(':')[2] for task in tasks]
  body = []
  for agent, width in itertools.product(AGENTS, sorted(table.width.unique())):
    if (agent, width) in scores.index:
      of_agent = scores[agent, width]
      cells = [small_records.cell(of_agent[t].to_numpy(), 1) for t in tasks]
      body.append([AGENTS[agent], str(width), *cells])
  header = ['at the end', 'width', *names]
  return markdown.table(header, body, range(1, len(header)))


def updates_table(table: pd.DataFrame) -> str:
  """Returns after how many gradient steps `multi` is as good as `single`.

  Of single tasks those of all runs count.
  """
  body = []
  for width in sorted(table.width.unique()):
    multi, single = (
      table[(table.agent == agent) & (table.width == width)]
      for agent in ('multi', 'single')
    )
    if multi.empty or single.empty:
      continue
    target = float(at_end(single).mean())
    curve = multi.groupby('updates').score.mean()
    enough = curve.index[curve >= target]
    total = int(single.updates.max()) * single.task.nunique()
    needed, ratio = 'not reached', '-'
    if len(enough):
      needed, ratio = f'{enough[0]:,}', f'{total / enough[0]:.1f}'
    body.append([str(width), f'{target:.1f}', f'{total:,}', needed, ratio])
  header = ['width', 'single-task at the end', 'its gradient steps']
  header += ["multi-task's to the same", 'times fewer']
  return markdown.table(header, body, range(len(header)))


def shapley_values(values: Mapping[frozenset, float]) -> dict[str, float]:
  """Returns each choice's exact Shapley value.

  Args:
    values: of every subset of the choices.
  """
  choices = max(values, key=len)
  n = len(choices)
  found = {}
  for choice in choices:
    others = choices - {choice}
    found[choice] = sum(
      math.factorial(len(subset))
      * math.factorial(n - 1 - len(subset))
      / math.factorial(n)
      * (values[subset | {choice}] - values[subset])
      for size in range(n)
      for subset in map(frozenset, itertools.combinations(others, size))
    )
  return found


def ablation(table: pd.DataFrame) -> dict[frozenset, np.ndarray] | None:
  """Returns scores at the end, [seeds], by the choices made (Figure 6).

  Scale is a width of 256 instead of 64; None where settings lack.
  """
  ends = at_end(table)
  found = {}
  for size in range(len(CHOICES) + 1):
    for chosen in map(frozenset, itertools.combinations(CHOICES, size)):
      agent = 'multi' if 'embeddings' in chosen else 'heads'
      agent += '' if 'cross-entropy' in chosen else '_mse'
      width = 256 if 'scale' in chosen else 64
      if (agent, width) not in ends.index:
        return None
      found[chosen] = ends[agent, width].to_numpy()
  return found


def ablation_table(scores: Mapping[frozenset, np.ndarray]) -> str:
  """Returns two tables: scores of all settings, and Shapley values."""
  body = [
    [*('yes' if c in chosen else '' for c in CHOICES), _cell(values)]
    for chosen, values in scores.items()
  ]
  header = [*CHOICES, 'at the end']
  parts = [markdown.table(header, body, (len(CHOICES),))]
  per_seed = shapley_per_seed(scores)
  gains = {choice: values.mean() for choice, values in per_seed.items()}
  total = sum(gains.values())
  body = [
    [choice, _cell(per_seed[choice]), f'{100 * gains[choice] / total:.0f}']
    for choice in CHOICES
  ]
  header = ['choice', 'Shapley value, points', '% of all']
  parts.append(markdown.table(header, body, (1, 2)))
  return '\n\n'.join(parts)


def shapley_per_seed(
  scores: Mapping[frozenset, np.ndarray],
) -> dict[str, np.ndarray]:
  """Returns Shapley values [seeds] by choice, of scores as `ablation` has."""
  num_seeds = min(map(len, scores.values()))
  per_seed = [
    shapley_values({c: float(v[i]) for c, v in scores.items()})
    for i in range(num_seeds)
  ]
  return {c: np.array([one[c] for one in per_seed]) for c in CHOICES}


def _by_width(values, title, decimals):
  """Lays out a series by agent, width and seed, a line per agent."""
  widths = sorted(values.index.unique('width'))
  body = []
  for agent, name in AGENTS.items():
    if agent in values.index.unique('agent'):
      cells = [
        small_records.cell(values[agent, width].to_numpy(), decimals)
        if (agent, width) in values.index
        else '-'
        for width in widths
      ]
      body.append([name, *cells])
  header = [title, *map(str, widths)]
  return markdown.table(header, body, range(1, len(header)))


def _cell(values):
  return small_records.cell(values, 1)
