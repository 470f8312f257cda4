"""Groups the runs that a command line names to agents, and compares protocols.

    agents = grouping.read_agents(['runs/a', 'old=experiments/results/x/y'])

A folder is a run (it holds run.json or a table), or the folder of an agent,
whose runs are in seed_* subfolders. Runs with the same label are one agent;
without a label, runs in seed_* folders are of the agent of the folder above,
and every other run is an agent of its own.
"""

import glob
import json
import os
from collections.abc import Iterable, Sequence

from core.errors import UserError
from experiments.runs import reader
from experiments.runs.reader import SEED_FOLDER, Run

Agents = dict[str, list[Run]]
"""Runs by the label of their agent, in the order they were named."""


class NotComparable(UserError):
  """Runs are as they should be, but do not stand side by side."""


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
    agents.setdefault(label, []).append(reader.read_run(folder, label))
  return agents


def find_runs(folder: str) -> list[str]:
  """Returns the folders of runs: itself, or its seed_* subfolders by number.

  Raises:
    UserError: neither it nor they have records.
  """
  folder = os.path.normpath(folder)
  if reader.has_records(folder):
    return [folder]
  seeds = [
    path
    for path in glob.glob(os.path.join(glob.escape(folder), 'seed_*'))
    if SEED_FOLDER.search(path) and reader.has_records(path)
  ]
  if not seeds:
    raise UserError(
      f'no records in {folder}: name a logdir, a recorded result, or a folder '
      'with seed_* folders'
    )
  return sorted(seeds, key=lambda path: int(SEED_FOLDER.search(path)[1]))


def runs_of(agents: Agents) -> list[Run]:
  """Returns the runs of all agents in one list."""
  return [run for runs in agents.values() for run in runs]


def complete_runs(agents: Agents) -> Agents:
  """Returns the runs that count in a mean; an agent may have none."""
  return {
    label: [run for run in runs if run.is_complete]
    for label, runs in agents.items()
  }


def agent_folder(folder: str) -> str:
  """Returns the folder above a run's if that is named seed_*, else its own."""
  path = os.path.normpath(folder)
  return os.path.dirname(path) if SEED_FOLDER.search(path) else path


def protocol_differences(
  runs: Sequence[Run], with_tests: bool = False
) -> list[str]:
  """Tells in which fields the protocols of runs differ.

  The versions of the emulators are part of it.

  Args:
    runs: some.
    with_tests: whether the way they were tested is also part of it.

  Returns:
    A line per field, such as 'full_action_space: false (a), true (b)'; none if
    the protocols are the same.
  """
  values: dict[str, dict[str, list[str]]] = {}  # Labels by field and value.
  protocols = [(run.label, run.protocol) for run in runs]
  if with_tests:
    for run, (_, protocol) in zip(runs, protocols, strict=True):
      protocol['test'] = run.test_protocol
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


def check_same_protocol(runs: Sequence[Run], with_tests: bool = False) -> None:
  """Refuses runs whose scores do not compare.

  Args:
    runs: some.
    with_tests: whether they must also have been tested in the same way.

  Raises:
    NotComparable: they differ, with the fields; or one is not recorded.
  """
  unknown = [run.folder for run in runs if not run.info.get('protocol')]
  if unknown and len(runs) > 1:
    raise NotComparable(f'no protocol in run.json of {", ".join(unknown)}')
  differences = protocol_differences(runs, with_tests)
  if differences:
    raise NotComparable('the protocols differ: ' + '; '.join(differences))


def order_tasks(tasks: Iterable[str], runs: Sequence[Run]) -> list[str]:
  """Sorts tasks as --level_name has them; others follow by name."""
  tasks = set(tasks)
  named = dict.fromkeys(task for run in runs for task in run.tasks)
  first = [task for task in named if task in tasks]
  return first + sorted(tasks.difference(first))


def short_names(tasks: Sequence[str]) -> dict[str, str]:
  """Returns names of tasks without what stands before a colon.

  Where two would then be the same, all keep their whole names.
  """
  short = {task: task.rsplit(':', 1)[-1] for task in tasks}
  is_distinct = len(set(short.values())) == len(short)
  return short if is_distinct else {task: task for task in tasks}


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
