"""DeepMind Lab: levels as environments, each in a process of its own.

`deepmind_lab` has no wheel (README says how to build it). Only the processes of
the environments import it: its software renderer must not share a process with
TensorFlow.
"""

import contextlib
import dataclasses
import functools
import glob
import importlib.util
import multiprocessing.connection
import os
import shutil
import sys
import time
import types
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from core import dmlab30
from core.errors import UserError

# The longest instruction of DMLab-30 has 8 words and 43 letters ('Pick the
# magenta object in the magenta room').
MAX_INSTRUCTION_WORDS = 16
_MAX_INSTRUCTION_BYTES = 256
SUITE_FOLDER = 'contributed/dmlab30/'
_MIXER_SEED = 0x600D5EED  # Lab's for evaluation.
_CLOSE_SECS = 3.0

# Look left/right and down/up in pixels per frame, strafe, move back/forward,
# fire, jump, crouch.
ACTION_SETS = {
  # Espeholt et al. 2018 (arXiv:1802.01561), appendix D.1; scalable_agent.
  'impala': (
    (0, 0, 0, 1, 0, 0, 0),  # Forward.
    (0, 0, 0, -1, 0, 0, 0),  # Backward.
    (0, 0, -1, 0, 0, 0, 0),  # Strafe left.
    (0, 0, 1, 0, 0, 0, 0),  # Strafe right.
    (-20, 0, 0, 0, 0, 0, 0),  # Look left.
    (20, 0, 0, 0, 0, 0, 0),  # Look right.
    (-20, 0, 0, 1, 0, 0, 0),  # Look left and forward.
    (20, 0, 0, 1, 0, 0, 0),  # Look right and forward.
    (0, 0, 0, 0, 1, 0, 0),  # Fire.
  ),
  # Hessel et al. 2018 (arXiv:1809.04474), table 2.
  'popart': (
    (0, 0, 0, 1, 0, 0, 0),  # Forward.
    (0, 0, 0, -1, 0, 0, 0),  # Backward.
    (0, 0, -1, 0, 0, 0, 0),  # Strafe left.
    (0, 0, 1, 0, 0, 0, 0),  # Strafe right.
    (-10, 0, 0, 0, 0, 0, 0),  # Look left a little.
    (10, 0, 0, 0, 0, 0, 0),  # Look right a little.
    (-60, 0, 0, 0, 0, 0, 0),  # Look left.
    (60, 0, 0, 0, 0, 0, 0),  # Look right.
    (0, 10, 0, 0, 0, 0, 0),  # Look down.
    (0, -10, 0, 0, 0, 0, 0),  # Look up.
    (-10, 0, 0, 1, 0, 0, 0),  # Look left a little and forward.
    (10, 0, 0, 1, 0, 0, 0),  # Look right a little and forward.
    (-60, 0, 0, 1, 0, 0, 0),  # Look left and forward.
    (60, 0, 0, 1, 0, 0, 0),  # Look right and forward.
    (0, 0, 0, 0, 1, 0, 0),  # Fire.
  ),
}


@dataclasses.dataclass(frozen=True)
class DmLabProtocol:
  """How DeepMind Lab is played; defaults are scalable_agent's.

  Attributes:
    width: pixels.
    height: pixels.
    num_action_repeats: frames (60 a second) per agent step; rewards add up.
    action_set: key of `ACTION_SETS`.
    dataset_path: folder of the pictures that two psychlab levels show;
      'dummy': coloured squares instead.
    level_cache_dir: folder of compiled maps; '': compile each time.
  """

  width: int = 96
  height: int = 72
  num_action_repeats: int = 4
  action_set: str = 'impala'
  dataset_path: str = ''
  level_cache_dir: str = ''


def is_level(name: str) -> bool:
  """Tells whether a task is a level of DeepMind Lab.

  Args:
    name: a level of DMLab-30; one in a folder (tests/empty_room_test); or any
      other, written lab:seekavoid_arena_01.
  """
  if name.startswith(('ALE/', 'two_rooms')):  # Other suites with folders.
    return False
  return name in dmlab30.ALL_LEVELS or name.startswith('lab:') or '/' in name


class DmLabEnv(gymnasium.Env):
  """One level.

  Observations are a dict of `frame`, uint8 [height, width, 3], and
  `instruction`, its UTF-8 bytes, uint8 [256], padded with 0.
  """

  def __init__(self, level: str, protocol: DmLabProtocol, is_training: bool):
    """Starts nothing yet; `connect` does, once, in the process that plays.

    Args:
      level: a name that `is_level`.
      protocol: how to play.
      is_training: False allows the levels that are held out for tests.
    """
    level = level.removeprefix('lab:')
    is_in_suite = level in dmlab30.ALL_LEVELS
    self._level = SUITE_FOLDER + level if is_in_suite else level
    self._protocol = protocol
    self._is_training = is_training
    self._actions = np.array(ACTION_SETS[protocol.action_set], np.intc)
    self._random_state = np.random.RandomState()
    self._lab = None
    frame_shape = (protocol.height, protocol.width, 3)
    self.observation_space = gymnasium.spaces.Dict(
      frame=gymnasium.spaces.Box(0, 255, frame_shape, np.uint8),
      instruction=gymnasium.spaces.Box(
        0, 255, (_MAX_INSTRUCTION_BYTES,), np.uint8
      ),
    )
    self.action_space = gymnasium.spaces.Discrete(len(self._actions))

  def connect(self) -> str:
    """Starts the engine; returns why that failed, '' if it did not."""
    protocol = self._protocol
    config = dict(
      width=protocol.width,
      height=protocol.height,
      datasetPath=protocol.dataset_path,
      logLevel='WARN',
    )
    if not self._is_training:
      config |= dict(allowHoldOutLevels='true', mixerSeed=_MIXER_SEED)
    directory = protocol.level_cache_dir
    try:
      import deepmind_lab

      self._lab = deepmind_lab.Lab(
        self._level,
        ['RGB_INTERLEAVED', 'INSTR'],
        config={name: str(value) for name, value in config.items()},
        level_cache=LevelCache(directory) if directory else None,
      )
    except (ImportError, RuntimeError) as error:
      return str(error) or repr(error)
    return ''

  def reset(
    self, *, seed: int | None = None, options: dict[str, Any] | None = None
  ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Begins an episode; `seed` starts the sequence of episode seeds anew."""
    if seed is not None:
      self._random_state = np.random.RandomState(seed)
    # Lab takes Python's int only.
    self._lab.reset(seed=int(self._random_state.randint(0, 2**31 - 1)))
    self._observation = self._observe()
    return self._observation, {}

  def step(self, action: int) -> tuple[dict, float, bool, bool, dict]:
    """Repeats an action; the reward is the sum over its frames.

    At the end of an episode the observation is the one before: Lab gives none.
    """
    reward = self._lab.step(
      self._actions[action], num_steps=self._protocol.num_action_repeats
    )
    is_over = not self._lab.is_running()
    if not is_over:
      self._observation = self._observe()
    return self._observation, reward, is_over, False, {}

  def close(self) -> None:
    """Ends the engine."""
    if self._lab is not None:
      self._lab.close()

  def _observe(self):
    found = self._lab.observations()
    text = found['INSTR'].encode()
    if len(text) > _MAX_INSTRUCTION_BYTES:
      raise ValueError(
        f'{self._level}: an instruction of {len(text)} bytes, at most '
        f'{_MAX_INSTRUCTION_BYTES} fit'
      )
    instruction = np.zeros(_MAX_INSTRUCTION_BYTES, np.uint8)
    instruction[: len(text)] = np.frombuffer(text, np.uint8)
    return dict(frame=found['RGB_INTERLEAVED'], instruction=instruction)


class DmLabVectorEnv(AsyncVectorEnv):
  """N levels in N processes; instructions come as word buckets.

  Observations are a dict of `frame`, uint8 [N, height, width, 3], and
  `instruction`, int32 [N, 16], as `core.types.Observation` has it.
  """

  def __init__(
    self, levels: Sequence[str], protocol: DmLabProtocol, is_training: bool
  ):
    """Starts processes and engines.

    Args:
      levels: the level of each row.
      protocol: how to play.
      is_training: False allows the levels that are held out for tests.

    Raises:
      UserError: `deepmind_lab`, a level, the pictures or the folder of maps is
        missing.
    """
    _check_installation(levels, protocol)
    self._levels = levels
    env_fns = [
      functools.partial(DmLabEnv, level, protocol, is_training)
      for level in levels
    ]
    with _no_main_module():
      super().__init__(
        env_fns, context='spawn', autoreset_mode=AutoresetMode.SAME_STEP
      )
    for level, failure in zip(levels, self.call('connect'), strict=True):
      if failure:
        self.close()
        raise UserError(f'DeepMind Lab cannot play {level}: {failure}')

  def reset(self, **kwargs: Any) -> tuple[dict[str, np.ndarray], dict]:
    """Begins all episodes; row i is seeded with `seed` + i."""
    observations, infos = super().reset(**kwargs)
    return _with_word_buckets(observations), infos

  def step_wait(self, timeout: float | None = None) -> tuple[Any, ...]:
    """Waits for all rows; see gymnasium.

    Raises:
      RuntimeError: an engine ended its process.
    """
    try:
      observations, *others = super().step_wait(timeout)
    except EOFError as error:
      sentinels = [process.sentinel for process in self.processes]
      ended = multiprocessing.connection.wait(sentinels, 1.0)
      codes = []
      for level, process in zip(self._levels, self.processes, strict=True):
        if process.sentinel in ended:
          process.join()
          codes.append(f'{level}: exit code {process.exitcode}')
      raise RuntimeError(f'DeepMind Lab ended; {", ".join(codes)}') from error
    return _with_word_buckets(observations), *others

  def close_extras(self, **unused: Any) -> None:
    """Ends the processes; by force those that take longer than 3 seconds.

    Gymnasium would wait for what they are doing (compiling a map takes many
    seconds), and raise their errors once more.
    """
    for pipe in self.parent_pipes:
      if pipe is not None:
        with contextlib.suppress(OSError):
          pipe.send(('close', None))
    deadline = time.monotonic() + _CLOSE_SECS
    for process in self.processes:
      process.join(max(0.0, deadline - time.monotonic()))
      if process.is_alive():
        process.terminate()
        process.join()
    for pipe in self.parent_pipes:
      if pipe is not None:
        pipe.close()


class LevelCache:
  """Compiled maps in a folder that any number of processes share."""

  def __init__(self, directory: str):
    """Uses an existing folder."""
    self._directory = directory

  def fetch(self, key: str, pk3_path: str) -> bool:
    """Copies a map to `pk3_path`; returns whether there was one."""
    try:
      shutil.copyfile(os.path.join(self._directory, key), pk3_path)
    except FileNotFoundError:
      return False
    return True

  def write(self, key: str, pk3_path: str) -> None:
    """Keeps the map at `pk3_path`; it appears whole, the first one stays."""
    path = os.path.join(self._directory, key)
    if not os.path.exists(path):
      temporary = f'{path}.{uuid.uuid4().hex}'
      shutil.copyfile(pk3_path, temporary)
      os.replace(temporary, path)


def _check_installation(levels, protocol):
  if importlib.util.find_spec('deepmind_lab') is None:
    raise UserError(
      'DeepMind Lab is not installed (no module deepmind_lab): build it as '
      'README says under "DeepMind Lab"'
    )
  path = protocol.dataset_path
  pictures = os.path.join(glob.escape(path), '[0-9]*.png')
  needing = [level for level in levels if level in dmlab30.NEED_STIMULI]
  if needing and path != 'dummy' and not glob.glob(pictures):
    raise UserError(
      f'{needing[0]} shows the pictures of Brady et al. 2008, and there are '
      f'none in --dataset_path={path}: give the folder of 0001.png to '
      '2400.png, or --dataset_path=dummy for coloured squares'
    )
  if protocol.level_cache_dir:
    try:
      os.makedirs(protocol.level_cache_dir, exist_ok=True)
    except OSError as error:
      raise UserError(
        f'--level_cache_dir={protocol.level_cache_dir}: {error.strerror}'
      ) from error


@contextlib.contextmanager
def _no_main_module() -> Iterator[None]:
  """Hides the script that runs from processes that are spawned.

  They would import it anew, and with it TensorFlow.
  """
  main = sys.modules['__main__']
  sys.modules['__main__'] = types.ModuleType('__main__')
  try:
    yield
  finally:
    sys.modules['__main__'] = main


def _with_word_buckets(observations):
  rows = observations['instruction']
  buckets = np.stack([_word_buckets(row.tobytes()) for row in rows])
  return dict(frame=observations['frame'], instruction=buckets)


@functools.lru_cache(2**16)
def _word_buckets(text: bytes) -> np.ndarray:
  # Here, not above: the processes of environments do without TensorFlow.
  from core.networks import hash_words

  words = text.rstrip(b'\0').decode()
  return np.array(hash_words(words, MAX_INSTRUCTION_WORDS), np.int32)
