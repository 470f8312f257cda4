"""Tunes hyperparameters while training: populations of runs.

    python -m experiments.population FILE.py              # train, then test
    ... --slots=4             # processes at once
    ... --dry_run             # prints the first commands
    ... --estimate            # frames, hours and memory, by a short benchmark
    ... --draw                # <logdir>/lineage.png of what is there
    ... --check               # compares history and checkpoints
    ... --cluster=ray --ray_address=HEAD:6379   # slices on a cluster's machines

The same command goes on after Ctrl-C, a kill or a failure.
experiments/population/settings.py says how a population file is written.
"""

import argparse
import dataclasses
import math
import os
import sys

from core.errors import UserError
from experiments.launch import cluster, estimate, sweeps
from experiments.population import lineage, picture, schedule, settings, state
from experiments.population.run import run


def _parse_arguments():
  parser = argparse.ArgumentParser(description='Train populations.')
  parser.add_argument('file', help='Python file of constants')
  parser.add_argument(
    '--slots', type=int, help='processes at once (2; as many as a cluster has)'
  )
  parser.add_argument('--dry_run', action='store_true', help='print commands')
  parser.add_argument('--estimate', action='store_true', help='state the cost')
  parser.add_argument('--draw', action='store_true', help='draw lineages')
  parser.add_argument(
    '--check', action='store_true', help='compare history and checkpoints'
  )
  cluster.add_arguments(parser)
  arguments = parser.parse_args()
  if arguments.slots is not None and arguments.slots < 1:
    raise UserError('--slots must be at least 1')
  return arguments


def _print_commands(file):
  """Prints the first slice of every member that has one before it."""
  for population in file.populations:
    store = state.Store(population)
    for i, member in enumerate(store.members):
      name = store.slice_name(i) if not store.is_new else f'ID/{i}/0'
      arguments = schedule.slice_arguments(population, i, member, name)
      command = sweeps.show_command(file.sweep, arguments)
      print(f'# done: {command}' if member.is_done else command)


def _estimate(file, slots):
  """States the cost of all members."""
  runs = tuple(
    run
    for run, population in zip(file.sweep.runs, file.populations, strict=True)
    for _ in range(population.num_members)
  )
  estimate.show(dataclasses.replace(file.sweep, runs=runs), slots)
  num_slices = sum(
    of.num_members * math.ceil(of.total_frames / of.slice_frames)
    for of in file.populations
  )
  print(f'the starts of {num_slices} processes, one per slice, come on top')


def _begun(file):
  """Returns the populations that there are; refuses if none is."""
  found = [
    population
    for population in file.populations
    if os.path.exists(os.path.join(population.logdir, 'population.json'))
  ]
  if not found:
    raise UserError(f'no population in {file.sweep.logdir} yet')
  return found


def _check(file):
  problems = [p for of in _begun(file) for p in lineage.check(of)]
  if problems:
    raise UserError('\n'.join(problems))
  print('history and checkpoints agree')


def _draw(file):
  for population in _begun(file):
    path = os.path.join(population.logdir, 'lineage.png')
    picture.draw(population, path)
    print(path)


def main() -> None:
  """Does what the command line asks for."""
  try:
    arguments = _parse_arguments()
    if arguments.dry_run:
      _print_commands(settings.read(arguments.file))
    elif arguments.estimate:
      slots = arguments.slots or cluster.DEFAULT_SLOTS
      _estimate(settings.read(arguments.file), slots)
    elif arguments.check:
      _check(settings.read(arguments.file))
    elif arguments.draw:
      _draw(settings.read(arguments.file))
    else:
      run(arguments.file, arguments.slots, cluster.where_of(arguments))
  except UserError as error:
    sys.exit(f'error: {error}')


if __name__ == '__main__':
  main()
