"""Runs a sweep: many settings and seeds, one process each, a few at a time.

    python -m experiments.launch experiments/popart/multi_task_catch_sweep.py
    ... --dry_run        # prints the commands
    ... --estimate       # frames, hours and memory, by a short benchmark
    ... --max_parallel=4
    ... --cluster=ray --ray_address=HEAD:6379   # on the machines of a cluster

The same command goes on after Ctrl-C, a kill or a failure: stages that are done
are not run again, killed runs resume from their checkpoints, failed ones are
tried again. experiments/launch/sweeps.py says how a sweep is written.
"""

import argparse
import sys

from core.errors import UserError
from experiments.launch import cluster, estimate, process, schedule, sweeps
from experiments.launch.display import Display


def _parse_arguments():
  parser = argparse.ArgumentParser(description='Run a sweep.')
  parser.add_argument('sweep', help='Python file of constants')
  parser.add_argument(
    '--max_parallel',
    type=int,
    help='runs at once (2; as many as a cluster has room for)',
  )
  parser.add_argument('--dry_run', action='store_true', help='print commands')
  parser.add_argument('--estimate', action='store_true', help='state the cost')
  parser.add_argument(
    '--retry_failed',
    action='store_true',
    help='try failed runs once more at the end of this launch',
  )
  cluster.add_arguments(parser)
  arguments = parser.parse_args()
  if arguments.max_parallel is not None and arguments.max_parallel < 1:
    raise UserError('--max_parallel must be at least 1')
  return arguments


def _print_commands(sweep):
  lines = []
  if sweep.learners > 1:
    lines.append(
      f'# {sweep.learners} learners train together: each has a TF_CONFIG'
    )
  for run in sweep.runs:
    num_done = process.num_done(process.read_state(run.logdir), run.stages)
    for i, stage in enumerate(run.stages):
      command = sweeps.show_command(sweep, stage)
      lines.append(f'# done: {command}' if i < num_done else command)
  print('\n'.join(lines))


def main() -> None:
  """Does what the command line asks for."""
  try:
    arguments = _parse_arguments()
    sweep = sweeps.read(arguments.sweep)
    if arguments.dry_run:
      _print_commands(sweep)
      return
    if arguments.estimate and sweep.learners > 1:
      raise UserError('--estimate measures one learner: leave LEARNERS out')
    if arguments.estimate:
      num_copies = arguments.max_parallel or cluster.DEFAULT_SLOTS
      estimate.show(sweep, num_copies)
      return
    where = cluster.where_of(arguments)
    opened = cluster.open_place(where, sweep, arguments.max_parallel)
    with opened as place, Display() as display:
      jobs = schedule.launch(
        sweep, place.slots, arguments.retry_failed, display, place.start
      )
  except UserError as error:
    sys.exit(f'error: {error}')
  *lines, summary = schedule.report(jobs)
  print(*lines, sep='\n', end='\n' * bool(lines), flush=True)
  if any(job.state == 'failed' for job in jobs):
    sys.exit(f'error: {summary}')
  print(summary, flush=True)
  if any(job.state != 'done' for job in jobs):
    sys.exit(130)


if __name__ == '__main__':
  main()
