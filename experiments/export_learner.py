"""Exports a compiled learner, to be checked and timed without TensorFlow.

    python -m experiments.export_learner --out=FOLDER \\
      --preset=atari_expert_deep --num_actions=18

The whole update (networks, V-trace, gradients, optimiser) leaves as one
StableHLO program beside an example of its inputs and TensorFlow's outputs. With
them, `run_exported.py` needs no TensorFlow, nor the CUDA that it was built for.
"""

import dataclasses
import io
import json
import os
import re

import numpy as np
import tensorflow as tf
import tree

from core import checkpointing, config_flags, distribution, optimizers
from core.config_flags import field
from core.errors import UserError
from core.types import AgentOutput, EnvOutput, EnvSpec, Observation, Unroll
from impala import config as impala_config
from impala.agent import Agent

NUM_ATARI_ACTIONS = 18
NUM_DMLAB_ACTIONS = 15  # Hessel et al. 2019, table 2 (arXiv:1809.04474).
INSTRUCTION_LENGTH = 16


@dataclasses.dataclass(frozen=True)
class Config(impala_config.Config):
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
  for name, preset in impala_config.PRESETS.items()
}


def export_learner(config: Config) -> None:
  """Compile the update, take it once and write program, example and manifest.

  Args:
    config: what to export; its batch is filled with invented experience.

  Raises:
    UserError: the config cannot be exported, or the folder not written.
  """
  if not config.out:
    raise UserError('say where to write: --out=FOLDER')
  if config.strategy != 'one_device' or config.xla == 'off':
    raise UserError('exports are compiled and --strategy=one_device')
  env_spec = make_env_spec(config)
  unroll = make_unroll(config, env_spec)
  compiled = Agent(dataclasses.replace(config, xla='on'), env_spec)
  _round_weights(compiled)
  tensors = tree.map_structure(tf.convert_to_tensor, unroll)
  arguments = (tensors, tf.constant(config.learning_rate, tf.float32))
  compiler_ir = compiled.update.experimental_get_compiler_ir(*arguments)
  program = compiler_ir(stage='stablehlo')
  inputs = {
    '.'.join(('unroll', *map(str, path))): value
    for path, value in tree.flatten_with_path(unroll)
  }
  inputs['learning_rate'] = np.float32(config.learning_rate)
  replaces = _replaced_inputs(program, len(inputs))
  # Captured variables follow the arguments, in the order of their capture.
  captured = compiled.update.get_concrete_function(*arguments).captured_inputs
  variables = {
    id(v.handle): (name, v.numpy()) for name, v in compiled.variables().items()
  }
  inputs |= dict(variables[id(handle)] for handle in captured)

  reference = Agent(dataclasses.replace(config, xla='off'), env_spec)
  for name, variable in reference.variables().items():
    variable.assign(inputs[name])
  outputs = _update_by_columns(reference, config, *arguments)
  for output_index, input_index in sorted(replaces.items()):
    assert output_index == len(outputs), 'variables must follow metrics'
    name = list(inputs)[input_index]
    outputs[name] = reference.variables()[name].numpy()
  _write(config, _without_locations(program), inputs, outputs, replaces)


def make_env_spec(config: Config) -> EnvSpec:
  """Describe the environments that the exported learner learns from."""
  if config.observation == 'atari':
    num_actions = config.num_actions or NUM_ATARI_ACTIONS
    return EnvSpec((4, 84, 84), True, num_actions, 0, ('atari',))
  return EnvSpec(
    frame_shape=(config.height, config.width, 3),
    channels_first=False,
    num_actions=config.num_actions or NUM_DMLAB_ACTIONS,
    instruction_length=INSTRUCTION_LENGTH,
    task_names=('dmlab',),
  )


def make_unroll(config: Config, env_spec: EnvSpec) -> Unroll:
  """Invent a batch of NumPy arrays, without `info` and `policy_version`."""
  rng = np.random.default_rng(config.seed)
  shape = (config.unroll_length + 1, config.batch_size)

  def normal(*shape):
    return rng.standard_normal(shape, np.float32)

  core_state = np.tanh(0.5 * normal(2, config.batch_size, 256))
  instruction = ()
  if env_spec.instruction_length:
    words = rng.integers(1, 1001, (config.batch_size, INSTRUCTION_LENGTH))
    num_words = rng.integers(0, INSTRUCTION_LENGTH + 1, config.batch_size)
    words[np.arange(INSTRUCTION_LENGTH) >= num_words[:, None]] = 0
    instruction = np.tile(words.astype(np.int32), (shape[0], 1, 1))
  frame = _make_frames(rng, (*shape, *env_spec.frame_shape))
  reward = np.sign(normal(*shape)) * (rng.random(shape) < 0.2)
  return Unroll(
    task_id=np.zeros(config.batch_size, np.int32),
    policy_version=(),
    core_state=tuple(core_state) if config.use_lstm else (),
    env_outputs=EnvOutput(
      reward=reward.astype(np.float32),
      info=(),
      done=rng.random(shape) < 0.05,
      observation=Observation(frame, instruction),
    ),
    agent_outputs=AgentOutput(
      action=rng.integers(0, env_spec.num_actions, shape, np.int32),
      policy_logits=0.3 * normal(*shape, env_spec.num_actions),
      baseline=normal(*shape),
    ),
  )


def _make_frames(rng: np.random.Generator, shape: tuple[int, ...]):
  """Return uint8 frames that pack well: repeated texture and sparse noise.

  Flat areas would pack too, but max-pooling has no gradient where all is equal.
  """
  texture = rng.integers(0, 256, 4001, np.uint8)
  shifts = rng.integers(0, texture.size, shape[0] * shape[1])
  frames = [np.resize(np.roll(texture, s), shape[2:]) for s in shifts]
  frames = np.stack(frames)
  places = rng.integers(0, frames.size, frames.size // 200)
  frames.reshape(-1)[places] = rng.integers(0, 256, places.size, np.uint8)
  return frames.reshape(shape)


def _round_weights(agent: Agent) -> None:
  """Drop the weights' last 16 bits, which nobody needs and nothing packs."""
  for variable in agent.network.trainable_variables:
    bits = variable.numpy().view(np.uint32) & np.uint32(0xFFFF0000)
    variable.assign(bits.view(np.float32))


def _update_by_columns(
  agent: Agent, config: Config, unroll: Unroll, learning_rate: tf.Tensor
) -> dict[str, np.ndarray]:
  """Take the update's step with TensorFlow's kernels; return its metrics.

  Losses are sums, so columns add up: one at a time, they need little memory.
  """
  sums, add = None, lambda a, b: None if a is None else a + b
  for column in distribution.split_unroll(unroll, config.batch_size):
    with tf.GradientTape() as tape:
      loss, metrics = agent.loss_fn(column)
    gradients = tape.gradient(loss, agent.network.trainable_variables)
    parts = (optimizers.dense_gradients(gradients), metrics)
    sums = tree.map_structure(add, sums, parts) if sums else parts
  (gradients, touched_rows), metrics = sums
  gradients, metrics['gradient_norm'] = optimizers.clip_by_global_norm(
    gradients, config.max_gradient_norm
  )
  agent.optimizer.apply(gradients, touched_rows, learning_rate)
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


def _write(config, program, inputs, outputs, replaces) -> None:
  """Write the three files; the manifest last, as it vouches for the others."""

  def describe(name, array):
    return {'name': name, 'shape': array.shape, 'dtype': str(array.dtype)}

  agent_steps = config.unroll_length * config.batch_size
  manifest = {
    'env_frames_per_update': agent_steps * config.num_action_repeats,
    'inputs': [describe(*item) for item in inputs.items()],
    'outputs': [
      describe(*item) | {'replaces_input': replaces.get(i)}
      for i, item in enumerate(outputs.items())
    ],
    'tensorflow': tf.__version__,
    'config': {**dataclasses.asdict(config), 'out': '', 'logdir': ''},
  }
  arrays = {f'input_{i:03}': x for i, x in enumerate(inputs.values())}
  arrays |= {f'output_{i:03}': x for i, x in enumerate(outputs.values())}
  packed = io.BytesIO()
  np.savez_compressed(packed, **arrays)
  files = {
    'example.npz': packed.getvalue(),
    'learner.mlir': program.encode(),
    'manifest.json': (json.dumps(manifest, indent=1) + '\n').encode(),
  }
  for name, content in files.items():
    with checkpointing.atomic_file(os.path.join(config.out, name)) as file:
      file.write(content)


def main(unused_argv: list[str]) -> None:
  """Export the learner that the flags describe."""
  config = config_flags.resolve(Config, PRESETS)
  export_learner(config)
  print(f'wrote {config.out}')


if __name__ == '__main__':
  config_flags.define(Config, PRESETS)
  config_flags.run(main)
