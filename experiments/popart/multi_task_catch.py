"""Runs multi_task_catch, and draws its figure and table from recorded runs.

    python -m experiments.popart.multi_task_catch --run    # minutes per run
    python -m experiments.popart.multi_task_catch --write  # figure and table

--run launches multi_task_catch_sweep.py, goes on where it was stopped, and
records the runs under experiments/results/popart/.
--write draws popart/multi_task_catch.png and the table in popart/README.md.
"""

import argparse
import os
import sys

import numpy as np
import pandas as pd

from core.errors import UserError
from experiments import record
from experiments.launch import schedule
from experiments.plots import drawing
from experiments.popart import scaled_catch
from experiments.runs import learning_curves, recorded
from experiments.tables import markdown

NAME = 'multi_task_catch'
AGENTS = {
  'popart_impala': 'PopArt-IMPALA',
  'multihead_impala': 'MultiHead-IMPALA',
  'impala': 'IMPALA',
}
SWEEP = os.path.join('experiments', 'popart', 'multi_task_catch_sweep.py')
BIN_FRAMES = 20_000
SOLVED = 0.9  # Of the best return.
README = os.path.join('popart', 'README.md')
FIGURE = os.path.join('popart', 'multi_task_catch.png')


def run_all(num_parallel: int) -> None:
  """Trains and tests every agent and seed, and records them.

  Raises:
    UserError: a run failed or was interrupted; the same command goes on.
  """
  for run in schedule.run_sweep(SWEEP, num_parallel).runs:
    record.record(run.logdir, f'popart/{NAME}_{run.name}', BIN_FRAMES)


def read(table: str) -> pd.DataFrame:
  """Reads a recorded table of all runs; success is the return over the best.

  Args:
    table: 'evaluation' or 'returns'.

  Returns:
    Its rows with the columns agent, seed, scale and success.

  Raises:
    UserError: no run is recorded.
  """
  tables = [
    run.table(table).assign(agent=agent, seed=int(run.seed))
    for agent in AGENTS
    if f'popart/{NAME}_{agent}' in recorded.names()
    for run in recorded.read(f'popart/{NAME}_{agent}')
  ]
  if not tables:
    raise UserError('no recorded run of multi_task_catch: --run first')
  rows = pd.concat(tables, ignore_index=True)
  scale = rows.task.map(scaled_catch.SCALE_OF_TASK)
  column = 'return' if 'return' in rows else 'mean_return'
  return rows.assign(scale=scale, success=rows[column] / scale)


def make_table() -> str:
  """Returns a Markdown table: success per agent and scale over seeds."""
  per_seed = read('evaluation').groupby(['agent', 'scale', 'seed'])
  per_seed = per_seed.success.mean()
  scales = [f'x {scale:g}' for scale in scaled_catch.SCALES]
  body = []
  for agent, name in AGENTS.items():
    if agent not in per_seed.index:
      continue
    scores = per_seed[agent].unstack('seed')  # [scale, seed]
    cells = [
      f'{row.mean():.2f} ({row.min():.2f})' for _, row in scores.iterrows()
    ]
    solved = int((scores.min(axis=1) >= SOLVED).sum())
    count = f'{solved} of {len(scores)}'
    body.append([name, str(scores.shape[1]), *cells, count])
  return markdown.table(['agent', 'seeds', *scales, 'scales solved'], body)


def draw(path: str) -> None:
  """Draws success against frames: a panel per agent, a line per scale."""
  pyplot = drawing.open_pyplot()
  returns = read('returns')
  figure, axes = pyplot.subplots(1, 3, figsize=(15, 4.4), sharey=True)
  colors = pyplot.get_cmap('viridis')(
    np.linspace(0, 0.95, len(scaled_catch.SCALES))
  )
  for ax, (agent, name) in zip(axes, AGENTS.items(), strict=True):
    for scale, color in zip(scaled_catch.SCALES, colors, strict=True):
      rows = returns[(returns.agent == agent) & (returns.scale == scale)]
      if not rows.empty:
        table = rows.pivot(index='env_frames', columns='seed', values='success')
        curve = learning_curves.range_curve(table)
        drawing.draw_curve(ax, curve, f'x {scale:g}', color)
    ax.axhline(SOLVED, color='grey', lw=1, ls=':')
    ax.set_title(name)
    ax.set_xlabel('environment frames (millions), all copies')
  axes[0].set_ylabel('return / best return')
  axes[-1].legend(
    title='rewards', frameon=False, loc='center left', bbox_to_anchor=(1, 0.5)
  )
  figure.suptitle(
    'Seven copies of Catch in one agent: mean of seeds, band from worst to best'
  )
  figure.tight_layout()
  drawing.save(figure, path)


def main() -> None:
  """Does what the command line asks for."""
  parser = argparse.ArgumentParser(description='Multi-task Catch.')
  parser.add_argument('--run', action='store_true', help='train, test, record')
  parser.add_argument('--write', action='store_true', help='figure and table')
  parser.add_argument(
    '--num_parallel', type=int, default=2, help='runs at once'
  )
  arguments = parser.parse_args()
  try:
    if arguments.run:
      run_all(arguments.num_parallel)
    table = make_table()
    if arguments.write:
      markdown.write(README, NAME, table)
      draw(FIGURE)
  except UserError as error:
    sys.exit(f'error: {error}')
  print(table)


if __name__ == '__main__':
  main()
