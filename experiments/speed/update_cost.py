"""Measures what the papers add to IMPALA's update.

    python -m experiments.speed.update_cost --torso=shallow
    python -m experiments.speed.update_cost --torso=deep --agents=IMPALA,STACX

The agents learn from the same invented batch (57 Atari games, B = 32, T = 20)
in one process, in turn, so that whatever else the machine does hits all alike;
the least CPU and wall time of the rounds is printed. BRC's update, of another
kind, is `brc_cost.py`'s.
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence

import numpy as np
import rich.console
import rich.table

import impala.config
import pixel_control.config
import popart.config
import stacx.config
from core import start
from core.errors import UserError

with start.quiet_tensorflow():
  import tensorflow as tf

  import impala.agent
  import pixel_control.agent
  import popart.agent
  import stacx.agent
  from core.suites.atari import GAMES
  from core.types import AgentOutput, EnvOutput, Observation, Unroll
  from experiments.speed import export

UNROLL_LENGTH, BATCH_SIZE = 20, 32
SPEC = export.atari_spec(task_names=GAMES)


def make_agents(torso: str, names: Sequence[str] = ()) -> dict[str, object]:
  """Builds agents with the network of the Atari experiments.

  Args:
    torso: 'deep' or 'shallow'.
    names: which ones; none: all.

  Returns:
    Agents by name, IMPALA first.

  Raises:
    UserError: there is no agent of a name.
  """
  base = dataclasses.replace(popart.config.ATARI57, torso=torso)
  pixel = dataclasses.replace(pixel_control.config.ATARI57, torso=torso)
  impala_config = dataclasses.replace(
    impala.config.ATARI57_MULTITASK, torso=torso
  )
  multi_head = dataclasses.replace(base, value_head='multi_head')
  three_heads = dataclasses.replace(stacx.config.ATARI, torso=torso)
  agents = {
    'IMPALA': (impala.agent.Agent, impala_config),
    'MultiHead-IMPALA': (popart.agent.Agent, multi_head),
    'PopArt-IMPALA': (popart.agent.Agent, base),
    'Pixel-PopArt-IMPALA': (pixel_control.agent.Agent, pixel),
    'STAC': (
      stacx.agent.Agent,
      dataclasses.replace(three_heads, num_heads=1),
    ),
    'STACX': (stacx.agent.Agent, three_heads),
  }
  for name in names:
    if name not in agents:
      raise UserError(f'no agent {name}; there are {", ".join(agents)}')
  return {
    name: export.make_agent(agent_class, config, SPEC)
    for name, (agent_class, config) in agents.items()
    if not names or name in ('IMPALA', *names)
  }


def make_unroll() -> Unroll:
  """Invents a batch, [T + 1, B, ...] as an update reads it."""
  rng = np.random.default_rng(0)
  shape = (UNROLL_LENGTH + 1, BATCH_SIZE)
  frames = rng.integers(0, 256, [*shape, *SPEC.frame_shape], np.uint8)
  env_outputs = EnvOutput(
    reward=rng.normal(size=shape).astype(np.float32),
    info=(),
    done=rng.random(shape) < 0.01,
    observation=Observation(frames),
  )
  agent_outputs = AgentOutput(
    action=rng.integers(SPEC.num_actions, size=shape, dtype=np.int32),
    policy_logits=np.zeros([*shape, SPEC.num_actions], np.float32),
  )
  task_id = np.arange(BATCH_SIZE, dtype=np.int32) % len(SPEC.task_names)
  unroll = Unroll(task_id, (), (), env_outputs, agent_outputs)
  return tf.nest.map_structure(tf.convert_to_tensor, unroll)


def measure(
  torso: str, num_rounds: int, names: Sequence[str] = ()
) -> rich.table.Table:
  """Times the updates of all agents or of those named; returns the table."""
  agents, unroll = make_agents(torso, names), make_unroll()
  rate = tf.constant(1e-5)
  least = {name: np.full(2, np.inf) for name in agents}
  for _ in range(2 + num_rounds):  # Two to compile and warm up.
    for name, agent in agents.items():
      start = time.process_time(), time.perf_counter()
      float(agent.update(unroll, rate)['total_loss'])
      end = time.process_time(), time.perf_counter()
      least[name] = np.minimum(least[name], np.subtract(end, start))
  table = rich.table.Table(title=f'{torso}, one update of 640 steps')
  table.add_column('agent')
  for column in ('CPU ms', 'wall ms', 'CPU, of IMPALA', 'wall, of IMPALA'):
    table.add_column(column, justify='right')
  for name, secs in least.items():
    ratios = secs / least['IMPALA']
    cells = [f'{1000 * s:.1f}' for s in secs] + [f'{r:.3f}' for r in ratios]
    table.add_row(name, *cells)
  return table


def main() -> None:
  """Prints the table that the command line asks for."""
  parser = argparse.ArgumentParser(description='Cost of an update.')
  parser.add_argument('--torso', choices=('deep', 'shallow'), default='shallow')
  parser.add_argument('--num_rounds', type=int, default=30)
  parser.add_argument('--agents', default='', help='with commas; all if empty')
  arguments = parser.parse_args()
  names = [name for name in arguments.agents.split(',') if name]
  try:
    table = measure(arguments.torso, arguments.num_rounds, names)
  except UserError as error:
    sys.exit(f'error: {error}')
  rich.console.Console().print(table)


if __name__ == '__main__':
  main()
