"""Devices: strategies, cores, and what XLA compiles where."""

import contextlib
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from core.types import Unroll


def make_strategy(name: str) -> tf.distribute.Strategy:
  """Returns the learner's strategy.

  Args:
    name: 'one_device', or 'mirrored' over all GPUs, without any over all
      logical CPUs.

  Returns:
    A tf.distribute strategy.
  """
  for gpu in tf.config.list_physical_devices('GPU'):
    # TensorFlow would take all of the memory at once.
    tf.config.experimental.set_memory_growth(gpu, True)
  if name == 'one_device':
    return tf.distribute.get_strategy()
  kind = 'GPU' if tf.config.list_logical_devices('GPU') else 'CPU'
  devices = [device.name for device in tf.config.list_logical_devices(kind)]
  return tf.distribute.MirroredStrategy(devices)


def share_cores(config: Any) -> None:
  """Divides the cores among the operations that run at the same time.

  Groups of environments act side by side, and in async mode the learner beside
  them. Operations that each spread over all cores would wait for each other.
  Has no effect where TensorFlow already runs in this process, or where
  TF_NUM_INTRAOP_THREADS is set; in the test modes one operation has all cores.

  Args:
    config: a paper's Config.
  """
  if config.mode not in ('train', 'benchmark'):
    return
  num_running = config.num_actors * config.num_groups
  num_running += config.actor_mode == 'async'  # The learner.
  if 'TF_NUM_INTRAOP_THREADS' not in os.environ:
    num_threads = max(1, (os.cpu_count() or 1) // num_running)
    with contextlib.suppress(RuntimeError):
      tf.config.threading.set_intra_op_parallelism_threads(num_threads)


def num_batch_parts(config: Any, unit: int = 1) -> int:
  """Decides in how many parts, at the same time, a CPU takes a gradient.

  In sync mode nothing runs beside the learner. In async mode actors do, and
  leave it a core; the deep network's learner needs more than that.

  Args:
    config: a paper's Config.
    unit: columns that a part needs a multiple of.

  Returns:
    1, or `num_groups` if that leaves at least 8 unrolls to a part.
  """
  needs_all_cores = config.actor_mode == 'sync' or config.torso == 'deep'
  num_parts = config.num_groups if needs_all_cores else 1
  width, rest = divmod(config.batch_size, num_parts)
  if rest or width % unit or width < 8 or has_accelerator():
    return 1
  return num_parts


def has_accelerator() -> bool:
  """Tells whether TensorFlow sees a GPU or a TPU."""
  return any(tf.config.list_logical_devices(kind) for kind in ('GPU', 'TPU'))


def xla_scope(mode: str) -> tuple[bool, bool]:
  """Decides what is compiled.

  On CPU, TensorFlow's own convolutions beat XLA's by 2.6 times, so 'auto'
  compiles there only the scaling of frames, V-trace and the losses.

  Args:
    mode: 'auto', 'on' or 'off'.

  Returns:
    Whether the whole update is compiled, and whether those parts are.
  """
  if mode == 'off':
    return False, False
  return mode == 'on' or has_accelerator(), True


def compile_update(
  strategy: tf.distribute.Strategy,
  gradients_fn: Callable[[Unroll], tuple[Any, ...]],
  apply_fn: Callable[..., dict[str, tf.Tensor]],
  compile_all: bool,
  num_parts: int = 1,
) -> Callable[[Unroll, tf.Tensor], dict[str, tf.Tensor]]:
  """Joins gradients and step into one function of a batch.

  With R replicas each gets B / R unrolls and the gradients are added up; since
  losses are sums, the step equals one device's.

  Nothing here or in the agents needs autograph: no Python statement depends on
  a tensor. Without it tracing takes a fifth of the time.

  Args:
    strategy: where it runs.
    gradients_fn: maps an Unroll to gradients and metrics, both sums over B,
      and perhaps to more, each [B, ...], which replicas put together in the
      batch's order.
    apply_fn: maps gradients, learning rate and that more to metrics, changing
      variables.
    compile_all: whether XLA compiles the update; under several replicas, each
      replica's gradients (a reduction cannot be compiled on every device).
    num_parts: in how many parts one device takes the gradient, at the same
      time and like replicas; 1 if XLA compiles the update.

  Returns:
    A function of an Unroll (its `info` and `policy_version` empty) and a
    float32 learning rate, that returns metrics.

  Raises:
    ValueError: when called with a B that R does not divide.
  """
  if strategy.num_replicas_in_sync > 1:
    return _compile_replicas(strategy, gradients_fn, apply_fn, compile_all)

  num_parts = 1 if compile_all else num_parts

  @tf.function(autograph=False, jit_compile=compile_all)
  def update(unroll, learning_rate):
    parts = [gradients_fn(part) for part in split_unroll(unroll, num_parts)]
    gradients, metrics, *columns = zip(*parts, strict=True)
    gradients, metrics = (_map_parts(tf.add_n, x) for x in (gradients, metrics))
    columns = [_map_parts(lambda x: tf.concat(x, axis=0), c) for c in columns]
    return {**metrics, **apply_fn(gradients, learning_rate, *columns)}

  return update


def _map_parts(join, parts):
  """Joins the leaves of each part; None where the first part has None."""
  return tf.nest.map_structure(
    lambda *leaves: None if leaves[0] is None else join(leaves), *parts
  )


def _compile_replicas(strategy, gradients_fn, apply_fn, compile_all):
  """Does what `compile_update` says for more than one replica."""
  num_replicas = strategy.num_replicas_in_sync

  @tf.function(autograph=False, jit_compile=compile_all)
  def replica_gradients(unroll):
    gradients, metrics, *columns = gradients_fn(unroll)
    return gradients, metrics, columns

  @tf.function(autograph=False)
  def distributed_update(unrolls, learning_rate):
    *sums, columns = strategy.run(replica_gradients, args=(unrolls,))
    gradients, metrics = tf.nest.map_structure(
      lambda x: None if x is None else strategy.reduce('SUM', x, axis=None),
      sums,
    )
    columns = tf.nest.map_structure(
      lambda x: strategy.gather(x, axis=0), columns
    )
    return {**metrics, **apply_fn(gradients, learning_rate, *columns)}

  def update_replicas(unroll, learning_rate):
    shards = split_unroll(unroll, num_replicas)
    unrolls = tf.nest.map_structure(
      lambda *leaves: strategy.experimental_distribute_values_from_function(
        lambda context: tf.convert_to_tensor(
          leaves[context.replica_id_in_sync_group]
        )
      ),
      *shards,
    )
    return distributed_update(unrolls, learning_rate)

  return update_replicas


def split_unroll(unroll: Unroll, num_parts: int) -> list[Unroll]:
  """Cuts a batch of unrolls into equal parts along B.

  Args:
    unroll: [T + 1, B, ...].
    num_parts: R.

  Returns:
    R unrolls of B / R columns.

  Raises:
    ValueError: if R does not divide B.
  """
  batch_size = np.shape(unroll.task_id)[0]
  if batch_size % num_parts:
    raise ValueError(
      f'{num_parts} replicas do not divide a batch of {batch_size}'
    )
  width = batch_size // num_parts
  slices = [slice(i * width, (i + 1) * width) for i in range(num_parts)]
  return [select_columns(unroll, columns) for columns in slices]


def select_columns(unroll: Unroll, columns: slice) -> Unroll:
  """Returns some columns of a batch of unrolls.

  Args:
    unroll: [T + 1, B, ...].
    columns: which of the B.

  Returns:
    The Unroll of these columns.
  """
  batch_major = (unroll.task_id, unroll.policy_version, unroll.core_state)
  time_major = (unroll.env_outputs, unroll.agent_outputs)
  batch_major = tf.nest.map_structure(lambda x: x[columns], batch_major)
  time_major = tf.nest.map_structure(lambda x: x[:, columns], time_major)
  return Unroll(*batch_major, *time_major)
