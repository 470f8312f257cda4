"""Trains the populations of a file, then tests the best member of each."""

import dataclasses

from core.errors import UserError
from experiments.launch import cluster, schedule
from experiments.launch.display import Display
from experiments.population import lineage, settings, state
from experiments.population import schedule as population_schedule


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
