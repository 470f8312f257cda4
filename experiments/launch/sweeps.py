"""Reads a sweep, a Python file of constants, and names its runs.

    MODULE = 'popart.experiment'  # Run with python -m.
    FLAGFILE = 'experiments/popart/multi_task_catch.flags'  # '': none.
    OVERRIDES = ({'learning_rate': 0.001}, {'learning_rate': 0.002})
    SEEDS = (1, 2, 3)
    LOGDIR = 'runs/my_sweep'
    STAGES = ({}, {'mode': 'test', 'test_num_episodes': 30})  # Optional.
    ENVIRONMENT = {'TF_NUM_INTRAOP_THREADS': '1'}  # Optional.
    RESOURCES = {'CPU': 2, 'GPU': 1}  # Optional: of a process, on a cluster.
    LEARNERS = 2  # Optional: processes that train a run together.

Every setting of OVERRIDES is run with every seed; a setting's `flagfile` stands
for FLAGFILE, and `{seed}` in a value for the run's seed, as in the logdir of
another sweep. STAGES are the commands of a run, one after the other in the same
logdir. A dict of settings by name stands for OVERRIDES whose names would be
long. What else the file needs begins with an underscore or in lower case.
"""

import dataclasses
import difflib
import importlib.util
import os
import re
import runpy
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from core.errors import UserError
from core.files import refuse_pipe

REQUIRED = ('MODULE', 'FLAGFILE', 'OVERRIDES', 'SEEDS', 'LOGDIR')
OPTIONAL = {
  'STAGES': ({},),
  'ENVIRONMENT': {},
  'RESOURCES': {'CPU': 1},
  'LEARNERS': 1,
}

_RESERVED = ('seed', 'logdir')  # Of every run by the sweep itself.
_FOLDER = re.compile(r'(?!\.)[\w=.,+-]{1,200}')  # File systems end at 255.

Setting = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class PlannedRun:
  """One setting with one seed."""

  name: str  # '<setting>/seed_<n>'.
  setting: Setting
  logdir: str
  stages: tuple[tuple[str, ...], ...]  # Per stage what stands after `python`.
  modes: tuple[str, ...]  # Per stage the --mode.


@dataclasses.dataclass(frozen=True)
class Sweep:
  """What a sweep file says."""

  logdir: str
  environment: Mapping[str, str]
  runs: tuple[PlannedRun, ...]
  resources: Mapping[str, float] = dataclasses.field(default_factory=dict)
  learners: int = 1


def read(path: str) -> Sweep:
  """Reads a sweep file.

  Args:
    path: of a Python file with the constants above.

  Returns:
    The sweep; its runs are ordered by seed, then by setting, so that every
    setting has a run early.

  Raises:
    UserError: the file cannot be read; a constant is missing, malformed or
      unknown; or two settings have the same name.
  """
  constants = read_constants(path)
  try:
    return parse(constants)
  except UserError as error:
    raise UserError(f'{path}: {error}') from error


def setting_name(setting: Setting) -> str:
  """Names a setting, as 'learning_rate=0.001,flagfile=impala'.

  Args:
    setting: values by flag; of a path the file's name without ending is left.

  Returns:
    A name that can be a folder; 'default' for an empty setting.
  """
  parts = []
  for flag, value in setting.items():
    if flag == 'flagfile':
      value = os.path.splitext(os.path.basename(value))[0]
    parts.append(f'{flag}={_format(value)}')
  return re.sub(r'[^\w=.,+-]+', '_', ','.join(parts)) or 'default'


def show_command(sweep: Sweep, arguments: Sequence[str]) -> str:
  """Returns what to type into a shell for one stage of a run."""
  variables = [f'{k}={shlex.quote(v)}' for k, v in sweep.environment.items()]
  return ' '.join([*variables, shlex.join(['python', *arguments])])


def read_constants(path: str, what: str = 'a sweep file') -> dict[str, Any]:
  """Returns the constants of a Python file.

  Args:
    path: of the file.
    what: the file should be, for the message.

  Raises:
    UserError: it cannot be read or run.
  """
  refuse_pipe(path)
  try:
    variables = runpy.run_path(path)
  except OSError as error:
    raise UserError(f'cannot read {path}: {error.strerror}') from error
  # Whatever the file's own code raises.
  except Exception as error:
    line = getattr(error, 'lineno', None)
    where = f'{path}:{line}' if line else path
    reason = f'{type(error).__name__}: {error}'
    raise UserError(f'{where} is not {what}: {reason}') from error
  return {
    name: value
    for name, value in variables.items()
    if name.isupper() and not name.startswith('_')
  }


def parse(constants: Mapping[str, Any]) -> Sweep:
  """Returns the sweep that constants describe.

  Raises:
    UserError: as `read`.
  """
  for name in constants:
    if name not in (*REQUIRED, *OPTIONAL):
      close = difflib.get_close_matches(name, (*REQUIRED, *OPTIONAL), 1)
      hint = f'; {close[0]}?' if close else ''
      raise UserError(f'{name} is not a constant of a sweep{hint}')
  missing = [name for name in REQUIRED if name not in constants]
  if missing:
    raise UserError(f'{", ".join(missing)} is missing')
  values = {**OPTIONAL, **constants}
  for name in ('MODULE', 'FLAGFILE', 'LOGDIR'):
    if not isinstance(values[name], str):
      raise UserError(f'{name} must be a string, not {values[name]!r}')
  if not values['LOGDIR']:
    raise UserError('LOGDIR is empty')
  if type(values['LEARNERS']) is not int or values['LEARNERS'] < 1:
    raise UserError(
      f'LEARNERS must be a whole number above 0, not {values["LEARNERS"]!r}'
    )
  _check_module(values['MODULE'])
  settings = _named_settings(values['OVERRIDES'])
  stages = _settings('STAGES', values['STAGES'])
  if values['LEARNERS'] > 1 and any(
    'strategy' in setting for setting in (*settings.values(), *stages)
  ):
    raise UserError(
      'LEARNERS gives --strategy=multi_worker: leave strategy out'
    )
  for where, setting in (*settings.items(), *(('STAGES', s) for s in stages)):
    _check_flagfile(where, setting.get('flagfile', values['FLAGFILE']))
  runs = [
    _make_run(values, name, setting, stages, seed)
    for seed in _seeds(values['SEEDS'])
    for name, setting in settings.items()
  ]
  environment = _environment(values['ENVIRONMENT'])
  resources = _resources(values['RESOURCES'])
  learners = values['LEARNERS']
  return Sweep(values['LOGDIR'], environment, tuple(runs), resources, learners)


def _make_run(values, name, setting, stages, seed):
  logdir = os.path.join(values['LOGDIR'], name, f'seed_{seed}')
  commands, modes = [], []
  for stage in stages:
    flags = {'flagfile': values['FLAGFILE'], **setting, **stage}
    flagfile = flags.pop('flagfile')
    modes.append(flags.get('mode', 'train'))
    if values['LEARNERS'] > 1 and modes[-1] == 'train':
      flags |= {'strategy': 'multi_worker'}
    flags |= {'seed': seed, 'logdir': logdir}
    # The flag file first: absl lets what stands later win.
    arguments = [f'--flagfile={flagfile}'] if flagfile else []
    arguments += [
      f'--{flag}={_format(v)}'.replace('{seed}', str(seed))
      for flag, v in flags.items()
    ]
    commands.append(('-m', values['MODULE'], *arguments))
  return PlannedRun(
    name=f'{name}/seed_{seed}',
    setting=setting,
    logdir=logdir,
    stages=tuple(commands),
    modes=tuple(modes),
  )


def _named_settings(overrides):
  if isinstance(overrides, Mapping):
    pairs = list(overrides.items())
    _settings('OVERRIDES', list(overrides.values()))
  else:
    settings = _settings('OVERRIDES', overrides)
    pairs = [(setting_name(setting), setting) for setting in settings]
  for name, _ in pairs:
    if not isinstance(name, str) or not _FOLDER.fullmatch(name):
      raise UserError(
        f'OVERRIDES: {str(name)[:30]!r} cannot name a folder: at most 200 '
        'letters, digits and _ = . , + - can, the first not a dot; OVERRIDES '
        'may be a dict of settings by name'
      )
    if sum(name == other for other, _ in pairs) > 1:
      raise UserError(f'OVERRIDES: two settings are named {name}')
  return dict(pairs)


def _settings(constant, settings):
  """Checks a sequence of settings."""
  if isinstance(settings, (str, Mapping)) or not isinstance(settings, Sequence):
    raise UserError(f'{constant} must be a tuple of dicts, not {settings!r}')
  if not settings:
    raise UserError(f'{constant} is empty; ({{}},) is one without changes')
  for setting in settings:
    if not isinstance(setting, Mapping):
      raise UserError(f'{constant}: {setting!r} is not a dict')
    for flag, value in setting.items():
      if not isinstance(flag, str) or not flag.isidentifier():
        raise UserError(f'{constant}: {flag!r} is not the name of a flag')
      if flag in _RESERVED:
        raise UserError(
          f'{constant}: the sweep itself gives --{flag}: see SEEDS and LOGDIR'
        )
      if not isinstance(value, (str, bool, int, float)):
        raise UserError(
          f'{constant}: {flag} is {value!r}, not a string, number or boolean'
        )
  return settings


def _seeds(seeds):
  is_sequence = isinstance(seeds, (Sequence, range)) and len(seeds)
  if not is_sequence or any(type(s) is not int or s < 0 for s in seeds):
    raise UserError(f'SEEDS must be a tuple of whole numbers, not {seeds!r}')
  if len(set(seeds)) < len(seeds):
    raise UserError(f'SEEDS names a seed twice: {tuple(seeds)}')
  return seeds


def _environment(environment):
  if not isinstance(environment, Mapping) or not all(
    isinstance(text, str) for item in environment.items() for text in item
  ):
    raise UserError(
      f'ENVIRONMENT must be a dict of strings, not {environment!r}'
    )
  return dict(environment)


def _resources(resources):
  if not isinstance(resources, Mapping) or not all(
    isinstance(name, str) and type(amount) in (int, float) and amount > 0
    for name, amount in resources.items()
  ):
    raise UserError(
      f'RESOURCES must be a dict of amounts above 0, not {resources!r}'
    )
  return dict(resources)


def _check_module(name):
  try:
    found = importlib.util.find_spec(name)
  except (ImportError, ValueError):
    found = None
  if found is None:
    raise UserError(f'MODULE: there is no module {name!r}')


def _check_flagfile(where, path):
  if path and not os.path.isfile(path):
    raise UserError(f'{where}: there is no flag file {path}')


def _format(value):
  """Writes a flag's value as the command line has it."""
  return str(value).lower() if isinstance(value, bool) else str(value)
