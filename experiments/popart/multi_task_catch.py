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
from experiments import launch, markdown, record
from experiments.popart import scaled_catch

AGENTS = {
  'popart_impala': 'PopArt-IMPALA',
  'multihead_impala': 'MultiHead-IMPALA',
  'impala': 'IMPALA',
}
SEEDS = range(1, 6)
SWEEP = os.path.join('experiments', 'popart', 'multi_task_catch_sweep.py')
BIN_FRAMES = 20_000
SOLVED = 0.9  # Of the best return.
README = os.path.join('popart', 'README.md')
FIGURE = os.path.join('popart', 'multi_task_catch.png')
MARKERS = (
  '<!-- multi_task_catch: begin -->',
  '<!-- multi_task_catch: end -->',
)


def run_all(num_parallel: int) -> None:
  """Trains and tests every agent and seed, and records them.

  Raises:
    UserError: a run failed or was interrupted; the same command goes on.
  """
  for run in launch.run_sweep(SWEEP, num_parallel).runs:
    row = f'popart/multi_task_catch_{run.name}'
    record.record(run.logdir, row, BIN_FRAMES)


def read(name: str) -> pd.DataFrame:
  """Reads a recorded file of all runs; success is the return over the best.

  Args:
    name: 'evaluation.csv' or 'returns.csv.gz'.

  Returns:
    Its rows with the columns agent, seed, scale and success.

  Raises:
    UserError: no run is recorded.
  """
  tables = []
  for agent in AGENTS:
    for seed in SEEDS:
      path = os.path.join(
        *(record.RESULTS, 'popart', f'multi_task_catch_{agent}'),
        *(f'seed_{seed}', name),
      )
      if os.path.exists(path):
        tables.append(pd.read_csv(path).assign(agent=agent, seed=seed))
  if not tables:
    raise UserError('no recorded run of multi_task_catch: --run first')
  table = pd.concat(tables, ignore_index=True)
  scales = {
    f'experiments.popart.scaled_catch:{task}': scale
    for task, scale in zip(scaled_catch.TASKS, scaled_catch.SCALES, strict=True)
  }
  scale = table.task.map(scales)
  column = 'return' if 'return' in table else 'mean_return'
  return table.assign(scale=scale, success=table[column] / scale)


def make_table() -> str:
  """Returns a Markdown table: success per agent and scale over seeds."""
  per_seed = read('evaluation.csv').groupby(['agent', 'scale', 'seed'])
  per_seed = per_seed.success.mean()
  header = ['agent', 'seeds', *(f'x {s:g}' for s in scaled_catch.SCALES)]
  lines = [[*header, 'scales solved'], ['---'] * (len(header) + 1)]
  for agent, name in AGENTS.items():
    if agent not in per_seed.index:
      continue
    scores = per_seed[agent].unstack('seed')  # [scale, seed]
    cells = [
      f'{row.mean():.2f} ({row.min():.2f})' for _, row in scores.iterrows()
    ]
    solved = int((scores.min(axis=1) >= SOLVED).sum())
    lines.append(
      [name, str(scores.shape[1]), *cells, f'{solved} of {len(scores)}']
    )
  return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def draw(path: str) -> None:
  """Draws success against frames: a panel per agent, a line per scale."""
  import matplotlib

  matplotlib.use('Agg')
  from matplotlib import pyplot

  curves = read('returns.csv.gz')
  figure, axes = pyplot.subplots(1, 3, figsize=(15, 4.4), sharey=True)
  colors = pyplot.get_cmap('viridis')(
    np.linspace(0, 0.95, len(scaled_catch.SCALES))
  )
  for ax, (agent, name) in zip(axes, AGENTS.items(), strict=True):
    for scale, color in zip(scaled_catch.SCALES, colors, strict=True):
      rows = curves[(curves.agent == agent) & (curves.scale == scale)]
      if rows.empty:
        continue
      over_seeds = rows.groupby('env_frames').success
      millions = np.array(sorted(rows.env_frames.unique())) / 1e6
      ax.plot(millions, over_seeds.mean(), color=color, label=f'x {scale:g}')
      ax.fill_between(
        *(millions, over_seeds.min(), over_seeds.max()),
        color=color, alpha=0.15, linewidth=0,
      )  # fmt: skip
    ax.axhline(SOLVED, color='grey', lw=1, ls=':')
    ax.set_title(name)
    ax.set_xlabel('environment frames (millions), all copies')
  axes[0].set_ylabel('return / best return')
  axes[-1].legend(title='rewards', frameon=False, loc='center left',
                  bbox_to_anchor=(1.0, 0.5))  # fmt: skip
  figure.suptitle(
    'Seven copies of Catch in one agent: mean of seeds, band from worst to best'
  )
  figure.tight_layout()
  figure.savefig(path, dpi=100)
  pyplot.close(figure)


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
      markdown.write(README, table, *MARKERS)
      draw(FIGURE)
  except UserError as error:
    sys.exit(f'error: {error}')
  print(table)


if __name__ == '__main__':
  main()
