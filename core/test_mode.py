"""Test mode of every paper: play a checkpoint's policy, write, print, film."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import rich.console
import rich.progress
import tensorflow as tf

from core import (
  actor_learner,
  checkpointing,
  dmlab,
  dmlab30,
  evaluation,
  records,
  score_table,
  start_states,
  video,
)
from core.ale_game import AleGame
from core.atari import AtariProtocol
from core.environments import Protocol, TaskEnvironments, is_atari
from core.errors import UserError
from core.evaluation import EvaluationRow

MAX_ROWS = 30  # Environments that play at once.
MAX_LEVEL_ROWS = 10  # Of DeepMind Lab: each is a process of hundreds of MB.


def test(
  config: Any,
  agent: Any,
  protocol: Protocol,
  tasks: Sequence[str],
  published_csv: str | None = None,
) -> list[EvaluationRow]:
  """Evaluates the newest checkpoint in the logdir.

  Plays `test_num_episodes` whole games per task with the sampled policy, one
  task at a time; writes evaluation.csv and evaluation.md, prints the table.
  Of a level of DMLab-30 it plays the test level.

  Args:
    config: a paper's Config.
    agent: of the architecture that was trained.
    protocol: how tasks are played; lost lives end nothing here.
    tasks: names of the tasks to play.
    published_csv: published scores to print beside ours.

  Returns:
    One row per episode.

  Raises:
    UserError: there is no checkpoint or it does not fit the network, start
      states are missing, or DeepMind Lab cannot play.
  """
  env_frames = load_newest(config, agent)
  tasks = [dmlab30.LEVEL_MAPPING.get(task, task) for task in tasks]
  print(f'policy after {env_frames:,} environment frames', flush=True)
  rows = []
  with rich.progress.Progress(disable=None) as progress:
    for task_id, task in enumerate(tasks):
      bar = progress.add_task(task, total=config.test_num_episodes)
      for row in _play(config, agent, protocol, tasks, task_id):
        rows.append(row)
        progress.advance(bar)
      returns = [row['return'] for row in rows if row['task'] == task]
      print(f'{task}: {np.mean(returns):.2f} in {len(returns)} episodes')
  records.write_evaluation(os.path.join(config.logdir, 'evaluation.csv'), rows)
  _show(config, rows, published_csv)
  if config.record_video:
    record_videos(config, agent, protocol, tasks)
  return rows


def load_newest(config: Any, agent: Any) -> int:
  """Loads the newest checkpoint's weights; returns its frame counter.

  Args:
    config: whose logdir holds the checkpoint.
    agent: whose variables are set.

  Raises:
    UserError: there is none, or it does not fit the network.
  """
  directory = actor_learner.checkpoint_directory(config.logdir)
  restored = checkpointing.restore_latest(directory, print)
  if restored is None:
    raise UserError(f'no checkpoint in {directory}: train there first')
  arrays, metadata, _ = restored
  actor_learner.load_variables(agent, arrays)
  return metadata['env_frames']


def save_states(
  config: Any, agent: Any, protocol: AtariProtocol, tasks: Sequence[str]
) -> None:
  """Writes start states from games that the newest checkpoint plays.

  Args:
    config: a paper's Config; `start_states` is the folder to write to.
    agent: of the architecture that was trained.
    protocol: how Atari is played.
    tasks: names of the games.

  Raises:
    UserError: no folder was named, or a task is no Atari game.
  """
  if not config.start_states:
    raise UserError('--mode=save_start_states needs --start_states=FOLDER')
  _check_all_atari(tasks, '--mode=save_start_states')
  load_newest(config, agent)
  for task_id, task in enumerate(tasks):
    paths = list(
      start_states.save_start_states(
        config.start_states,
        task,
        _act_in(agent, task_id),
        agent.initial_state,
        dataclasses.replace(protocol, life_loss_is_done=False),
        config.num_start_states,
        config.seed,
      )
    )
    print(f'{task}: {len(paths)} start states in {config.start_states}')


def record_videos(
  config: Any, agent: Any, protocol: AtariProtocol, tasks: Sequence[str]
) -> None:
  """Films one episode per Atari game into <logdir>/<game>.mp4.

  Raises:
    UserError: a task is no Atari game, or the video package is missing.
  """
  _check_all_atari(tasks, '--record_video')
  protocol = dataclasses.replace(protocol, life_loss_is_done=False)
  for task_id, task in enumerate(tasks):
    path = os.path.join(config.logdir, f'{task}.mp4')
    episode_return = video.record_video(
      path,
      AleGame(task, protocol),
      _act_in(agent, task_id),
      agent.initial_state,
      config.seed,
      frames_per_second=60.0 / protocol.num_action_repeats,
    )
    print(f'{path}: return {episode_return:g}')


def _play(config, agent, protocol, tasks, task_id) -> Iterator[EvaluationRow]:
  """Plays one task, from no-op starts or from start states."""
  task = tasks[task_id]
  act, initial_state = _act_in(agent, task_id), agent.initial_state
  if config.start_states:
    _check_all_atari(tasks, '--start_states')
    protocol = dataclasses.replace(protocol, life_loss_is_done=False)
    states = start_states.load_start_states(config.start_states, task)
    name = os.path.basename(os.path.normpath(config.start_states))
    line = evaluation.protocol_line(protocol, f'states of {name}')
    yield from start_states.play_start_states(
      task, states, act, initial_state, protocol, line, config.seed
    )
    return
  max_rows = MAX_LEVEL_ROWS if dmlab.is_level(task) else MAX_ROWS
  num_rows = min(config.test_num_episodes, max_rows)
  task_of_row = np.full(num_rows, task_id, np.int32)
  environment = TaskEnvironments(
    tasks, task_of_row, protocol, is_training=False
  )
  line = 'whole episodes; sampled policy; raw rewards'
  if is_atari(task) or dmlab.is_level(task):
    line = evaluation.protocol_line(protocol)
  try:
    yield from evaluation.play_episodes(
      environment,
      act,
      initial_state,
      config.test_num_episodes,
      np.zeros(num_rows, np.int32),
      [task],
      line,
      config.seed,
      config.num_action_repeats,
      require_noops=is_atari(task) and protocol.noop_max > 0,
    )
  finally:
    environment.close()


def _act_in(agent, task_id):
  """Returns the agent's acting in rows that all play one task."""

  def act(last_action, *inputs):
    task_ids = tf.fill(tf.shape(last_action), task_id)
    return agent.act(task_ids, last_action, *inputs)

  return act


def _show(config, rows, published_csv):
  """Prints the score table and writes it as Markdown."""
  human_starts = bool(config.start_states)
  console = rich.console.Console()
  if not console.is_terminal:
    console.width = 160
  console.print(score_table.score_table(rows, published_csv, human_starts))
  markdown = score_table.score_markdown(rows, published_csv, human_starts)
  path = os.path.join(config.logdir, 'evaluation.md')
  with checkpointing.atomic_file(path) as file:
    file.write(markdown.encode())


def _check_all_atari(tasks, flag):
  for task in tasks:
    if not is_atari(task):
      raise UserError(f'{flag} is for Atari games, not {task}')
