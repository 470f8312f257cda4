"""Draws the self-tuned metaparameters of runs over frames.

    python -m experiments.stacx.metaparameters LOGDIR... --out=x.png

As figures 5 and 10 to 19 of Zahavy et al. 2020 (arXiv:2002.12928): sigmoids,
loss coefficients without their scale, a colour per head (blue: head 1, which
acts), and the returns. A LOGDIR is a run, a recorded result, or a folder of
seed_* folders; every run is a thin line, the mean of complete ones a thick one.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from core.errors import UserError
from experiments.plots import drawing
from experiments.runs import grouping, learning_curves
from experiments.runs.reader import Run

NAMES = {
  'gamma': 'discount γ',
  'lambda': 'traces λ',
  'alpha': 'leakiness α',
  'alpha_rho': 'leakiness α of ρ',
  'alpha_c': 'leakiness α of c',
  'truncation': 'truncation level (share)',
  'g_v': 'value loss g_v (share)',
  'g_p': 'policy gradient g_p (share)',
  'g_e': 'regulariser g_e (share)',
}
_COLUMN = re.compile(rf'({"|".join(NAMES)})_head_(\d+)')


def read(run: Run) -> dict[str, dict[int, tuple[np.ndarray, np.ndarray]]]:
  """Reads a run's metaparameters.

  Args:
    run: of STAC or STACX.

  Returns:
    By metaparameter and head, environment frames and sigmoids, float [P] each.

  Raises:
    UserError: it has none, or its table is malformed.
  """
  table = run.table('updates')
  found = {} if table is None else map(_COLUMN.fullmatch, table.columns)
  columns = [(m[0], m[1], int(m[2])) for m in found if m]
  if not columns:
    raise UserError(f'no metaparameters in the updates.csv of {run.folder}')
  table = run.table('updates', more=[column for column, _, _ in columns])
  traces = {}
  for column, name, head in columns:
    trace = (table.env_frames.to_numpy(), table[column].to_numpy())
    traces.setdefault(name, {})[head] = trace
  return {name: traces[name] for name in NAMES if name in traces}


def draw(pyplot: Any, folders: Sequence[str]) -> Any:
  """Returns the figure: a panel per metaparameter, one of returns.

  Args:
    pyplot: from `drawing.open_pyplot`.
    folders: as on the command line.

  Raises:
    UserError: a run has no metaparameters, or a table is malformed.
  """
  agents = grouping.read_agents(folders)
  runs = grouping.runs_of(agents)
  traces = [read(run) for run in runs]
  names = [n for n in NAMES if any(n in trace for trace in traces)]
  figure, axes = drawing.make_panels(pyplot, len(names) + 1)
  for ax, name in zip(axes, names, strict=False):
    heads = sorted({head for t in traces for head in t.get(name, ())})
    for head in heads:
      lines = [t[name][head] for t in traces if head in t.get(name, ())]
      _draw_head(ax, lines, head)
    ax.set_title(NAMES[name])
  _draw_returns(axes[-1], agents)
  drawing.add_legend(figure, axes, 'environment frames (millions)')
  return figure


def _draw_head(ax, lines, head):
  color, label = f'C{head - 1}', f'head {head}'
  if len(lines) == 1:
    drawing.draw_line(ax, *lines[0], label, color)
    return
  for frames, values in lines:
    ax.plot(frames / 1e6, values, color=color, lw=0.8, alpha=0.55)
  # The mean as far as all of them go.
  start, end = (
    pick(line[0][i] for line in lines) for pick, i in ((max, 0), (min, -1))
  )
  frames = np.linspace(start, end, learning_curves.NUM_POINTS)
  mean = np.mean([np.interp(frames, *line) for line in lines], axis=0)
  drawing.draw_line(ax, frames, mean, label, color)


def _draw_returns(ax, agents):
  ax.set_title('return')
  curves = learning_curves.make_curves(agents)
  tasks = len(curves.tasks)
  for i, (task, by_agent) in enumerate(curves.tasks.items()):
    for j, curve in enumerate(by_agent.values()):
      name = task if tasks > 1 else 'return'
      for run in curve.runs:
        ax.plot(
          run.env_frames / 1e6,
          run.values,
          color=f'{0.2 + 0.5 * (i + j) / (tasks + len(by_agent))}',
          lw=1.2,
          label=name,
        )


def main() -> None:
  """Draws what the command line names."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.stacx.metaparameters',
    description='Draw self-tuned metaparameters over frames.',
  )
  parser.add_argument(
    'folders', nargs='+', metavar='LOGDIR', help='runs of STAC or STACX'
  )
  parser.add_argument('--out', required=True, help='picture to write')
  arguments = parser.parse_args()
  try:
    drawing.check_path(arguments.out)
    figure = draw(drawing.open_pyplot(), arguments.folders)
    drawing.save(figure, arguments.out)
  except UserError as error:
    sys.exit(f'error: {error}')
  print(arguments.out)


if __name__ == '__main__':
  main()
