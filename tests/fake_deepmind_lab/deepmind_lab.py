"""A stand-in for DeepMind Lab's Python module, which has no wheel.

It keeps the contract of the real one (google-deepmind/lab,
python/dmlab_module.c, docs/users/python_api.md): which types it takes and
gives, what raises what and when, hold-out levels, the level cache. What it
plays is made up: each episode one side of the picture is bright, and every
frame that looks to that side gives a reward of 1. Language levels say which.

Tests put this folder on the path; spawned environments inherit the path.
"""

import multiprocessing
import os
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
COMPILED = ('explore_', 'lasertag_', 'skymaze_', 'rooms_keys')
SETTINGS = ('width', 'height', 'fps', 'mixerSeed')  # Whole numbers.

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
    if renderer not in ('software', 'hardware'):
      raise RuntimeError(f'Failed to set renderer "{renderer}"')
    for name in [*config, *config.values()]:
      if not isinstance(name, str):
        raise TypeError('bad argument type for built-in operation')
    for name in SETTINGS:
      if name in config and not config[name].isdigit():
        raise RuntimeError(f"Failed to apply setting '{name}'")
    if multiprocessing.parent_process() and 'tensorflow' in sys.modules:
      raise RuntimeError('TensorFlow is in this process: Mesa would crash')
    self.level, self.config = level, dict(config)
    self.seeds, self.num_compiled = [], 0
    self._name = level.removeprefix(SUITE)
    self._load(config)
    width, height = (int(config.get(n, 320)) for n in ('width', 'height'))
    self._shape = (height, width, 3)
    known = {'RGB_INTERLEAVED', 'INSTR', 'VEL.TRANS'}
    for name in observations:
      if name not in known:
        raise ValueError(f"Unknown observation '{name}'.")
    self._observations = list(observations)
    self._level_cache = level_cache
    self._status = 'uninitialized'
    self._num_frames = self._num_calls = 0
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
    if self._status == 'closed':
      raise RuntimeError('closed')
    if seed is not None and not isinstance(seed, int):
      raise ValueError(
        f"'seed' must be int or None, was '{type(seed).__name__}'."
      )
    self.seeds.append(seed)
    rng = np.random.default_rng(seed)
    self._seed = 0 if seed is None else seed
    self._side = int(rng.integers(2))
    if self._name.startswith(COMPILED):
      self._compile_map(f'map_{self._side}')
    self._num_frames = 0
    self._status = 'running'
    return True

  def _compile_map(self, key):
    with tempfile.TemporaryDirectory() as folder:
      path = os.path.join(folder, 'map.pk3')
      if self._level_cache and self._level_cache.fetch(key, path):
        with open(path, 'rb') as file:
          assert file.read() == key.encode()
        return
      self.num_compiled += 1
      with open(path, 'wb') as file:
        file.write(key.encode())
      if self._level_cache:
        self._level_cache.write(key, path)

  def num_steps(self):
    return self._num_frames

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
    self._misbehave()
    reward = 0.0
    for _ in range(num_steps):
      reward += float(np.sign(action[0]) == (-1, 1)[self._side])
      self._num_frames += 1
      if self._num_frames == EPISODE_FRAMES:
        self._status = 'terminated'
        break
    return reward

  def _misbehave(self):
    self._num_calls += 1
    if self._num_calls == BAD_CALL and self._name in BAD_ENDS:
      print(f'raised at {time.time()}', file=sys.stderr, flush=True)
      BAD_ENDS[self._name]()

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
    return [
      {'name': 'RGB_INTERLEAVED', 'shape': self._shape, 'dtype': np.uint8},
      {'name': 'INSTR', 'shape': (), 'dtype': str},
      {'name': 'VEL.TRANS', 'shape': (3,), 'dtype': np.float64},
    ]

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

  def fps(self):
    return 60

  def events(self):
    return []

  def close(self):
    was_open = self._status != 'closed'
    self._status = 'closed'
    return was_open


def _fail():
  raise ArithmeticError('the engine is lost')


def _exit():
  os._exit(3)


def _sleep():
  time.sleep(60)


BAD_ENDS = {
  'tests/failing_test': _fail,
  'tests/dying_test': _exit,
  'tests/sleeping_test': _sleep,
}
