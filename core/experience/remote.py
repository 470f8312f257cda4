"""Where batches come from when actors run on other machines."""

import contextlib
import math
from typing import Any

import numpy as np
import tensorflow as tf

from core.experience import cluster
from core.experience.actors import SEEDS_PER_ACTOR
from core.experience.remote_actor import RemoteActor
from core.experience.slots import NUM_UNDER_WAY, RemoteActors
from core.experience.timing import Timer
from core.interrupt import Interrupt
from core.run_config import ActorLearnerConfig
from core.types import Unroll
from core.unrolls import Batcher, join_unrolls, take_turns

_POLL_SECS = 0.2
# Seeds of actors that take a lost one's place are as far apart.
_RESTART_OFFSET = 104_729


class RemoteSource:
  """Actors of a Ray cluster; no more than two unrolls of each under way.

  What bounds the policy lag is that number alone: with K actors of N
  environments, unrolls are about 2 K N / B updates old. An actor changes its
  weights between unrolls, all at once.
  """

  def __init__(
    self,
    config: ActorLearnerConfig,
    agent: Any,
    timer: Timer,
    resume: dict[str, Any],
    first_actor: int = 0,
  ):
    """Connects with the cluster and waits for the first actors.

    Args:
      config: a paper's Config.
      agent: whose weights they act with, and of whose class theirs is.
      timer: where their phases are counted.
      resume: a checkpoint's metadata; empty without one.
      first_actor: of this learner, as for `sources.make_source`.

    Raises:
      UserError: there is no cluster, no room in it, or no actor that starts.
    """
    self._config, self._agent, self._timer = config, agent, timer
    self._num_updates = resume.get('num_updates', 0)
    self._first_offset = 7 * self._num_updates + SEEDS_PER_ACTOR * first_actor
    self._batcher = Batcher(config.batch_size)
    self._batches: list[Unroll] = []
    self._weights: tuple[int, Any] | None = None
    with contextlib.ExitStack() as built:
      built.enter_context(cluster.connected(config.ray_address))
      cluster.check_room(config)
      self._spills = cluster.Spills()
      self._actors = RemoteActors(
        self._begin,
        self._arguments,
        config.num_remote_actors,
        config.min_actors,
        config.actor_timeout,
      )
      built.callback(self._actors.close)
      source = resume.get('source', {})
      self._actors.restarts = source.get('actor_restarts', 0)
      self._actors.unrolls_lost = source.get('unrolls_lost', 0)
      self._wait_for_actors()
      self._built = built.pop_all()

  def next_batch(self, num_updates: int, interrupt: Interrupt) -> Unroll | None:
    """Waits for a batch.

    Args:
      num_updates: version of the weights; actors begin their next unrolls with
        these.
      interrupt: ends the wait.

    Returns:
      Unroll [T + 1, B, ...]; None after an interrupt.

    Raises:
      UserError: an actor raised it, raised again and again, or too few are
        alive.
    """
    self._num_updates = num_updates
    with self._timer.phase('waiting'):
      while not interrupt.requested:
        if self._batches:
          return self._batches.pop(0)
        self._poll()
    return None

  def get_state(self) -> dict[str, Any]:
    """Returns counters: after a resume actors begin fresh episodes."""
    counters = self.counters()
    del counters['actors_alive']
    return dict(arrays={}, **counters)

  def counters(self) -> dict[str, int]:
    """Returns, for updates.csv, what became of the actors so far.

    `actor_restarts` and `unrolls_lost` count over resumes.
    """
    return dict(
      actor_restarts=self._actors.restarts,
      unrolls_lost=self._actors.unrolls_lost,
      actors_alive=self._actors.num_alive,
    )

  def close(self) -> None:
    """Kills the actors and leaves the cluster."""
    self._built.close()

  def _begin(self, index, num_before):
    """Begins an actor; returns Ray's handle of it."""
    import ray

    config = self._config
    options = dict(
      num_cpus=config.actor_cpus, max_restarts=0, max_task_retries=0
    )
    if config.actor_label:
      options['label_selector'] = cluster.read_label(config.actor_label)
    seed_offset = self._first_offset + _RESTART_OFFSET * num_before
    return (
      ray.remote(RemoteActor)
      .options(**options)
      .remote(config, type(self._agent), index, seed_offset)
    )

  def _arguments(self):
    """Returns version and weights, which are put into the store once each."""
    if self._weights is None or self._weights[0] != self._num_updates:
      import ray

      weights = ray.put(self._read_weights())
      self._weights = (self._num_updates, weights)
    return self._weights

  def _read_weights(self):
    """Returns the variables that acting reads, as arrays by name."""
    variables = self._agent.variables()
    names = self._actors.started.variable_names
    return {name: variables[name].numpy() for name in names}

  def _wait_for_actors(self):
    """Waits for the first actors; says what to expect of all."""
    config = self._config
    print(
      f'waiting for {config.num_remote_actors} remote actors, which start in '
      'seconds each',
      flush=True,
    )
    while self._actors.num_alive < config.min_actors:
      self._poll()
    cluster.check_store(
      NUM_UNDER_WAY * config.num_remote_actors,
      self._actors.started.unroll_bytes,
      sum(x.nbytes for x in self._read_weights().values()),
    )
    width = NUM_UNDER_WAY * config.all_environments
    num_updates = math.ceil(width / config.batch_size)
    print(
      f'{width} columns of unrolls are under way and batches have '
      f'{config.batch_size}: unrolls will be up to about {num_updates} updates '
      'old',
      flush=True,
    )

  def _poll(self):
    """Takes in an unroll, if one comes soon."""
    found = self._actors.poll(_POLL_SECS)
    if found is not None:
      unrolls, secs = found
      self._timer.add(secs)
      self._batches += self._batcher.add(take_turns(_copied(unrolls)))
    self._spills.warn_now_and_then()


def _copied(unrolls):
  """Puts unrolls of groups side by side, in memory that is not the store's.

  Arrays that come from Ray lie in its store, and hold it occupied.
  """
  if len(unrolls) > 1:
    return join_unrolls(unrolls)
  return tf.nest.map_structure(np.array, unrolls[0])
