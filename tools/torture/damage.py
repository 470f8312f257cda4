"""Damaged files, and the commands that read them.

Such a command must go on or say in one line what is wrong, in time, without a
traceback; and it must leave alone what was not damaged.
"""

import io
import json
import os
import pathlib
import random
import shutil
from typing import Any

import numpy as np

from tools import same_runs
from tools.forked import ROOT
from tools.torture import cases, rewrites
from tools.torture.cases import Case, Workshop

TIMEOUT_SECS = 40.0
_LAUNCH_SECS = 120.0  # It may have to train its runs anew.

_FLAGS = (
  *cases.SMALL,
  '--actor_mode=sync',
  '--keep_checkpoints=20',
  '--checkpoint_updates=5',
  '--total_environment_frames=1600',
)
_HALF, _WHOLE = '--stop_frames=800', '--stop_frames=1600'
_GAME = 'breakout'
_GAME_FLAGS = (
  '--preset=atari_expert_shallow',
  f'--level_name={_GAME}',
  '--num_environments=2',
  '--batch_size=2',
  '--xla=off',
  '--total_environment_frames=160',
)
_CSV = ('updates.csv', 'episodes.csv', 'tasks.csv')
_REPORTS = ('report', 'compare', 'curves', 'record')
# By file of a run that was trained and tested: what reads it.
_READERS = {
  'checkpoints': ('train', 'train', 'test'),
  'updates.csv': ('train', 'report', 'record'),
  'episodes.csv': ('train', *_REPORTS),
  'tasks.csv': ('train', 'report', 'record'),
  'run.json': ('train', *_REPORTS),
  'evaluation.csv': ('test', 'report', 'compare', 'record'),
  'run.flags': ('train', 'test'),
}
# A command writes these anew or goes on in them.
_WRITTEN = ('run.json', 'lock', 'log', 'evaluation.csv', 'evaluation.md')


def run_files(seed: int, workshop: Workshop) -> Case:
  """Damages a file of a run, then trains on, tests or reports it."""
  rng = random.Random(seed)
  folder = workshop.fresh(f'damage_{seed}')
  logdir = folder / 'run'
  shutil.copytree(workshop.sample('tested', _make_tested), logdir)
  name = rng.choice(list(_READERS))
  reader = rng.choice(_READERS[name])
  paths = [logdir / name]
  if name == 'checkpoints':
    paths = sorted(paths[0].iterdir())
    paths = paths if rng.random() < 0.2 else [rng.choice(paths)]
  whole = len(paths) == 1
  case = Case(seed, '')
  hurt = [damage(path, rng) for path in paths]
  case.title = f'{name} {", ".join(hurt)}; {reader}'
  before = cases.contents(logdir)
  rows = {n: same_runs.timeless_rows(logdir / n) for n in _CSV if n != name}
  finished = cases.run(
    *_command(reader, logdir, folder), cwd=folder, timeout=TIMEOUT_SECS
  )
  case.problems += cases.complaints(finished)
  spared = [n for n in before if n != name and logdir / n not in paths]
  case.problems += _lost(logdir, before, rows, spared, finished, reader)
  if reader == 'train' and finished.status == 0:
    if name in _CSV and 'warning: ' not in finished.stdout:
      case.problems.append(f'went on with a damaged {name} without a word')
    if (
      name == 'checkpoints'
      and not whole
      and 'resuming' not in (finished.stdout)
    ):
      case.problems.append('began anew over the records of a run')
  return _counted(case)


def launch_state(seed: int, workshop: Workshop) -> Case:
  """Damages what a launcher keeps of a run, then launches or lists."""
  rng = random.Random(seed)
  sample = workshop.sample('launched', rewrites.make_launched)
  folder = workshop.fresh(f'damage_{seed}')
  shutil.copytree(sample, folder, dirs_exist_ok=True)
  rewrites.write_sweep(folder)
  for state in folder.glob('runs/*/seed_1/launch.json'):
    # So that the stages are known as done, though the sweep has moved.
    state.write_text(state.read_text().replace(str(sample), str(folder)))
  run = sorted(folder.glob('runs/*/seed_1'))[0]
  name = rng.choice(('launch.json', 'launch.json', 'log', 'sweep.py'))
  path = folder / name if name == 'sweep.py' else run / name
  case = Case(seed)
  flags = rng.choice(((), ('--dry_run',)))
  case.title = f'{name} {damage(path, rng)}; launch {" ".join(flags)}'
  before = cases.contents(folder)
  finished = cases.run(
    *('experiments.launch', str(folder / 'sweep.py'), *flags),
    cwd=ROOT,
    timeout=_LAUNCH_SECS,
  )
  case.problems += cases.complaints(finished)
  case.problems += [
    f'{other} is gone'
    for other in before
    if other != str(path.relative_to(folder)) and not (folder / other).exists()
  ]
  return _counted(case)


def start_states(seed: int, workshop: Workshop) -> Case:
  """Damages a start state, then tests from it."""
  rng = random.Random(seed)
  sample = workshop.sample('start_states', _make_start_states)
  folder = workshop.fresh(f'damage_{seed}')
  shutil.copytree(sample, folder, dirs_exist_ok=True)
  states = folder / 'states' / _GAME
  path = rng.choice([*sorted(states.iterdir()), states])
  case = Case(seed)
  case.title = f'{path.relative_to(folder)} {damage(path, rng)}; test'
  flags = _GAME_FLAGS[:2] + ('--mode=test',)
  finished = cases.run(
    'impala.experiment',
    *(*flags, f'--start_states={folder}/states', f'--logdir={folder}/run'),
    cwd=folder,
    timeout=TIMEOUT_SECS,
  )
  case.problems += cases.complaints(finished)
  return _counted(case)


def damage(path: pathlib.Path, rng: random.Random) -> str:
  """Damages a file; returns in a word how."""
  if path.is_dir():
    cases.remove(path)
    path.write_bytes(b'')
    return 'folder replaced by a file'
  content = path.read_bytes()
  kinds = ['flip', 'truncate', 'empty', 'random', 'folder', 'fifo', 'gone']
  shapes = ['json', 'nested'] + 2 * ['shape'] * (path.suffix == '.json')
  shapes += 4 * ['archive'] * (path.suffix == '.npz')
  kind = rng.choice(kinds + shapes)
  cases.remove(path)
  if kind == 'folder':
    path.mkdir()
  elif kind == 'fifo':
    os.mkfifo(path)
  elif kind != 'gone':
    path.write_bytes(_damaged(kind, content, rng))
  return kind


def _damaged(kind: str, content: bytes, rng: random.Random) -> bytes:
  """Returns the bytes that stand for a file's content."""
  if kind == 'flip' and content:
    place = rng.randrange(len(content))
    flipped = bytes([content[place] ^ (1 << rng.randrange(8))])
    return content[:place] + flipped + content[place + 1 :]
  if kind == 'truncate' and content:
    return content[: rng.randrange(len(content))]
  if kind == 'random':
    return rng.randbytes(rng.randint(1, 2 * len(content) + 1))
  if kind == 'json':
    return json.dumps(_any_value(rng)).encode()
  if kind == 'nested':
    return 100_000 * b'[' + 100_000 * b']'
  if kind == 'shape':
    return json.dumps(reshaped(json.loads(content), rng)).encode()
  if kind == 'archive':
    return _other_archive(content, rng)
  return b''


def reshaped(value: Any, rng: random.Random) -> Any:
  """Returns JSON in which one entry, at any depth, is another or missing."""
  if not value or not isinstance(value, (dict, list)) or rng.random() < 0.1:
    return _any_value(rng)
  if isinstance(value, list):
    place = rng.randrange(len(value))
    return [reshaped(v, rng) if i == place else v for i, v in enumerate(value)]
  name = rng.choice(list(value))
  if rng.random() < 0.2:
    return {n: v for n, v in value.items() if n != name}
  return {**value, name: reshaped(value[name], rng)}


def _any_value(rng):
  return rng.choice(
    (None, True, -1, 0, 2.5, 10**30, float('nan'), '', 'x', [], {}, [[1]])
    + ({'a': None}, ['x', 1], '\0', '9' * 5000)
  )


def _other_archive(content, rng):
  """Returns a checkpoint that is valid but for one entry."""
  with np.load(io.BytesIO(content)) as archive:
    arrays = dict(archive)
  name = rng.choice(list(arrays) + 8 * ['metadata'])
  if name == 'metadata':
    metadata = json.loads(arrays['metadata'].item())
    arrays[name] = np.asarray(json.dumps(reshaped(metadata, rng)))
  elif rng.random() < 0.3:
    del arrays[name]
  else:
    array = arrays[name]
    is_text = array.dtype.kind == 'U'
    others = (array[None], array if is_text else array.astype(np.complex64))
    arrays[name] = rng.choice(
      (np.zeros([2, 3]), np.asarray('x'), np.zeros([0], np.int64), *others)
    )
  file = io.BytesIO()
  np.savez(file, **arrays)
  return file.getvalue()


def _command(reader, logdir, folder):
  """Returns module and arguments of what reads a run."""
  if reader in ('train', 'test'):
    flags = (f'--flagfile={logdir}/run.flags', f'--logdir={logdir}')
    more = (_WHOLE,) if reader == 'train' else ('--mode=test',)
    return 'popart.experiment', *flags, *more
  run = str(logdir)
  return {
    'report': ('experiments.report', run, f'--out={folder}/report.html'),
    'compare': ('experiments.compare', run, '--with', run),
    'curves': ('experiments.curves', run, f'--out={folder}/curve.png'),
    'record': ('experiments.record', run, 'popart/torture/seed_1'),
  }[reader]


def _lost(logdir, before, rows, spared, finished, reader):
  """Returns what a command took from the files that were not damaged."""
  may_change = finished.status == 0 and reader in ('train', 'test')
  after = cases.contents(logdir)
  lost = []
  for name in spared:
    if name not in after:
      lost.append(f'{name} is gone')
    elif name in _WRITTEN or 'tfevents' in name:
      continue
    elif not may_change and after[name] != before[name]:
      lost.append(f'{name} was changed')
  for name, earlier in rows.items():
    now = same_runs.timeless_rows(logdir / name) or []
    if finished.status is not None and now[: len(earlier)] != earlier:
      lost.append(f'{name} lost rows')
  return lost


def _make_tested(logdir):
  (logdir / 'run.flags').write_text('\n'.join([*_FLAGS, '']))
  flags = (f'--flagfile={logdir}/run.flags', f'--logdir={logdir}')
  cases.must_run('popart.experiment', *flags, _HALF, cwd=logdir)
  test = ('--mode=test', '--test_num_episodes=3')
  cases.must_run('popart.experiment', *flags, *test, cwd=logdir)


def _make_start_states(folder):
  flags = (*_GAME_FLAGS, f'--logdir={folder}/run')
  cases.must_run('impala.experiment', *flags, cwd=folder)
  cases.must_run(
    'impala.experiment',
    *(*_GAME_FLAGS[:2], f'--logdir={folder}/run', '--num_start_states=2'),
    *('--mode=save_start_states', f'--start_states={folder}/states'),
    cwd=folder,
  )


def _counted(case):
  case.counts = {'files': 1, 'clean': int(not case.problems)}
  return case
