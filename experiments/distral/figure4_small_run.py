"""One run of figure4_small: trains, and tests both policies on the way.

    python -m experiments.distral.figure4_small_run \\
      --flagfile=experiments/distral/figure4_small.flags --preset=kl_ent_2col \\
      --logdir=runs/kl_ent_2col

Takes the flags of distral.experiment. Beside that one's records it writes
curve.csv: mean returns of the task policies and of the distilled policy. The
same command in the same logdir resumes.
"""

import dataclasses
import functools
import os

import numpy as np
import pandas as pd

from core import flags, start
from core.errors import UserError
from core.files import atomic_file
from distral.config import PRESETS, Config
from experiments.distral.figure4_small_curve import NUM_POINTS, read_curve

with start.quiet_tensorflow():
  from core import modes
  from core.device import Device
  from core.evaluation import episodes
  from core.evaluation.episodes import Policy
  from core.evaluation.evaluate import load_newest
  from core.suites.task_environments import TaskEnvironments
  from core.suites.tasks import Tasks
  from core.training import train
  from distral.agent import Agent

NUM_EPISODES = 10  # Of each task, policy and point.


def play(config: Config, player: Agent, point: int) -> pd.DataFrame:
  """Plays `NUM_EPISODES` episodes of every task with a test-mode agent.

  Args:
    config: of the run; its seed and `point` make the seed of the episodes.
    player: whose policy is sampled.
    point: number of the point on the curve.

  Returns:
    A row per task: task, mean_return, mean_length (agent steps).
  """
  tasks = Tasks.of(config)
  task_id = np.repeat(np.arange(len(tasks.names), dtype=np.int32), NUM_EPISODES)
  rows = episodes.play_episodes(
    TaskEnvironments(tasks, task_id, is_training=False),
    Policy(
      functools.partial(player.act, task_id),
      player.initial_state,
      tasks.env_spec.zero_actions,
    ),
    NUM_EPISODES,
    task_id,
    tasks.names,
    'whole episodes; sampled policy; raw rewards',
    1_000 * config.seed + point,
    config.num_action_repeats,
  )
  by_task = pd.DataFrame(rows).groupby('task', sort=False)
  return pd.DataFrame(
    dict(
      mean_return=by_task['return'].mean(), mean_length=by_task.length.mean()
    )
  ).reset_index()


def run(config: Config) -> None:
  """Trains from point to point and writes curve.csv after each.

  Args:
    config: of the whole run.

  Raises:
    UserError: curve.csv of an earlier start is damaged, or lacks points that
      only an earlier checkpoint could give.
  """
  path = os.path.join(config.logdir, 'curve.csv')
  curve = read_curve(path) if os.path.exists(path) else pd.DataFrame()
  tasks, device = Tasks.of(config), Device.from_config(config)
  agent = Agent(config, tasks.env_spec, device)
  policies = ['task']
  if agent.network.shared_column is not None:
    policies.append('distilled')
  players = {
    policy: Agent(
      dataclasses.replace(config, mode='test', test_policy=policy),
      tasks.env_spec,
      device,
    )
    for policy in policies
  }
  stops = np.linspace(0, config.total_environment_frames, NUM_POINTS + 1)
  batch_frames = config.batch_size * config.unroll_length
  for point, stop in enumerate(stops.astype(int).tolist()):
    if len(curve) and point <= curve.point.max():
      continue
    if stop:
      stage = dataclasses.replace(config, stop_frames=stop)
      frames = train.train(stage, agent, tasks)
      if frames < stop:
        return  # Interrupted; the checkpoint is written.
      if frames >= stop + batch_frames * config.num_action_repeats:
        raise UserError(
          f'{path} has lost point {point}: the checkpoint is at frame '
          f'{frames:,}. Put the file back or give another --logdir'
        )
    for policy, player in players.items():
      if stop:
        load_newest(config, player)
      rows = play(config, player, point)
      rows = rows.assign(point=point, env_frames=stop, policy=policy)
      curve = pd.concat([curve, rows], ignore_index=True)
    with atomic_file(path) as file:
      file.write(curve.to_csv(index=False, float_format='%.6g').encode())


def main(unused_argv: list[str]) -> None:
  """Runs what the flags ask for."""
  config = flags.resolve(Config, PRESETS)
  if config.mode == 'benchmark':
    modes.run(config, Agent)
  else:
    run(config)


if __name__ == '__main__':
  flags.define(Config, PRESETS)
  flags.run(main)
