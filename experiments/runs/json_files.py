"""The JSON files of runs: how they are read and checked.

They may be damaged, or of a program that is not ours: what is wrong with one is
said in a line.
"""

import json
import os
import shlex
from collections.abc import Mapping
from typing import Any

from core.errors import UserError

# What must be of a type, where run.json has it; null stands for nothing.
_TYPES = {
  'config': dict,
  'protocol': dict,
  'git': dict,
  'versions': dict,
  'hardware': dict,
  'command': str,
  'start_time': str,
}
_NAMES = {dict: 'an object', str: 'a string', list: 'a list'}
# Fields of the config that are counted with.
_COUNTS = (
  'total_environment_frames',
  'stop_frames',
  'log_updates',
  'batch_size',
  'unroll_length',
  'num_action_repeats',
)
_MAX_COUNT = 10**18
_MAX_DEPTH = 50


def read(path: str, if_missing: dict[str, Any] | None = None) -> dict[str, Any]:
  """Reads an object of a JSON file.

  Args:
    path: of the file.
    if_missing: what to return without a file; None: that is an error.

  Raises:
    UserError: it cannot be read, is no object, or nested too deeply.
  """
  try:
    if os.path.exists(path) and not os.path.isfile(path):
      raise UserError(f'cannot read {path}: it is not a file')
    with open(path, encoding='utf-8') as file:
      info = json.load(file)
  except FileNotFoundError as error:
    if if_missing is not None:
      return if_missing
    raise UserError(f'cannot read {path}: {error.strerror}') from error
  except (OSError, ValueError) as error:
    raise UserError(f'cannot read {path}: {error}') from error
  except RecursionError:
    raise UserError(f'cannot read {path}: it is nested too deeply') from None
  if not isinstance(info, dict):
    raise UserError(f'cannot read {path}: it is not an object')
  _check_depth(path, info)
  try:
    json.dumps(info, ensure_ascii=False).encode()
  except UnicodeEncodeError as error:
    raise UserError(f'cannot read {path}: {error.reason}') from error
  return info


def check_run(path: str, info: Mapping[str, Any]) -> None:
  """Checks the types of what is read of a run.json.

  Args:
    path: of the file.
    info: its content; any key may be absent.

  Raises:
    UserError: naming what is wrong.
  """
  for key, kind in _TYPES.items():
    _check_type(path, key, info.get(key), kind)
  hardware = info.get('hardware') or {}
  accelerators = hardware.get('accelerators')
  _check_type(path, 'hardware.accelerators', accelerators, list)
  config = info.get('config') or {}
  for name in _COUNTS:
    count = config.get(name, 0)
    if not is_number(count) or not 0 <= count <= _MAX_COUNT:
      raise UserError(
        f'{path}: config.{name} is no count: {shorten(json.dumps(count))}'
      )
  try:
    shlex.split(info.get('command') or '')
  except ValueError as error:
    raise UserError(f'{path}: command: {error}') from error


def is_number(value: Any) -> bool:
  """Whether a value of JSON is a number; NaN is one."""
  return isinstance(value, (int, float)) and not isinstance(value, bool)


def shorten(value: Any) -> str:
  """Returns a value for a message: in one line that is not long."""
  text = str(value)
  if len(text) > 40:
    text = text[:40] + '...'
  return text if text.isprintable() else ascii(text)


def _check_type(path, key, value, kind):
  if value is not None and not isinstance(value, kind):
    raise UserError(
      f'{path}: {key} is not {_NAMES[kind]} but {shorten(json.dumps(value))}'
    )


def _check_depth(path, info):
  """Refuses what would exhaust the stack of those who write it anew."""
  level = [info]
  for _ in range(_MAX_DEPTH):
    nested = [x for x in level if isinstance(x, (dict, list))]
    level = [
      x for of in nested for x in (of.values() if isinstance(of, dict) else of)
    ]
  if level:
    raise UserError(f'cannot read {path}: it is nested too deeply')
