"""Compares short runs of two checkouts to the bit.

For changes that should move nothing but the furniture:

    git worktree add /tmp/before COMMIT
    python -m tools.same_runs /tmp/before

trains and tests a few runs in sync mode, with the code of either checkout, and
compares checkpoints, records and evaluations. Where the environment can save
its state, it also goes on from a checkpoint that the other checkout wrote
halfway through.
"""

import argparse
import csv
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
FAKE_LAB = ROOT / 'tests' / 'fake_deepmind_lab'
# Arrays of earlier checkouts that nothing reads: the actors' value estimates.
DROPPED = ('/agent_output/baseline', '/agent_outputs/baseline')

SMALL = (
  '--actor_mode=sync',
  '--num_environments=8',
  '--batch_size=8',
  '--unroll_length=5',
  '--log_updates=1',
)
# By name: module, flags, frames, whether environments save their state.
CASES = {
  'impala_catch': ('impala', ('--preset=debug', *SMALL), 1200, True),
  'impala_catch_lstm': (
    'impala',
    ('--preset=debug', '--use_lstm', '--torso=deep', *SMALL),
    600,
    True,
  ),
  'impala_pong': (
    'impala',
    ('--preset=atari_expert_shallow', *SMALL, '--level_name=pong'),
    4800,
    False,
  ),
  'impala_lab': (
    'impala',
    (
      '--preset=dmlab_single_level',
      *SMALL,
      '--level_name=rooms_watermaze,language_select_located_object',
      '--num_environments=4',
      '--batch_size=4',
    ),
    800,
    False,
  ),
  'popart_pong_breakout': (
    'popart',
    (
      '--preset=atari57_unclipped',
      *SMALL,
      '--level_name=pong,breakout',
      '--torso=shallow',
    ),
    4800,
    False,
  ),
  'pixel_control_catch': (
    'pixel_control',
    ('--preset=debug', *SMALL),
    800,
    True,
  ),
  'distral_two_rooms': (
    'distral',
    ('--preset=debug', *SMALL, '--xla=off'),
    1200,
    True,
  ),
}


def run(checkout: pathlib.Path, module: str, flags: list[str]) -> None:
  """Runs an experiment with the code of a checkout.

  Raises:
    RuntimeError: it failed, with the end of what it said.
  """
  environment = {
    **os.environ,
    'PYTHONPATH': os.pathsep.join([str(checkout), str(FAKE_LAB)]),
    'TF_CPP_MIN_LOG_LEVEL': '3',
    'TF_NUM_INTRAOP_THREADS': '1',
  }
  finished = subprocess.run(
    [sys.executable, '-m', f'{module}.experiment', *flags],
    cwd=checkout,
    env=environment,
    capture_output=True,
    text=True,
  )
  if finished.returncode:
    raise RuntimeError(f'{checkout}: {finished.stderr[-2000:]}')


def train(checkout, module, flags, frames, logdir) -> None:
  """Trains to a frame."""
  # In a file: typed flags are refused where a mode does not read them.
  logdir.mkdir(exist_ok=True)
  (logdir / 'run.flags').write_text('\n'.join(flags))
  flags = [f'--flagfile={logdir}/run.flags', f'--logdir={logdir}']
  run(checkout, module, [*flags, f'--stop_frames={frames}'])


def test(checkout, module, logdir) -> None:
  """Plays 5 test episodes per task."""
  flags = [f'--flagfile={logdir}/run.flags', f'--logdir={logdir}']
  run(checkout, module, [*flags, '--mode=test', '--test_num_episodes=5'])


def differences(found: pathlib.Path, expected: pathlib.Path) -> list[str]:
  """Returns what differs between two logdirs, but for the clock."""
  wrong = []
  arrays, others = _newest_arrays(found), _newest_arrays(expected)
  others = {n: a for n, a in others.items() if not n.endswith(DROPPED)}
  if arrays.keys() != others.keys():
    wrong.append(f'arrays {sorted(arrays.keys() ^ others.keys())}')
  for name in arrays.keys() & others.keys():
    if not np.array_equal(arrays[name], others[name]):
      wrong.append(f'array {name}')
  for name in ('updates.csv', 'episodes.csv', 'tasks.csv', 'evaluation.csv'):
    if timeless_rows(found / name) != timeless_rows(expected / name):
      wrong.append(name)
  return wrong


def _newest_arrays(logdir):
  path = max((logdir / 'checkpoints').glob('*.npz'), default=None)
  if path is None:
    return {}
  with np.load(path, allow_pickle=False) as archive:
    # Metadata holds wall-clock times.
    names = [n for n in archive.files if not n.startswith('metadata')]
    return {n: archive[n] for n in names}


def timeless_rows(path: pathlib.Path) -> list[dict[str, str]] | None:
  """Returns a CSV file's rows but for the clock's columns; None if gone."""
  if not path.exists():
    return None
  with open(path, newline='', encoding='utf-8') as file:
    return [
      {
        column: value
        for column, value in row.items()
        if column != 'frames_per_sec' and not column.endswith('_secs')
      }
      for row in csv.DictReader(file)
    ]


def compare(name: str, before: pathlib.Path, folder: pathlib.Path) -> list[str]:
  """Runs a case with both checkouts.

  Args:
    name: key of `CASES`.
    before: the other checkout.
    folder: where logdirs go.

  Returns:
    What differs.
  """
  module, flags, frames, is_resumable = CASES[name]
  old, new, resumed = (
    folder / f'{name}_{which}' for which in ('old', 'new', 'resumed')
  )
  for checkout, logdir in ((before, old), (ROOT, new)):
    train(checkout, module, flags, frames, logdir)
    test(checkout, module, logdir)
  wrong = differences(new, old)
  if is_resumable:
    train(before, module, flags, frames // 2, resumed)
    train(ROOT, module, flags, frames, resumed)
    test(ROOT, module, resumed)
    wrong += [f'resumed: {what}' for what in differences(resumed, old)]
  return wrong


def main() -> int:
  """Compares all cases, or those that are named."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('before', type=pathlib.Path, help='the other checkout')
  parser.add_argument('cases', nargs='*', help=f'of {", ".join(CASES)}')
  options = parser.parse_args()
  folder = pathlib.Path(tempfile.mkdtemp(prefix='same_runs_'))
  failed = False
  for name in options.cases or CASES:
    wrong = compare(name, options.before.resolve(), folder)
    failed |= bool(wrong)
    print(f'{name}: {"; ".join(wrong) or "the same to the bit"}', flush=True)
  shutil.rmtree(folder)
  return int(failed)


if __name__ == '__main__':
  sys.exit(main())
