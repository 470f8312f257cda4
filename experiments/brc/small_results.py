"""Runs the small experiments with BRC, and makes tables and figures of them.

    python -m experiments.brc.small_results --run=loss
    python -m experiments.brc.small_results --write

--run launches experiments/brc/<name>_sweep.py, goes on where it was stopped,
and records what was evaluated under experiments/results/brc/<name>/. --write
puts the tables of what is recorded between their marks in brc/README.md and
draws brc/*.png.
"""

import os

from experiments.brc import (
  control_figures,
  control_results,
  loss_results,
  small_records,
  transfer_results,
)
from experiments.launch import schedule
from experiments.plots import drawing
from experiments.tables import script

README = os.path.join('brc', 'README.md')
EXPERIMENTS = ('loss', *control_results.SWEEPS, 'transfer')
MARKS = (
  *('loss', 'widths', 'tasks', 'conflicts', 'updates', 'ablation'),
  'transfer',
)
"""Of the tables in README."""
FIGURES = {
  'loss': 'how tasks differ under three losses, and their returns',
  'widths': 'scores and conflicts by width, gradient steps, Shapley values',
  'tasks': 'scores of each task',
  'transfer': 'scores of a new task',
}
"""Pictures below a table, brc/<name>.png, and what they show."""


def run(name: str, num_parallel: int) -> None:
  """Runs what is not done of an experiment, and records it.

  Raises:
    UserError: a run failed or was interrupted; the same command goes on.
  """
  path = os.path.join('experiments', 'brc', f'{name}_sweep.py')
  sweep = schedule.run_sweep(path, num_parallel)
  small_records.record(name, sweep, num_parallel)


def make_texts() -> dict[str, str]:
  """Returns tables and figures of what is recorded, by their marks' names.

  Raises:
    UserError: nothing is recorded, or a record is malformed.
  """
  texts = {}
  if (loss := small_records.read('loss')) is not None:
    texts['loss'] = loss_results.make_text(loss)
  if (control := control_results.read_all()) is not None:
    texts['widths'] = control_results.widths_table(control)
    texts['tasks'] = control_results.tasks_table(control)
    texts['conflicts'] = control_results.conflicts_table(control)
    texts['updates'] = control_results.updates_table(control)
    if (scores := control_results.ablation(control)) is not None:
      texts['ablation'] = control_results.ablation_table(scores)
  if (transfer := small_records.read('transfer')) is not None:
    scored = transfer_results.add_scores(transfer)
    texts['transfer'] = transfer_results.make_table(scored)
  for name in FIGURES.keys() & texts.keys():
    texts[name] += f'\n\n![{FIGURES[name]}]({name}.png)'
  return texts


def draw() -> None:
  """Draws the figures of what is recorded."""
  pyplot = drawing.open_pyplot()
  if (loss := small_records.read('loss')) is not None:
    _save('loss', loss_results.draw(pyplot, loss))
  if (control := control_results.read_all()) is not None:
    _save('tasks', control_figures.draw_curves(pyplot, control, 256))
    _save('widths', control_figures.draw_widths(pyplot, control))
  if (transfer := small_records.read('transfer')) is not None:
    scored = transfer_results.add_scores(transfer)
    names = transfer_results.NAMES
    _save('transfer', control_figures.draw_transfer(pyplot, scored, names))


def _save(name, figure):
  drawing.save(figure, os.path.join('brc', f'{name}.png'))


def main() -> None:
  """Does what the command line asks for."""
  script.main(
    'experiments.brc.small_results',
    'Small experiments with BRC.',
    EXPERIMENTS,
    run,
    lambda: [(README, name, text) for name, text in make_texts().items()],
    draw,
  )


if __name__ == '__main__':
  main()
