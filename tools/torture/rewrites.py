"""Sweeps, recorded runs and README tables, killed at random while at work.

A sweep that is launched again must end with the runs of an undisturbed launch;
a recorded run and a README are at every moment the old ones or the new ones.
"""

import pathlib
import random
import shutil
import signal
import time
from collections.abc import Callable

import psutil

from tools import same_runs
from tools.forked import ROOT, Process
from tools.torture import cases, kills
from tools.torture.cases import Case, Workshop

_RUNS = 'runs/*/seed_1'
_ROW = 'impala/torture/seed_1'
_TABLE_FILES = ('README.md', 'experiments', 'popart')
_SWEEP = """\
MODULE = 'impala.experiment'
FLAGFILE = '{folder}/run.flags'
OVERRIDES = ({{'learning_rate': 0.001}}, {{'learning_rate': 0.002}})
SEEDS = (1,)
LOGDIR = '{folder}/runs'
STAGES = ({{}}, {{'mode': 'test', 'test_num_episodes': 3}})
"""
_SWEEP_FLAGS = (
  *cases.SMALL,
  '--actor_mode=sync',
  '--checkpoint_updates=3',
  '--total_environment_frames=800',
)


def launch(seed: int, workshop: Workshop) -> Case:
  """Kills a launcher, or a run of its, and launches again."""
  rng = random.Random(seed)
  case = Case(seed, 'launch')
  reference = workshop.sample('launched', make_launched)
  folder = workshop.fresh(f'launch_{seed}')
  write_sweep(folder)
  for _ in range(rng.randint(1, 3)):
    process = _launch(folder)
    process.wait(rng.uniform(0, 15))
    if rng.random() < 0.3 and (victim := _a_run_of(process, rng)):
      victim.kill()
      case.counts['kills'] = case.counts.get('kills', 0) + 1
      time.sleep(rng.uniform(0, 1))
    if kills.kill(case, process, signal.SIGKILL):
      break
  if not case.problems:
    # A run that was killed alone is a failure; the next launch mends it.
    finished = _launch(folder).finish(3 * cases.TIMEOUT_SECS)
    if finished.status == 1:
      finished = _launch(folder).finish(3 * cases.TIMEOUT_SECS)
    case.problems += cases.complaints(finished, (0,))
  if not case.problems:
    for run in reference.glob(_RUNS):
      ours = folder / run.relative_to(reference)
      case.problems += [
        f'{run.parent.name} differs in {name}'
        for name in same_runs.differences(ours, run)
      ]
  return kills.counted(case, 'bit_equal')


def make_launched(folder: pathlib.Path) -> None:
  """Makes the sample of a launched sweep."""
  write_sweep(folder)
  cases.must_run(
    'experiments.launch', f'{folder}/sweep.py', '--max_parallel=2', cwd=ROOT
  )


def write_sweep(folder: pathlib.Path) -> None:
  """Writes sweep.py and its flag file."""
  (folder / 'run.flags').write_text('\n'.join(_SWEEP_FLAGS))
  (folder / 'sweep.py').write_text(_SWEEP.format(folder=folder))


def record(seed: int, workshop: Workshop) -> Case:
  """Kills `experiments.record`, over an earlier record or none."""
  rng = random.Random(seed)
  case = Case(seed, 'record')
  launched = workshop.sample('launched', make_launched)
  logdir = rng.choice(sorted(launched.glob(_RUNS)))
  scratch = workshop.fresh(f'record_{seed}')
  results = scratch / 'experiments' / 'results'
  results.mkdir(parents=True)
  arguments = ('experiments.record', str(logdir), _ROW)
  cases.must_run(*arguments, cwd=scratch)
  new = cases.contents(results / _ROW)
  old = {**new, 'evaluation.md': b'old\n'} if rng.random() < 0.5 else {}
  shutil.rmtree(results)
  for name, content in old.items():
    (results / _ROW).mkdir(parents=True, exist_ok=True)
    (results / _ROW / name).write_bytes(content)

  def check():
    found = cases.contents(results / _ROW)
    return [] if found in (old, new) else [f'half a record: {list(found)}']

  _kill_and_look(
    case, lambda: Process(*arguments, cwd=scratch), results, check, rng
  )
  if not case.problems:
    expected = {f'{_ROW}/{name}': content for name, content in new.items()}
    left = cases.contents(results)
    if left != expected:
      case.problems.append(f'left {sorted(left.keys() ^ expected.keys())}')
  return kills.counted(case, 'whole')


def tables(seed: int, workshop: Workshop) -> Case:
  """Kills `experiments.tables --write` over READMEs that lack their tables."""
  rng = random.Random(seed)
  case = Case(seed, 'tables')
  sample = workshop.sample('tables', _make_tables)
  scratch = workshop.fresh(f'tables_{seed}')
  shutil.copytree(sample / 'old', scratch, dirs_exist_ok=True)
  old, new = (cases.contents(sample / name) for name in ('old', 'new'))

  def check():
    return half_written(cases.contents(scratch), old, new)

  arguments = ('experiments.tables', '--write')
  _kill_and_look(
    case, lambda: Process(*arguments, cwd=scratch), scratch, check, rng
  )
  if not case.problems and cases.contents(scratch) != new:
    case.problems.append('the last call did not write everything')
  return kills.counted(case, 'whole')


def half_written(
  found: dict[str, bytes], old: dict[str, bytes], new: dict[str, bytes]
) -> list[str]:
  """Returns the files, by path, that are neither the old nor the new ones."""
  return [
    f'{name} is neither old nor new'
    for name in old
    if found.get(name) not in (old[name], new[name])
  ]


def _kill_and_look(
  case: Case,
  start: Callable[[], Process],
  watched: pathlib.Path,
  check: Callable[[], list[str]],
  rng: random.Random,
) -> None:
  """Kills a command a few times, looks after each, then lets it finish."""
  for _ in range(rng.randint(1, 4)):
    process = start()
    kills.wait_for_a_moment(process, watched, rng)
    is_over = kills.kill(case, process, signal.SIGKILL)
    case.problems += check()
    if is_over or case.problems:
      return
  case.problems += cases.complaints(start().finish(cases.TIMEOUT_SECS), (0,))


def _make_tables(folder):
  """Copies what the tables are made of, and makes them."""
  for which in ('old', 'new'):
    for name in _TABLE_FILES:
      source, target = ROOT / name, folder / which / name
      target.parent.mkdir(parents=True, exist_ok=True)
      if source.is_dir():
        ignored = shutil.ignore_patterns('__pycache__', '*.py', '*.png')
        shutil.copytree(source, target, ignore=ignored)
      else:
        shutil.copy(source, target)
  cases.must_run('experiments.tables', '--write', cwd=folder / 'new')
  for path in (folder / 'old').rglob('README.md'):
    lines = path.read_text().splitlines(keepends=True)
    ends = [i for i, line in enumerate(lines) if line.endswith(': end -->\n')]
    for i in reversed(ends):
      lines.insert(i, 'This line is to go.\n')
    path.write_text(''.join(lines))


def _launch(folder):
  return Process(
    'experiments.launch', f'{folder}/sweep.py', '--max_parallel=2', cwd=ROOT
  )


def _a_run_of(process, rng):
  """Returns a process that a launcher has started, if there is one."""
  try:
    found = psutil.Process(process.pid).children()
  except psutil.NoSuchProcess:
    return None
  return rng.choice(found) if found else None
