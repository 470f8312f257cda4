"""Where batches come from: one actor in turn, or threads of several."""

import collections
import contextlib
import math
import queue
import threading
import time
from typing import Any

from core import checkpointing
from core.errors import EnvironmentFailure, UserError
from core.experience import cluster
from core.experience.actor import Actor
from core.experience.actors import SEEDS_PER_ACTOR, make_actor
from core.experience.remote import RemoteSource
from core.experience.timing import Timer
from core.interrupt import Interrupt
from core.run_config import ActorLearnerConfig
from core.suites.tasks import Tasks
from core.types import Unroll
from core.unrolls import Batcher, take_turns


def make_source(
  config: ActorLearnerConfig,
  agent: Any,
  tasks: Tasks,
  timer: Timer,
  resume: dict[str, Any],
  first_actor: int = 0,
) -> 'SyncSource | AsyncSource | RemoteSource':
  """Builds the source that the config names, as the checkpoint left it.

  Args:
    config: a paper's Config.
    agent: that acts.
    tasks: what is played.
    timer: where phases are counted.
    resume: a checkpoint's metadata with its `arrays`; empty without one.
    first_actor: of this learner, where there are several: the seeds of others
      come before its own.

  Raises:
    UserError: there cannot be such a source.
  """
  cluster.check(config)
  if config.cluster == 'ray':
    return RemoteSource(config, agent, timer, resume, first_actor)
  if config.actor_mode == 'sync' and config.num_actors != 1:
    raise UserError(
      f'--actor_mode=sync has one actor, not {config.num_actors}; raise '
      '--num_environments instead'
    )
  _warn_of_lag(config, len(tasks.names))
  num_updates = resume.get('num_updates', 0)
  seed_offset = 7 * num_updates + SEEDS_PER_ACTOR * first_actor
  actors = []
  with contextlib.ExitStack() as built:
    for i in range(config.num_actors):
      actors.append(make_actor(config, agent, tasks, timer, i, seed_offset))
      built.callback(actors[-1].close)
    if config.actor_mode == 'async':
      source = AsyncSource(config, actors, timer, num_updates)
    else:
      source = SyncSource(config, actors[0])
      # A member of a population that copied another begins episodes of its own.
      if resume.get('source') and resume['config'].get('actor_mode') == 'sync':
        _restore(source, {**resume['source'], 'arrays': resume['arrays']})
    built.pop_all()
  return source


def _restore(source, state):
  """Sets a source's state; says in a line if that is none."""
  try:
    source.set_state(state)
  except UserError:
    raise
  except Exception as error:  # Anything, depending on what is wrong with it.
    reason = ' '.join(f'{type(error).__name__}: {error}'.split())
    raise UserError(
      f'the environments cannot go on from the checkpoint ({reason}): move the '
      'newest checkpoint away'
    ) from error


def _warn_of_lag(config, num_tasks):
  """Says so where the policy's age cannot be held within its bound."""
  width = max(config.group_widths(num_tasks))
  is_sync = config.actor_mode == 'sync'
  num_updates = math.ceil(width / config.batch_size)
  if num_updates > (2 if is_sync else config.max_policy_lag):
    print(
      f'warning: groups of {width} environments and batches of '
      f'{config.batch_size}: an unroll waits for up to {num_updates - is_sync} '
      'updates; lower --num_environments or raise --batch_size',
      flush=True,
    )


class SyncSource:
  """Acts and hands over in turn: exact, and reproducible to the bit."""

  def __init__(self, config: ActorLearnerConfig, actor: Actor):
    """Begins with nothing collected."""
    self._actor = actor
    self._batch_size = config.batch_size
    self._batcher = Batcher(config.batch_size)
    self._batches: list[Unroll] = []
    self._next_group = 0

  def next_batch(self, num_updates: int, interrupt: Interrupt) -> Unroll | None:
    """Plays until a batch is full; `num_updates` is the policy's version."""
    del interrupt  # The loop looks at it between batches.
    while not self._batches:
      for unroll in self._actor.collect(num_updates, self._take_groups()):
        self._batches += self._batcher.add(take_turns(unroll))
    return self._batches.pop(0)

  def _take_groups(self):
    """Returns whose turn it is: what two batches hold, or one group.

    More would be learned from when the policy is several updates older.
    """
    groups = self._actor.groups
    taken, width = [], sum(len(u.task_id) for u in self._batcher.pending)
    while len(taken) < len(groups):
      group = groups[self._next_group]
      width += group.environments.num_envs
      if taken and width > 2 * self._batch_size:
        break
      taken.append(group)
      self._next_group = (self._next_group + 1) % len(groups)
    return taken

  def get_state(self) -> dict[str, Any]:
    """Returns the actor's state and what was collected but not learned."""
    state = self._actor.get_state()
    unrolls = self._batches + self._batcher.pending
    return dict(
      arrays=dict(actor=state['arrays'], unrolls=unrolls),
      environments=state['environments'],
      next_group=self._next_group,
      unroll_widths=[len(unroll.task_id) for unroll in unrolls],
    )

  def set_state(self, state: dict[str, Any]) -> None:
    """Goes on from `get_state`, its arrays flat as the checkpoint has them."""
    environments = state['environments']
    if None in environments or len(environments) != len(self._actor.groups):
      return  # Environments start anew, and with them their unrolls.
    like = self._actor.get_state()['arrays']
    arrays = checkpointing.unflatten(
      {'source': {'actor': like}}, state['arrays']
    )
    self._actor.set_state(
      dict(arrays=arrays['source']['actor'], environments=environments)
    )
    num_groups = len(self._actor.groups)
    self._next_group = range(num_groups)[state.get('next_group', 0)]
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

  def counters(self) -> dict[str, int]:
    """Returns nothing: what updates.csv has of remote actors alone."""
    return {}

  def close(self) -> None:
    """Closes the environments."""
    self._actor.close()


class AsyncSource:
  """A thread per group beside the learner, with a bounded queue between.

  Weights may change within an unroll, as in scalable_agent on one machine, and
  one variable after the other (impala/README.md, D13).
  """

  def __init__(
    self,
    config: ActorLearnerConfig,
    actors: list[Actor],
    timer: Timer,
    num_updates: int,
  ):
    """Starts the threads; `num_updates` is the version of the weights.

    Raises:
      UserError: the machine does not allow so many.
    """
    self._timer = timer
    self._batcher = Batcher(config.batch_size)
    self._lock = threading.Lock()
    self._queue = queue.Queue(config.queue_capacity)
    self._turns = _Turns(config.batch_size, config.max_policy_lag)
    self._num_updates = num_updates
    self._error: Exception | None = None
    self._actors = actors
    self._threads: list[threading.Thread] = []
    groups = [group for actor in actors for group in actor.groups]
    try:
      for group in groups:
        thread = threading.Thread(target=self._run, args=(group,), daemon=True)
        thread.start()
        self._threads.append(thread)
    except RuntimeError as error:
      self.close()
      raise UserError(
        f'cannot start {len(groups)} threads, one per group of environments '
        f'({error}): lower --num_actors or --num_groups'
      ) from error

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
          batch = self._queue.get(timeout=0.2)
          self._turns.learned()
          return batch
    return None

  def get_state(self) -> dict[str, Any]:
    """Returns nothing: after a resume actors begin fresh episodes."""
    return dict(arrays={})

  def counters(self) -> dict[str, int]:
    """Returns nothing: what updates.csv has of remote actors alone."""
    return {}

  def close(self) -> None:
    """Stops the threads and closes the environments."""
    self._turns.close()
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
      while self._turns.wait(group.environments.num_envs):
        unroll = group.collect(self._num_updates)
        if self._turns.closed:
          return
        with self._lock:
          batches = self._batcher.add(take_turns(unroll))
        for batch in batches:
          self._put(batch)
    except Exception as error:  # noqa: BLE001 - handed to the learner.
      self._error = error

  def _put(self, item):
    while not self._turns.closed:
      try:
        return self._queue.put(item, timeout=0.2)
      except queue.Full:
        continue
    return None


class _Turns:
  """Lets groups begin unrolls in turn, no more than soon can be learned from.

  Attributes:
    closed: whether nobody shall begin any more.
  """

  def __init__(self, batch_size: int, max_policy_lag: int):
    """Starts with nothing begun."""
    self.closed = False
    self._batch_size = batch_size
    self._limit = batch_size * max_policy_lag
    self._num_begun = 0  # Columns that the learner has not taken yet.
    self._waiting: collections.deque[object] = collections.deque()
    self._changed = threading.Condition()

  def wait(self, width: int) -> bool:
    """Waits until a group of `width` may begin; False once closed."""
    turn = object()
    with self._changed:
      self._waiting.append(turn)
      self._changed.wait_for(
        lambda: self.closed or (self._waiting[0] is turn and self._fits(width))
      )
      if self.closed:
        return False
      self._waiting.popleft()
      self._num_begun += width
      self._changed.notify_all()
      return True

  def _fits(self, width):
    """Tells whether there is room, or no batch to come without this group."""
    is_needed = self._num_begun < self._batch_size
    return is_needed or self._num_begun + width <= self._limit

  def learned(self) -> None:
    """Counts a batch that the learner took."""
    with self._changed:
      self._num_begun -= self._batch_size
      self._changed.notify_all()

  def close(self) -> None:
    """Wakes whoever waits."""
    with self._changed:
      self.closed = True
      self._changed.notify_all()
