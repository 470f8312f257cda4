"""Training that is killed at random and started again until it finishes.

What it leaves must be what an uninterrupted run leaves: in sync mode to the
bit, in async mode without a row lost or doubled.
"""

import contextlib
import csv
import logging
import os
import pathlib
import random
import signal

from tensorboard.backend.event_processing import event_accumulator

from tools import same_runs
from tools.forked import Finished, Process
from tools.torture import cases
from tools.torture.cases import Case, Workshop

NUM_UPDATES = 40
_MAX_KILLS = 6
_SIGNALS = 6 * (signal.SIGKILL,) + (signal.SIGINT, signal.SIGTERM)
_ANNOUNCED = 'logdir'  # In the first line of a command of ours.


def sync_training(seed: int, workshop: Workshop) -> Case:
  """Kills training in sync mode, which then equals the whole run to the bit."""
  rng = random.Random(seed)
  paper = rng.choice(cases.PAPERS)
  case = Case(seed, f'{paper} sync')
  reference = workshop.sample(
    f'{paper}_sync', lambda folder: _train_whole(paper, 'sync', folder)
  )
  logdir = workshop.fresh(f'kills_{seed}')
  flags = _flags('sync', logdir, rng.randint(1, 8))
  kill_training(case, f'{paper}.experiment', flags, logdir, rng)
  if not case.problems:
    case.problems += [
      f'differs from the whole run: {name}'
      for name in same_runs.differences(logdir, reference)
    ]
    if points(logdir) != points(reference):
      case.problems.append('TensorBoard shows other points')
  return counted(case, 'bit_equal')


def async_training(seed: int, workshop: Workshop) -> Case:
  """Kills training in async mode, whose records must be whole."""
  rng = random.Random(seed)
  paper = rng.choice(cases.PAPERS)
  case = Case(seed, f'{paper} async')
  logdir = workshop.fresh(f'kills_{seed}')
  flags = _flags('async', logdir, rng.randint(1, 8))
  kill_training(case, f'{paper}.experiment', flags, logdir, rng)
  if not case.problems:
    case.problems += broken_records(logdir)
  return counted(case, 'whole')


def kill_training(
  case: Case,
  module: str,
  flags: list[str],
  logdir: pathlib.Path,
  rng: random.Random,
) -> None:
  """Starts a command again and again, until it finishes or something is wrong.

  Args:
    case: receives problems and the number of kills.
    module: of the command.
    flags: of the command.
    logdir: of the run.
    rng: chooses moments and signals.
  """
  for _ in range(rng.randint(1, _MAX_KILLS)):
    process = Process(module, *flags)
    wait_for_a_moment(process, logdir / 'checkpoints', rng)
    if kill(case, process, rng.choice(_SIGNALS)):
      return
  case.problems += cases.complaints(
    Process(module, *flags).finish(2 * cases.TIMEOUT_SECS), (0,)
  )


def wait_for_a_moment(
  process: Process, folder: pathlib.Path, rng: random.Random
) -> None:
  """Waits until a random time: at the start, near a change, or any.

  Args:
    process: that is to be killed.
    folder: whose changes are to be hit.
    rng: chooses.
  """
  kind = rng.choices(('start', 'change', 'any'), (2, 4, 2))[0]
  if kind == 'start':
    process.wait(rng.uniform(0, 2))
  elif kind == 'any':
    process.wait(rng.uniform(0, 6))
  else:
    for _ in range(rng.randint(1, 3)):
      earlier = _listing(folder)
      process.wait_until(lambda old=earlier: _listing(folder) != old, 10)
    process.wait(rng.choice((0, rng.uniform(0, 0.005), rng.uniform(0, 0.1))))


def broken_records(logdir: pathlib.Path) -> list[str]:
  """Returns what is lost or doubled in the records of a finished run."""
  with open(logdir / 'updates.csv', newline='', encoding='utf-8') as file:
    updates = list(csv.DictReader(file))
  with open(logdir / 'episodes.csv', newline='', encoding='utf-8') as file:
    episodes = list(csv.DictReader(file))
  wrong = []
  numbers = list(range(1, NUM_UPDATES + 1))
  frames = [number * cases.FRAMES_PER_UPDATE for number in numbers]
  if [int(row['num_updates']) for row in updates] != numbers:
    wrong.append('updates.csv: num_updates has a gap or repeats')
  if [int(row['env_frames']) for row in updates] != frames:
    wrong.append('updates.csv: env_frames is not a multiple of the batch')
  times = [float(row['wall_secs']) for row in updates]
  if times != sorted(times):
    wrong.append('updates.csv: wall_secs falls')
  ends = [int(row['env_frames']) for row in episodes]
  if ends != sorted(ends) or not set(ends) <= set(frames):
    wrong.append('episodes.csv: env_frames falls or is of no update')
  newest = max((logdir / 'checkpoints').glob('*.npz')).name
  if newest != f'checkpoint_{frames[-1]:015d}.npz':
    wrong.append(f'the newest checkpoint is {newest}')
  shown = points(logdir)
  if [step for step, _ in shown.get('total_loss', ())] != frames:
    wrong.append('TensorBoard: total_loss lacks or repeats points')
  returns = [
    step
    for tag, found in shown.items()
    if tag.endswith('/episode_return')
    for step, _ in found
  ]
  if sorted(returns) != ends:
    wrong.append('TensorBoard: episode_return lacks or repeats points')
  return wrong


def points(logdir: pathlib.Path) -> dict[str, list[tuple[int, float]]]:
  """Returns what TensorBoard shows: steps and values by tag."""
  # It tells of every restart.
  logging.getLogger('tensorboard').setLevel(logging.ERROR)
  accumulator = event_accumulator.EventAccumulator(
    str(logdir), size_guidance={event_accumulator.SCALARS: 0}
  )
  accumulator.Reload()
  return {
    tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
    for tag in accumulator.Tags()['scalars']
  }


def kill(case: Case, process: Process, number: int) -> bool:
  """Sends a signal and waits for the end.

  Args:
    case: receives problems and the number of kills.
    process: a command.
    number: of the signal.

  Returns:
    Whether the case is over: the command finished, or something is wrong.
  """
  has_ended = process.wait(0) is not None
  if not has_ended:
    case.counts['kills'] = case.counts.get('kills', 0) + 1
    # A group it becomes in its first moments.
    with contextlib.suppress(ProcessLookupError):
      process.signal(number)
  finished = process.finish(cases.TIMEOUT_SECS)
  # A signal that is caught may end it with status 0 before it has finished.
  has_ended |= finished.status == 0 and number == signal.SIGKILL
  if has_ended:
    case.problems += cases.complaints(finished, (0,))
  elif number != signal.SIGKILL:
    case.problems += _rude_ends(finished, number)
  return has_ended or bool(case.problems)


def _rude_ends(finished: Finished, number: int) -> list[str]:
  """Returns what is wrong with the end after a signal that may be caught."""
  # Python itself prints a traceback as long as nothing of ours is loaded.
  if _ANNOUNCED not in finished.stdout:
    return []
  return cases.complaints(finished, (0, 130, 143, -number))


def _train_whole(paper: str, mode: str, logdir: pathlib.Path) -> None:
  cases.must_run(f'{paper}.experiment', *_flags(mode, logdir, 10), cwd=logdir)


def _flags(mode, logdir, checkpoint_updates):
  return [
    *cases.SMALL,
    f'--actor_mode={mode}',
    f'--total_environment_frames={NUM_UPDATES * cases.FRAMES_PER_UPDATE}',
    f'--checkpoint_updates={checkpoint_updates}',
    f'--logdir={logdir}',
  ]


def _listing(folder):
  """Returns what changes in a folder when a file is written."""
  found = []
  for path, _, names in os.walk(folder):
    for name in names:
      with contextlib.suppress(FileNotFoundError):
        stat = os.stat(os.path.join(path, name))
        found.append((path, name, stat.st_mtime_ns, stat.st_size))
  return found


def counted(case: Case, name: str) -> Case:
  """Returns the case with its kills counted under what they were to leave."""
  kills = case.counts.get('kills', 0)
  case.counts[f'{name}_kills'] = kills
  case.counts[name] = 0 if case.problems else kills
  return case
