"""Copies what is published of a run from its logdir into the repository.

    python -m experiments.record runs/pong impala/atari_pong_shallow/seed_1

writes run.json, episodes.csv.gz, updates.csv.gz, tasks.csv.gz and
held_out.csv.gz (if the agent has them), evaluation.csv, evaluation.md and
curve.png under experiments/results/.
With --bin_frames, for runs of very many short episodes, returns.csv.gz (mean
returns per task and bin) stands for episodes and curve.
"""

import argparse
import gzip
import os
import re
import shutil
import sys

import pandas as pd

from core.errors import UserError
from core.files import atomic_file
from experiments import curves
from experiments.runs import csv_files, reader
from experiments.runs.recorded import RESULTS

_ROW = re.compile(r'\w[\w.=,+-]*/\w[\w.=,+-]*/seed_\d+', re.ASCII)


def record(logdir: str, row: str, bin_frames: int = 0) -> str:
  """Writes a run's records to experiments/results/<row>.

  Args:
    logdir: of a run that was trained and tested.
    row: '<paper>/<row>/seed_<n>'.
    bin_frames: 0: every episode; else environment frames per bin of means.

  Returns:
    The folder; what it held before is replaced, whole or not at all.

  Raises:
    UserError: the run lacks a record, one is damaged, or `row` is no such name.
  """
  if not _ROW.fullmatch(row):
    raise UserError(f'{row!r} is not <paper>/<row>/seed_<n>')
  folder = os.path.join(RESULTS, row)
  # Beside all results, and with a dot, so that no reader takes it for one.
  hidden = os.path.join(RESULTS, '.' + row.replace('/', '_'))
  new, old = f'{hidden}.new', f'{hidden}.old'
  try:
    for leftover in (new, old):
      shutil.rmtree(leftover, ignore_errors=True)
    os.makedirs(new)
    _fill(new, logdir, folder, bin_frames)
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    if os.path.exists(folder):
      os.rename(folder, old)
    os.rename(new, folder)
  except OSError as error:
    raise UserError(f'cannot record {logdir} in {folder}: {error}') from error
  finally:
    if os.path.exists(old) and not os.path.exists(folder):
      os.rename(old, folder)
    for leftover in (new, old):
      shutil.rmtree(leftover, ignore_errors=True)
  return folder


def bin_returns(episodes: pd.DataFrame, bin_frames: int) -> pd.DataFrame:
  """Averages episodes over bins of environment frames.

  Args:
    episodes: columns env_frames (of the update's end), task, episode_return.
    bin_frames: width of a bin; a bin includes its end.

  Returns:
    Columns env_frames (end of the bin), task, num_episodes, mean_return.
  """
  ends = -(-episodes.env_frames // bin_frames) * bin_frames
  # Runs of earlier versions have the counter before the update, 0 at first.
  ends = ends.clip(lower=bin_frames)
  groups = episodes.assign(env_frames=ends).groupby(
    ['env_frames', 'task'], sort=True
  )
  return groups.episode_return.agg(
    num_episodes='size', mean_return='mean'
  ).reset_index()


def _fill(folder, logdir, label, bin_frames):
  """Writes what is published of a run into an empty folder."""
  for name in ('run.json', 'evaluation.csv', 'evaluation.md'):
    shutil.copyfile(_existing(logdir, name), os.path.join(folder, name))
  run = reader.read_run(logdir)
  for name in csv_files.TABLES:
    run.table(name)  # A damaged one is refused.
  _compress(_existing(logdir, 'updates.csv'), folder)
  for name in ('tasks.csv', 'held_out.csv'):
    if os.path.exists(os.path.join(logdir, name)):
      _compress(os.path.join(logdir, name), folder)
  episodes = _existing(logdir, 'episodes.csv')
  if bin_frames:
    table = bin_returns(run.table('episodes'), bin_frames)
    content = table.to_csv(index=False, float_format='%.5g').encode()
    _write_gzip(os.path.join(folder, 'returns.csv.gz'), content)
    return
  _compress(episodes, folder)
  curves.draw([folder], os.path.join(folder, 'curve.png'), [label])


def _compress(path, folder):
  with open(path, 'rb') as file:
    content = file.read()
  _write_gzip(os.path.join(folder, os.path.basename(path) + '.gz'), content)


def _write_gzip(path, content):
  with atomic_file(path) as file:
    # Without name and time, so that the same run gives the same bytes.
    file.write(gzip.compress(content, mtime=0))


def _existing(logdir, name):
  path = os.path.join(logdir, name)
  if not os.path.exists(path):
    raise UserError(f'{path} is missing: train and test the run first')
  if not os.path.isfile(path):
    raise UserError(f'{path} is not a file')
  return path


def main() -> None:
  """Records what the command line names."""
  parser = argparse.ArgumentParser(description='Record a run in results/.')
  parser.add_argument('logdir')
  parser.add_argument('row', help='<paper>/<row>/seed_<n>')
  parser.add_argument('--bin_frames', type=int, default=0, help='0: episodes')
  arguments = parser.parse_args()
  try:
    if arguments.bin_frames < 0:
      raise UserError('--bin_frames must be at least 0')
    print(record(arguments.logdir, arguments.row, arguments.bin_frames))
  except UserError as error:
    sys.exit(f'error: {error}')


if __name__ == '__main__':
  main()
