"""`make demo`: IMPALA learns an Atari game in minutes, and shows it.

Trains on two cores, evaluates, and leaves in runs/demo: curve.png,
evaluation.md, evaluation.csv and <game>.mp4. Started again, it goes on where it
was stopped.
"""

import os
import subprocess
import sys

from core import atari57
from experiments import curves

GAME = 'crazy_climber'
FLAGS = 'experiments/impala/demo.flags'
LOGDIR = os.path.join('runs', 'demo')


def main() -> None:
  """Runs the three commands that a user would run, and sums up."""
  experiment = [
    sys.executable,
    '-m',
    'impala.experiment',
    f'--flagfile={FLAGS}',
    f'--logdir={LOGDIR}',
  ]
  curve = os.path.join(LOGDIR, 'curve.png')
  _run(experiment)
  _run([*experiment, '--mode=test', '--test_num_episodes=10', '--record_video'])
  _run([sys.executable, '-m', 'experiments.curves', LOGDIR, f'--out={curve}'])

  mean, error, count = curves.last_episodes(curves.read_episodes(LOGDIR), GAME)
  random = atari57.RANDOM_SCORES[GAME]
  print(
    f'\n{GAME}, last {count} training episodes: {mean:,.0f} ± {error:,.0f} '
    f'(standard error); random play: {random:,.0f}; '
    f'{(mean - random) / error:.0f} standard errors above it.\n'
    f'Look at {curve}, {LOGDIR}/evaluation.md and {LOGDIR}/{GAME}.mp4.'
  )


def _run(command):
  print('\n$ ' + ' '.join(['python', *command[1:]]), flush=True)
  environment = {'TF_CPP_MIN_LOG_LEVEL': '3', **os.environ}
  status = subprocess.run(command, env=environment, check=False).returncode
  if status:
    sys.exit(status)


if __name__ == '__main__':
  main()
