"""DeepMind Control: tasks of dm_control's suite, from features or from pixels.

Features are what dm_control observes, in its order; `feature_names` lists them.
An episode ends after 1000 control steps: it is truncated, not terminated. Only
the tasks `lqr` terminate, and have no limit.

`dm_control` reads MUJOCO_GL when it is imported. Software OpenGL (Mesa) and
TensorFlow end a process that holds both, so only processes that never import
TensorFlow draw, and everywhere else OpenGL is left out.
"""

import contextlib
import dataclasses
import functools
import importlib.util
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium
import numpy as np
from absl import logging
from gymnasium import spaces

from core.environments import control_custom, control_state
from core.environments.workers import WorkerVectorEnv
from core.errors import UserError

ROOT = pathlib.Path(__file__).resolve().parents[2]

_NO_GL = 'disable'
_PROBE_SECS = 120
_CAMERAS = {'quadruped': 2}  # By domain, else 0. Its first shows it from afar.


@dataclasses.dataclass(frozen=True)
class ControlProtocol:
  """How DeepMind Control is played.

  Attributes:
    num_action_repeats: control steps per agent step; rewards add up.
    observations: 'features', float32 [F], or 'pixels', uint8 [H, W, 3].
    frame_height: H; Zahavy et al. 2020 do not say theirs.
    frame_width: W.
  """

  num_action_repeats: int = 1
  observations: str = 'features'
  frame_height: int = 64
  frame_width: int = 64


class ControlEnv(gymnasium.Env):
  """One task, domain/name.

  Actions are float [D] between dm_control's bounds; what lies outside is
  clipped.
  """

  def __init__(
    self, task: str, protocol: ControlProtocol, backend: str = _NO_GL
  ):
    """Compiles the model.

    Args:
      task: its name in dm_control's suite, such as cartpole/swingup, or one of
        `control_custom.TASKS`.
      protocol: how to play.
      backend: MUJOCO_GL for this process, if it did not import dm_control yet.

    Raises:
      UserError: dm_control is missing.
    """
    environment = _load(task, backend)
    self._protocol = protocol
    self._camera = _CAMERAS.get(task.partition('/')[0], 0)
    self._task = environment.task
    self._num_sub_steps = round(
      environment.control_timestep() / environment.physics.timestep()
    )
    self._max_steps = environment._step_limit  # dm_control shows it nowhere.
    self._use(environment.physics)
    bounds = environment.action_spec()
    self._low, self._high = bounds.minimum, bounds.maximum
    self.action_space = spaces.Box(
      np.float32(self._low), np.float32(self._high), dtype=np.float32
    )
    self.observation_space = self._space()

  def reset(
    self, *, seed: int | None = None, options: dict[str, Any] | None = None
  ) -> tuple[np.ndarray, dict[str, Any]]:
    """Begins an episode; `seed` starts the random numbers anew."""
    super().reset(seed=seed)
    if seed is not None:
      self._task.random.seed(seed)
    self._begin()
    return self._observe(), {}

  def step(
    self, action: np.ndarray
  ) -> tuple[np.ndarray, float, bool, bool, dict]:
    """Repeats an action; the reward is the sum over its control steps."""
    action = np.clip(np.asarray(action, np.float64), self._low, self._high)
    reward = 0.0
    for _ in range(self._protocol.num_action_repeats):
      reward += self._control_step(action)
      self._num_steps += 1
      discount = self._final_discount()
      if discount is not None:
        break
    terminated = discount == 0.0
    truncated = discount is not None and not terminated
    return self._observe(), reward, terminated, truncated, {}

  def get_state(self) -> dict[str, Any]:
    """Returns all that `set_state` needs, as JSON can hold it."""
    return dict(
      num_steps=self._num_steps,
      **control_state.get_state(self._physics, self._task.random, self._fresh),
    )

  def set_state(self, state: dict[str, Any]) -> None:
    """Goes on from `get_state`; call it after `reset`."""
    self._num_steps = state['num_steps']
    control_state.set_state(
      self._physics, self._task.random, self._fresh, state
    )
    if self._protocol.observations == 'pixels':
      self._physics._free_rendering_contexts()  # They hold the old terrain.

  def close(self) -> None:
    """Frees the simulation."""
    self._physics.free()

  def _use(self, physics):
    self._physics = physics
    if self._protocol.observations == 'features':
      # The terrain of quadruped/escape would ask for OpenGL.
      physics._make_rendering_contexts = lambda: None
    self._fresh = control_state.model_arrays(physics.model.ptr)

  def _begin(self):
    self._num_steps = 0
    with self._physics.reset_context():
      self._task.initialize_episode(self._physics)

  def _control_step(self, action):
    """Does what dm_control's Environment does in a step; returns the reward.

    It would compute an observation too, which nobody sees of repeated actions.
    """
    self._task.before_step(action, self._physics)
    self._physics.step(self._num_sub_steps)
    self._task.after_step(self._physics)
    return float(self._task.get_reward(self._physics))

  def _final_discount(self):
    """Returns 0 or 1 if the episode ended with this step, else None."""
    if self._num_steps >= self._max_steps:
      return 1.0
    return self._task.get_termination(self._physics)

  def _space(self):
    if self._protocol.observations == 'pixels':
      return spaces.Box(0, 255, self._frame_shape(), np.uint8)
    return spaces.Box(-np.inf, np.inf, self._features().shape, np.float32)

  def _observe(self):
    if self._protocol.observations == 'pixels':
      height, width, _ = self._frame_shape()
      return self._physics.render(height, width, self._camera)
    return self._features().astype(np.float32)

  def _frame_shape(self):
    return self._protocol.frame_height, self._protocol.frame_width, 3

  def _features(self):
    """Returns what dm_control observes now as one vector, float64 [F]."""
    observed = self._task.get_observation(self._physics)
    return np.concatenate([np.ravel(part) for part in observed.values()])


@functools.cache
def spaces_of(
  task: str, protocol: ControlProtocol
) -> tuple[spaces.Box, spaces.Box]:
  """Returns the spaces of observations and actions, without OpenGL.

  Raises:
    UserError: dm_control is missing.
  """
  env = ControlEnv(task, protocol)
  env.close()
  return env.observation_space, env.action_space


def feature_names(task: str) -> tuple[str, ...]:
  """Names the F features of a task, such as position[0], in their order."""
  environment = _load(task, _NO_GL)
  environment.reset()
  observed = environment.task.get_observation(environment.physics)
  return tuple(
    f'{name}[{i}]'
    for name, part in observed.items()
    for i in range(np.size(part))
  )


def make_vector_env(
  tasks: Sequence[str], protocol: ControlProtocol, num_workers: int
) -> WorkerVectorEnv:
  """Builds N environments in up to W processes without TensorFlow.

  Args:
    tasks: domain/name of each.
    protocol: how to play.
    num_workers: W.

  Raises:
    UserError: dm_control is missing, or pixels cannot be drawn here.
  """
  check_installation()
  backend = _NO_GL
  if protocol.observations == 'pixels':
    backend = rendering_backend(os.environ.get('MUJOCO_GL'))
  return WorkerVectorEnv(
    [functools.partial(ControlEnv, task, protocol, backend) for task in tasks],
    num_workers,
  )


def check_installation(needing: str = 'DeepMind Control') -> None:
  """Refuses to go on without dm_control.

  Args:
    needing: what needs it.

  Raises:
    UserError: with the command that installs it.
  """
  if importlib.util.find_spec('dm_control') is not None:
    return
  if sys.version_info >= (3, 13):
    raise UserError(
      f'{needing} needs Python 3.10 to 3.12: labmaze, which dm-control '
      'depends on, has no wheel for later ones'
    )
  raise UserError(
    f'{needing} is not installed: .venv/bin/python -m pip install '
    'dm-control==1.0.28 mujoco==3.3.0'
  )


@contextlib.contextmanager
def mujoco_gl(backend: str = _NO_GL) -> Iterator[None]:
  """Sets MUJOCO_GL in a with-block, in which what reads it is imported."""
  previous, verbosity = os.environ.get('MUJOCO_GL'), logging.get_verbosity()
  os.environ['MUJOCO_GL'] = backend
  logging.set_verbosity(logging.WARNING)  # dm_control tells of its versions.
  try:
    yield
  finally:
    logging.set_verbosity(verbosity)
    if previous is None:
      del os.environ['MUJOCO_GL']
    else:
      os.environ['MUJOCO_GL'] = previous


def _load(task, backend):
  """Loads an environment of dm_control's suite, or one of ours."""
  check_installation()
  with mujoco_gl(backend):
    from dm_control import suite

  if task in control_custom.TASKS:
    return control_custom.load(task)
  return suite.load(*task.split('/'))


@functools.cache
def rendering_backend(chosen: str | None) -> str:
  """Returns the MUJOCO_GL with which this machine draws.

  Each is tried in a process of its own, because some end theirs.

  Args:
    chosen: the only one to try; None: EGL, then OSMesa.

  Raises:
    UserError: none does.
  """
  candidates = [chosen] if chosen else ['egl', 'osmesa']
  for backend in candidates:
    if _draws(backend):
      return backend
  cause = f'MUJOCO_GL={chosen} does not' if chosen else 'neither EGL nor OSMesa'
  raise UserError(
    f'pixels of DeepMind Control need OpenGL without a screen, and {cause} '
    "draw here: install EGL (Debian: libegl1, libgl1-mesa-dri, or the GPU's "
    'driver) or OSMesa (libosmesa6), or choose features'
  )


def _draws(backend):
  try:
    child = subprocess.run(
      [sys.executable, '-m', __name__, backend],
      cwd=ROOT,
      capture_output=True,
      timeout=_PROBE_SECS,
      check=False,
    )
  except (OSError, subprocess.TimeoutExpired):
    return False
  return child.returncode == 0 and child.stdout.endswith(b'drawn\n')


def _try_to_draw(arguments: Sequence[str]) -> None:
  """Says 'drawn' if this process can draw; it may end in any way."""
  protocol = ControlProtocol(observations='pixels')
  frame, _ = ControlEnv('cartpole/balance', protocol, *arguments).reset(seed=0)
  if frame.std() > 0.0:
    print('drawn')


if __name__ == '__main__':
  _try_to_draw(sys.argv[1:])
