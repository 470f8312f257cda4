"""`make demo`: IMPALA learns an Atari game in minutes, and shows it.

Trains on two cores, evaluates, and leaves in runs/demo: curve.png,
evaluation.md, evaluation.csv and <game>.mp4. Started again, it goes on where it
was stopped.
"""

import argparse
import os
import subprocess
import sys

from core.suites import tasks as suites
from experiments.runs import reader, scoring

GAME = 'crazy_climber'
FLAGS = 'experiments/impala/demo.flags'
LOGDIR = os.path.join('runs', 'demo')


def main() -> None:
  """Runs the three commands that a user would run, and sums up."""
  argparse.ArgumentParser(
    prog='python -m experiments.demo',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  ).parse_args()
  experiment = [sys.executable, '-m', 'impala.experiment']
  experiment += [f'--flagfile={FLAGS}', f'--logdir={LOGDIR}']
  curve = os.path.join(LOGDIR, 'curve.png')
  _run(experiment)
  _run([*experiment, '--mode=test', '--test_num_episodes=10', '--record_video'])
  _run([sys.executable, '-m', 'experiments.curves', LOGDIR, f'--out={curve}'])

  returns = scoring.last_returns(reader.read_run(LOGDIR))[GAME]
  mean, error = returns.mean(), scoring.standard_error(returns)
  random = suites.reference(GAME).low
  print(
    f'\n{GAME}, last {len(returns)} episodes: {mean:,.0f} ± {error:,.0f} '
    f'(standard error); random play: {random:,.0f}; '
    f'{(mean - random) / error:.0f} standard errors above it.\n'
    f'Look at {curve}, {LOGDIR}/evaluation.md and {LOGDIR}/{GAME}.mp4.'
  )


def _run(command):
  print('\n$ ' + ' '.join(['python', *command[1:]]), flush=True)
  environment = {'TF_CPP_MIN_LOG_LEVEL': '3', **os.environ}
  try:
    status = subprocess.run(command, env=environment, check=False).returncode
  except KeyboardInterrupt:  # The command has had it too, and said what it did.
    status = 130
  if status:
    sys.exit(status)


if __name__ == '__main__':
  main()
