"""Who descends from whom: from the history, and from the checkpoints."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.population import members, settings, state

Slices = Mapping[str, Mapping[str, Any]]


def slices_of(events: Sequence[Mapping[str, Any]]) -> Slices:
  """Returns the finished slices by name, in the order of their ends."""
  return {e['slice']: e for e in events if e['event'] == 'slice'}


def ancestry(slices: Slices, name: str) -> list[Mapping[str, Any]]:
  """Returns a slice and those that it descends from, oldest first.

  Args:
    slices: from `slices_of`.
    name: of a slice; '' has no ancestry.
  """
  found = []
  while name:
    found.append(slices[name])
    name = slices[name]['parent']
  return found[::-1]


def check(population: settings.Population) -> list[str]:
  """Compares the history with what the checkpoints say of themselves.

  Args:
    population: whose members are not at work.

  Returns:
    A line per member whose newest checkpoint descends from other slices, began
    them at other frames or learned with other hyperparameters than the history
    says; nothing if all agree.

  Raises:
    UserError: the history cannot be read.
  """
  events = state.read_events(population.logdir)
  slices = slices_of(events)
  parents = {e['member']: '' for e in events if e['event'] == 'begin'}
  for event in events:
    if event['event'] in ('slice', 'evolve'):
      parents[event['member']] = event.get('next_parent', event.get('slice'))
  problems = []
  for member, parent in parents.items():
    logged = [
      (e['slice'], e['first_frame'], e['values'])
      for e in ancestry(slices, parent)
    ]
    position = members.position(population.member_logdir(member))
    found = [
      (
        entry['slice'],
        entry['first_frame'],
        {name: entry['explored'][name] for name in population.rule.ranges},
      )
      for entry in (position.lineage if position else [])
    ]
    # The slice at work is not in the history yet.
    if found[: len(logged)] != logged or len(found) > len(logged) + 1:
      problems.append(
        f'{population.name} member {member}: the checkpoint descends from '
        f'{[entry[0] for entry in found]}, the history says '
        f'{[entry[0] for entry in logged]}'
      )
  return problems
