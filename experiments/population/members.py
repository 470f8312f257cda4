"""The logdirs of members: where they are, how good, and copies of them.

A member's logdir is that of an ordinary run. Beside its checkpoints stands
snapshot.npz, the one with which its last slice ended: others copy from that,
also while the next slice is at work.
"""

import os
import shutil
import zlib
from typing import Any, NamedTuple

from core import checkpointing
from core.errors import UserError
from core.files import atomic_file
from experiments.population.settings import Population
from experiments.runs import csv_files, scoring

_SNAPSHOT = 'snapshot.npz'
_TABLES = ('episodes.csv', 'updates.csv', 'tasks.csv')
_EVENTS = 'events.out.tfevents'
_OWN_FILES = ('log', 'launch.json')


class Position(NamedTuple):
  """How far the newest checkpoint of a member is.

  Attributes:
    lineage: the slices that it descends from, as core.training.resume has them.
    env_frames: of the checkpoint.
    path: of the checkpoint.
  """

  lineage: list[dict[str, Any]]
  env_frames: int
  path: str

  @property
  def slice(self) -> str:
    """Name of the newest slice; '' if it is of no population."""
    return self.lineage[-1]['slice'] if self.lineage else ''


def position(logdir: str) -> Position | None:
  """Returns how far a member is; None without a checkpoint."""
  found = checkpointing.latest_metadata(checkpointing.directory_of(logdir))
  if found is None:
    return None
  metadata, path = found
  return Position(metadata.get('lineage', []), metadata['env_frames'], path)


def keep_snapshot(logdir: str, path: str) -> None:
  """Keeps a checkpoint for those who may copy it; it is not read or moved.

  Args:
    logdir: of the member.
    path: of its checkpoint.

  Raises:
    UserError: it cannot be written.
  """
  target = os.path.join(logdir, _SNAPSHOT)
  temporary = target + '.tmp'
  try:
    if os.path.lexists(temporary):
      os.remove(temporary)
    try:
      os.link(path, temporary)
    except OSError:  # Some network file systems have no hard links.
      shutil.copyfile(path, temporary)
    os.replace(temporary, target)
  except OSError as error:
    raise UserError(f'cannot write {target}: {error.strerror}') from error


def measure(
  population: Population, logdir: str
) -> tuple[float | None, dict[str, float]]:
  """Returns a member's fitness from its own records.

  Args:
    population: of the member.
    logdir: of the member.

  Returns:
    The mean over tasks of the score in percent, each capped at 100; None if a
    task has no episode among the newest ones. And the mean return by task.

  Raises:
    UserError: the records are damaged.
  """
  numbers, words = csv_files.TABLES['episodes']
  path = csv_files.find(logdir, 'episodes')
  if path is None:
    return None, {}
  episodes = csv_files.read(path, numbers, words)
  newest = episodes.tail(population.fitness_episodes).groupby('task')
  returns = {
    task: float(mean) for task, mean in newest.episode_return.mean().items()
  }
  if population.references.keys() - returns.keys():
    return None, returns
  scores = [
    min(scoring.normalize(returns[task], reference), 100.0)
    for task, reference in population.references.items()
  ]
  return sum(scores) / len(scores), returns


def copy(population: Population, member: int, donor: int, parent: str) -> None:
  """Replaces a member's logdir by the donor's, as its last slice ended.

  Weights, optimiser and statistics are the donor's, and so are the records, cut
  to the checkpoint: they are then those of the weights. Seed, output and the
  launcher's file stay the member's; its episodes begin anew.

  Args:
    population: of both.
    member: number of the one that copies.
    donor: number of the one that is copied.
    parent: the donor's slice.

  Raises:
    UserError: the donor has no such snapshot, or the disk fails.
  """
  target, source = (population.member_logdir(i) for i in (member, donor))
  new, old = f'{target}.new', f'{target}.old'
  try:
    restore_interrupted_copy(target)
    shutil.rmtree(new, ignore_errors=True)
    os.makedirs(new)
    _fill(new, source, population.member_seed(member), parent)
    for name in _OWN_FILES:
      if os.path.exists(os.path.join(target, name)):
        shutil.copyfile(os.path.join(target, name), os.path.join(new, name))
    if os.path.exists(target):
      os.rename(target, old)
    os.rename(new, target)
    shutil.rmtree(old, ignore_errors=True)
  except OSError as error:
    raise UserError(f'cannot copy {source} to {target}: {error}') from error


def restore_interrupted_copy(logdir: str) -> None:
  """Puts a logdir back that a kill left under another name."""
  old = f'{logdir}.old'
  if os.path.exists(old) and not os.path.exists(logdir):
    os.rename(old, logdir)
  for leftover in (old, f'{logdir}.new'):
    shutil.rmtree(leftover, ignore_errors=True)


def _fill(folder, source, seed, parent):
  """Writes a copy of a member into an empty folder."""
  path = os.path.join(source, _SNAPSHOT)
  try:
    arrays, metadata = checkpointing.read(path)
    found = metadata['lineage'][-1]['slice']
  except Exception as error:  # Anything, depending on the byte that is wrong.
    reason = ' '.join(f'{type(error).__name__}: {error}'.split())
    raise UserError(f'cannot read {path}: {reason}') from error
  if found != parent:
    raise UserError(f'{path} is of slice {found}, not of {parent}')
  # What it plays is its own: the donor goes on with the same games.
  arrays = {n: a for n, a in arrays.items() if not n.startswith('source/')}
  metadata['source'] = {}
  metadata['config']['seed'] = seed
  records = metadata['records']
  for name in _TABLES:
    if records.get(name):
      checksum = records.get('checksums', {}).get(name)
      _copy_start(source, folder, name, records[name], checksum)
  for name in os.listdir(source):
    if name == 'run.json' or name.startswith(_EVENTS):
      shutil.copyfile(os.path.join(source, name), os.path.join(folder, name))
  directory = checkpointing.directory_of(folder)
  frames = metadata['env_frames']
  saved = checkpointing.save(directory, frames, arrays, metadata, keep=1)
  keep_snapshot(folder, saved)


def _copy_start(source, folder, name, length, checksum):
  """Copies the start of a table, and checks that it is what it was."""
  path = os.path.join(source, name)
  with open(path, 'rb') as file:
    content = file.read(length)
  if len(content) < length or checksum not in (None, zlib.crc32(content)):
    raise UserError(f'{path} is not what its run wrote: it cannot be copied')
  with atomic_file(os.path.join(folder, name)) as file:
    file.write(content)
