"""DeepMind Lab: a level as an environment, in the process that plays it.

`deepmind_lab` has no wheel (README says how to build it). Only the processes of
`dmlab_processes` import it: its software renderer must not share a process with
TensorFlow.
"""

import dataclasses
import os
import shutil
import tempfile
import uuid
from typing import Any

import gymnasium
import numpy as np

# The longest instruction of DMLab-30 has 8 words and 43 letters ('Pick the
# magenta object in the magenta room').
MAX_INSTRUCTION_WORDS = 16
_MAX_INSTRUCTION_BYTES = 256
_MIXER_SEED = 0x600D5EED  # Lab's for evaluation.

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


class DmLabEnv(gymnasium.Env):
  """One level.

  Observations are a dict of `frame`, uint8 [height, width, 3], and
  `instruction`, its UTF-8 bytes, uint8 [256], padded with 0.
  """

  def __init__(self, level: str, protocol: DmLabProtocol, is_training: bool):
    """Starts nothing yet; `connect` does, once, in the process that plays.

    Args:
      level: its name among Lab's levels.
      protocol: how to play.
      is_training: False allows the levels that are held out for tests.
    """
    self._level = level
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

  def lead_group(self) -> None:
    """Makes a group of this process and of all that the engine starts.

    It compiles maps by a shell; ended alone, it would leave that running.
    """
    os.setpgid(0, 0)

  def connect(self, temp_folder: str) -> str:
    """Starts the engine.

    Args:
      temp_folder: for the engine's own folder, which it does not remove.

    Returns:
      Why that failed, '' if it did not.
    """
    try:
      try:
        self._start(['RGB_INTERLEAVED', 'INSTR'], temp_folder)
      except ValueError as error:
        if 'INSTR' not in str(error):
          raise
        # There are levels without instructions.
        self._start(['RGB_INTERLEAVED'], temp_folder)
    except SystemError as error:  # Hides that of the level cache.
      return repr(error.__cause__ or error)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
      return str(error) or repr(error)
    return ''

  def _start(self, observations, temp_folder):
    import deepmind_lab

    protocol = self._protocol
    settings = dict(
      width=protocol.width,
      height=protocol.height,
      datasetPath=protocol.dataset_path,
      logLevel='WARN',
    )
    if not self._is_training:
      settings |= dict(allowHoldOutLevels='true', mixerSeed=_MIXER_SEED)
    directory = protocol.level_cache_dir
    self._lab = deepmind_lab.Lab(
      self._level,
      observations,
      config={name: str(value) for name, value in settings.items()},
      level_cache=LevelCache(directory) if directory else None,
      temp_folder=tempfile.mkdtemp(dir=temp_folder),
    )

  def reset(
    self, *, seed: int | None = None, options: dict[str, Any] | None = None
  ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Begins an episode; `seed` starts the sequence of episode seeds anew."""
    if seed is not None:
      self._random_state = np.random.RandomState(seed)
    if self._lab is None:  # A closed engine would end the process.
      raise RuntimeError(f'{self._level}: no engine, or it is closed')
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
      self._lab = None

  def _observe(self):
    found = self._lab.observations()
    text = found.get('INSTR', '').encode()
    if len(text) > _MAX_INSTRUCTION_BYTES:
      raise ValueError(
        f'{self._level}: an instruction of {len(text)} bytes, at most '
        f'{_MAX_INSTRUCTION_BYTES} fit'
      )
    instruction = np.zeros(_MAX_INSTRUCTION_BYTES, np.uint8)
    instruction[: len(text)] = np.frombuffer(text, np.uint8)
    return dict(frame=found['RGB_INTERLEAVED'], instruction=instruction)


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
