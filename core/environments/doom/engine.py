"""One engine of Doom: a process that plays one map, rewritten in place.

Whatever ends the process that owns an engine ends the engine: the kernel sends
it SIGKILL (`_LAUNCH`). What it needs by name, a folder and three pieces of
shared memory, loses its names as soon as both sides have opened them, so that
nothing is left behind by a kill either; `sweep` finds what a process left that
ended while an engine started.
"""

import contextlib
import glob
import importlib.util
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from core.environments.doom import pictures, wad
from core.errors import UserError

NUM_BUTTONS = 7
WIDTH, HEIGHT = 160, 120  # The smallest that the engine draws.
_SHARED_MEMORY = '/dev/shm/ViZDoom*'
_FOLDER = 'doom_'  # Then the id of the process, and letters.
# The first tics of an episode ignore what the player does.
_START_TIC = 9

# Runs as the engine's process. The engine writes files where it stands, and
# Ctrl-C in a terminal is the run's alone.
_LAUNCH = """
import ctypes, os, signal, sys
folder, owner, engine = sys.argv[1:4]
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
if os.getppid() != int(owner):
  sys.exit(1)
os.setsid()
os.chdir(folder)
instance = sys.argv[sys.argv.index('+viz_instance_id') + 1]
open('instance_' + instance, 'w').close()
silence = os.open(os.devnull, os.O_WRONLY)
os.dup2(silence, 1)
os.dup2(silence, 2)
os.execv(engine, [engine, *sys.argv[4:]])
"""

_BOT = """
{{
  name bot{0}
  aiming 50
  perfection 50
  reaction 50
  isp 50
  color "40 cf 00"
  skin base
}}
"""


class Seen(NamedTuple):
  """What the engine says after a step.

  Attributes:
    screen: uint8 [120, 160, 3].
    x: of the player, units.
    y: likewise.
    angle: degrees, 90 is north.
    apples: taken since the map was loaded.
    goals: likewise.
    bad: likewise.
    tags: of others by the player since then; one's own end counts -1.
    players: x and y of the other players that are alive, where asked for.
  """

  screen: np.ndarray
  x: float
  y: float
  angle: float
  apples: int
  goals: int
  bad: int
  tags: int
  players: tuple[tuple[float, float], ...]


class EngineDied(Exception):
  """The engine's process ended by itself or by others."""


class Engine:
  """Starts, steps and ends the process."""

  def __init__(
    self,
    textures: pictures.Textures,
    num_bots: int,
    tells_players: bool = False,
  ):
    """Starts nothing yet.

    Args:
      textures: of walls and floors.
      num_bots: other players; with some the game is laser-tag.
      tells_players: whether `Seen.players` is filled.
    """
    self._textures = textures
    self._num_bots = num_bots
    self._tells_players = tells_players
    self._game = None
    self._file = None

  def start(self, text: bytes, seed: int) -> None:
    """Starts the process anew, on its first map.

    Args:
      text: the map.
      seed: of the other players.

    Raises:
      UserError: vizdoom or labmaze is missing, or the folder of temporary
        files cannot take the engine's.
    """
    self.close()
    check_installation()
    content, self._map_start = wad.build(
      text, self._num_bots > 0, self._textures
    )
    folder = tempfile.gettempdir()
    try:
      folder = tempfile.mkdtemp(prefix=f'{_FOLDER}{os.getpid()}_')
      path = os.path.join(folder, 'lab.wad')
      launcher = _write(folder, content, self._num_bots)
      # Unbuffered: the engine reads what is in the file.
      self._file = open(path, 'r+b', buffering=0)  # noqa: SIM115
    except OSError as error:
      shutil.rmtree(folder, ignore_errors=True)
      raise UserError(
        f'cannot prepare an engine of Doom in {folder}: {error.strerror}; '
        'TMPDIR chooses another folder'
      ) from error
    try:
      self._game = self._init(path, launcher, seed)
    finally:
      shutil.rmtree(folder, ignore_errors=True)

  def _init(self, path, launcher, seed):
    game = _game(path, launcher, self._num_bots)
    game.set_objects_info_enabled(self._tells_players)
    game.set_seed(seed)
    with _naming_death():
      game.init()
    _forget(game.get_instance_id())
    return game

  def is_running(self) -> bool:
    """Tells whether `start` was called, and `close` not since."""
    return self._game is not None

  def load(self, text: bytes) -> Seen:
    """Begins a game on another map.

    Raises:
      EngineDied: it did.
      UserError: the map cannot be written.
    """
    try:
      os.pwrite(self._file.fileno(), wad.padded(text), self._map_start)
    except OSError as error:
      raise UserError(
        f'cannot write a map of Doom: {error.strerror}; TMPDIR chooses '
        'another folder'
      ) from error
    with _naming_death():
      self._game.new_episode()
      if self._num_bots:
        self._game.send_game_command('removebots')
        for _ in range(self._num_bots):
          self._game.send_game_command('addbot')
      return self._look()

  def step(self, buttons: Sequence[float], num_tics: int) -> Seen:
    """Holds buttons for some tics; a player that was tagged comes back.

    Args:
      buttons: forward, backward, left, right (0 or 1), degrees a tic to the
        right and up, fire.
      num_tics: how long.

    Raises:
      EngineDied: it did.
    """
    with _naming_death():
      self._game.make_action(buttons, num_tics)
      if self._num_bots and self._game.is_player_dead():
        self._game.respawn_player()
      return self._look()

  def close(self) -> None:
    """Ends the process."""
    game, self._game = self._game, None
    if game is not None:
      with contextlib.suppress(EngineDied), _naming_death():
        game.close()
    if self._file is not None:
      self._file.close()
      self._file = None

  def _look(self):
    state = self._game.get_state()
    if state is None:
      raise EngineDied('the game is over')
    x, y, angle, *counts = state.game_variables.tolist()
    players = ()
    if self._tells_players:
      players = tuple(
        (one.position_x, one.position_y)
        for one in state.objects
        if one.name == 'LabPlayer'
        and abs(one.position_x - x) + abs(one.position_y - y) > 1.0
      )
    return Seen(state.screen_buffer, x, y, angle, *map(int, counts), players)


def sweep() -> None:
  """Removes what processes left that ended while an engine started."""
  for folder in glob.glob(f'{tempfile.gettempdir()}/{_FOLDER}*_*'):
    owner = os.path.basename(folder).split('_')[1]
    if owner.isdecimal() and not os.path.exists(f'/proc/{owner}'):
      for name in glob.glob(f'{folder}/instance_*'):
        _forget(name.rpartition('_')[2])
      shutil.rmtree(folder, ignore_errors=True)


def check_installation() -> None:
  """Refuses to go on without what the tasks are made of.

  Raises:
    UserError: it says what to install.
  """
  missing = [
    name
    for name in ('vizdoom', 'labmaze', 'PIL')
    if importlib.util.find_spec(name) is None
  ]
  if not sys.platform.startswith('linux'):
    raise UserError('the tasks of doom: are played on Linux only')
  if 'labmaze' in missing and sys.version_info >= (3, 13):
    raise UserError(
      'the tasks of doom: need labmaze, which has no wheel for Python '
      f'{sys.version_info[0]}.{sys.version_info[1]}: use Python 3.10 to 3.12'
    )
  if missing:
    raise UserError(
      f'the tasks of doom: need {" and ".join(missing)}: pip install '
      'vizdoom==1.3.2 labmaze==1.0.6 pillow'
    )


def _forget(instance):
  """Takes the names from an engine's shared memory."""
  for name in glob.glob(_SHARED_MEMORY + instance):
    with contextlib.suppress(FileNotFoundError):
      os.remove(name)


def _game(path, launcher, num_bots):
  """Returns the game with all that stays as it is."""
  import vizdoom
  from vizdoom import Button, GameVariable

  game = vizdoom.DoomGame()
  game.set_vizdoom_path(launcher)
  game.set_doom_scenario_path(path)
  game.set_doom_map(wad.MAP)
  game.set_window_visible(False)
  game.set_sound_enabled(False)
  game.set_screen_resolution(vizdoom.ScreenResolution.RES_160X120)
  game.set_screen_format(vizdoom.ScreenFormat.RGB24)
  game.set_mode(vizdoom.Mode.PLAYER)
  game.set_episode_timeout(0)
  game.set_episode_start_time(_START_TIC)
  game.set_render_hud(False)
  game.set_render_crosshair(False)
  game.set_render_weapon(num_bots > 0)
  game.set_render_messages(False)
  game.set_render_decals(False)
  game.set_render_particles(False)
  game.set_render_corpses(False)
  game.set_render_screen_flashes(False)
  game.set_available_buttons(
    [
      *(Button.MOVE_FORWARD, Button.MOVE_BACKWARD),
      *(Button.MOVE_LEFT, Button.MOVE_RIGHT),
      *(Button.TURN_LEFT_RIGHT_DELTA, Button.LOOK_UP_DOWN_DELTA),
      Button.ATTACK,
    ]
  )
  game.set_available_game_variables(
    [
      *(GameVariable.POSITION_X, GameVariable.POSITION_Y, GameVariable.ANGLE),
      *(GameVariable.AMMO3, GameVariable.AMMO4, GameVariable.AMMO5),
      GameVariable.FRAGCOUNT,
    ]
  )
  if num_bots:
    game.add_game_args(
      '-host 1 -deathmatch +sv_forcerespawn 1 +sv_noautoaim 1 '
      '+sv_spawnfarthest 1'
    )
  return game


def _write(folder, content, num_bots):
  """Writes what the engine needs; returns the program that starts it."""
  import vizdoom

  files = {
    'lab.wad': content,
    'bots.cfg': ''.join(_BOT.format(i) for i in range(num_bots)).encode(),
    'launch.py': _LAUNCH.encode(),
  }
  launch = [sys.executable, '-IS', os.path.join(folder, 'launch.py'), folder]
  engine = os.path.join(os.path.dirname(vizdoom.__file__), 'vizdoom')
  command = shlex.join([*launch, str(os.getpid()), engine])
  files['engine'] = f'#!/bin/sh\nexec {command} "$@"\n'.encode()
  for name, data in files.items():
    with open(os.path.join(folder, name), 'wb') as file:
      file.write(data)
  launcher = os.path.join(folder, 'engine')
  os.chmod(launcher, 0o700)
  return launcher


@contextlib.contextmanager
def _naming_death() -> Iterator[None]:
  """Raises what vizdoom raises of a dead engine as EngineDied."""
  import vizdoom

  try:
    yield
  except (
    vizdoom.ViZDoomErrorException,
    vizdoom.ViZDoomUnexpectedExitException,
    vizdoom.ViZDoomIsNotRunningException,
  ) as error:
    raise EngineDied(' '.join(str(error).split())) from error
