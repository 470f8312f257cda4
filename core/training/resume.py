"""Checkpoints of runs: what is saved, and how a run goes on from it."""

import dataclasses
import json
from typing import Any

import numpy as np

from core import checkpointing
from core import config as configs
from core.errors import UserError
from core.run_config import RunConfig
from core.training.records import Records

_MAX_NUMBER = 2**62  # Of frames, updates, bytes and seconds.


def save(
  config: RunConfig, learner: Any, source: Any, records: Records
) -> None:
  """Writes a checkpoint of everything that a resumed run needs.

  Args:
    config: a paper's Config.
    learner: counters (`get_state`) and, in `agent`, the variables.
    source: the actors' state, where it can be saved; None where they begin
      anew anyhow.
    records: their lengths, so that a resume neither repeats nor loses a row.
  """
  variables = learner.agent.variables()
  arrays = {f'agent/{name}': v.numpy() for name, v in variables.items()}
  source_state = source.get_state() if source else dict(arrays={})
  arrays |= checkpointing.flatten({'source': source_state.pop('arrays')})
  metadata = dict(
    config=configs.describe(config),
    task_names=learner.agent.env_spec.task_names,
    records=records.state(),
    source=source_state,
    **learner.get_state(),
  )
  checkpointing.save(
    checkpointing.directory_of(config.logdir),
    learner.env_frames,
    arrays,
    metadata,
    config.keep_checkpoints,
  )


def restore(config: RunConfig, agent: Any) -> dict[str, Any]:
  """Loads the newest checkpoint into the agent.

  Args:
    config: must equal the checkpoint's but for fields that may change; with a
      population_slice, also but for those that a population explores.
    agent: whose variables are set.

  Returns:
    The checkpoint's metadata, with `arrays` beside it; empty without one.

  Raises:
    UserError: the config differs, or an array does not fit the network.
  """
  directory = checkpointing.directory_of(config.logdir)
  restored = checkpointing.restore_latest(directory, _warn, check_metadata)
  if restored is None:
    return {}
  arrays, metadata, path = restored
  may_change = configs.names(config, may_change=True)
  if config.population_slice:
    may_change |= configs.names(config, explored=True)
  _check_config(config, metadata['config'], may_change)
  load_variables(agent, arrays)
  print(f'resuming {path} at frame {metadata["env_frames"]:,}', flush=True)
  return {**metadata, 'arrays': arrays}


def extend_lineage(
  config: RunConfig, state: dict[str, Any]
) -> list[dict[str, Any]]:
  """Returns the slices of a population that a run's checkpoints descend from.

  Args:
    config: of the run.
    state: from `restore`.

  Returns:
    From the first slice to the run's own: `slice`, its name; `first_frame`, at
    which it began; `explored`, the values of the fields that a population may
    explore. Empty for a run of no population.
  """
  lineage = state.get('lineage', [])
  name = config.population_slice
  if not name or (lineage and lineage[-1]['slice'] == name):
    return lineage
  explored = sorted(configs.names(config, explored=True))
  own = dict(
    slice=name,
    first_frame=state.get('env_frames', 0),
    explored={field: getattr(config, field) for field in explored},
  )
  return [*lineage, own]


def check_played(config: RunConfig, saved: dict[str, Any]) -> None:
  """Refuses to play a checkpoint's policy in another way than it was trained.

  Args:
    config: of the run that plays it.
    saved: the checkpoint's config.

  Raises:
    UserError: a field differs that changes what is played or scored.
  """
  must_agree = configs.names(config, changes_play=True, may_change=False)
  may_differ = {*configs.names(config), *saved} - must_agree
  _check_config(config, saved, may_differ)


def _check_config(config, saved, ignore):
  # A field that is younger than the checkpoint had its default.
  defaults = dataclasses.asdict(type(config)())
  checkpointing.check_config(
    {**defaults, **saved},
    json.loads(json.dumps(configs.describe(config))),
    ignore,
  )


def check_metadata(metadata: dict[str, Any]) -> None:
  """Refuses metadata that no run wrote.

  Raises:
    ValueError: naming the first bad entry.
  """
  kinds = dict(
    config=dict,
    env_frames=int,
    num_updates=int,
    task_names=list,
    records=dict,
    source=dict,
  )
  for name, kind in kinds.items():
    if not isinstance(metadata.get(name), kind):
      raise ValueError(f'its {name} is not of type {kind.__name__}')
  numbers = {name: metadata[name] for name in ('env_frames', 'num_updates')}
  for name, value in metadata['records'].items():
    of_file = value if name == 'checksums' else {'': value}
    if not isinstance(of_file, dict):
      raise ValueError(f'its {name} is not of type dict')
    numbers |= {f'{name} {file}'.strip(): n for file, n in of_file.items()}
  for name, number in numbers.items():
    kind = (int, float) if name == 'wall_secs' else int
    if not isinstance(number, kind) or not 0 <= number < _MAX_NUMBER:
      raise ValueError(f'its {name} is no number of its kind')


def load_variables(agent: Any, arrays: dict[str, np.ndarray]) -> None:
  """Sets the agent's variables to a checkpoint's.

  Args:
    agent: whose variables are set.
    arrays: those of a checkpoint.

  Raises:
    UserError: an array is missing or has another shape.
  """
  assign_variables(agent.variables(), arrays)


def assign_variables(
  variables: dict[str, Any], arrays: dict[str, np.ndarray]
) -> None:
  """Sets some of an agent's variables to a checkpoint's.

  Args:
    variables: by the names that the agent gives them.
    arrays: those of a checkpoint.

  Raises:
    UserError: an array is missing or has another shape.
  """
  for name, variable in variables.items():
    name = f'agent/{name}'
    found = arrays.get(name)
    if found is None or found.shape != tuple(variable.shape):
      shape = 'missing' if found is None else f'of shape {found.shape}'
      raise UserError(
        f'checkpoint: {name} is {shape}, the network has {variable.shape}: '
        'give the flags it was trained with'
      )
    variable.assign(found)


def _warn(message):
  print(f'warning: {message}', flush=True)
