"""Exports a compiled learner, to be checked and timed without TensorFlow.

    python -m experiments.speed.export --out=FOLDER \\
      --preset=atari_expert_deep --num_actions=18

The whole update (networks, V-trace, gradients, optimiser) leaves as one
StableHLO program, with the recipe of its inputs and what TensorFlow's outputs
were. With them, `run_exported.py` needs no TensorFlow, nor the CUDA that it was
built for.
"""

import dataclasses
import gzip
import json
import os
import re
import zlib
from typing import Any

import numpy as np

import impala.config
from core import flags, start
from core.config import field
from core.errors import UserError
from core.files import atomic_file

with start.quiet_tensorflow():
  import tensorflow as tf
  import tree

  import impala.agent
  import stacx.agent
  from core.device import Device
  from core.types import AgentOutput, EnvOutput, EnvSpec, Observation, Unroll
  from core.unrolls import split_unroll
  from experiments.speed import flops, run_exported

NUM_ATARI_ACTIONS = 18
NUM_DMLAB_ACTIONS = 15  # Hessel et al. 2019, table 2 (arXiv:1809.04474).
INSTRUCTION_LENGTH = 16


@dataclasses.dataclass(frozen=True)
class Config(impala.config.Config):
  """IMPALA's config, and what to export it for."""

  out: str = field('', 'Folder to write to.')
  observation: str = field(
    'atari',
    'atari: 4 frames of 84x84; dmlab: a colour frame and an instruction.',
    choices=('atari', 'dmlab'),
  )
  num_actions: int = field(
    0, 'A; 0: all that there are, 18 (atari) or 15 (dmlab).', minimum=0
  )


PRESETS = {
  name: Config(**dataclasses.asdict(preset))
  for name, preset in impala.config.PRESETS.items()
}


def atari_spec(
  num_actions: int = NUM_ATARI_ACTIONS, task_names: tuple[str, ...] = ('atari',)
) -> EnvSpec:
  """Describe Atari games to the learner."""
  return EnvSpec(
    frame_shape=(4, 84, 84),
    channels_first=True,
    num_actions=num_actions,
    instruction_length=0,
    task_names=task_names,
  )


def dmlab_spec(
  height: int = 72,
  width: int = 96,
  num_actions: int = NUM_DMLAB_ACTIONS,
  instruction_length: int = INSTRUCTION_LENGTH,
) -> EnvSpec:
  """Describe a level of DeepMind Lab to the learner."""
  return EnvSpec(
    frame_shape=(height, width, 3),
    channels_first=False,
    num_actions=num_actions,
    instruction_length=instruction_length,
    task_names=('dmlab',),
  )


def export_learner(
  agent_class: type, config: Any, env_spec: EnvSpec, folder: str
) -> None:
  """Compile the update, take it once and write program and manifest.

  Args:
    agent_class: a paper's Agent.
    config: its config; the batch is filled with invented experience.
    env_spec: what the agent acts on.
    folder: to write to.

  Raises:
    UserError: the config cannot be exported, or the folder not written.
  """
  if config.strategy != 'one_device' or config.xla == 'off':
    raise UserError('exports are compiled and --strategy=one_device')
  template = make_template(config, env_spec)
  compiled = make_agent(
    agent_class, dataclasses.replace(config, xla='on'), env_spec
  )
  inputs = _describe_inputs(compiled, config, env_spec, template)
  arrays = run_exported.make_inputs(list(inputs.values()), config.seed)
  arrays = dict(zip(inputs, arrays, strict=True))
  unroll = [arrays[name] for name in _names(template)]
  unroll = tree.unflatten_as(template, unroll)
  unroll = tree.map_structure(tf.convert_to_tensor, unroll)
  arguments = (unroll, tf.constant(arrays['learning_rate']))
  program = compiled.update.experimental_get_compiler_ir(*arguments)(
    stage='stablehlo'
  )
  # Captured variables follow the arguments, in the order of their capture.
  captured = compiled.update.get_concrete_function(*arguments).captured_inputs
  names = {id(v.handle): name for name, v in compiled.variables().items()}
  order = [*_names(template), 'learning_rate']
  order += [names[id(handle)] for handle in captured]
  replaces = _replaced_inputs(program, len(order) - len(captured))

  reference = make_agent(
    agent_class, dataclasses.replace(config, xla='off'), env_spec
  )
  for name, variable in reference.variables().items():
    variable.assign(arrays[name])
  outputs = _update_by_columns(reference, config, *arguments)
  for output_index, input_index in sorted(replaces.items()):
    assert output_index == len(outputs), 'variables must follow metrics'
    name = order[input_index]
    outputs[name] = reference.variables()[name].numpy()
  expected = _describe_values(outputs, arrays)
  manifest = {
    **_describe(config, env_spec, compiled),
    'inputs': [inputs[n] | {'crc32': _checksum(arrays[n])} for n in order],
    'outputs': [
      _describe_output(name, x, replaces.get(i), expected[name])
      for i, (name, x) in enumerate(outputs.items())
    ],
  }
  _write(folder, manifest, _portable(_without_locations(program)))


def make_agent(agent_class: type, config: Any, env_spec: EnvSpec) -> Any:
  """Return a paper's Agent on this machine's devices."""
  return agent_class(config, env_spec, Device.from_config(config))


def make_template(config: Any, env_spec: EnvSpec) -> Unroll:
  """Return a batch's structure, shapes and dtypes, its numbers missing.

  Without `info` and `policy_version`, as the update reads it.
  """
  shape = (config.unroll_length + 1, config.batch_size)

  def empty(dtype, *shape):
    return np.broadcast_to(np.zeros([], dtype), shape)

  instruction, state = (), ()
  if env_spec.instruction_length:
    instruction = empty(np.int32, *shape, env_spec.instruction_length)
  if config.use_lstm:
    state = tuple(empty(np.float32, shape[1], 256) for _ in range(2))
  return Unroll(
    task_id=empty(np.int32, shape[1]),
    policy_version=(),
    core_state=state,
    env_outputs=EnvOutput(
      reward=empty(np.float32, *shape),
      info=(),
      done=empty(np.bool_, *shape),
      observation=Observation(
        empty(np.uint8, *shape, *env_spec.frame_shape), instruction
      ),
    ),
    agent_outputs=AgentOutput(
      action=empty(np.int32, *shape),
      policy_logits=empty(np.float32, *shape, env_spec.num_actions),
    ),
  )


def _names(template: Unroll) -> list[str]:
  """Return the names of a batch's arrays, in their order."""
  paths = [path for path, _ in tree.flatten_with_path(template)]
  return ['.'.join(('unroll', *map(str, path))) for path in paths]


def _describe_inputs(agent, config, env_spec, template) -> dict[str, dict]:
  """Return shape, dtype and recipe of batch, learning rate and variables."""
  recipes = {
    'task_id': _recipe('integers', end=len(env_spec.task_names)),
    'reward': _recipe('signs', probability=0.2),
    'done': _recipe('flags', probability=0.2),
    'frame': _recipe('bytes'),
    'instruction': _recipe('words'),
    'action': _recipe('integers', end=env_spec.num_actions),
    'policy_logits': _recipe('uniform', low=-0.5, high=0.5),
  }
  state = _recipe('uniform', low=-0.9, high=0.9)  # Names 0 and 1.
  inputs = {}
  for name, x in zip(_names(template), tree.flatten(template), strict=True):
    recipe = recipes.get(name.split('.')[-1], state)
    inputs[name] = _described(name, x.shape, x.dtype, recipe)
  rate = _recipe('constant', value=config.learning_rate)
  inputs['learning_rate'] = _described('learning_rate', (), 'float32', rate)
  for name, v in agent.variables().items():
    recipe = _variable_recipe(name, v.shape)
    inputs[name] = _described(name, v.shape, v.dtype.as_numpy_dtype, recipe)
  return inputs


def _variable_recipe(name: str, shape) -> dict[str, Any]:
  """Return how to fill a variable, about as it is in the midst of training."""
  squares = ('popart/second_moment', 'eta_adam/mean_square')
  if name.startswith('rmsprop_mean_square/') or name in squares:
    return _recipe('uniform', low=0.5, high=1.5)
  if name.startswith('rmsprop_moment/') or name == 'eta_adam/mean':
    return _recipe('uniform', low=-0.001, high=0.001)
  if name == 'eta_adam/num_steps':
    return _recipe('constant', value=1000)
  if name == 'eta':
    return _recipe('uniform', low=2.0, high=4.0)
  if name == 'popart/shift':
    return _recipe('uniform', low=-0.5, high=0.5)
  if len(shape) == 1 or name.split('/')[-1] in ('b', 'b_hidden'):
    return _recipe('uniform', low=-0.1, high=0.1)
  # The published initialisers' deviation: 1/sqrt(fan in), of embeddings 1.
  fan_in = 1 if name.endswith('embedding') else int(np.prod(shape[:-1]))
  limit = float(np.sqrt(3 / fan_in))
  return _recipe('uniform', low=-limit, high=limit)


def _recipe(kind: str, **numbers: float) -> dict[str, Any]:
  return {'kind': kind, **numbers}


def _described(name, shape, dtype, recipe):
  shape, dtype = [int(size) for size in shape], str(np.dtype(dtype))
  return {'name': name, 'shape': shape, 'dtype': dtype, 'recipe': recipe}


def _checksum(array: np.ndarray) -> int:
  return zlib.crc32(array.tobytes())


def _update_by_columns(
  agent: Any, config: Any, unroll: Unroll, learning_rate: tf.Tensor
) -> dict[str, np.ndarray]:
  """Take the update's step with TensorFlow's kernels; return its metrics.

  Losses are sums, so columns add up: one at a time, they need little memory.
  STACX looks at a batch more than once and gets it whole.
  """
  if isinstance(agent, stacx.agent.Agent):
    metrics = agent.update(unroll, learning_rate)
    return {name: metrics[name].numpy() for name in sorted(metrics)}
  sums, add = None, lambda a, b: None if a is None else a + b
  columns = []
  for column in split_unroll(unroll, config.batch_size):
    gradients, metrics, *rest = agent._gradients(column)
    parts = (gradients, metrics)
    sums = tree.map_structure(add, sums, parts) if sums else parts
    columns.append(rest)
  columns = [
    tree.map_structure(lambda *leaves: tf.concat(leaves, axis=0), *parts)
    for parts in zip(*columns, strict=True)
  ]
  gradients, metrics = sums
  metrics |= agent._apply(gradients, learning_rate, *columns)
  return {name: metrics[name].numpy() for name in sorted(metrics)}


def _replaced_inputs(program: str, num_arguments: int) -> dict[int, int]:
  """Return, for each output that is a new value of an input, that input.

  The compiler says so itself: such outputs may reuse their input's memory.
  """
  pattern = r'parameter_number = (\d+) : i64}, output_index = array<i64: (\d+)>'
  replaces = {int(o): int(i) for i, o in re.findall(pattern, program)}
  if not replaces or min(replaces.values()) < num_arguments:
    raise RuntimeError('the compiled update does not say what it replaces')
  return replaces


def _without_locations(program: str) -> str:
  """Remove the names and paths of the Python lines behind each operation."""
  program = re.sub(r' loc\((?:"[^"]*"|\([^()]*\)|[^"()])*\)', '', program)
  return re.sub(r'(?m)^#loc.*\n', '', program)


def _portable(program: str) -> str:
  """Write in StableHLO what is not: newer compilers refuse MHLO's copies."""
  same = r'stablehlo.reshape \1 : (\2) -> \2'
  return re.sub(r'mhlo\.copy (%\w+) : (tensor<.*>)', same, program)


def _describe(config: Any, env_spec: EnvSpec, agent: Any) -> dict[str, Any]:
  """Return what the manifest says of the learner as a whole."""
  height, width = env_spec.frame_shape[:2]
  if env_spec.channels_first:
    height, width = env_spec.frame_shape[1:]
  agent_steps = config.unroll_length * config.batch_size
  shapes = {name: v.shape for name, v in agent.variables().items()}
  num_steps = agent_steps + config.batch_size
  length = env_spec.instruction_length
  return {
    'seed': config.seed,
    'precision': config.precision,
    'env_frames_per_update': agent_steps * config.num_action_repeats,
    'flops_per_update': flops.count_flops(
      shapes,
      (height, width),
      num_steps,
      length,
      num_heads=getattr(config, 'num_heads', 0),
    ),
    'tensorflow': tf.__version__,
    'config': {**dataclasses.asdict(config), 'out': '', 'logdir': ''},
    'channels_first': env_spec.channels_first,
    'num_tasks': len(env_spec.task_names),
  }


def _describe_values(outputs, arrays) -> dict[str, dict[str, Any]]:
  """Return what is kept of the outputs' values, by name.

  The meta-gradient's elements are metrics each, but sums of numbers that cancel
  like any gradient's: their errors are measured by the largest of them.
  """
  expected = {
    name: run_exported.describe_output(x, arrays.get(name))
    for name, x in outputs.items()
  }
  elements = [x for name, x in expected.items() if '_gradient_head_' in name]
  for element in elements:
    element['scale'] = max(other['largest'] for other in elements)
  return expected


def _describe_output(name, array, replaces_input, expected):
  return {
    'name': name,
    'shape': list(array.shape),
    'dtype': str(array.dtype),
    'replaces_input': replaces_input,
    'expected': expected,
  }


def _write(folder: str, manifest: dict[str, Any], program: str) -> None:
  """Write the two files; the manifest last, as it vouches for the other."""
  files = {
    'learner.mlir.gz': gzip.compress(program.encode(), mtime=0),
    'manifest.json': (json.dumps(manifest, indent=1) + '\n').encode(),
  }
  for name, content in files.items():
    with atomic_file(os.path.join(folder, name)) as file:
      file.write(content)


def export_config(config: Config) -> None:
  """Export the IMPALA learner that a config describes.

  Raises:
    UserError: the config cannot be exported, or the folder not written.
  """
  if not config.out:
    raise UserError('say where to write: --out=FOLDER')
  if config.observation == 'atari':
    env_spec = atari_spec(config.num_actions or NUM_ATARI_ACTIONS)
  else:
    num_actions = config.num_actions or NUM_DMLAB_ACTIONS
    env_spec = dmlab_spec(config.height, config.width, num_actions)
  export_learner(impala.agent.Agent, config, env_spec, config.out)


def main(unused_argv: list[str]) -> None:
  """Export the learner that the flags describe."""
  config = flags.resolve(Config, PRESETS)
  export_config(config)
  print(f'wrote {config.out}')


if __name__ == '__main__':
  flags.define(Config, PRESETS)
  flags.run(main)
