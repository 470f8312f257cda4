"""Exports BRC's compiled update: two gradient steps with given noise.

    python -m experiments.speed.export_brc --out=FOLDER --preset=control \\
      --critic_width=1024

As `export.py` does for actor-critics; `run_exported.py` checks and times it.
The noise is an input: from the same seed TensorFlow's kernels and XLA make
different normal numbers.
"""

import dataclasses
from typing import Any

import numpy as np

import brc.config
from core import flags, start
from core.config import field
from core.errors import UserError
from core.types import ActionBox, EnvSpec, Transitions

with start.quiet_tensorflow():
  import tensorflow as tf

  import brc.agent
  from core.device import Device
  from experiments.speed import flops, program, run_exported

NUM_TASKS, NUM_FEATURES, NUM_ACTIONS = 7, 223, 38
"""Of DMC-Hard: a dog's, which the humanoids' are padded to."""


@dataclasses.dataclass(frozen=True)
class Config(brc.config.Config):
  """BRC's config, and where to write."""

  out: str = field('', 'Folder to write to.')


PRESETS = {
  name: Config(**dataclasses.asdict(preset))
  for name, preset in brc.config.PRESETS.items()
}


def control_spec(
  num_tasks: int = NUM_TASKS,
  num_features: int = NUM_FEATURES,
  num_actions: int = NUM_ACTIONS,
) -> EnvSpec:
  """Describe tasks of DeepMind Control to the learner."""
  return EnvSpec(
    task_names=tuple(f'task_{i}' for i in range(num_tasks)),
    action_box=ActionBox((-1.0,) * num_actions, (1.0,) * num_actions),
    num_features=num_features,
  )


def export_learner(
  agent_class: type, config: Any, env_spec: EnvSpec, folder: str
) -> None:
  """Compile the update, take it once and write program and manifest.

  Args:
    agent_class: BRC's Agent.
    config: its config; the batches are filled with invented experience.
    env_spec: what the agent acts on.
    folder: to write to.

  Raises:
    UserError: the config cannot be exported, or the folder not written.
  """
  if config.strategy != 'one_device' or config.xla == 'off':
    raise UserError('exports are compiled and --strategy=one_device')
  agent = _make_agent(agent_class, config, env_spec, 'on')
  inputs = _describe_inputs(agent, config, env_spec)
  arrays = run_exported.make_inputs(list(inputs.values()), config.seed)
  arrays = dict(zip(inputs, arrays, strict=True))
  batch_names = [f'batches.{name}' for name in Transitions._fields]
  batches = Transitions(*(tf.constant(arrays[n]) for n in batch_names))
  others = [tf.constant(arrays[name]) for name in ('greatest', 'noise')]
  arguments = (batches, *others)
  compiled = tf.function(_update_of(agent), autograph=False, jit_compile=True)
  text = compiled.experimental_get_compiler_ir(*arguments)(stage='stablehlo')
  order = [*batch_names, 'greatest', 'noise']
  order += program.captured_names(compiled, arguments, agent.variables())

  reference = _make_agent(agent_class, config, env_spec, 'off')
  variables = reference.variables()
  for name, variable in variables.items():
    variable.assign(arrays[name])
  metrics = tf.function(_update_of(reference), autograph=False)(*arguments)
  metrics = {name: metrics[name].numpy() for name in sorted(metrics)}
  about = _describe(config, env_spec, variables)
  program.write(folder, about, text, inputs, arrays, order, metrics, variables)


def _make_agent(agent_class, config, env_spec, xla):
  config = dataclasses.replace(config, xla=xla)
  return agent_class(config, env_spec, Device.from_config(config))


def _update_of(agent):
  """Return what the agent's update does once its noise is drawn."""

  def update(batches, greatest, noise):
    rewards = agent._normalise(batches.reward, batches.task_id, greatest)
    batches = batches._replace(reward=rewards)
    for i in range(batches.reward.shape[0]):
      batch = Transitions(*(x[i] for x in batches))
      metrics = agent._step(batch, noise[i, 0], noise[i, 1])
    return metrics

  return update


def _describe_inputs(agent, config, env_spec):
  """Return shape, dtype and recipe of batches, G, noise and variables."""
  num_tasks = len(env_spec.task_names)
  num_actions = len(env_spec.action_box.low)
  shape = (config.updates_per_step, config.batch_size)
  features = (*shape, env_spec.num_features)
  values = program.recipe('uniform', low=-1.0, high=1.0)
  parts = dict(
    task_id=(shape, np.int32, program.recipe('integers', end=num_tasks)),
    features=(features, np.float32, values),
    action=((*shape, num_actions), np.float32, values),
    reward=(shape, np.float32, values),
    next_features=(features, np.float32, values),
    goes_on=(shape, np.float32, program.recipe('constant', value=1.0)),
  )
  inputs = {f'batches.{name}': parts[name] for name in Transitions._fields}
  greatest = program.recipe('uniform', low=5.0, high=100.0)
  noise = program.recipe('uniform', low=-2.0, high=2.0)
  inputs['greatest'] = ((num_tasks,), np.float32, greatest)
  inputs['noise'] = ((shape[0], 2, shape[1], num_actions), np.float32, noise)
  for name, v in agent.variables().items():
    recipe = _variable_recipe(name, v.shape)
    inputs[name] = (v.shape, v.dtype.as_numpy_dtype, recipe)
  return {name: program.described(name, *part) for name, part in inputs.items()}


def _variable_recipe(name, shape):
  """Return how to fill a variable, about as it is in the midst of training."""
  if name.endswith('num_steps'):
    return program.recipe('constant', value=1000.0)
  if '_mean_square/' in name:
    return program.recipe('uniform', low=5e-7, high=1.5e-6)
  if '_mean/' in name:
    return program.recipe('uniform', low=-0.0005, high=0.0005)
  if name == 'log_temperature':
    return program.recipe('constant', value=-4.0)
  if name == 'entropies' or name.endswith('norm/scale'):
    return program.recipe('uniform', low=0.5, high=1.5)
  if name.endswith(('/b', 'norm/offset')):
    return program.recipe('uniform', low=-0.1, high=0.1)
  # Layers keep the deviation; embeddings are scaled anyway.
  fan_in = 1 if name.endswith('embedding') else int(shape[-2])
  limit = float(np.sqrt(3 / fan_in))
  return program.recipe('uniform', low=-limit, high=limit)


def _describe(config, env_spec, variables):
  """Return what the manifest says of the learner as a whole."""
  shapes = {name: v.shape for name, v in variables.items()}
  return {
    'seed': config.seed,
    'precision': config.precision,
    'env_frames_per_update': len(env_spec.task_names),
    'flops_per_update': flops.count_brc_flops(
      shapes, config.updates_per_step * config.batch_size
    ),
    'tensorflow': tf.__version__,
    'config': {**dataclasses.asdict(config), 'out': '', 'logdir': ''},
    'num_tasks': len(env_spec.task_names),
  }


def main(unused_argv: list[str]) -> None:
  """Export the learner that the flags describe."""
  config = flags.resolve(Config, PRESETS)
  if not config.out:
    raise UserError('say where to write: --out=FOLDER')
  export_learner(brc.agent.Agent, config, control_spec(), config.out)
  print(f'wrote {config.out}')


if __name__ == '__main__':
  flags.define(Config, PRESETS)
  flags.run(main)
