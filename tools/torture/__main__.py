"""Torments the commands for some minutes, and says what broke.

    python -m tools.torture --minutes=60
    python -m tools.torture kills --seed=123     # One case again.

kills: training, launches and what writes READMEs are killed at random and
started again. damage: files are damaged, then read. flags: random flags. soak:
memory while four games are trained. `make test` has one case of each.

Every case has a seed, which is printed with each failure and repeats the case,
but for the moments of kills, which the machine's speed shifts. At most two
processes are at work. The exit status is 1 if anything failed.
"""

import argparse
import collections
import functools
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from tools import forked
from tools.torture import damage, flag_sets, kills, rewrites, soak
from tools.torture.cases import Case, Workshop

_FOREVER = 10**9
# Per kind: how often each of its cases comes up.
_KINDS = {
  'kills': {
    kills.sync_training: 10,
    kills.async_training: 5,
    rewrites.launch: 1,
    rewrites.record: 2,
    rewrites.tables: 2,
  },
  'damage': {
    damage.run_files: 10,
    damage.launch_state: 2,
    damage.start_states: 1,
  },
  'flags': {flag_sets.flag_set: 1},
}
_SHARES = {'kills': 0.45, 'damage': 0.2, 'flags': 0.2, 'soak': 0.15}


def run_kind(
  name: str, first_seed: int, secs: float, workshop: Workshop, num_cases: int
) -> Iterator[Case]:
  """Runs cases of a kind until the time is up.

  Args:
    name: of the kind.
    first_seed: of the first case; the next ones count up.
    secs: no case begins after them. A soak lasts as long.
    workshop: where they work.
    num_cases: at most.

  Yields:
    Each case when it is over.
  """
  if name == 'soak':
    yield soak.soak(first_seed, workshop, secs)
    return
  deadline = time.monotonic() + secs
  for seed in range(first_seed, first_seed + num_cases):
    run = choose(name, seed)
    if time.monotonic() > deadline:
      return
    yield run(seed, workshop)


def choose(name: str, seed: int) -> Callable[[int, Workshop], Case]:
  """Returns the case of a kind that a seed stands for."""
  weights = _KINDS[name]
  rng = random.Random(f'{name} {seed}')
  return rng.choices(list(weights), list(weights.values()))[0]


def summary(found: dict[str, list[Case]]) -> str:
  """Returns one line on all cases, by kind."""
  parts = []
  for name, some in found.items():
    total = collections.Counter()
    for case in some:
      total.update(case.counts)
    total = collections.defaultdict(int, total)
    parts += {'kills': _kill_words, 'soak': _soak_words}.get(
      name, functools.partial(_clean_words, name)
    )(total)
  return '; '.join(parts)


def _kill_words(total):
  return [
    f'kills {total[name]} of {total[f"{name}_kills"]} {words}'
    for name, words in (('bit_equal', 'bit-equal'), ('whole', 'whole'))
  ]


def _clean_words(name, total):
  if name == 'damage':
    return [f'damaged files {total["files"]}: {total["clean"]} clean']
  return [f'flag sets {total["sets"]}: {total["clean"]} clean']


def _soak_words(total):
  if not total:
    return ['soak failed']
  return [
    f'soak {total["minutes"]:.0f} min: {total["gb"]:.2f} GB, '
    f'{total["mb_per_min"]:+.1f} MB/min'
  ]


def main() -> int:
  """Runs what the command line asks for."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('kinds', nargs='*', help=f'of {", ".join(_SHARES)}')
  parser.add_argument('--minutes', type=float, default=60, help='of all kinds')
  parser.add_argument('--seed', type=int, help='of the one case to run')
  parser.add_argument('--first_seed', type=int, help='cases count up from it')
  options = parser.parse_args()
  kinds = options.kinds or list(_SHARES)
  if unknown := [kind for kind in kinds if kind not in _SHARES]:
    parser.error(f'there is no kind {unknown[0]}')
  folder = pathlib.Path(tempfile.mkdtemp(prefix='torture_'))
  first_seed = options.first_seed or random.SystemRandom().randrange(10**6)
  num_cases = _FOREVER
  if options.seed is not None:
    first_seed, num_cases = options.seed, 1
  print(f'seeds from {first_seed} on; in {folder}', flush=True)
  workshop = Workshop(folder)
  found, num_failed = collections.defaultdict(list), 0
  end = time.monotonic() + 60 * options.minutes
  for i, kind in enumerate(kinds):
    share = _SHARES[kind] / sum(_SHARES[later] for later in kinds[i:])
    secs = share * max(0, end - time.monotonic())
    for case in run_kind(kind, first_seed, secs, workshop, num_cases):
      found[kind].append(case)
      num_failed += bool(case.problems)
      for problem in case.problems[:3]:
        print(
          f'FAILED {kind} --seed={case.seed} ({case.title}): {problem[:500]}',
          flush=True,
        )
      if not case.problems:
        workshop.tidy()
  print(summary(found), flush=True)
  if num_failed:
    print(f'{num_failed} cases failed; what they left is in {folder}')
    return 1
  shutil.rmtree(folder)
  return 0


if __name__ == '__main__':
  signal.signal(signal.SIGTERM, signal.default_int_handler)
  try:
    sys.exit(main())
  except KeyboardInterrupt:
    sys.exit(130)
  finally:
    forked.kill_all()
