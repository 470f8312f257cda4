"""Remote actors: unrolls under way, and what becomes of actors that are lost.

An actor is a process somewhere in a Ray cluster. Its process may be killed, may
raise, or hang; its machine may vanish. Whatever happens to it ends in the same
way: what it had under way is lost and counted, its process is killed if there
still is one, and another takes its place, with other seeds. Ray's own restarts
are not used: they repeat the same seeds, and retries come in another order.
"""

import dataclasses
import sys
import time
from collections.abc import Callable
from typing import Any

from core.errors import UserError
from core.experience.cluster import one_line

NUM_UNDER_WAY = 2  # Unrolls per actor: one is played while one is fetched.
_MAX_RAISED = 3  # In a row, by one slot: then it is no accident.
_MAX_DELAY_SECS = 60.0
# While too few are alive, a learner that is busy for long does not count.
_MAX_COUNTED_SECS = 10.0


@dataclasses.dataclass
class _Slot:
  """The place of one actor.

  Attributes:
    index: its number.
    handle: Ray's; None between two actors.
    is_alive: whether its environments are there.
    heard_at: when it was begun or last gave something.
    start_at: when the next actor may begin.
    num_begun: actors that it had.
    num_lost: of them, in a row, without an unroll.
    num_raised: of these, by an exception.
  """

  index: int
  handle: Any = None
  is_alive: bool = False
  heard_at: float = 0.0
  start_at: float = 0.0
  num_begun: int = 0
  num_lost: int = 0
  num_raised: int = 0


class RemoteActors:
  """K actors of a Ray cluster, no more than two unrolls of each under way.

  Attributes:
    started: what the first `start` returned; None before.
    restarts: actors begun in place of lost ones.
    unrolls_lost: asked of actors that were lost.
  """

  def __init__(
    self,
    begin: Callable[[int, int], Any],
    arguments: Callable[[], tuple[Any, ...]],
    num_actors: int,
    min_actors: int,
    timeout_secs: float,
  ):
    """Begins K actors.

    Args:
      begin: maps the number of an actor and how many were in its place before
        to the handle of a new Ray actor with methods `start` and `collect`.
      arguments: returns those of `collect`; called for each.
      num_actors: K.
      min_actors: how many must be alive.
      timeout_secs: after so long without a result an actor is replaced; so
        long may fewer than `min_actors` be alive.
    """
    import ray  # Nobody without remote actors needs it.

    self._ray = ray
    self._begin, self._arguments = begin, arguments
    self._min_actors, self._timeout = min_actors, timeout_secs
    self.started: Any = None
    self.restarts = self.unrolls_lost = 0
    self._pending: dict[Any, _Slot] = {}  # By future, the oldest first.
    self._slots = [_Slot(index) for index in range(num_actors)]
    self._short_secs = 0.0  # With too few alive.
    self._polled_at = time.monotonic()
    self._last_loss = 'none has begun to play'
    self._begin_due()

  @property
  def num_alive(self) -> int:
    """Number of actors whose environments are there."""
    return sum(slot.is_alive for slot in self._slots)

  @property
  def num_under_way(self) -> int:
    """Number of unrolls asked for and not taken."""
    return sum(slot.is_alive for slot in self._pending.values())

  def poll(self, secs: float) -> Any:
    """Waits for an unroll.

    Args:
      secs: how long at most.

    Returns:
      What the next `collect` returned; None if there is none yet.

    Raises:
      UserError: an actor raised one, or another exception three times in a
        row; or too few are alive for too long.
    """
    self._begin_due()
    self._replace_silent()
    result = None
    if self._pending:
      ready, _ = self._ray.wait(list(self._pending), timeout=secs)
      for future in ready:
        # An actor's results come in order, but may be seen in another.
        result = self._take(self._under_way(self._pending[future])[0])
    else:
      time.sleep(secs)
    self._count_alive()
    return result

  def close(self) -> None:
    """Kills all actors."""
    self._pending.clear()
    for slot in self._slots:
      self._kill(slot)

  def _begin_due(self):
    """Begins an actor in every place that waited long enough."""
    now = time.monotonic()
    for slot in self._slots:
      if slot.handle is None and now >= slot.start_at:
        slot.handle = self._begin(slot.index, slot.num_begun)
        self.restarts += slot.num_begun > 0
        slot.num_begun += 1
        slot.heard_at = now
        self._pending[slot.handle.start.remote()] = slot

  def _take(self, future):
    """Returns the result of a future that is ready, if it is an unroll."""
    slot = self._pending.pop(future)
    try:
      result = self._ray.get(future, timeout=self._timeout)
    except self._ray.exceptions.RayTaskError as error:
      return self._raised(slot, error)
    except self._ray.exceptions.RayError as error:
      return self._lose(slot, one_line(error))
    slot.heard_at = time.monotonic()
    if slot.is_alive:
      slot.num_lost = slot.num_raised = 0
      self._ask(slot, 1)
      return result
    slot.is_alive = True
    self.started = self.started or result
    self._ask(slot, NUM_UNDER_WAY)
    return None

  def _ask(self, slot, num_unrolls):
    for _ in range(num_unrolls):
      future = slot.handle.collect.remote(*self._arguments())
      self._pending[future] = slot

  def _raised(self, slot, error):
    """Shows what an actor raised, and gives its place another try or up."""
    cause = error.cause
    if isinstance(cause, UserError):
      raise UserError(f'remote actor {slot.index}: {cause}') from error
    print(error, file=sys.stderr, flush=True)
    *_, last_line = str(cause).splitlines() or ['']  # It may be a traceback.
    reason = f'{type(cause).__name__}: {last_line}'
    slot.num_raised += 1
    if slot.num_raised == _MAX_RAISED:
      raise UserError(
        f'remote actor {slot.index} raised {_MAX_RAISED} times in a row, last '
        f'{reason}'
      ) from error
    self._lose(slot, f'raised {reason}')

  def _lose(self, slot, reason):
    """Counts what an actor had under way, and lets another take its place."""
    for future in self._under_way(slot):
      del self._pending[future]
    if slot.is_alive:
      self.unrolls_lost += NUM_UNDER_WAY
    self._kill(slot)
    slot.is_alive = False
    delay = min(2.0 ** min(slot.num_lost, 10) - 1.0, _MAX_DELAY_SECS)
    slot.num_lost += 1
    slot.start_at = time.monotonic() + delay
    self._last_loss = f'remote actor {slot.index}: {reason}'
    when = f' in {delay:.0f} s' if delay else ''
    print(
      f'warning: lost remote actor {slot.index} ({reason}); another takes its '
      f'place{when}',
      flush=True,
    )

  def _under_way(self, slot):
    return [f for f, of in self._pending.items() if of is slot]

  def _kill(self, slot):
    if slot.handle is not None:
      self._ray.kill(slot.handle)
      slot.handle = None

  def _replace_silent(self):
    """Replaces actors that should have given something by now.

    The learner may have been busy for longer than the timeout: then something
    is ready.
    """
    now = time.monotonic()
    for slot in self._slots:
      if slot.handle is None or now - slot.heard_at <= self._timeout:
        continue
      ready, _ = self._ray.wait(
        self._under_way(slot), timeout=0, fetch_local=False
      )
      if ready:
        continue
      reason = f'nothing from it for {self._timeout:.0f} s'
      if not slot.is_alive:
        free = self._ray.available_resources().get('CPU', 0.0)
        reason = (
          f'did not start within {self._timeout:.0f} s; the cluster has '
          f'{free:g} CPUs free'
        )
      self._lose(slot, reason)

  def _count_alive(self):
    """Ends the run if too few actors have been alive for too long."""
    now = time.monotonic()
    elapsed = min(now - self._polled_at, _MAX_COUNTED_SECS)
    self._polled_at = now
    if self.num_alive >= self._min_actors:
      self._short_secs = 0.0
      return
    self._short_secs += elapsed
    if self._short_secs > self._timeout:
      raise UserError(
        f'{self.num_alive} of {len(self._slots)} remote actors have been alive '
        f'for {self._timeout:.0f} s, --min_actors={self._min_actors}; last '
        f'loss: {self._last_loss}'
      )
