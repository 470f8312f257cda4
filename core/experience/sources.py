"""Where batches come from: one actor in turn, or threads of several."""

import contextlib
import queue
import threading
import time
from typing import Any

import numpy as np

from core import checkpointing
from core.errors import EnvironmentFailure, UserError
from core.experience.actor import Actor
from core.experience.timing import Timer
from core.interrupt import Interrupt, ignored_by_children
from core.suites.task_environments import TaskEnvironments
from core.suites.tasks import Tasks, assign_tasks
from core.types import Unroll
from core.unrolls import Batcher, take_turns


def make_actor(
  config: Any,
  agent: Any,
  tasks: Tasks,
  timer: Timer,
  index: int = 0,
  seed_offset: int = 0,
) -> Actor:
  """Builds an actor and its environments.

  Args:
    config: a paper's Config.
    agent: whose `act` it calls.
    tasks: what is played.
    timer: where its phases are counted.
    index: number of this actor.
    seed_offset: added to its seeds; a resumed run must not begin with the games
      that the first start began with.

  Returns:
    An Actor with fresh episodes.

  Raises:
    UserError: there are more groups than environments, or more tasks.
  """
  n, num_groups = config.num_environments, config.num_groups
  if num_groups > n:
    raise UserError(f'--num_groups={num_groups} exceeds --num_environments={n}')
  all_task_ids = assign_tasks(n * config.num_actors, len(tasks.names))
  task_ids = all_task_ids[index * n : (index + 1) * n]
  seed = 1_000_003 * config.seed + 10_007 * index + seed_offset
  groups = []
  with contextlib.ExitStack() as built:
    for ids in np.array_split(task_ids, num_groups):
      with ignored_by_children():
        groups.append(TaskEnvironments(tasks, ids, is_training=True))
        built.callback(groups[-1].close)
    actor = Actor(
      agent.act,
      agent.initial_state,
      groups,
      agent.env_spec,
      config.unroll_length,
      seed % 2**30,
      timer,
    )
    built.pop_all()
  return actor


def make_source(
  config: Any,
  agent: Any,
  tasks: Tasks,
  timer: Timer,
  resume: dict[str, Any],
) -> 'SyncSource | AsyncSource':
  """Builds the source that `actor_mode` names, as the checkpoint left it."""
  if config.actor_mode == 'sync' and config.num_actors != 1:
    raise UserError(
      f'--actor_mode=sync has one actor, not {config.num_actors}; raise '
      '--num_environments instead'
    )
  num_updates = resume.get('num_updates', 0)
  actors = []
  with contextlib.ExitStack() as built:
    for i in range(config.num_actors):
      actors.append(make_actor(config, agent, tasks, timer, i, 7 * num_updates))
      built.callback(actors[-1].close)
    if config.actor_mode == 'async':
      source = AsyncSource(config, actors, timer, num_updates)
    else:
      source = SyncSource(config, actors[0])
      if resume and resume['config']['actor_mode'] == 'sync':
        source.set_state({**resume['source'], 'arrays': resume['arrays']})
    built.pop_all()
  return source


class SyncSource:
  """Acts and hands over in turn: exact, and reproducible to the bit."""

  def __init__(self, config: Any, actor: Actor):
    """Begins with nothing collected."""
    self._actor = actor
    self._batcher = Batcher(config.batch_size)
    self._batches: list[Unroll] = []

  def next_batch(self, num_updates: int, interrupt: Interrupt) -> Unroll | None:
    """Plays until a batch is full; `num_updates` is the policy's version."""
    del interrupt  # The loop looks at it between batches.
    while not self._batches:
      for unroll in self._actor.collect(num_updates):
        self._batches += self._batcher.add(take_turns(unroll))
    return self._batches.pop(0)

  def get_state(self) -> dict[str, Any]:
    """Returns the actor's state and what was collected but not learned."""
    state = self._actor.get_state()
    unrolls = self._batches + self._batcher.pending
    return dict(
      arrays=dict(actor=state['arrays'], unrolls=unrolls),
      environments=state['environments'],
      unroll_widths=[len(unroll.task_id) for unroll in unrolls],
    )

  def set_state(self, state: dict[str, Any]) -> None:
    """Goes on from `get_state`, its arrays flat as the checkpoint has them."""
    if any(environment is None for environment in state['environments']):
      return  # Such environments start anew, and with them their unrolls.
    like = self._actor.get_state()['arrays']
    arrays = checkpointing.unflatten(
      {'source': {'actor': like}}, state['arrays']
    )
    actor_state = dict(
      arrays=arrays['source']['actor'], environments=state['environments']
    )
    self._actor.set_state(actor_state)
    self._restore_unrolls(state)

  def _restore_unrolls(self, state):
    """Puts back the unrolls that the saved run had not learned from."""
    for index, width in enumerate(state['unroll_widths']):
      like = self._actor.empty_unroll(width)
      prefix = f'source/unrolls/{index}/'
      flat = {
        name.removeprefix(prefix): array
        for name, array in state['arrays'].items()
        if name.startswith(prefix)
      }
      self._batches += self._batcher.add(checkpointing.unflatten(like, flat))

  def close(self) -> None:
    """Closes the environments."""
    self._actor.close()


class AsyncSource:
  """A thread per group beside the learner, with a bounded queue between.

  Weights may change within an unroll, as in scalable_agent on one machine.
  """

  def __init__(
    self, config: Any, actors: list[Actor], timer: Timer, num_updates: int
  ):
    """Starts the threads; `num_updates` is the version of the weights."""
    self._timer = timer
    self._batcher = Batcher(config.batch_size)
    self._lock = threading.Lock()
    self._queue = queue.Queue(config.queue_capacity)
    self._closed = threading.Event()
    self._num_updates = num_updates
    self._error: Exception | None = None
    self._actors = actors
    self._threads = [
      threading.Thread(target=self._run, args=(group,), daemon=True)
      for actor in actors
      for group in actor.groups
    ]
    for thread in self._threads:
      thread.start()

  def next_batch(self, num_updates: int, interrupt: Interrupt) -> Unroll | None:
    """Waits for a batch.

    Args:
      num_updates: version of the weights that actors now see.
      interrupt: ends the wait.

    Returns:
      Unroll [T + 1, B, ...]; None after an interrupt.

    Raises:
      UserError, EnvironmentFailure: an environment failed.
      RuntimeError: an actor failed otherwise; its error is the cause.
    """
    self._num_updates = num_updates
    with self._timer.phase('waiting'):
      while not interrupt.requested:
        if isinstance(self._error, (UserError, EnvironmentFailure)):
          raise self._error
        if self._error is not None:
          raise RuntimeError('an actor failed') from self._error
        with contextlib.suppress(queue.Empty):
          return self._queue.get(timeout=0.2)
    return None

  def get_state(self) -> dict[str, Any]:
    """Returns nothing: after a resume actors begin fresh episodes."""
    return dict(arrays={})

  def close(self) -> None:
    """Stops the threads and closes the environments."""
    self._closed.set()
    for actor in self._actors:
      for group in actor.groups:
        group.is_stopped = True
    deadline = time.monotonic() + 3.0
    for thread in self._threads:
      thread.join(timeout=max(0.0, deadline - time.monotonic()))
    if not any(thread.is_alive() for thread in self._threads):
      for actor in self._actors:
        actor.close()

  def _run(self, group):
    """Body of a thread."""
    try:
      while True:
        unroll = group.collect(self._num_updates)
        if self._closed.is_set():
          return
        with self._lock:
          batches = self._batcher.add(take_turns(unroll))
        for batch in batches:
          self._put(batch)
    except Exception as error:  # noqa: BLE001 - handed to the learner.
      self._error = error

  def _put(self, item):
    while not self._closed.is_set():
      try:
        return self._queue.put(item, timeout=0.2)
      except queue.Full:
        continue
    return None
