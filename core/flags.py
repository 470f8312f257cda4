"""Flags from a config: a frozen dataclass becomes absl flags of its names.

Hyperparameters stand in one place, `<paper>/config.py`; this module makes a
flag of each field and checks what the user gave. It is the only module of core
that knows of flags.
"""

import contextlib
import dataclasses
import decimal
import itertools
import math
import os
import shlex
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import app, flags

from core.errors import EnvironmentFailure, UserError, WorkerLost
from core.files import refuse_pipe
from core.interrupt import never_swallowed


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
    if f.name == 'preset':
      continue  # Its choices are the presets: below.
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


def config_of(
  config_class: type, presets: Mapping[str, Any], arguments: Sequence[str]
) -> Any:
  """Return the config that a command would run with, without running it.

  Args:
    config_class: as for `define`.
    presets: as for `define`.
    arguments: the flags of its command line.

  Raises:
    UserError: as the command itself.
  """
  values = flags.FlagValues()
  define(config_class, presets, values)
  _parse(['', *arguments], values)
  return resolve(config_class, presets, values, ['', *arguments])


def announce(
  config: Any,
  presets: Mapping[str, Any],
  flag_values: flags.FlagValues = flags.FLAGS,
  argv: Sequence[str] | None = None,
) -> None:
  """Prints what is going to be run, before anything takes time.

  Args:
    config: from `resolve`.
    presets: as given to `define`.
    flag_values: parsed flags.
    argv: the command line; by default sys.argv.
  """
  print(
    f'{config.mode} {config.level_name}, seed {config.seed}, logdir '
    f'{config.logdir}',
    flush=True,
  )
  # absl reads --flagfile away before it parses, so it is no flag with a value.
  has_file = 'flagfile' in _typed_names(sys.argv if argv is None else argv)
  if not flag_values['preset'].value and not has_file:
    print(
      'no --preset and no --flagfile: hyperparameters are the defaults of '
      f'config.py; presets: {", ".join(presets)}',
      flush=True,
    )


def run(main: Callable[[list[str]], Any]) -> None:
  """Parse the flags, call `main(argv)` and exit; every script's entry point.

  What a user can mend (an unknown flag, a missing flag file, a UserError) ends
  in one line on stderr and status 1, another learner's end in status 75; Ctrl-C
  that `main` lets through in status 130; an environment that fails in the
  traceback of its own code; any other exception keeps its traceback.
  """
  with never_swallowed():
    try:
      app.run(main, flags_parser=_parse)
    except WorkerLost as error:
      print(f'error: {error}', file=sys.stderr, flush=True)
      sys.stdout.flush()
      # All is closed; TensorFlow would wait for the others once more.
      os._exit(error.status)
    except UserError as error:
      sys.exit('error: ' + '; '.join(str(error).splitlines()))
    except EnvironmentFailure as error:
      sys.exit(f'error: {error}')
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


def _parse(
  argv: Sequence[str], flag_values: flags.FlagValues = flags.FLAGS
) -> list[str]:
  _refuse_pipes(argv[1:], set())
  try:
    rest = flag_values(argv)
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


def _refuse_pipes(lines: Sequence[str], seen: set[str]) -> None:
  """Refuses flag files, and those that they name, which are named pipes.

  The pipe of --flagfile=<(command) lies in /dev and is the shell's.
  """
  for line, following in itertools.zip_longest(lines, lines[1:], fillvalue=''):
    name, is_whole, path = line.strip().partition('=')
    if name not in ('-flagfile', '--flagfile'):
      continue
    path = os.path.expanduser(path if is_whole else following)
    if path in seen or path.startswith('/dev/'):
      continue
    seen.add(path)
    refuse_pipe(path)
    if os.path.isfile(path):
      # What cannot be read is left to absl, which says why.
      with (
        contextlib.suppress(OSError),
        open(path, encoding='utf-8', errors='replace') as file,
      ):
        _refuse_pipes(file.read().splitlines(), seen)


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
  if isinstance(value, float) and not math.isfinite(value):
    raise UserError(f'{f.name} must be a finite number, not {value}')
  if minimum is not None and value < minimum:
    raise UserError(f'{f.name} must be at least {minimum}, not {value}')
  if maximum is not None and value > maximum:
    raise UserError(f'{f.name} must be at most {maximum}, not {value}')
