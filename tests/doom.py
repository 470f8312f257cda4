"""What tests of the tasks of Doom share."""

import importlib.util
import os
import pathlib
import unittest

from core.environments.doom import pictures
from core.environments.doom.engine import Seen

HAS_WHEELS = all(
  importlib.util.find_spec(name) for name in ('vizdoom', 'labmaze')
)
needs_wheels = unittest.skipUnless(
  HAS_WHEELS,
  'vizdoom or labmaze is not installed (labmaze has no wheel for Python 3.13)',
)


def plain_textures() -> pictures.Textures:
  """Returns the names of all textures with one picture: reading takes long."""
  door = pictures._door()
  names = [
    name
    for style in pictures.STYLES
    for kind in 'WF'
    for name in pictures.names_of(style, kind)
  ]
  return tuple((name, door) for name in (*names, pictures.SKY, pictures.DOOR))


def seen(x=0.0, y=0.0, apples=0, goals=0, bad=0, tags=0, players=()):
  """Returns what an engine could say, without a screen."""
  return Seen(None, x, y, 0.0, apples, goals, bad, tags, players)


def engines_of(pid: int) -> list[int]:
  """Lists the engines that a process started and that still run."""
  tasks = pathlib.Path(f'/proc/{pid}/task')
  children = [
    int(child)
    for path in tasks.glob('*/children')
    for child in path.read_text().split()
  ]
  return [child for child in children if is_engine(child)]


def is_engine(pid: int) -> bool:
  """Tells whether a process is a running engine."""
  try:
    return os.path.basename(os.readlink(f'/proc/{pid}/exe')) == 'vizdoom'
  except OSError:
    return False
