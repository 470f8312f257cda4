"""The experiments with PRL: runs, records, draws and tabulates.

    python -m experiments.prl.results --run=random_play
    python -m experiments.prl.results --write

--run launches experiments/prl/<name>_sweep.py, goes on where it was stopped,
and records the runs under experiments/results/prl/<name>_<setting>/. --write
draws prl/<name>.png of what is recorded and puts the tables between their marks
in prl/README.md.
"""

import argparse
import os
import sys

from core.errors import UserError
from experiments import record
from experiments.launch import schedule
from experiments.plots import drawing
from experiments.prl import predictions, scores
from experiments.tables import markdown

README = os.path.join('prl', 'README.md')
# By experiment, frames per bin of the recorded returns; 0: every game.
EXPERIMENTS = {
  'random_play': 0,
  'iterations': 0,
  'recurrence': 0,
  'boards': 2000,
}
_OF_SCORES = ('iterations', 'boards')


def run(name: str, num_parallel: int) -> None:
  """Trains, tests and records what is not done of an experiment.

  Raises:
    UserError: a run failed or was interrupted; the same command goes on.
  """
  path = os.path.join('experiments', 'prl', f'{name}_sweep.py')
  for planned in schedule.run_sweep(path, num_parallel).runs:
    record.record(
      planned.logdir, f'prl/{name}_{planned.name}', EXPERIMENTS[name]
    )


def make_text(name: str) -> str:
  """Returns what README says of a recorded experiment, in Markdown."""
  if name in _OF_SCORES:
    return scores.make_iterations_table(name)
  texts = [predictions.make_table(name), predictions.spreads(name)]
  if name == 'random_play':
    texts.insert(0, scores.make_random_play_table(name))
  return '\n\n'.join(texts)


def draw(name: str) -> None:
  """Draws the figure of a recorded experiment."""
  pyplot = drawing.open_pyplot()
  if name in _OF_SCORES:
    figure = scores.draw_iterations(pyplot, name)
  else:
    figure = predictions.draw_steps(pyplot, name)
  drawing.save(figure, os.path.join('prl', f'{name}.png'))


def main() -> None:
  """Does what the command line asks for."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.prl.results',
    description='Experiments with PRL.',
  )
  parser.add_argument('--run', choices=EXPERIMENTS, help='train, test, record')
  parser.add_argument('--write', action='store_true', help='figures and tables')
  parser.add_argument(
    '--num_parallel', type=int, default=2, help='runs at once'
  )
  arguments = parser.parse_args()
  try:
    if arguments.run:
      run(arguments.run, arguments.num_parallel)
    names = [name for name in EXPERIMENTS if scores.read_runs(name)]
    if not names:
      raise UserError('nothing is recorded: --run first')
    texts = {name: make_text(name) for name in names}
    if arguments.write:
      markdown.write_all([(README, n, text) for n, text in texts.items()])
      for name in names:
        draw(name)
    for name, text in texts.items():
      print(f'{name}\n{text}\n')
  except UserError as error:
    sys.exit(f'error: {error}')


if __name__ == '__main__':
  main()
