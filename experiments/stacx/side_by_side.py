"""IMPALA and STACX side by side: runs, records, draws and tabulates.

    python -m experiments.stacx.side_by_side --run=mechanism
    python -m experiments.stacx.side_by_side --write

--run launches experiments/stacx/<name>_sweep.py, goes on where it was stopped,
and records the runs under experiments/results/stacx/<name>_<setting>/. --write
draws stacx/<name>.png and stacx/<name>_eta.png (the metaparameters), and puts
the tables between their marks in stacx/README.md.
"""

import os
from typing import NamedTuple

import numpy as np

from experiments import record
from experiments.launch import schedule
from experiments.plots import curves, drawing
from experiments.plots.__main__ import parse
from experiments.runs import bootstrap, describe, grouping, recorded
from experiments.stacx import metaparameters
from experiments.tables import markdown, script

README = os.path.join('stacx', 'README.md')
AGENTS = {
  'impala': 'IMPALA',
  'stac': 'STAC',
  'impala_auxiliary': 'IMPALA with fixed auxiliary tasks',
  'stacx': 'STACX',
}


class Experiment(NamedTuple):
  """A sweep whose settings are agents, or tasks and agents with a comma.

  Attributes:
    bin_frames: as for `record.record`.
    eta_of: the setting whose metaparameters are drawn.
  """

  bin_frames: int
  eta_of: str


EXPERIMENTS = {
  'mechanism': Experiment(10_000, 'stacx'),
  'atari': Experiment(0, 'learning_rate=0.0006,stacx'),
  'swingup_rates': Experiment(10_000, 'learning_rate=0.0003,stacx'),
  'walker_rates': Experiment(10_000, 'learning_rate=0.001,stacx'),
  'control': Experiment(10_000, 'cartpole_swingup,stacx'),
}


def run(name: str, num_parallel: int) -> None:
  """Trains, tests and records what is not done of an experiment.

  Raises:
    UserError: a run failed or was interrupted; the same command goes on.
  """
  experiment = EXPERIMENTS[name]
  path = os.path.join('experiments', 'stacx', f'{name}_sweep.py')
  for planned in schedule.run_sweep(path, num_parallel).runs:
    row = f'stacx/{name}_{planned.name}'
    record.record(planned.logdir, row, experiment.bin_frames)


def settings(name: str) -> list[str]:
  """Returns the recorded settings of an experiment, agents in order."""
  prefix = f'stacx/{name}_'
  found = [
    row.removeprefix(prefix)
    for row in recorded.names()
    if row.startswith(prefix)
  ]
  agents = list(AGENTS)
  return sorted(
    found, key=lambda s: (s.split(',')[:-1], agents.index(agent(s)))
  )


def agent(setting: str) -> str:
  """Returns the agent of a setting."""
  return setting.split(',')[-1]


def label(setting: str) -> str:
  """Returns how an agent is called in tables and figures."""
  rates = [
    part.replace('learning_rate=', 'learning rate ')
    for part in setting.split(',')
    if part.startswith('learning_rate=')
  ]
  return ', '.join([AGENTS[agent(setting)], *rates])


def folder(name: str, setting: str) -> str:
  """Returns the folder of a setting's recorded runs."""
  return os.path.join(recorded.RESULTS, 'stacx', f'{name}_{setting}')


def make_table(name: str) -> str:
  """Returns Markdown: returns per setting, and minutes of training.

  Of the test, and of all training's episodes; means over seeds.

  Raises:
    UserError: a record is malformed.
  """
  body = []
  for setting in settings(name):
    runs = recorded.read(f'stacx/{name}_{setting}')
    returns = np.array([r.table('evaluation')['return'].mean() for r in runs])
    spread = '-'
    if len(runs) > 1:
      low, high = bootstrap.mean_interval(returns)
      spread = f'[{low:,.2f}, {high:,.2f}]'
    hours = describe.mean_hours(runs)
    task = runs[0].config['level_name'].split(':make')[0]
    body.append(
      [
        task,
        label(setting),
        str(len(runs)),
        f'{returns.mean():,.2f}',
        spread,
        f'{np.mean([_training_return(r) for r in runs]):,.2f}',
        f'{60 * hours:.1f}',
      ]
    )
  header = ['task', 'agent', 'seeds', 'return', '95 %', 'all of training']
  return markdown.table([*header, 'minutes a run'], body, numbers=range(2, 7))


def _training_return(run):
  """Returns the mean return of the episodes that ended in training."""
  if (episodes := run.table('episodes')) is not None:
    return episodes.episode_return.mean()
  bins = run.table('returns')
  return np.average(bins.mean_return, weights=bins.num_episodes)


def draw(name: str) -> None:
  """Draws the curves, and the metaparameters."""
  pyplot = drawing.open_pyplot()
  labelled = [
    f'{label(setting)}={folder(name, setting)}' for setting in settings(name)
  ]
  path = os.path.join('stacx', f'{name}.png')
  options = parse(['curves', *labelled, f'--out={path}'])
  agents = grouping.read_agents(labelled)
  drawing.save(curves.draw_curves(pyplot, agents, options), path)
  eta_of = EXPERIMENTS[name].eta_of
  figure = metaparameters.draw(pyplot, [folder(name, eta_of)])
  drawing.save(figure, os.path.join('stacx', f'{name}_eta.png'))


def recorded_names() -> list[str]:
  """Returns the experiments of which there are records."""
  return [name for name in EXPERIMENTS if settings(name)]


def make_texts() -> list[tuple[str, str, str]]:
  """Returns file, mark and text of every recorded experiment."""
  return [(README, name, make_table(name)) for name in recorded_names()]


def draw_all() -> None:
  """Draws the figures of every recorded experiment."""
  for name in recorded_names():
    draw(name)


def main() -> None:
  """Does what the command line asks for."""
  script.main(
    'experiments.stacx.side_by_side',
    'IMPALA and STACX side by side.',
    EXPERIMENTS,
    run,
    make_texts,
    draw_all,
    alone=('atari',),  # Async: the age of the data depends on the load.
  )


if __name__ == '__main__':
  main()
