"""IMPALA and STACX side by side: runs, records, draws and tabulates.

    python -m experiments.stacx.side_by_side --run=mechanism
    python -m experiments.stacx.side_by_side --write

--run launches experiments/stacx/<name>_sweep.py, goes on where it was stopped,
and records the runs under experiments/results/stacx/<name>_<setting>/. --write
draws stacx/<name>.png and stacx/<name>_eta.png (the metaparameters), and puts
the tables between their marks in stacx/README.md.
"""

import argparse
import os
import sys
from typing import NamedTuple

import numpy as np

from core.errors import UserError
from experiments import record
from experiments.launch import schedule
from experiments.plots import curves, drawing
from experiments.plots.__main__ import parse
from experiments.runs import bootstrap, describe, grouping, recorded
from experiments.stacx import metaparameters
from experiments.tables import markdown

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
    num_parallel: runs at once.
  """

  bin_frames: int
  eta_of: str
  num_parallel: int


EXPERIMENTS = {
  'mechanism': Experiment(10_000, 'stacx', 2),
  'atari': Experiment(0, 'learning_rate=0.0006,stacx', 1),
  'swingup_rates': Experiment(10_000, 'learning_rate=0.0003,stacx', 2),
  'control': Experiment(10_000, 'cartpole_swingup,stacx', 2),
}


def run(name: str) -> None:
  """Trains, tests and records what is not done of an experiment.

  Raises:
    UserError: a run failed or was interrupted; the same command goes on.
  """
  experiment = EXPERIMENTS[name]
  path = os.path.join('experiments', 'stacx', f'{name}_sweep.py')
  for planned in schedule.run_sweep(path, experiment.num_parallel).runs:
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
  """Returns Markdown: returns of the test per setting, and hours of training.

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
        f'{60 * hours:.1f}',
      ]
    )
  header = ['task', 'agent', 'seeds', 'return', '95 %', 'minutes a run']
  return markdown.table(header, body, numbers=range(2, 6))


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


def main() -> None:
  """Does what the command line asks for."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.stacx.side_by_side',
    description='IMPALA and STACX side by side.',
  )
  parser.add_argument('--run', choices=EXPERIMENTS, help='train, test, record')
  parser.add_argument('--write', action='store_true', help='figures and tables')
  arguments = parser.parse_args()
  try:
    if arguments.run:
      run(arguments.run)
    names = [name for name in EXPERIMENTS if settings(name)]
    if not names:
      raise UserError('nothing is recorded: --run first')
    texts = {name: make_table(name) for name in names}
    if arguments.write:
      markdown.write_all([(README, n, text) for n, text in texts.items()])
      for name in names:
        draw(name)
    for name, text in texts.items():
      print(f'{name}\n{text}\n')
  except UserError as error:
    sys.exit(f'error: {error}')


if __name__ == '__main__':
  main()
