"""A stand-in for DeepMind Lab's Python module, which has no wheel.

It keeps the contract of the real one, as its source (google-deepmind/lab,
python/dmlab_module.c) and runs of it show: which types it takes and gives, what
raises what and when, what takes the process down, hold-out levels, the level
cache, the temporary folder. What it plays is made up: each episode one side of
the picture is bright, and every frame that looks to that side gives a reward of
1. Language levels say which. So are the levels tests/*_test that end badly.

Tests put this folder on the path; spawned environments inherit the path.
"""

import multiprocessing
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

SUITE = 'contributed/dmlab30/'
BAD_CALL = 40  # Of `step`, where levels end that end badly.
EPISODE_FRAMES = 50  # 12.5 steps of 4 frames: the last one is cut short.
INSTRUCTIONS = {
  'language_select_located_object': (
    'Pick the {color} object in the magenta room'
  ),
  'language_execute_random_task': 'hat near {color} object',
  'language_answer_quantitative_question': 'Are all hat objects {color}?',
  'language_select_described_object': '{color}',
}
COLORS = ('red', 'blue')  # Of goals on the left and on the right.
OTHER_LEVELS = (
  *('explore_goal_locations', 'explore_object_locations'),
  *('explore_obstructed_goals', 'lasertag_one_opponent'),
  *('lasertag_three_opponents', 'natlab_', 'skymaze_', 'psychlab_', 'rooms_'),
  'explore_object_rewards',
)
SHIPPED_LEVELS = ('tests/', 'seekavoid_', 'nav_maze_', 'lt_')
# At a reset. Which of the suite's do so in the constructor too is not known
# here; tests/early_map_test does.
COMPILED = ('explore_', 'language_', 'lasertag_', 'skymaze_', 'rooms_keys')
EARLY_MAP = 'tests/early_map_test'
NO_INSTRUCTION = 'tests/no_instruction_test'

labs = []  # Every Lab of this process, for tests to look into.


class Lab:
  """One level; `seeds`, `config` and `num_compiled` are for tests."""

  def __init__(
    self,
    level,
    observations,
    config={},  # noqa: B006 - as the real one.
    renderer='software',
    level_cache=None,
    temp_folder='',
  ):
    for value, kind in ((level, str), (observations, list), (config, dict)):
      if type(value) is not kind:
        raise TypeError(f'must be {kind.__name__}, not {type(value).__name__}')
    if renderer not in ('', 'software', 'hardware'):
      raise RuntimeError(
        'Failed to set renderer must be "hardware" or "software" actual '
        f'"{renderer}"!'
      )
    for name in [*config, *config.values()]:
      if not isinstance(name, str):
        raise TypeError('bad argument type for built-in operation')
    for name, value in config.items():
      if name in SETTINGS and not SETTINGS[name](value):
        raise RuntimeError(
          f'Failed to apply setting \'{name} = {value}\' - "not {name}"'
        )
    if multiprocessing.parent_process() and 'tensorflow' in sys.modules:
      raise RuntimeError('TensorFlow is in this process: Mesa would crash')
    self.level, self.config = level, dict(config)
    self.seeds, self.num_compiled = [], 0
    self._name = level.removeprefix(SUITE)
    self._load(config)
    self._level_cache = level_cache
    # Removed by whoever made it.
    self._owns_folder = not temp_folder
    self._folder = temp_folder or tempfile.mkdtemp(prefix='dmlab_temp_folder_')
    self._misbehave('constructor')
    if level == EARLY_MAP:
      try:
        self._compile_map('map_0')
      except Exception as error:
        self._remove_folder()
        raise SystemError(
          f'{Lab} returned a result with an exception set'
        ) from error
    size = (int(config.get(*s)) for s in (('height', 240), ('width', 320)))
    self._shape = (*size, 3)
    self._known = {'RGB_INTERLEAVED', 'INSTR', 'VEL.TRANS'}
    if level == NO_INSTRUCTION:
      self._known.remove('INSTR')
    for name in observations:
      if name not in self._known:
        self._remove_folder()
        raise ValueError(f"Unknown observation '{name}'.")
    self._observations = list(observations)
    self._status = 'uninitialized'
    self._num_frames = self._num_steps = self._num_calls = 0
    labs.append(self)

  def _load(self, config):
    is_in_suite = self.level.startswith(SUITE) and (
      self._name in INSTRUCTIONS or self._name.startswith(OTHER_LEVELS)
    )
    if not is_in_suite and not self.level.startswith(SHIPPED_LEVELS):
      raise RuntimeError(
        f'Failed to init environment - "Level not found: {self.level}"'
      )
    is_held_out = is_in_suite and self._name.endswith('_test')
    if is_held_out and config.get('allowHoldOutLevels') != 'true':
      raise RuntimeError(
        'Failed to init environment - "This level must only be used during '
        'evaluation.\nFor training, use the *_train.lua version."'
      )

  def reset(self, episode=-1, seed=None):
    self._must_be_open()
    if seed is not None and not isinstance(seed, int):
      raise ValueError(
        f"'seed' must be int or None, was '{type(seed).__name__}'."
      )
    self.seeds.append(seed)
    rng = np.random.default_rng(seed)
    self._seed = 0 if seed is None else seed
    self._misbehave('reset')
    self._side = int(rng.integers(2))
    if self._name.startswith(COMPILED):
      self._compile_map(f'map_{self._side}')
    self._num_frames = self._num_steps = 0
    self._status = 'running'
    return True

  def _compile_map(self, key):
    path = pathlib.Path(self._folder, f'{key}.pk3')
    if self._level_cache and self._level_cache.fetch(key, str(path)):
      assert path.read_text() == key
      return
    self.num_compiled += 1
    path.write_text(key)
    if self._level_cache:
      self._level_cache.write(key, str(path))

  def num_steps(self):
    """Counts what was asked for, also beyond the episode's end."""
    return self._num_steps

  def is_running(self):
    return self._status == 'running'

  def step(self, action, num_steps=1):
    if not isinstance(action, np.ndarray):
      raise TypeError('argument 1 must be numpy.ndarray')
    if not self.is_running():
      raise RuntimeError('Environment in wrong status to advance.')
    if action.shape != (7,):
      raise ValueError('action must have shape (7)')
    if action.dtype != np.intc:
      raise ValueError('action must have dtype np.intc')
    self._num_calls += 1
    if self._num_calls == BAD_CALL:
      self._misbehave('step')
    self._num_steps += num_steps
    reward = 0.0
    for _ in range(num_steps):
      reward += float(np.sign(action[0]) == (-1, 1)[self._side])
      self._num_frames += 1
      if self._num_frames == EPISODE_FRAMES:
        self._status = 'terminated'
        break
    return reward

  def _misbehave(self, where):
    if (self._name, where) in BAD_ENDS:
      print(f'raised at {time.time()}', file=sys.stderr, flush=True)
      BAD_ENDS[self._name, where](self._folder)

  def _must_be_open(self):
    if self._status == 'closed':
      os.kill(os.getpid(), signal.SIGSEGV)

  def _remove_folder(self):
    if self._owns_folder:
      shutil.rmtree(self._folder)

  def observations(self):
    if not self.is_running():
      raise RuntimeError(
        'Environment in wrong status for call to observations()'
      )
    height, width, _ = self._shape
    frame = np.zeros(self._shape, np.uint8)
    half = slice(width // 2) if self._side == 0 else slice(width // 2, width)
    frame[:, half, 0] = 255
    frame[..., 1] = self._num_frames
    frame[..., 2] = self._seed % 256
    text = INSTRUCTIONS.get(self._name, '').format(color=COLORS[self._side])
    if self._name == 'tests/long_instruction_test':
      text = 'word ' * 100
    found = {
      'RGB_INTERLEAVED': frame,
      'INSTR': text,
      'VEL.TRANS': np.zeros(3),
    }
    return {name: found[name] for name in self._observations}

  def observation_spec(self):
    self._must_be_open()
    specs = [
      {'name': 'RGB_INTERLEAVED', 'shape': self._shape, 'dtype': np.uint8},
      {'name': 'INSTR', 'shape': (), 'dtype': str},
      {'name': 'VEL.TRANS', 'shape': (3,), 'dtype': np.float64},
    ]
    return [spec for spec in specs if spec['name'] in self._known]

  def action_spec(self):
    looks = (
      'LOOK_LEFT_RIGHT_PIXELS_PER_FRAME',
      'LOOK_DOWN_UP_PIXELS_PER_FRAME',
    )
    moves = ('STRAFE_LEFT_RIGHT', 'MOVE_BACK_FORWARD')
    return (
      [{'name': name, 'min': -512, 'max': 512} for name in looks]
      + [{'name': name, 'min': -1, 'max': 1} for name in moves]
      + [
        {'name': name, 'min': 0, 'max': 1}
        for name in ('FIRE', 'JUMP', 'CROUCH')
      ]
    )

  def read_property(self, key):
    if key != 'engine.fps':
      raise KeyError(f"'{key}' not found.")
    return '60'

  def events(self):
    return []

  def close(self):
    was_open = self._status != 'closed'
    self._status = 'closed'
    if was_open:
      self._remove_folder()
    return was_open


def _is_size(value):
  return value.isdigit() and int(value) > 0 and int(value) % 4 == 0


SETTINGS = {
  'width': _is_size,
  'height': _is_size,
  'fps': str.isdigit,
  'mixerSeed': lambda value: value.isdigit() and int(value) < 2**32,
}


def _fail(folder):
  del folder
  raise ArithmeticError('the engine is lost')


def _exit(folder):
  del folder
  os._exit(3)


def _refuse_map(folder):
  del folder
  os._exit(1)


def _abort(folder):
  """As of an error in Lua."""
  del folder
  os.kill(os.getpid(), signal.SIGABRT)


def _sleep(folder):
  del folder
  time.sleep(60)


def _compile(folder):
  """A shell, and what it waits for; says the ids of both."""
  file = os.path.join(folder, 'compiling')
  script = f'sleep 600 & echo $$ $! > {file}.new; mv {file}.new {file}; wait'
  subprocess.run(['sh', '-c', script], check=True)


BAD_ENDS = {
  ('tests/failing_test', 'step'): _fail,
  ('tests/dying_test', 'step'): _exit,
  ('tests/sleeping_test', 'step'): _sleep,
  ('tests/lua_error_test', 'constructor'): _abort,
  ('tests/bad_map_test', 'reset'): _refuse_map,
  ('tests/compiling_test', 'reset'): _compile,
}
