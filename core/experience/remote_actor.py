"""A remote actor: the local actor's code, in a process of a Ray cluster."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from core.device import Device
from core.experience.actors import make_actor
from core.experience.timing import Timer
from core.run_config import ActorLearnerConfig
from core.suites.tasks import Tasks
from core.types import Unroll


class Started(NamedTuple):
  """What a learner must know of an actor that can play.

  Attributes:
    variable_names: of the agent's variables, those that acting reads.
    unroll_bytes: size of all that `collect` returns.
  """

  variable_names: tuple[str, ...]
  unroll_bytes: int


class RemoteActor:
  """Plays environments of its own for a learner elsewhere.

  Ray calls the methods of one actor in turn.
  """

  def __init__(
    self,
    config: ActorLearnerConfig,
    agent_class: Any,
    index: int,
    seed_offset: int,
  ):
    """Keeps the arguments: what fails should fail in `start`.

    Args:
      config: a paper's Config.
      agent_class: the paper's Agent.
      index: number of the actor, which its tasks and seeds depend on.
      seed_offset: as for `make_actor`.
    """
    self._config, self._agent_class = config, agent_class
    self._index, self._seed_offset = index, seed_offset
    self._version = None

  def start(self) -> Started:
    """Builds agent and environments.

    Raises:
      UserError, EnvironmentFailure: as for `make_actor`.
    """
    config = self._config
    num_cores = max(1, int(config.actor_cpus))
    _use_cores(num_cores)
    tasks = Tasks.of(config)
    device = Device('one_device', config.xla, config.seed)
    agent = self._agent_class(config, tasks.env_spec, device)
    self._timer = Timer()
    self._actor = make_actor(
      config,
      agent,
      tasks,
      self._timer,
      self._index,
      self._seed_offset,
      num_cores,
    )
    self._variables = {
      name: variable
      for name, variable in agent.variables().items()
      if self._actor.reads(variable)
    }
    unroll = self._actor.empty_unroll(config.num_environments)
    num_bytes = sum(np.asarray(x).nbytes for x in tf.nest.flatten(unroll))
    return Started(tuple(self._variables), num_bytes)

  def collect(
    self, version: int, weights: dict[str, np.ndarray]
  ) -> tuple[list[Unroll], dict[str, float]]:
    """Plays T steps in every environment.

    Args:
      version: learner updates behind the weights.
      weights: values of `variable_names`.

    Returns:
      One Unroll per group, whose policy_version is `version`; and seconds per
      phase since the last call.
    """
    if version != self._version:
      for name, variable in self._variables.items():
        variable.assign(weights[name])
      self._version = version
    return self._actor.collect(version), self._timer.take()


def _use_cores(num_cores):
  """Holds TensorFlow to the cores that Ray has reserved, and to no GPU.

  Before anything of TensorFlow runs: later it has its threads.
  """
  tf.config.threading.set_intra_op_parallelism_threads(num_cores)
  tf.config.threading.set_inter_op_parallelism_threads(num_cores)
  tf.config.set_visible_devices([], 'GPU')
