"""Random unrolls and small specs for tests."""

from typing import Any

import numpy as np
import tensorflow as tf

from core.types import (
  AgentOutput,
  EnvOutput,
  EnvSpec,
  EpisodeInfo,
  Observation,
  Unroll,
)

SMALL_SPEC = EnvSpec(
  task_names=('a', 'b'), num_actions=3, frame_shape=(20, 20, 1)
)
LANGUAGE_SPEC = SMALL_SPEC._replace(instruction_length=4)


def random_env_output(
  rng: np.random.Generator, spec: EnvSpec, *shape: int
) -> EnvOutput:
  """Returns an EnvOutput of the given axes; a third are episode ends."""
  instruction = ()
  if spec.instruction_length:
    instruction = rng.integers(0, 6, [*shape, spec.instruction_length])
    instruction = -np.sort(-instruction).astype(np.int32)  # Padding last.
  info = EpisodeInfo(
    rng.normal(size=shape).astype(np.float32),
    rng.integers(1, 100, shape).astype(np.int32),
    rng.random(shape) < 0.2,
  )
  frames = features = ()
  if spec.frame_shape:
    frames = rng.integers(0, 256, [*shape, *spec.frame_shape])
    frames = frames.astype(np.uint8)
  if spec.num_features:
    features = rng.normal(size=[*shape, spec.num_features]).astype(np.float32)
  reward = rng.normal(scale=2.0, size=shape).astype(np.float32)
  done = rng.random(shape) < 1 / 3
  truncated = ()
  if spec.has_time_limit:
    truncated = done & (rng.random(shape) < 1 / 2)
  return EnvOutput(
    reward=reward,
    info=info,
    done=done,
    observation=Observation(frames, instruction, features),
    truncated=truncated,
  )


def random_unroll(
  unroll_length: int,
  batch_size: int,
  spec: EnvSpec = SMALL_SPEC,
  use_lstm: bool = False,
  seed: int = 0,
) -> Unroll:
  """Returns an Unroll [T + 1, B] whose columns and entries all differ."""
  rng = np.random.default_rng(seed)
  shape = (unroll_length + 1, batch_size)
  core_state = ()
  if use_lstm:
    core_state = tuple(
      rng.normal(size=[batch_size, 256]).astype(np.float32) for _ in range(2)
    )
  logits = rng.normal(size=[*shape, spec.num_actions]).astype(np.float32)
  return Unroll(
    task_id=rng.integers(len(spec.task_names), size=batch_size, dtype=np.int32),
    policy_version=rng.integers(100, size=batch_size),
    core_state=core_state,
    env_outputs=random_env_output(rng, spec, *shape),
    agent_outputs=AgentOutput(
      rng.integers(spec.num_actions, size=shape, dtype=np.int32),
      logits,
    ),
  )


def learner_input(unroll: Unroll) -> Unroll:
  """Returns the part of an Unroll that an update reads, as tensors."""
  unroll = unroll._replace(
    policy_version=(), env_outputs=unroll.env_outputs._replace(info=())
  )
  return tf.nest.map_structure(tf.convert_to_tensor, unroll)


def assert_unrolls_equal(found: Any, expected: Any) -> None:
  """Asserts that two structures of arrays are equal, dtypes too."""
  tf.nest.map_structure(
    lambda a, b: np.testing.assert_array_equal(a, b, strict=True),
    found,
    expected,
  )
