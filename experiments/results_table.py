"""Writes the table of recorded results into README.md.

    python -m experiments.results_table           # prints it
    python -m experiments.results_table --write   # replaces it in README.md

One line per folder experiments/results/<paper>/<flag file> of a published row;
the published value stands beside ours. Other recorded runs have their table in
their paper's README.
"""

import argparse
import glob
import json
import os
import sys

import numpy as np
import pandas as pd

from core import score_table
from core.errors import UserError

RESULTS = os.path.join('experiments', 'results')
PUBLISHED = os.path.join('experiments', 'reference', 'atari57_published.csv')
BEGIN, END = '<!-- results: begin -->', '<!-- results: end -->'
HEADER = (
  'paper row',
  'command',
  'protocol',
  'published (frames)',
  'ours: mean ± standard error',
  'frames',
  'hardware, hours',
  'data',
)
# Which published column a preset reproduces, and how the paper calls it.
ROWS = {
  'atari_expert_shallow': (
    'impala_expert_shallow',
    'IMPALA, Table C.1, shallow expert',
    '200M',
  ),
  'atari_expert_deep': (
    'impala_expert_deep',
    'IMPALA, Table C.1, deep expert',
    '200M',
  ),
}


def make_table() -> str:
  """Reads all recorded results and returns a Markdown table.

  Raises:
    UserError: a result is incomplete.
  """
  lines = [HEADER, ('---',) * len(HEADER)]
  for folder in sorted(glob.glob(os.path.join(RESULTS, '*', '*'))):
    seeds = sorted(glob.glob(os.path.join(folder, 'seed_*')))
    if seeds and _preset(_flag_file(folder)) in ROWS:
      lines.append(_line(folder, seeds))
  return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def write(path: str, table: str, begin: str = BEGIN, end: str = END) -> None:
  """Replaces the table between the markers of a Markdown file.

  Args:
    path: of the file.
    table: in Markdown.
    begin: marker before it.
    end: marker after it.

  Raises:
    UserError: the markers are missing.
  """
  with open(path, encoding='utf-8') as file:
    text = file.read()
  if begin not in text or end not in text:
    raise UserError(f'{path} has no markers {begin} and {end}')
  before, rest = text.split(begin, 1)
  after = rest.split(end, 1)[1]
  with open(path, 'w', encoding='utf-8') as file:
    file.write(f'{before}{begin}\n{table}\n{end}{after}')


def _line(folder, seeds):
  paper, row = os.path.normpath(folder).split(os.sep)[-2:]
  flags = _flag_file(folder)
  infos = [_read_json(os.path.join(seed, 'run.json')) for seed in seeds]
  tables = [_read_csv(seed, 'evaluation.csv') for seed in seeds]
  updates = [_read_csv(seed, 'updates.csv.gz').iloc[-1] for seed in seeds]
  evaluation = pd.concat(tables)
  column, name, frames = ROWS[_preset(flags)]
  published = score_table.read_published(PUBLISHED)[column]
  task = evaluation.task.iloc[0]
  returns = evaluation['return'].to_numpy()
  error = returns.std(ddof=1) / np.sqrt(len(returns))
  hardware = infos[0]['hardware']
  devices = ', '.join(hardware['accelerators']) or hardware['cpu']
  hours = np.mean([u.wall_secs for u in updates]) / 3600
  per_seed = f'{len(seeds)} seed' + 's' * (len(seeds) > 1)
  return (
    f'{name}, {task}',
    f'`python -m {paper}.experiment --flagfile={flags}`',
    str(evaluation.protocol.iloc[0]),
    f'{published[task]:,.2f} ({frames})',
    f'{returns.mean():,.2f} ± {error:,.2f} '
    f'({len(returns)} episodes, {per_seed})',
    f'{np.mean([u.env_frames for u in updates]) / 1e6:,.1f}M',
    f'{hardware["cpu_cores"]} cores {devices}, {hours:.1f} h',
    f'[{row}]({folder})',
  )


def _flag_file(folder):
  paper, row = os.path.normpath(folder).split(os.sep)[-2:]
  return f'experiments/{paper}/{row}.flags'


def _preset(flags):
  """Returns the preset that a flag file starts from, or None."""
  with open(flags, encoding='utf-8') as file:
    for line in file:
      if line.startswith('--preset='):
        return line.strip().split('=', 1)[1]
  return None


def _read_json(path):
  try:
    with open(path, encoding='utf-8') as file:
      return json.load(file)
  except (OSError, ValueError) as error:
    raise UserError(f'cannot read {path}: {error}') from error


def _read_csv(folder, name):
  path = os.path.join(folder, name)
  try:
    return pd.read_csv(path)
  except (OSError, ValueError) as error:
    raise UserError(f'cannot read {path}: {error}') from error


def main() -> None:
  """Prints or writes the table."""
  parser = argparse.ArgumentParser(description='Table of recorded results.')
  parser.add_argument('--write', action='store_true', help='into README.md')
  arguments = parser.parse_args()
  try:
    table = make_table()
    if arguments.write:
      write('README.md', table)
  except UserError as error:
    sys.exit(f'error: {error}')
  print(table)


if __name__ == '__main__':
  main()
