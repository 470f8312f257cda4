"""How numbers and facts about runs are written."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

NONE = '-'


def format_frames(frames: float | None) -> str:
  """Returns environment frames briefly, such as '4.97M'; '-' if unknown."""
  if pd.isna(frames):
    return NONE
  for size, unit in ((1e9, 'B'), (1e6, 'M'), (1e3, 'k')):
    if frames >= size:
      return f'{frames / size:.3g}{unit}'
  return f'{frames:.0f}'


def format_hours(hours: float) -> str:
  """Returns '1.4 h', or minutes or seconds where they are few."""
  if hours >= 1:
    return f'{hours:.1f} h'
  minutes = 60 * hours
  return f'{minutes:.2g} min' if minutes >= 1 else f'{60 * minutes:.0f} s'


def format_number(value: float) -> str:
  """Returns a number with three digits that matter, or one decimal."""
  return f'{value:,.1f}' if abs(value) >= 100 else f'{value:.3g}'


def plural(count: int, noun: str) -> str:
  """Returns '1 seed' or '2 seeds'."""
  return f'{count} {noun}' if count == 1 else f'{count} {noun}s'


def describe_commit(git: Mapping[str, Any] | None) -> str:
  """Returns the commit of a run.json, marked if there were changes."""
  if not git:
    return NONE
  commit = str(git.get('commit'))[:10]
  return f'{commit} with changes' if git.get('dirty') else commit


def describe_hardware(info: Mapping[str, Any] | None) -> str:
  """Returns the machine of a run.json: cores and what it computed on."""
  if not info:
    return NONE
  devices = info.get('accelerators') or [info.get('cpu')]
  return f'{info.get("cpu_cores")} cores {", ".join(map(str, devices))}'
