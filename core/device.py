"""Where a run computes: strategy, cores, seed, and what XLA compiles."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from core import config as configs
from core.errors import UserError
from core.run_config import ActorLearnerConfig, RunConfig
from core.strategies import gang, meeting, tpu
from core.strategies.parts import (
  LocalParts,
  Parts,
  ReplicaParts,
  map_parts,
  sum_replicas,
)
from core.strategies.tf_config import Cluster
from core.types import Unroll
from core.unrolls import split_unroll


class Device:
  """The devices of a run, which agents receive.

  Nothing here or in the agents needs autograph: no Python statement depends on
  a tensor. Without it tracing takes a fifth of the time.

  Attributes:
    strategy: the learner's tf.distribute strategy.
    gang: the learners that make every update together; often one.
    compiles_all: whether XLA compiles whole updates and acting.
    compiles_parts: whether it compiles the parts that gain on a CPU too: the
      scaling of frames, V-trace, the losses, the optimiser's step.
  """

  def __init__(
    self,
    strategy: str = 'one_device',
    xla: str = 'auto',
    seed: int = 1,
    num_operations: int = 0,
    num_groups: int = 1,
    acts_beside: bool = False,
    cluster: Cluster | None = None,
    timeout_secs: float = 120.0,
    tpu_name: str = 'local',
  ):
    """Sets the process up.

    Args:
      strategy: 'one_device', or 'mirrored' over all GPUs, without any over all
        logical CPUs; 'multi_worker' over those of a cluster; 'tpu'.
      xla: 'auto', 'on' or 'off'. On CPU, TensorFlow's own convolutions beat
        XLA's by 2.6 times, so 'auto' compiles there only parts.
      seed: of the variables' initial values.
      num_operations: operations that run at the same time and share the cores;
        0: one has all. Has no effect where TensorFlow already runs in this
        process, or where TF_NUM_INTRAOP_THREADS is set.
      num_groups: groups of environments that an actor steps in turn.
      acts_beside: whether actors act while the learner learns.
      cluster: the learners of 'multi_worker', who have met.
      timeout_secs: for which they wait for each other.
      tpu_name: of 'tpu'.
    """
    if num_operations:
      _share_cores(num_operations)
    self.gang = gang.Gang()
    if cluster and len(cluster.addresses) > 1:
      _prepare_gpus()
      self.strategy = gang.connect(cluster, timeout_secs)
      self.gang = gang.Gang(
        cluster.index, len(cluster.addresses), self.strategy
      )
    else:
      self.strategy = _make_strategy(strategy, tpu_name)
    self.compiles_all = xla == 'on' or (xla == 'auto' and has_accelerator())
    self.compiles_parts = xla != 'off'
    self._seed = seed
    self._num_groups = num_groups
    self._acts_beside = acts_beside

  @classmethod
  def from_config(cls, config: RunConfig, commit: Any = None) -> 'Device':
    """Returns the device that a config asks for.

    Groups of environments act side by side, and in async mode the learner
    beside them: operations that each spread over all cores would wait for each
    other. Alone, as in the test modes, one operation has all of them.

    Args:
      config: a paper's Config.
      commit: of the code; like the config it must be every worker's.

    Raises:
      UserError: the machine or the other workers do not fit.
    """
    if not isinstance(config, ActorLearnerConfig):
      if config.strategy in ('multi_worker', 'tpu'):
        raise UserError(
          f'--strategy={config.strategy} is for agents with actors: this one '
          'learns on one device, leave --strategy at one_device'
        )
      return cls(config.strategy, config.xla, config.seed)
    acts_beside = config.actor_mode == 'async' and config.cluster == 'local'
    num_operations = config.num_actors * config.num_groups + acts_beside
    return cls(
      config.strategy,
      config.xla,
      config.seed,
      num_operations if config.mode in ('train', 'benchmark') else 0,
      config.num_groups,
      acts_beside,
      _meet(config, commit) if config.strategy == 'multi_worker' else None,
      config.collective_timeout,
      config.tpu,
    )

  @property
  def num_replicas(self) -> int:
    """Number of devices that share a batch."""
    return self.strategy.num_replicas_in_sync

  @contextlib.contextmanager
  def scope(self) -> Iterator[None]:
    """Lets variables be created where they belong, drawn from the seed."""
    tf.random.set_seed(self._seed)
    with self.gang.explained(), self.strategy.scope():
      yield

  def compile_part(
    self, function: Callable[..., Any]
  ) -> tf.types.experimental.PolymorphicFunction:
    """Compiles what gains from XLA on any device."""
    return tf.function(
      function, autograph=False, jit_compile=self.compiles_parts
    )

  def compile_act(
    self, act: Callable[..., Any], has_static_shapes: bool = True
  ) -> tf.types.experimental.PolymorphicFunction:
    """Compiles acting.

    Args:
      act: function of task id, last action, EnvOutput, core state and seed.
      has_static_shapes: False where shapes depend on values, which XLA cannot
        compile.
    """
    return tf.function(
      act,
      autograph=False,
      jit_compile=self.compiles_all and has_static_shapes,
    )

  def compile_update(
    self,
    gradients_fn: Callable[[Unroll], tuple[Any, ...]],
    apply_fn: Callable[..., dict[str, tf.Tensor]],
    columns_unit: int = 1,
    needs_all_cores: bool = False,
  ) -> Callable[[Unroll, tf.Tensor], dict[str, tf.Tensor]]:
    """Joins gradients and step into one function of a batch.

    With R replicas each gets B / R unrolls and the gradients are added up;
    since losses are sums, the step equals one device's. Each of W workers gives
    its own B / W unrolls.

    Args:
      gradients_fn: maps an Unroll to gradients and metrics, both sums over B,
        and perhaps to more, each [B, ...], which replicas put together in the
        batch's order.
      apply_fn: maps gradients, learning rate and that more to metrics, changing
        variables.
      columns_unit: the B of `gradients_fn` must be a multiple of this.
      needs_all_cores: whether `gradients_fn` takes so long that on a CPU it
        should have all cores though actors act beside it.

    Returns:
      A function of an Unroll (its `info` and `policy_version` empty) and a
      float32 learning rate, that returns metrics.

    Raises:
      ValueError: when called with a B that R does not divide.
    """
    if self.num_replicas > 1:
      return self._compile_replicas(gradients_fn, apply_fn)
    apply_fn = self.compile_part(apply_fn)

    @tf.function(autograph=False, jit_compile=self.compiles_all)
    def update(unroll, learning_rate):
      num_parts = self.num_parts(
        unroll.task_id.shape[0], columns_unit, needs_all_cores
      )
      parts = [gradients_fn(part) for part in split_unroll(unroll, num_parts)]
      gradients, metrics, *columns = zip(*parts, strict=True)
      gradients, metrics = (
        map_parts(tf.add_n, x) for x in (gradients, metrics)
      )
      columns = [map_parts(lambda x: tf.concat(x, axis=0), c) for c in columns]
      return {**metrics, **apply_fn(gradients, learning_rate, *columns)}

    return update

  def compile_joint(
    self, function: Callable[..., Any]
  ) -> tf.types.experimental.PolymorphicFunction | Callable[..., Any]:
    """Compiles what is done once for all parts of a batch.

    As a part; with several replicas, whose variables XLA cannot change on every
    device, not at all.
    """
    if self.num_replicas > 1:
      return function
    return self.compile_part(function)

  def compile_stages(
    self,
    update_fn: Callable[[Parts, tf.Tensor], dict[str, tf.Tensor]],
    needs_all_cores: bool = False,
  ) -> Callable[[Unroll, tf.Tensor], dict[str, tf.Tensor]]:
    """Compiles an update that must add gradients up more than once.

    Args:
      update_fn: maps the parts of a batch, which run at the same time, and the
        learning rate to metrics; see Parts.
      needs_all_cores: as for `compile_update`.

    Returns:
      A function as `compile_update` returns it.

    Raises:
      ValueError: when called with a B that R does not divide.
    """
    strategy = self.strategy
    if self.num_replicas > 1:

      @tf.function(autograph=False)
      def staged_update(unrolls, learning_rate):
        parts = ReplicaParts(strategy, unrolls, self.gang.count)
        return update_fn(parts, learning_rate)

      return lambda unroll, learning_rate: staged_update(
        self._distribute(unroll), learning_rate
      )

    @tf.function(autograph=False, jit_compile=self.compiles_all)
    def update(unroll, learning_rate):
      num_parts = self.num_parts(unroll.task_id.shape[0], 1, needs_all_cores)
      parts = LocalParts(split_unroll(unroll, num_parts))
      return update_fn(parts, learning_rate)

    return update

  def num_parts(
    self, batch_size: int, columns_unit: int, needs_all_cores: bool
  ) -> int:
    """Decides in how many parts, at the same time, a CPU takes a gradient.

    Where nothing runs beside the learner it has all cores. Actors that act
    beside it leave it one; some learners need more than that.

    Returns:
      1, or the number of groups if that leaves at least 8 unrolls to a part.
    """
    wants_parts = needs_all_cores or not self._acts_beside
    num_parts = self._num_groups if wants_parts else 1
    width, rest = divmod(batch_size, num_parts)
    if rest or width % columns_unit or width < 8:
      return 1
    return 1 if self.compiles_all or has_accelerator() else num_parts

  def _compile_replicas(self, gradients_fn, apply_fn):
    """Does what `compile_update` says for more than one replica.

    XLA compiles each replica's gradients; a reduction it cannot compile on
    every device.
    """
    strategy = self.strategy

    @tf.function(autograph=False, jit_compile=self.compiles_all)
    def replica_gradients(unroll):
      gradients, metrics, *columns = gradients_fn(unroll)
      return gradients, metrics, columns

    @tf.function(autograph=False)
    def distributed_update(unrolls, learning_rate):
      *sums, columns = strategy.run(replica_gradients, args=(unrolls,))
      gradients, metrics = sum_replicas(strategy, sums)
      columns = tf.nest.map_structure(
        lambda x: strategy.gather(x, axis=0), columns
      )
      return {**metrics, **apply_fn(gradients, learning_rate, *columns)}

    return lambda unroll, learning_rate: distributed_update(
      self._distribute(unroll), learning_rate
    )

  def _distribute(self, unroll):
    """Deals the columns of a batch to the replicas of this process."""
    num_local = self.num_replicas // self.gang.count
    shards = split_unroll(unroll, num_local)
    distribute = self.strategy.experimental_distribute_values_from_function
    return tf.nest.map_structure(
      lambda *leaves: distribute(
        lambda context: tf.convert_to_tensor(
          leaves[context.replica_id_in_sync_group % num_local]
        )
      ),
      *shards,
    )


def has_accelerator() -> bool:
  """Tells whether TensorFlow sees a GPU or a TPU."""
  return any(tf.config.list_logical_devices(kind) for kind in ('GPU', 'TPU'))


def _share_cores(num_operations):
  """Gives operations that run at once equal parts of the cores."""
  if 'TF_NUM_INTRAOP_THREADS' not in os.environ:
    num_threads = max(1, (os.cpu_count() or 1) // num_operations)
    with contextlib.suppress(RuntimeError):
      tf.config.threading.set_intra_op_parallelism_threads(num_threads)


def _make_strategy(name, tpu_name):
  if name == 'tpu':
    return tpu.make_strategy(tpu_name)
  num_gpus = _prepare_gpus()
  is_alone = name == 'multi_worker' and num_gpus < 2
  if name == 'one_device' or is_alone:
    return tf.distribute.get_strategy()
  # Its line about the devices would stand beside what went wrong.
  logging.getLogger('tensorflow').setLevel(logging.WARNING)
  kind = 'GPU' if num_gpus else 'CPU'
  devices = [device.name for device in tf.config.list_logical_devices(kind)]
  return tf.distribute.MirroredStrategy(devices)


def _prepare_gpus():
  """Returns how many there are."""
  gpus = tf.config.list_physical_devices('GPU')
  for gpu in gpus:
    # TensorFlow would take all of the memory at once.
    tf.config.experimental.set_memory_growth(gpu, True)
  return len(gpus)


def _meet(config, commit):
  """Returns the cluster of TF_CONFIG, whose learners are all there."""
  if config.mode != 'train':
    raise UserError(
      f'--strategy=multi_worker does nothing with --mode={config.mode}: give '
      '--strategy=one_device'
    )
  cluster = Cluster.from_environment()
  described = {**configs.describe(config), 'commit': commit}
  meeting.meet(cluster, described, config.collective_timeout)
  return cluster
