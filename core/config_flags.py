"""Flags from a config: a frozen dataclass becomes absl flags of its names.

Hyperparameters stand in one place, `<paper>/config.py`; this module makes a
flag of each field, checks what the user gave, and writes down what a run was
made of. It is the only module of core that knows of flags.
"""

import dataclasses
import datetime
import decimal
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import app, flags

from core import checkpointing
from core.errors import UserError

_PACKAGES = ('tensorflow', 'dm-sonnet', 'ale-py', 'gymnasium', 'numpy')
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def field(
  default: Any,
  doc: str,
  *,
  choices: Sequence[str] | None = None,
  minimum: float | None = None,
  maximum: float | None = None,
  modes: Sequence[str] | None = None,
) -> Any:
  """Declare one hyperparameter of a config dataclass.

  Args:
    default: value where neither preset nor flag says otherwise.
    doc: meaning, unit and source; it becomes the help of the flag.
    choices: the allowed values, for strings.
    minimum: smallest allowed value.
    maximum: largest allowed value.
    modes: the values of the field `mode` in which this field has an effect;
      None: all.

  Returns:
    A dataclasses.field.
  """
  return dataclasses.field(
    default=default,
    metadata={
      'doc': doc,
      'choices': choices,
      'minimum': minimum,
      'maximum': maximum,
      'modes': modes,
    },
  )


def define(
  config_class: type,
  presets: Mapping[str, Any],
  flag_values: flags.FlagValues = flags.FLAGS,
) -> None:
  """Define a flag for every field of a config, and `--preset`.

  Called by the script that is run, never at import, so that two papers' flags
  can never meet.

  Args:
    config_class: dataclass whose fields come from `field`.
    presets: name to config.
    flag_values: where to define them.
  """
  hints = typing.get_type_hints(config_class)
  # absl lists in --helpshort the flags of the module that is run.
  where = {'flag_values': flag_values, 'module_name': sys.argv[0]}
  for f in dataclasses.fields(config_class):
    doc = f.metadata['doc']
    if f.metadata['choices']:
      flags.DEFINE_enum(f.name, f.default, f.metadata['choices'], doc, **where)
    elif hints[f.name] is int:
      flags.DEFINE(_IntegerParser(), f.name, f.default, doc, **where)
    else:
      kind = {str: flags.DEFINE_string, float: flags.DEFINE_float}
      kind[bool] = flags.DEFINE_boolean
      kind[hints[f.name]](f.name, f.default, doc, **where)
  flags.DEFINE_enum(
    'preset',
    None,
    sorted(presets),
    'Named config to start from; flags given beside it replace its values.',
    **where,
  )


def resolve(
  config_class: type,
  presets: Mapping[str, Any],
  flag_values: flags.FlagValues = flags.FLAGS,
  argv: Sequence[str] | None = None,
) -> Any:
  """Return the config that the flags ask for.

  A flag file describes a row of a table and serves training and testing alike;
  so a flag without effect in the chosen mode is refused only where it was typed
  on the command line.

  Args:
    config_class: as given to `define`.
    presets: as given to `define`.
    flag_values: parsed flags.
    argv: the command line; by default sys.argv.

  Returns:
    The preset, or config_class(), with the given flags' values.

  Raises:
    UserError: a value is out of range, or a flag does nothing in this mode.
  """
  name = flag_values['preset'].value
  config = presets[name] if name else config_class()
  fields = dataclasses.fields(config_class)
  given = {
    f.name: flag_values[f.name].value
    for f in fields
    if flag_values[f.name].present
  }
  config = dataclasses.replace(config, **given)
  for f in fields:
    _check_value(f, getattr(config, f.name))
  typed = _typed_names(sys.argv if argv is None else argv)
  for f in fields:
    modes = f.metadata['modes']
    if f.name in given and f.name in typed and modes:
      if config.mode in modes:
        continue
      working = ' or '.join(f'--mode={mode}' for mode in modes)
      raise UserError(
        f'--{f.name} does nothing with --mode={config.mode}; '
        f'it works with {working}'
      )
  return config


def describe(config: Any) -> dict[str, Any]:
  """Return the config's fields as a dict that JSON can hold."""
  return dataclasses.asdict(config)


def run_info(config: Any, protocol: dict[str, Any] | None) -> dict[str, Any]:
  """Return what a reader needs to repeat this run.

  Never the process environment: it holds secrets.

  Args:
    config: resolved config.
    protocol: how the environments are set up, e.g. the AtariProtocol's fields.

  Returns:
    A dict that JSON can hold.
  """
  return {
    'config': describe(config),
    'protocol': protocol,
    'command': _command(),
    'start_time': datetime.datetime.now()
    .astimezone()
    .isoformat('T', 'seconds'),
    'git': _git_commit(),
    'versions': {
      'python': platform.python_version(),
      **{package: _version(package) for package in _PACKAGES},
    },
    'hardware': _hardware(),
  }


def write_run_info(logdir: str, info: dict[str, Any]) -> str:
  """Write `<logdir>/run.json`, keeping earlier starts under 'starts'.

  Args:
    logdir: folder of the run; created if need be.
    info: from `run_info`.

  Returns:
    The path of the file.

  Raises:
    UserError: the folder or the file cannot be written.
  """
  path = os.path.join(logdir, 'run.json')
  try:
    os.makedirs(logdir, exist_ok=True)
    earlier = []
    if os.path.exists(path):
      with open(path, encoding='utf-8') as file:
        last = json.load(file)
      earlier = last.pop('starts', []) + [last]
  except OSError as error:
    raise UserError(f'cannot write to {logdir}: {error.strerror}') from error
  except (ValueError, AttributeError) as error:
    raise UserError(f'{path} is damaged ({error}); move it away') from error
  text = json.dumps({**info, 'starts': earlier}, indent=2) + '\n'
  with checkpointing.atomic_file(path) as file:
    file.write(text.encode())
  return path


def run(main: Callable[[list[str]], Any]) -> None:
  """Parse the flags, call `main(argv)` and exit; every script's entry point.

  What a user can mend (an unknown flag, a missing flag file, a UserError) ends
  in one line on stderr and status 1; Ctrl-C that `main` lets through in status
  130; any other exception keeps its traceback.
  """
  try:
    app.run(main, flags_parser=_parse)
  except UserError as error:
    sys.exit('error: ' + '; '.join(str(error).splitlines()))
  except KeyboardInterrupt:
    print('interrupted', file=sys.stderr)
    sys.exit(130)


class _IntegerParser(flags.IntegerParser):
  """Reads whole numbers, also as 2e8."""

  def convert(self, argument: int | str) -> int:
    try:
      number = decimal.Decimal(argument)
    except decimal.InvalidOperation:
      number = decimal.Decimal('NaN')
    # The exponent is bounded first: int(Decimal('1e999999999')) never ends.
    if not number.is_finite() or number.adjusted() > 18 or number % 1:
      raise ValueError(f'{argument} is not a whole number')
    return int(number)


def _parse(argv: Sequence[str]) -> list[str]:
  try:
    rest = flags.FLAGS(argv)
  except flags.Error as error:
    message = str(error).removeprefix('ERROR:: ')
    raise UserError(message.strip() + ' (--help lists the flags)') from error
  except UnicodeDecodeError as error:
    raise UserError(f'the flag file is not text: {error}') from error
  if rest[1:]:
    raise UserError(
      f'unexpected argument {shlex.join(rest[1:])}: flags are written '
      '--name=value'
    )
  return rest


def _typed_names(argv: Sequence[str]) -> set[str]:
  """Return the flag names on the command line itself."""
  names = {a.lstrip('-').split('=')[0] for a in argv[1:] if a.startswith('-')}
  return names | {name.removeprefix('no') for name in names}


def _check_value(f: dataclasses.Field, value: Any) -> None:
  choices, minimum, maximum = (
    f.metadata[key] for key in ('choices', 'minimum', 'maximum')
  )
  if choices and value not in choices:
    raise UserError(
      f'{f.name} must be one of {", ".join(choices)}, not {value}'
    )
  # Written so that NaN fails.
  if minimum is not None and not value >= minimum:
    raise UserError(f'{f.name} must be at least {minimum}, not {value}')
  if maximum is not None and not value <= maximum:
    raise UserError(f'{f.name} must be at most {maximum}, not {value}')


def _command() -> str:
  """Return the command line, free of the machine's paths."""
  spec = getattr(sys.modules['__main__'], '__spec__', None)
  script = ['-m', spec.name] if spec else [os.path.basename(sys.argv[0])]
  return shlex.join(['python', *script, *sys.argv[1:]])


def _version(package: str) -> str | None:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None


def _git_commit() -> dict[str, Any] | None:
  """Return the commit of this checkout; None outside one."""

  def git(*arguments: str) -> str:
    return subprocess.run(
      ['git', '-C', _ROOT, *arguments],
      check=True,
      capture_output=True,
      text=True,
    ).stdout.strip()

  try:
    changed = git('status', '--porcelain', '--untracked-files=no')
    return {'commit': git('rev-parse', 'HEAD'), 'dirty': bool(changed)}
  except (OSError, subprocess.CalledProcessError):
    return None


def _hardware() -> dict[str, Any]:
  # Here because it takes seconds, and importing a config needs no devices.
  import tensorflow as tf

  model = platform.machine()
  if os.path.exists('/proc/cpuinfo'):
    with open('/proc/cpuinfo', encoding='utf-8') as file:
      names = [line for line in file if line.startswith('model name')]
    if names:
      model = names[0].split(':', 1)[1].strip()
  accelerators = []
  for device in tf.config.list_physical_devices():
    if device.device_type != 'CPU':
      details = tf.config.experimental.get_device_details(device)
      accelerators.append(details.get('device_name', device.name))
  if hasattr(os, 'sched_getaffinity'):
    cores = len(os.sched_getaffinity(0))
  else:
    cores = os.cpu_count()
  memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
  return {
    'cpu': model,
    'cpu_cores': cores,
    'memory_gib': round(memory / 2**30, 1),
    'accelerators': accelerators,
  }
