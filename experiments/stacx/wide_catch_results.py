"""Records the runs on Catch, wide and delayed, and makes tables of them.

    python -m experiments.stacx.wide_catch_results --run=learning_rates
    python -m experiments.stacx.wide_catch_results --write

--run launches experiments/stacx/<name>_sweep.py, goes on where it was stopped,
and records the curves under experiments/results/stacx/. --write puts the tables
of what is recorded between their marks in stacx/README.md and draws
stacx/wide_catch.png and stacx/delayed_catch.png.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from core.errors import UserError
from core.files import atomic_file
from experiments.launch import process, schedule, sweeps
from experiments.plots import drawing
from experiments.runs import bootstrap, csv_files, reader
from experiments.tables import markdown, script

RESULTS = os.path.join('experiments', 'results', 'stacx')
README = os.path.join('stacx', 'README.md')
DELAYED = 'delayed_'  # Names of experiments on delayed Catch begin so.
NUM_BINS = 10  # Of a curve.
NAMES = {
  'impala': 'IMPALA',
  'stac': 'STAC',
  'impala_auxiliary': 'IMPALA with fixed auxiliary tasks',
  'stacx': 'STACX',
  'stacx_gamma_fixed': 'STACX, gamma not tuned',
  'stacx_fast': 'STACX, meta learning rate .03',
  'truncated': 'alpha 1 (V-trace)',
  'not_truncated': 'alpha 0 (importance sampling)',
  'self_tuned': 'alpha self-tuned',
  'self_tuned_fast': 'alpha self-tuned, meta learning rate .03',
}
# By experiment: what its settings change beside the agent.
EXPERIMENTS = {
  'learning_rates': 'learning_rate',
  'robustness_gamma': 'gamma',
  'delayed_rates': 'learning_rate',
  'delayed_gamma': 'gamma',
  'delayed_g_v': 'g_v',
  'delayed_eta_starts': 'start',
  'delayed_off_policyness': 'policy_age',
}


def run(name: str, num_parallel: int) -> None:
  """Runs what is not done of an experiment, and records the curves.

  Raises:
    UserError: a run failed or was interrupted; the same command goes on.
  """
  path = os.path.join('experiments', 'stacx', f'{name}_sweep.py')
  record(name, schedule.run_sweep(path, num_parallel), num_parallel)


def record(name: str, sweep: sweeps.Sweep, num_parallel: int) -> None:
  """Puts the curves of all runs into one table.

  Args:
    name: of the experiment.
    sweep: its finished runs.
    num_parallel: how many ran at once, for the time that all took.

  Raises:
    UserError: a run has no episodes.
  """
  tables, secs = [], 0.0
  for planned in sweep.runs:
    one = reader.read_run(planned.logdir)
    setting, seed = planned.name.split('/seed_')
    tables.append(curve_of(one).assign(setting=setting, seed=int(seed)))
    secs += process.read_state(planned.logdir).secs
  table = pd.concat(tables)
  folder = os.path.join(RESULTS, f'wide_catch_{name}')
  os.makedirs(folder, exist_ok=True)
  with atomic_file(os.path.join(folder, 'curves.csv.gz')) as file:
    table[['setting', 'seed', 'env_frames', 'mean_return']].to_csv(
      file,
      index=False,
      float_format='%.5g',
      compression=dict(method='gzip', mtime=0),
    )
  # Of the last run; what differs between runs stands in the table.
  command = f'python -m experiments.stacx.wide_catch_results --run={name}'
  info = dict(one.info) | dict(
    command=command, wall_secs=round(secs / num_parallel, 1)
  )
  with atomic_file(os.path.join(folder, 'info.json')) as file:
    file.write((json.dumps(info, indent=2) + '\n').encode())


def curve_of(one: reader.Run) -> pd.DataFrame:
  """Returns mean returns of the episodes in each tenth of a run's frames.

  Args:
    one: a finished run.

  Returns:
    env_frames (the tenth's end) and mean_return.

  Raises:
    UserError: some tenth has no episode.
  """
  episodes = one.table('episodes')
  if episodes is None:
    raise UserError(f'{one.folder} has no episodes.csv')
  edges = np.linspace(0, one.total, NUM_BINS + 1)
  bins = np.clip(
    np.searchsorted(edges, episodes.env_frames, side='left') - 1,
    0,
    NUM_BINS - 1,
  )
  means = episodes.groupby(bins).episode_return.mean()
  if len(means) < NUM_BINS:
    raise UserError(f'{one.folder} is incomplete: --run goes on')
  return pd.DataFrame(dict(env_frames=edges[1:], mean_return=means))


def read(name: str) -> pd.DataFrame | None:
  """Reads a recorded experiment.

  Args:
    name: of EXPERIMENTS.

  Returns:
    Columns agent, value, seed, curve (mean of all tenths) and end (the last),
    a row per run; None if it is not recorded.
  """
  path = os.path.join(RESULTS, f'wide_catch_{name}', 'curves.csv.gz')
  if not os.path.exists(path):
    return None
  curves = csv_files.read(
    path, ('seed', 'env_frames', 'mean_return'), ('setting',)
  )
  by_run = curves.groupby(['setting', 'seed'], sort=False).mean_return
  runs = by_run.agg(curve='mean', end='last').reset_index()
  split = runs.setting.str.extract(rf'^(.*),{EXPERIMENTS[name]}=(.*)$')
  return runs.assign(agent=split[0], value=split[1].astype(float))


def make_table(runs: pd.DataFrame, name: str, measure: str) -> str:
  """Returns a Markdown table of mean returns, a line per agent.

  Args:
    runs: from `read`.
    name: of the experiment.
    measure: 'curve' or 'end'.
  """
  values = sorted(runs.value.unique())
  what = {'curve': 'all of training', 'end': 'last tenth'}[measure]
  label = EXPERIMENTS[name].replace('_', ' ')
  header = [f'{what}; {label}', *(f'{value:g}' for value in values)]
  body = []
  for agent in [n for n in NAMES if n in set(runs.agent)]:
    cells = []
    for value in values:
      found = runs[(runs.agent == agent) & (runs.value == value)]
      returns = found[measure].to_numpy()
      low, high = bootstrap.mean_interval(returns)
      cells.append(f'{returns.mean():.2f} [{low:.2f}, {high:.2f}]')
    body.append([NAMES[agent], *cells])
  return markdown.table(header, body)


def share_at_least(runs: pd.DataFrame, agent: str, measure: str) -> np.ndarray:
  """Counts in which settings STACX is at least as good as IMPALA (Figure 4).

  Args:
    runs: from `read`, of both agents, each setting with the same seeds.
    agent: the STACX that is meant.
    measure: 'curve' or 'end'.

  Returns:
    The share by mean returns, and its 95 % bootstrap interval over seeds, drawn
    for each agent and setting apart.
  """
  returns = runs.pivot(index='value', columns=['agent', 'seed'], values=measure)
  rng = np.random.default_rng(0)
  means, drawn = [], []
  for name in (agent, 'impala'):
    values = returns[name].to_numpy()  # [settings, seeds]
    places = rng.integers(
      values.shape[1], size=(bootstrap.NUM_RESAMPLES, *values.shape)
    )
    means.append(values.mean(axis=1))
    drawn.append(np.take_along_axis(values[None], places, axis=2).mean(axis=2))
  shares = (drawn[0] >= drawn[1]).mean(axis=1)
  rest = 50 * (1 - bootstrap.CONFIDENCE)
  return np.array(
    [(means[0] >= means[1]).mean(), *np.percentile(shares, [rest, 100 - rest])]
  )


def make_text(runs: pd.DataFrame, name: str) -> str:
  """Returns what README says of an experiment, in Markdown."""
  texts = []
  for measure in ('curve', 'end'):
    texts.append(make_table(runs, name, measure))
    if EXPERIMENTS[name] in ('gamma', 'g_v'):
      for agent in [n for n in NAMES if n in set(runs.agent) - {'impala'}]:
        share, low, high = share_at_least(runs, agent, measure)
        texts.append(
          f'{NAMES[agent]} is at least as good as IMPALA in {share:.0%} of '
          f'these settings [{low:.0%}, {high:.0%}].'
        )
  return '\n\n'.join(texts)


def draw(pyplot: Any, recorded: Mapping[str, pd.DataFrame]) -> Any:
  """Returns the figure: a panel per experiment, a line per agent.

  Args:
    pyplot: from `drawing.open_pyplot`.
    recorded: from `read`, by name.
  """
  figure, axes = drawing.make_panels(pyplot, len(recorded))
  agents = [
    n for n in NAMES if any(n in set(r.agent) for r in recorded.values())
  ]
  colors = {agent: f'C{i}' for i, agent in enumerate(agents)}
  for ax, (name, runs) in zip(axes, recorded.items(), strict=True):
    values = sorted(runs.value.unique())
    shown = [n for n in agents if n in set(runs.agent)]
    for i, agent in enumerate(shown):
      found = runs[runs.agent == agent].groupby('value').curve
      means = found.mean()
      ends = np.array([bootstrap.mean_interval(r.to_numpy()) for _, r in found])
      spread = np.abs(ends.T - means.to_numpy())
      beside = 0.06 * (i - (len(shown) - 1) / 2)  # Bars hide none.
      places = [1 + values.index(v) + beside for v in means.index]
      style = dict(color=colors[agent], label=NAMES[agent], marker='o')
      ax.errorbar(places, means.to_numpy(), spread, capsize=3, **style)
    names = [f'{value:g}' for value in values]
    ax.set_xticks(range(1, 1 + len(values)), names)
    ax.set_title(EXPERIMENTS[name].replace('_', ' '))
  axes[0].set_ylabel('mean return, all of training')
  drawing.add_legend(figure, axes, 'setting')
  for ax in axes:
    ax.set_xlim(left=0.5)
  return figure


def draw_all() -> None:
  """Draws stacx/wide_catch.png and stacx/delayed_catch.png."""
  pyplot, recorded = drawing.open_pyplot(), read_all()
  for task in ('wide', 'delayed'):
    shown = {
      name: runs
      for name, runs in recorded.items()
      if name.startswith(DELAYED) == (task == 'delayed')
    }
    if shown:
      path = os.path.join('stacx', f'{task}_catch.png')
      drawing.save(draw(pyplot, shown), path)


def read_all() -> dict[str, pd.DataFrame]:
  """Reads every recorded experiment, by name."""
  recorded = {name: read(name) for name in EXPERIMENTS}
  return {name: runs for name, runs in recorded.items() if runs is not None}


def make_texts() -> list[tuple[str, str, str]]:
  """Returns file, mark and text of every recorded experiment."""
  return [
    (README, f'wide_catch_{name}', make_text(runs, name))
    for name, runs in read_all().items()
  ]


def main() -> None:
  """Does what the command line asks for."""
  script.main(
    'experiments.stacx.wide_catch_results',
    'Experiments with STACX on Catch, wide and delayed.',
    EXPERIMENTS,
    run,
    make_texts,
    draw_all,
  )


if __name__ == '__main__':
  main()
