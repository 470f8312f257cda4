"""The state of a MuJoCo simulation: exact, and as JSON can hold it.

dm_control's `Physics.get_state` leaves out the solver's warm start, the
controls and what tasks change in the model when an episode begins (targets,
dampings, terrain).
"""

import base64
from typing import Any

import numpy as np

# Of shapes and pictures, which no task changes; they are most of a model.
_CONSTANT = ('mesh_', 'tex_', 'bvh_')


def model_arrays(model: Any) -> dict[str, np.ndarray]:
  """Returns copies of a model's arrays that a task may change, by their names.

  Args:
    model: a mujoco.MjModel.
  """
  names = [
    name for name in dir(model) if not name.startswith(('_', *_CONSTANT))
  ]
  arrays = {name: getattr(model, name) for name in names}
  return {
    name: array.copy()
    for name, array in arrays.items()
    if isinstance(array, np.ndarray) and array.size
  }


def get_state(
  physics: Any, random: np.random.RandomState, fresh: dict[str, np.ndarray]
) -> dict[str, Any]:
  """Returns all that `set_state` needs, between two steps.

  Args:
    physics: a dm_control.mujoco.Physics.
    random: the task's generator.
    fresh: `model_arrays` of the model before its first episode.
  """
  state = simulation_state(physics.model.ptr, physics.data.ptr, fresh)
  return dict(**state, random=_pack_random(random))


def set_state(
  physics: Any,
  random: np.random.RandomState,
  fresh: dict[str, np.ndarray],
  state: dict[str, Any],
) -> None:
  """Goes on from `get_state` with the same model.

  Args:
    physics: a dm_control.mujoco.Physics.
    random: the task's generator.
    fresh: as for `get_state`.
    state: from there.
  """
  set_simulation_state(physics.model.ptr, physics.data.ptr, fresh, state)
  _unpack_random(random, state['random'])


def simulation_state(
  model: Any, data: Any, fresh: dict[str, np.ndarray]
) -> dict[str, Any]:
  """Returns the state of MuJoCo's simulation alone.

  Args:
    model: a mujoco.MjModel.
    data: its mujoco.MjData.
    fresh: `model_arrays` of the model before its first episode.
  """
  import mujoco

  kind = mujoco.mjtState.mjSTATE_INTEGRATION
  values = np.empty(mujoco.mj_stateSize(model, kind))
  mujoco.mj_getState(model, data, values, kind)
  changed = {
    name: pack(getattr(model, name))
    for name, array in fresh.items()
    if getattr(model, name).tobytes() != array.tobytes()  # There are NaNs.
  }
  return dict(simulation=pack(values), model=changed)


def set_simulation_state(
  model: Any, data: Any, fresh: dict[str, np.ndarray], state: dict[str, Any]
) -> None:
  """Goes on from `simulation_state` with the same model; its arguments."""
  import mujoco

  for name, array in fresh.items():
    view, packed = getattr(model, name), state['model'].get(name)
    if packed is not None:
      view[:] = unpack(packed, view)
    else:
      view[:] = array
  kind = mujoco.mjtState.mjSTATE_INTEGRATION
  values = np.empty(mujoco.mj_stateSize(model, kind))
  mujoco.mj_setState(model, data, unpack(state['simulation'], values), kind)
  # What depends on positions and velocities; dm_control's step begins with it.
  mujoco.mj_step1(model, data)


def pack(array: np.ndarray) -> str:
  """Returns an array's bytes as text."""
  return base64.b64encode(np.ascontiguousarray(array)).decode()


def unpack(text: str, like: np.ndarray) -> np.ndarray:
  """Returns the array of `pack`, of the shape and dtype of another."""
  array = np.frombuffer(base64.b64decode(text), like.dtype)
  return array.reshape(like.shape).copy()


def _pack_random(random):
  _, keys, *others = random.get_state()
  return [pack(keys), *others]


def _unpack_random(random, state):
  name, keys, *_ = random.get_state()
  random.set_state((name, unpack(state[0], keys), *state[1:]))
