"""Copies what is published of a run from its logdir into the repository.

    python -m experiments.record runs/pong impala/atari_pong_shallow/seed_1

writes run.json, episodes.csv.gz, updates.csv.gz, evaluation.csv, evaluation.md
and curve.png under experiments/results/.
"""

import argparse
import gzip
import os
import shutil
import sys

from core import checkpointing
from core.errors import UserError
from experiments import curves

RESULTS = os.path.join('experiments', 'results')


def record(logdir: str, row: str) -> str:
  """Writes a run's records to experiments/results/<row>.

  Args:
    logdir: of a run that was trained and tested.
    row: '<paper>/<flag file>/seed_<n>'.

  Returns:
    The folder.

  Raises:
    UserError: the run lacks a record.
  """
  folder = os.path.join(RESULTS, row)
  os.makedirs(folder, exist_ok=True)
  for name in ('run.json', 'evaluation.csv', 'evaluation.md'):
    shutil.copyfile(_existing(logdir, name), os.path.join(folder, name))
  for name in ('episodes.csv', 'updates.csv'):
    with open(_existing(logdir, name), 'rb') as file:
      content = file.read()
    with checkpointing.atomic_file(os.path.join(folder, name + '.gz')) as file:
      # Without name and time, so that the same run gives the same bytes.
      file.write(gzip.compress(content, mtime=0))
  curves.draw([folder], os.path.join(folder, 'curve.png'))
  return folder


def _existing(logdir, name):
  path = os.path.join(logdir, name)
  if not os.path.exists(path):
    raise UserError(f'{path} is missing: train and test the run first')
  return path


def main() -> None:
  """Records what the command line names."""
  parser = argparse.ArgumentParser(description='Record a run in results/.')
  parser.add_argument('logdir')
  parser.add_argument('row', help='<paper>/<flag file>/seed_<n>')
  arguments = parser.parse_args()
  try:
    print(record(arguments.logdir, arguments.row))
  except UserError as error:
    sys.exit(f'error: {error}')


if __name__ == '__main__':
  main()
