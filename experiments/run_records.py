"""Runs as data: reads logdirs and recorded results, and groups them to agents.

    agents = run_records.read_agents(['runs/a', 'old=experiments/results/x/y'])

A folder is a run (it holds run.json or a table), or the folder of an agent,
whose runs are in seed_* subfolders. Runs with the same label are one agent;
without a label, runs in seed_* folders are of the agent of the folder above,
and every other run is an agent of its own.
"""

import dataclasses
import glob
import gzip
import io
import json
import os
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from core import atari57
from core.errors import UserError

# By table the columns that must be there; those of numbers first.
TABLES = {
  'episodes': (('env_frames', 'episode_return'), ('task',)),
  'returns': (('env_frames', 'num_episodes', 'mean_return'), ('task',)),
  'updates': (('env_frames',), ()),
  'tasks': (('env_frames',), ('task',)),
  'evaluation': (('return',), ('task', 'protocol')),
}
_SEED_FOLDER = re.compile(r'seed_(\d+)$')
# Packages whose version decides how a game plays.
_ENVIRONMENT_PACKAGES = ('ale-py',)


class NotComparable(UserError):
  """Runs are as they should be, but do not stand side by side."""


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
  """One training run.

  Attributes:
    folder: logdir or recorded result.
    label: of the agent that it belongs to.
    seed: of its config, else of the folder's name; '?' if neither says.
    info: content of run.json, {} without one.
    frames: environment frames of the newest record.
    total: environment frames at which training was to end, 0 if unknown.
    is_complete: whether it got there, up to the period of the records; False
      if `total` is unknown.
  """

  folder: str
  label: str
  seed: str
  info: Mapping[str, Any]
  frames: int
  total: int
  is_complete: bool

  @property
  def name(self) -> str:
    """What a legend calls it; an incomplete run is marked."""
    name = f'{self.label}, seed {self.seed}'
    return name if self.is_complete else f'{name} ({self.state})'

  @property
  def state(self) -> str:
    """Returns 'complete', or how far it is."""
    if self.is_complete:
      return 'complete'
    if not self.total:
      return f'at {format_frames(self.frames)}, its end is not recorded'
    return (
      f'incomplete: {format_frames(self.frames)} of {format_frames(self.total)}'
    )


Agents = dict[str, list[Run]]
"""Runs by the label of their agent, in the order they were named."""


def read_agents(arguments: Sequence[str]) -> Agents:
  """Reads the runs that a command line names.

  Args:
    arguments: each FOLDER or LABEL=FOLDER.

  Returns:
    Agents.

  Raises:
    UserError: a folder has no records, a run is named twice, or a file is
      malformed.
  """
  found: dict[str, str | None] = {}  # Label by run folder.
  for argument in arguments:
    label, folder = _split_label(argument)
    for run in find_runs(folder):
      if run in found:
        raise UserError(f'{run} is named twice')
      found[run] = label
  names = _distinct_names([agent_folder(run) for run in found])
  agents: Agents = {}
  for folder, label in found.items():
    label = label or names[agent_folder(folder)]
    agents.setdefault(label, []).append(read_run(folder, label))
  return agents


def find_runs(folder: str) -> list[str]:
  """Returns the folders of runs: itself, or its seed_* subfolders by number.

  Raises:
    UserError: neither it nor they have records.
  """
  folder = os.path.normpath(folder)
  if _has_records(folder):
    return [folder]
  seeds = [
    path
    for path in glob.glob(os.path.join(glob.escape(folder), 'seed_*'))
    if _SEED_FOLDER.search(path) and _has_records(path)
  ]
  if not seeds:
    raise UserError(
      f'no records in {folder}: name a logdir, a recorded result, or a folder '
      'with seed_* folders'
    )
  return sorted(seeds, key=lambda path: int(_SEED_FOLDER.search(path)[1]))


def read_run(folder: str, label: str) -> Run:
  """Reads what a run is and how far it is.

  Args:
    folder: of the run.
    label: of its agent.

  Raises:
    UserError: run.json or a table is malformed.
  """
  info = _read_info(os.path.join(folder, 'run.json'))
  config = info.get('config') or {}
  match = _SEED_FOLDER.search(folder)
  seed = config.get('seed', match[1] if match else '?')
  total = config.get('stop_frames') or config.get('total_environment_frames', 0)
  frames = 0
  for name in ('updates', 'episodes', 'returns'):
    table = read_table(folder, name)
    if table is not None and len(table):
      frames = int(table.env_frames.iloc[-1])
      break
  # The newest row is at most one period of the log before the end.
  period = 1
  for key in (
    *('log_updates', 'batch_size', 'unroll_length', 'num_action_repeats'),
  ):
    period *= config.get(key, 0)
  is_complete = bool(total) and total - frames <= max(period, total // 100)
  return Run(folder, label, str(seed), info, frames, total, is_complete)


def read_table(folder: str, name: str) -> pd.DataFrame | None:
  """Reads a table of a run, checked.

  Args:
    folder: of the run.
    name: one of `TABLES`; <name>.csv stands before <name>.csv.gz.

  Returns:
    Its rows; those of no run yet written are none. None without such a file.
    A last line that is being written (it has no end yet) is left out.

  Raises:
    UserError: it is malformed, with the line.
  """
  for path in (f'{folder}/{name}.csv', f'{folder}/{name}.csv.gz'):
    if os.path.exists(path):
      numbers, words = TABLES[name]
      return read_csv(os.path.normpath(path), numbers, words)
  return None


def read_csv(
  path: str, numbers: Sequence[str], words: Sequence[str]
) -> pd.DataFrame:
  """Reads a CSV file whose first line names the columns.

  Args:
    path: plain or gzip.
    numbers: columns that must be there and hold finite numbers.
    words: columns that must be there and may not be empty.

  Raises:
    UserError: it is malformed, with the line.
  """
  content = _read_bytes(path)
  content = content[: content.rfind(b'\n') + 1]
  if not content:  # Opened, but nothing is written yet.
    return pd.DataFrame(columns=[*numbers, *words])
  try:
    table = pd.read_csv(
      io.BytesIO(content), skip_blank_lines=False, index_col=False
    )
  except (ValueError, UnicodeDecodeError) as error:
    # Pandas' own message has the line of a row with too many cells.
    reason = str(error).strip().replace('Error tokenizing data. C error: ', '')
    raise UserError(f'cannot read {path}: {reason}') from error
  missing = [name for name in (*numbers, *words) if name not in table]
  if missing:
    raise UserError(f'{path} has no column {", ".join(sorted(missing))}')
  for name in (*numbers, *words):
    column = table[name]
    if name in numbers:
      column = pd.to_numeric(column, errors='coerce')
      is_bad = ~column.abs().lt(float('inf'))
    else:
      is_bad = column.isna()
    if is_bad.any():
      row = int(is_bad.to_numpy().argmax())
      raise UserError(
        f'{path}, line {row + 2}: {name} is {table[name].iloc[row]!s}'
      )
    table[name] = column
  return table


def complete_runs(agents: Agents) -> Agents:
  """Returns the runs that count in a mean; an agent may have none."""
  return {
    label: [run for run in runs if run.is_complete]
    for label, runs in agents.items()
  }


def agent_folder(folder: str) -> str:
  """Returns the folder above a run's if that is named seed_*, else its own."""
  path = os.path.normpath(folder)
  return os.path.dirname(path) if _SEED_FOLDER.search(path) else path


def protocol_differences(runs: Sequence[Run]) -> list[str]:
  """Tells in which fields the protocols of runs differ.

  The versions of the emulators are part of it.

  Returns:
    A line per field, such as 'full_action_space: false (a), true (b)'; none if
    the protocols are the same.
  """
  values: dict[str, dict[str, list[str]]] = {}  # Labels by field and value.
  protocols = [(run.label, _protocol(run)) for run in runs]
  fields = dict.fromkeys(field for _, fields in protocols for field in fields)
  for field in fields:
    for label, protocol in protocols:
      value = json.dumps(protocol[field]) if field in protocol else 'not said'
      labels = values.setdefault(field, {}).setdefault(value, [])
      if label not in labels:
        labels.append(label)
  return [
    f'{field}: ' + ', '.join(f'{v} ({", ".join(of)})' for v, of in by.items())
    for field, by in values.items()
    if len(by) > 1
  ]


def check_same_protocol(runs: Sequence[Run]) -> None:
  """Refuses runs whose scores do not compare.

  Raises:
    NotComparable: they differ, with the fields; or one is not recorded.
  """
  unknown = [run.folder for run in runs if not run.info.get('protocol')]
  if unknown and len(runs) > 1:
    raise NotComparable(f'no protocol in run.json of {", ".join(unknown)}')
  differences = protocol_differences(runs)
  if differences:
    raise NotComparable('the protocols differ: ' + '; '.join(differences))


def format_frames(frames: float) -> str:
  """Returns environment frames in a few signs, such as '4.97M'."""
  for size, unit in ((1e9, 'B'), (1e6, 'M'), (1e3, 'k')):
    if frames >= size:
      return f'{frames / size:.3g}{unit}'
  return f'{frames:.0f}'


def order_tasks(tasks: Iterable[str], runs: Sequence[Run]) -> list[str]:
  """Sorts tasks as --level_name has them; others by name behind."""
  named = [
    task
    for run in runs
    for task in str((run.info.get('config') or {}).get('level_name')).split(',')
  ]
  tasks = set(tasks)
  first = [task for task in dict.fromkeys(named) if task in tasks]
  return first + sorted(tasks.difference(first))


def short_names(tasks: Sequence[str]) -> dict[str, str]:
  """Returns names of tasks without what stands before a colon, if that does."""
  short = {task: task.rsplit(':', 1)[-1] for task in tasks}
  is_distinct = len(set(short.values())) == len(short)
  return short if is_distinct else {task: task for task in tasks}


def _protocol(run):
  protocol = dict(run.info.get('protocol') or {})
  tasks = str((run.info.get('config') or {}).get('level_name', '')).split(',')
  if any(t == 'atari57' or t in atari57.RANDOM_SCORES for t in tasks):
    versions = run.info.get('versions') or {}
    protocol |= {name: versions.get(name) for name in _ENVIRONMENT_PACKAGES}
  return protocol


def _split_label(argument):
  label, sign, folder = argument.partition('=')
  if not sign or os.path.isdir(argument):
    return None, argument
  if not label or not folder:
    raise UserError(f'{argument!r} is neither FOLDER nor LABEL=FOLDER')
  return label, folder


def _distinct_names(folders):
  """Maps folders to as few of their last parts as tell them apart."""
  folders = list(dict.fromkeys(folders))
  # Absolute, so that '.' and 'seed_1' have names too.
  parts = {f: os.path.abspath(f).strip(os.sep).split(os.sep) for f in folders}
  for length in range(1, max(map(len, parts.values()), default=1) + 1):
    names = {f: '/'.join(p[-length:]) for f, p in parts.items()}
    if len(set(names.values())) == len(folders):
      break
  return names


def _has_records(folder):
  names = ['run.json']
  names += [f'{n}.csv{end}' for n in TABLES for end in ('', '.gz')]
  return any(os.path.isfile(os.path.join(folder, name)) for name in names)


def _read_info(path):
  if not os.path.exists(path):
    return {}
  try:
    with open(path, encoding='utf-8') as file:
      info = json.load(file)
  except (OSError, ValueError) as error:
    raise UserError(f'cannot read {path}: {error}') from error
  if not isinstance(info, dict):
    raise UserError(f'cannot read {path}: it is no object')
  return info


def _read_bytes(path):
  try:
    with open(path, 'rb') as file:
      content = file.read()
    return gzip.decompress(content) if path.endswith('.gz') else content
  except (OSError, EOFError, zlib.error) as error:
    raise UserError(f'cannot read {path}: {error}') from error
