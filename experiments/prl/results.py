"""The experiments with PRL: runs, records, draws and tabulates.

    python -m experiments.prl.results --run=random_play
    python -m experiments.prl.results --write

--run launches experiments/prl/<name>_sweep.py, goes on where it was stopped,
and records the runs under experiments/results/prl/<name>_<setting>/. --write
draws prl/<name>.png of what is recorded and puts the tables between their marks
in prl/README.md.
"""

import os

from experiments import record
from experiments.launch import schedule
from experiments.plots import drawing
from experiments.prl import predictions, scores
from experiments.tables import script

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


def recorded_names() -> list[str]:
  """Returns the experiments of which there are records."""
  return [name for name in EXPERIMENTS if scores.read_runs(name)]


def make_texts() -> list[tuple[str, str, str]]:
  """Returns file, mark and text of every recorded experiment."""
  return [(README, name, make_text(name)) for name in recorded_names()]


def draw_all() -> None:
  """Draws the figures of every recorded experiment."""
  for name in recorded_names():
    draw(name)


def main() -> None:
  """Does what the command line asks for."""
  script.main(
    'experiments.prl.results',
    'Experiments with PRL.',
    EXPERIMENTS,
    run,
    make_texts,
    draw_all,
  )


if __name__ == '__main__':
  main()
