"""Makes BRC's update when told to: ours, or the official code's.

    python experiments/speed/brc_worker.py ours|official WIDTH

`brc_cost.py` starts it. Each line on stdin is answered by a line of JSON: CPU
and wall seconds of one update (two gradient steps with batches of 1024
transitions of the seven tasks of DMC-Hard), and the greatest memory so far in
MB. `official` needs no TensorFlow but a checkout of
naumix/BiggerRegularizedCategorical on PYTHONPATH, with jax, flax, optax and
distrax. It compiles in each of its first two updates: the temperature begins as
a weakly typed scalar of JAX and is none afterwards.
"""

import json
import resource
import sys
import time
from collections.abc import Callable

import numpy as np

NUM_TASKS, NUM_FEATURES, NUM_ACTIONS = 7, 223, 38  # A dog's, the others padded.
BATCH_SIZE, NUM_STEPS = 1024, 2


def make_batch() -> dict[str, np.ndarray]:
  """Invents transitions, [U, B, ...], rewards normalised."""
  rng = np.random.default_rng(0)
  shape = (NUM_STEPS, BATCH_SIZE)

  def normal(*sizes):
    return rng.normal(size=(*shape, *sizes)).astype(np.float32)

  return dict(
    task_id=rng.integers(NUM_TASKS, size=shape, dtype=np.int32),
    features=normal(NUM_FEATURES),
    action=np.tanh(normal(NUM_ACTIONS)),
    reward=0.1 * normal(),
    next_features=normal(NUM_FEATURES),
    goes_on=np.ones(shape, np.float32),
  )


def ours(width: int, precision: str = 'float32') -> Callable[[], None]:
  """Returns our compiled update; it ends when the weights are there."""
  import dataclasses

  from brc import config as brc_config
  from core import start

  with start.quiet_tensorflow():
    from brc.agent import Agent
    from core.device import Device
    from core.types import ActionBox, EnvSpec, Transitions
  config = dataclasses.replace(
    brc_config.CONTROL,
    critic_width=width,
    batch_size=BATCH_SIZE,
    precision=precision,
  )
  box = ActionBox((-1.0,) * NUM_ACTIONS, (1.0,) * NUM_ACTIONS)
  names = tuple(f'task_{i}' for i in range(NUM_TASKS))
  spec = EnvSpec(names, action_box=box, num_features=NUM_FEATURES)
  agent = Agent(config, spec, Device.from_config(config))
  agent.normalizer.greatest[:] = 1.0
  batches = Transitions(**make_batch())

  def update():
    float(agent.update(batches, 0)['total_loss'])

  return update


def official(width: int) -> Callable[[], None]:
  """Returns the same of the official code, which must be importable."""
  import jax
  from jaxrl.agent.brc_learner import BRC
  from jaxrl.utils import Batch

  features = np.zeros([1, NUM_FEATURES], np.float32)
  actions = np.zeros([1, NUM_ACTIONS], np.float32)
  agent = BRC(
    0,
    features,
    actions,
    num_tasks=NUM_TASKS,
    updates_per_step=NUM_STEPS,
    width_critic=width,
  )
  batch = make_batch()
  named = dict(
    observations=batch['features'],
    actions=batch['action'],
    rewards=batch['reward'],
    masks=batch['goes_on'],
    next_observations=batch['next_features'],
    task_ids=batch['task_id'],
  )
  batch = Batch(**{name: named[name] for name in Batch._fields})

  def update():
    agent.update(batch, NUM_STEPS, 0)
    jax.block_until_ready((agent.actor.params, agent.critic.params))

  return update


def main() -> None:
  """Answers lines until there are no more."""
  kind, width, *rest = sys.argv[1:]
  makers = dict(ours=ours, official=official)
  update = makers[kind](int(width), *rest)
  for _ in sys.stdin:
    start = time.process_time(), time.perf_counter()
    update()
    end = time.process_time(), time.perf_counter()
    cpu, wall = np.subtract(end, start).tolist()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    answer = dict(cpu=cpu, wall=wall, peak_mb=peak)
    print(json.dumps(answer), flush=True)


if __name__ == '__main__':
  main()
