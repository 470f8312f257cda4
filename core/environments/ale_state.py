"""States of an emulated game as bytes, safe to read from any file.

A start state is the bytes of `ALEState.__getstate__`, never a pickle: reading
one executes nothing. But the emulator trusts the bytes, and a damaged state can
end the process with a segmentation fault. So each state is parsed here and then
tried in a child process before this process restores it.
"""

import functools
import hashlib
import pathlib
import random
import struct
import subprocess
import sys
from collections.abc import Sequence

import ale_py
from ale_py import roms

from core.errors import UserError

_HEADER_BYTES = 28  # Paddles, frame counters, mode, difficulty, length.
_TRAILER_BYTES = 8  # Paddle limits.
_MD5_START, _MD5_END = 32, 64  # After the length of the MD5 string.
_NUM_TRIED_FRAMES = 300
_CHILD_TIMEOUT_SECS = 600

_safe_states: set[tuple[str, bytes]] = set()


def make_emulator(
  game: str, seed: int, repeat_action_probability: float
) -> ale_py.ALEInterface:
  """Starts an emulator of one game, before its first reset.

  Args:
    game: ALE id such as 'pong'.
    seed: at least 0, of the emulator's random numbers.
    repeat_action_probability: of sticky actions.

  Returns:
    The emulator, without a frame cap of its own.
  """
  ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
  ale = ale_py.ALEInterface()
  ale.setFloat('repeat_action_probability', repeat_action_probability)
  ale.setInt('random_seed', seed)
  ale.loadROM(roms.get_rom_path(game))
  return ale


def to_bytes(game: str, ale: ale_py.ALEInterface) -> bytes:
  """Returns the emulator's state with its random generator."""
  state = ale.cloneState(include_rng=True).__getstate__()
  mark_safe(game, state)
  return state


def restore(ale: ale_py.ALEInterface, state: bytes) -> None:
  """Puts a state that `check_states` accepted into the emulator.

  The emulator's screen buffer is not part of a state and stays as it was.
  """
  loaded = ale_py.ALEState.__new__(ale_py.ALEState)
  loaded.__setstate__(state)
  ale.restoreState(loaded)


def mark_safe(game: str, state: bytes) -> None:
  """Remembers that `state` needs no further check in this process."""
  _safe_states.add((game, hashlib.sha256(state).digest()))


def check_states(game: str, states: dict[str, bytes]) -> None:
  """Refuses states that the emulator would not restore faithfully.

  Args:
    game: ALE id.
    states: name to show in an error (a file name) to the bytes.

  Raises:
    UserError: naming the first bad state and what is wrong with it.
  """
  unknown = {
    name: state
    for name, state in states.items()
    if (game, hashlib.sha256(state).digest()) not in _safe_states
  }
  for name, state in unknown.items():
    problem = _find_problem(game, state)
    if problem:
      raise UserError(f'{name}: {problem}')
  if not unknown:
    return
  num_good = _count_good_in_child(game, list(unknown.values()))
  for state in list(unknown.values())[:num_good]:
    mark_safe(game, state)
  if num_good < len(unknown):
    name = list(unknown)[num_good]
    raise UserError(f'{name}: damaged state of {game}')


def _find_problem(game: str, state: bytes) -> str | None:
  """Parses the frame around the emulator's own data."""
  if len(state) < _HEADER_BYTES + _MD5_END - _MD5_START + _TRAILER_BYTES:
    return f'truncated: {len(state)} bytes are no ALE state'
  (length,) = struct.unpack_from('<i', state, _HEADER_BYTES - 4)
  expected = _HEADER_BYTES + length + _TRAILER_BYTES
  md5 = state[_MD5_START:_MD5_END]
  if not (md5.isalnum() and md5.isascii()):
    return 'no ALE state (written by ALEState.__getstate__)'
  if len(state) != expected:
    return f'damaged ALE state: {len(state)} bytes, its header says {expected}'
  fresh = _fresh_state(game)
  if md5 != fresh[_MD5_START:_MD5_END]:
    return f'state of another game than {game}'
  if state[-_TRAILER_BYTES:] != fresh[-_TRAILER_BYTES:]:
    return f'damaged state of {game}'
  return None


@functools.cache
def _fresh_state(game: str) -> bytes:
  return make_emulator(game, 0, 0.0).cloneState().__getstate__()


def _count_good_in_child(game: str, states: Sequence[bytes]) -> int:
  """Returns how many states, from the first on, the child accepted."""
  blobs = b''.join(struct.pack('<q', len(state)) + state for state in states)
  try:
    child = subprocess.run(
      [sys.executable, '-m', __name__, game],
      input=blobs,
      capture_output=True,
      cwd=pathlib.Path(__file__).resolve().parents[2],
      timeout=_CHILD_TIMEOUT_SECS,
      check=False,
    )
  except (subprocess.TimeoutExpired, OSError) as error:
    raise UserError(f'cannot check the start states of {game}: {error}') from (
      error
    )
  # Nothing checked at all: the child itself, not a state, is at fault.
  if not child.stdout.startswith(b'ready\n'):
    tail = child.stderr.decode(errors='replace').strip().splitlines()[-1:]
    raise UserError(f'cannot check the start states of {game}: {tail}')
  return child.stdout.count(b'good\n')


def _try_states(game: str) -> None:
  """Tries the states on stdin; runs in the child, which may die of one."""
  ale = make_emulator(game, 0, 0.0)
  ale.reset_game()
  print('ready', flush=True)
  while header := sys.stdin.buffer.read(8):
    state = sys.stdin.buffer.read(struct.unpack('<q', header)[0])
    if not _is_faithful(game, ale, state):
      return
    print('good', flush=True)


def _is_faithful(game: str, ale: ale_py.ALEInterface, state: bytes) -> bool:
  """Restores, compares what the emulator then holds, and plays on."""
  fresh = make_emulator(game, 0, 0.0).cloneState()
  try:
    restore(ale, state)
  except Exception:  # ale-py lets C++ exceptions of several kinds through.
    return False
  # Saved with or without the random generator, both are good.
  clones = [ale.cloneState(include_rng=with_rng) for with_rng in (True, False)]
  if all(clone.__getstate__() != state for clone in clones):
    return False
  # Another game mode would be another task, also in the games that follow.
  mode, difficulty = clones[0].getCurrentMode(), clones[0].getDifficulty()
  if (mode, difficulty) != (fresh.getCurrentMode(), fresh.getDifficulty()):
    return False
  rng = random.Random(0)
  actions = ale.getMinimalActionSet()
  for _ in range(_NUM_TRIED_FRAMES):
    ale.act(rng.choice(actions))
  return True


if __name__ == '__main__':
  _try_states(sys.argv[1])
