"""Tunes hyperparameters while training: populations of runs.

    python -m experiments.population FILE.py              # train, then test
    ... --slots=4             # processes at once
    ... --dry_run             # prints the first commands
    ... --draw                # <logdir>/lineage.png of what is there
    ... --check               # compares history and checkpoints
    ... --cluster=ray --ray_address=HEAD:6379   # slices on a cluster's machines

The same command goes on after Ctrl-C, a kill or a failure.
experiments/population/settings.py says how a population file is written.
"""

import argparse
import dataclasses
import os
import sys

from core.errors import UserError
from experiments.launch import cluster, schedule, sweeps
from experiments.launch.display import Display
from experiments.population import lineage, picture, settings, state
from experiments.population import schedule as population_schedule


def _parse_arguments():
  parser = argparse.ArgumentParser(description='Train populations.')
  parser.add_argument('file', help='Python file of constants')
  parser.add_argument(
    '--slots', type=int, help='processes at once (2; as many as a cluster has)'
  )
  parser.add_argument('--dry_run', action='store_true', help='print commands')
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
      arguments = population_schedule.slice_arguments(
        population, i, member, name
      )
      command = sweeps.show_command(file.sweep, arguments)
      print(f'# done: {command}' if member.is_done else command)


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


def run(
  path: str,
  slots: int | None = None,
  where: cluster.Where = cluster.HERE,
) -> settings.PopulationFile:
  """Trains the populations of a file and tests the best member of each.

  Args:
    path: of the population file.
    slots: processes at once; None: 2, or as many as the cluster has room for.
    where: the slices run.

  Returns:
    What the file says.

  Raises:
    UserError: the file is wrong, a member failed for good, or Ctrl-C.
  """
  file = settings.read(path)
  for population in file.populations:
    state.Store(population)  # What may be refused, before a cluster is asked.
  with cluster.open_place(where, file.sweep, slots) as place:
    jobs = population_schedule.train(
      file.populations,
      file.sweep.logdir,
      file.sweep.environment,
      place.slots,
      place.start,
    )
    said = population_schedule.summary(jobs)
    if any(job.state != 'done' for job in jobs):
      failed = [f'{j.name}: {j.reason}' for j in jobs if j.state == 'failed']
      again = 'the same command goes on'
      raise UserError('; '.join([*failed, said, again]))
    print(said, flush=True)
    _test(file, place)
  problems = [p for of in file.populations for p in lineage.check(of)]
  if problems:
    raise UserError('\n'.join(problems))
  return file


def best_logdir(population: settings.Population) -> str:
  """Returns the logdir of the best member of a population that is done."""
  store = state.Store(population)
  if store.best is None:
    raise UserError(f'{population.logdir} is not done')
  return population.member_logdir(store.best)


def _test(file, place):
  """Runs the stages after training, each in the best member's logdir."""
  runs = []
  for population in file.populations:
    if population.test_run is None:
      continue
    logdir = best_logdir(population)
    stages = tuple(
      tuple(f'--logdir={logdir}' if a.startswith('--logdir=') else a for a in s)
      for s in population.test_run.stages
    )
    runs.append(
      dataclasses.replace(population.test_run, logdir=logdir, stages=stages)
    )
  if not runs:
    return
  sweep = dataclasses.replace(file.sweep, runs=tuple(runs))
  with Display() as display:
    jobs = schedule.launch(sweep, place.slots, False, display, place.start)
  if any(job.state != 'done' for job in jobs):
    raise UserError('; '.join(schedule.report(jobs)))


def main() -> None:
  """Does what the command line asks for."""
  try:
    arguments = _parse_arguments()
    if arguments.dry_run:
      _print_commands(settings.read(arguments.file))
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
