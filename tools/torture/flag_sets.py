"""Random flags: a command refuses them in one line, or trains with them."""

import contextlib
import os
import pathlib
import random
import resource
import signal
import time
import xml.etree.ElementTree as xml

from tools.forked import Process
from tools.torture import cases
from tools.torture.cases import Case, Workshop

TIMEOUT_SECS = 40.0
# A command that asks for more is refused memory, not the machine.
MEMORY_BYTES = 8 * 2**30

_NUMBERS = (
  ('0', '-1', '1', '2', '3', '7', '64', '1000', '1e3', '1e-3', '0.5', '1.5')
  + ('1e6', '1e9', '2147483648', '9223372036854775807', '1e15', '1e19')
  + ('1e400', '1e999999999', 'nan', 'inf', '-inf', '-0', '', ' ', ' 3 ')
  + ('x', '1_000', '0x10', '1,5', '٣', '½', 'None', 'True', '[1]', '--')
)
_WORDS = (
  '',
  ' ',
  ',',
  ':',
  '/',
  '..',
  'x',
  'é',
  '日本',
  '\udce9',
  '\n',
  'a' * 5000,
) + ('%s', '{}', '[red]', '*', '-', '--', '0', 'nan', 'None', 'a\tb', '\x1b[1m')
_LEVELS = (
  ('catch', 'two_rooms/1/12', 'two_rooms/1/12,two_rooms/5/4', 'two_rooms/9')
  + ('pong', 'pong,breakout', 'catch,pong', 'catch,catch', 'catch,', 'Catch')
  + ('atari57', 'dmlab30', 'rooms_watermaze', 'gym:CartPole-v1', 'gym:No-v0')
  + ('gym:', 'gym:Pendulum-v1', 'point_mass', 'two_rooms/-1/1000000')
  + ('os:getcwd', 'os:system', 'sys:exit', 'json:loads', '.core:x', ':', 'a:')
  + ('core.environments.catch:Catch', 'no.module:f', 'impala.experiment:main')
)
_FOLDERS = ('', ' ', '/dev/null', '/dev/null/x', '/proc/x', 'file', 'file/x')
_STRANGE = (
  ('--learning_rat=1', '--no=1', '--=1', '--', '-', '---', 'stray', '-x')
  + ('--seed', '--flagfile=', '--flagfile=nowhere', '--flagfile=/dev/null')
  + ('--flagfile=.', '--preset=', '--preset=x', '--undefok=zz', '--nouse_lstm')
  + ('--help', '--helpfull', '--useless=é', '--\udce9=1', '--mode')
)


def flag_set(seed: int, workshop: Workshop) -> Case:
  """Starts a paper with a few random flags."""
  rng = random.Random(seed)
  paper = rng.choice(cases.PAPERS)
  sample = workshop.sample(
    f'{paper}_flags', lambda folder: _write_flags(paper, folder)
  )
  known = _read_flags(sample / 'flags.xml')
  folder = workshop.fresh(f'flags_{seed}')
  (folder / 'file').touch()
  chosen = [_random_flag(known, rng) for _ in range(rng.randint(1, 3))]
  preset = cases.SMALL if rng.random() < 0.85 else ()
  flags = [*preset, f'--logdir={folder}/run', *chosen]
  case = Case(seed, f'{paper} {" ".join(map(ascii, flags))}'[:400])
  case.problems += start(f'{paper}.experiment', flags, folder)
  case.counts = {'sets': 1, 'clean': int(not case.problems)}
  return case


def start(module: str, flags: list[str], folder: pathlib.Path) -> list[str]:
  """Runs a command until it ends or has trained an update.

  Args:
    module: of the command.
    flags: its flags.
    folder: to run it in; below it is the logdir.

  Returns:
    What was not clean.
  """
  began = time.monotonic()
  process = Process(module, *flags, cwd=folder)
  with contextlib.suppress(ProcessLookupError):  # Refused, and gone already.
    resource.prlimit(process.pid, resource.RLIMIT_AS, 2 * (MEMORY_BYTES,))
  trains = process.wait_until(lambda: _has_update(folder), TIMEOUT_SECS)
  if not trains:
    finished = process.finish(max(0, began + TIMEOUT_SECS - time.monotonic()))
    # Whoever asks for much may wait long, but not without a word.
    if finished.status is None and 'logdir' in finished.stdout:
      return []
    return _cleaned(finished)
  if process.wait(0) is None:
    process.signal(signal.SIGKILL)
  finished = process.finish()
  if finished.status in (0, -signal.SIGKILL) and not finished.stderr.count(
    'Traceback'
  ):
    return []
  return cases.complaints(finished)


def _cleaned(finished):
  """Returns complaints, but not of absl's own help."""
  if finished.status == 1 and finished.stdout.lstrip().startswith('Trains'):
    return []
  return cases.complaints(finished)


def _random_flag(known, rng):
  """Returns one argument of a command line."""
  if rng.random() < 0.1:
    return rng.choice(_STRANGE)
  name, kind, default, choices = rng.choice(known)
  if rng.random() < 0.15:
    name = 'level_name'
  if name == 'level_name':
    return f'--level_name={_random_level(rng)}'
  if name in ('logdir', 'start_states'):
    return f'--{name}={rng.choice(_FOLDERS + _WORDS)}'
  if kind == 'boolean':
    value = rng.choice(('=true', '=false', '', '=0', '=maybe', '=', '=2'))
    return f'--{name}{value}'
  if rng.random() < 0.3:
    return f'--{name}={default}'
  if choices:
    return f'--{name}={rng.choice((*choices, *choices, *_WORDS))}'
  return f'--{name}={rng.choice(_NUMBERS if kind != "string" else _WORDS)}'


def _random_level(rng):
  if rng.random() < 0.6:
    return rng.choice(_LEVELS)
  signs = 'abcxyz019_:./,-*é日 \'"[]{}$'
  return ''.join(rng.choice(signs) for _ in range(rng.randint(0, 12)))


def _write_flags(paper, folder):
  finished = cases.run(f'{paper}.experiment', '--helpxml', cwd=folder)
  (folder / 'flags.xml').write_text(finished.stdout)


def _read_flags(path):
  """Returns name, kind, default and choices of a command's own flags."""
  found = []
  for flag in xml.parse(path).getroot().iter('flag'):
    if os.path.basename(flag.findtext('file')) == 'experiment.py':
      choices = [choice.text for choice in flag.iter('enum_value')]
      name, kind, default = (
        flag.findtext(key) for key in ('name', 'type', 'default')
      )
      found.append((name, kind.split()[0], default or '', choices))
  if not found:
    raise RuntimeError(f'no flags in {path}')
  return found


def _has_update(folder):
  """Tells whether a run below the folder has a row of an update."""
  for path in folder.rglob('updates.csv'):
    if path.read_bytes().count(b'\n') > 1:
      return True
  return False
