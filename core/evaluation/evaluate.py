"""Test mode of every paper: play a checkpoint's policy, write, print, film."""

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import rich.console
import rich.progress

from core import checkpointing
from core import config as configs
from core.errors import UserError
from core.evaluation import episodes, score_table, start_states, video
from core.evaluation.episodes import EvaluationRow, policy_of
from core.files import atomic_file
from core.run_config import RunConfig
from core.suites.task_environments import TaskEnvironments
from core.suites.tasks import Tasks, suite_of
from core.training import records, resume


class Checkpoint(NamedTuple):
  """What is played.

  Attributes:
    env_frames: int, the frame counter.
    name: str, of its file.
    preset: str, with which it was trained; '' without one, or if the checkpoint
      is older than this entry.
  """

  env_frames: int
  name: str
  preset: str


def test(config: RunConfig, agent: Any, tasks: Tasks) -> list[EvaluationRow]:
  """Evaluates the newest checkpoint in the logdir.

  Plays `test_num_episodes` whole episodes per task with the sampled policy, one
  task at a time; writes evaluation.csv and evaluation.md, prints the table.

  Args:
    config: a paper's Config.
    agent: of the architecture that was trained.
    tasks: what was trained; a suite may test on other levels.

  Returns:
    One row per episode.

  Raises:
    UserError: there is no checkpoint, or it was trained with another config or
      network; start states are missing, or an engine cannot play.
  """
  checkpoint = load_newest(config, agent)
  tasks = tasks.for_test()
  print(
    f'policy after {checkpoint.env_frames:,} environment frames: '
    f'{checkpoint.name}, preset {checkpoint.preset or "not recorded"}',
    flush=True,
  )
  origin = dict(preset=checkpoint.preset, checkpoint=checkpoint.name)
  options = _test_options(config)
  rows = []
  with rich.progress.Progress(disable=None) as progress:
    for task_id, task in enumerate(tasks.names):
      bar = progress.add_task(task, total=config.test_num_episodes)
      for row in _play(config, agent, tasks, task_id):
        row['protocol'] += options
        rows.append({**row, **origin})
        progress.advance(bar)
      played = [row for row in rows if row['task'] == task]
      print(f'{task}: {_summary(played)}')
  records.write_evaluation(os.path.join(config.logdir, 'evaluation.csv'), rows)
  _show(config, rows)
  if config.record_video:
    record_videos(config, agent, tasks)
  return rows


def load_newest(config: RunConfig, agent: Any) -> Checkpoint:
  """Loads the newest checkpoint's weights; says which it is.

  Args:
    config: whose logdir holds the checkpoint.
    agent: whose variables are set.

  Raises:
    UserError: there is none, or it was trained with another config or network.
  """
  directory = checkpointing.directory_of(config.logdir)
  restored = checkpointing.restore_latest(
    directory, print, resume.check_metadata
  )
  if restored is None:
    raise UserError(f'no checkpoint in {directory}: train there first')
  arrays, metadata, path = restored
  resume.check_played(config, metadata['config'])
  resume.load_variables(agent, arrays)
  preset = metadata['config'].get('preset', '')
  return Checkpoint(metadata['env_frames'], os.path.basename(path), str(preset))


def save_states(config: RunConfig, agent: Any, tasks: Tasks) -> None:
  """Writes start states from games that the newest checkpoint plays.

  Args:
    config: a paper's Config; `start_states` is the folder to write to.
    agent: of the architecture that was trained.
    tasks: the games.

  Raises:
    UserError: no folder was named, or a task has no states to save.
  """
  if not config.start_states:
    raise UserError('--mode=save_start_states needs --start_states=FOLDER')
  for task in tasks.names:
    tasks.make_game(task).close()
  load_newest(config, agent)
  for task_id, task in enumerate(tasks.names):
    paths = list(
      start_states.save_start_states(
        config.start_states,
        tasks,
        task,
        policy_of(agent, task_id),
        config.num_start_states,
        config.seed,
      )
    )
    print(f'{task}: {len(paths)} start states in {config.start_states}')


def record_videos(config: RunConfig, agent: Any, tasks: Tasks) -> None:
  """Films one episode per task into <logdir>/<task>.mp4.

  Raises:
    UserError: a task cannot be filmed, or the video package is missing.
  """
  games = [tasks.make_game(task) for task in tasks.names]
  for task_id, (task, game) in enumerate(zip(tasks.names, games, strict=True)):
    path = os.path.join(config.logdir, f'{task}.mp4')
    episode_return = video.record_video(
      path, game, policy_of(agent, task_id), config.seed
    )
    print(f'{path}: return {episode_return:g}')


def _test_options(config):
  """Returns what the protocol says of choices that only tests have."""
  names = configs.names(config, changes_play=True, may_change=True)
  defaults, chosen = type(config)(), configs.describe(config)
  return ''.join(
    f'; {name} {value}'
    for name, value in chosen.items()
    if name in names and value != getattr(defaults, name)
  )


def _play(config, agent, tasks, task_id) -> Iterator[EvaluationRow]:
  """Plays one task, from its own starts or from start states."""
  if config.start_states:
    yield from _play_start_states(config, agent, tasks, task_id)
    return
  task = tasks.names[task_id]
  suite, protocol = suite_of(task), tasks.protocol(task)
  num_rows = min(config.test_num_episodes, suite.max_test_rows)
  environment = TaskEnvironments(
    tasks, np.full(num_rows, task_id, np.int32), is_training=False
  )
  try:
    yield from episodes.play_episodes(
      environment,
      policy_of(agent, task_id),
      config.test_num_episodes,
      np.zeros(num_rows, np.int32),
      [task],
      episodes.name_policy(suite.evaluation_line(protocol), agent),
      config.seed,
      config.num_action_repeats,
      require_noops=suite.requires_noops(protocol),
    )
  finally:
    environment.close()


def _play_start_states(config, agent, tasks, task_id):
  task = tasks.names[task_id]
  states = start_states.load_start_states(config.start_states, task)
  name = os.path.basename(os.path.normpath(config.start_states))
  line = suite_of(task).evaluation_line(
    tasks.protocol(task), f'states of {name}'
  )
  yield from start_states.play_start_states(
    tasks,
    task,
    states,
    policy_of(agent, task_id),
    episodes.name_policy(line, agent),
    config.num_action_repeats,
    config.seed,
  )


def _summary(rows):
  """Says how one task's episodes went."""
  mean = np.mean([row['return'] for row in rows])
  text = f'{mean:.2f} in {len(rows)} episodes'
  if 'success' in rows[0]:
    text += f', {np.mean([row["success"] for row in rows]):.0%} succeeded'
  return text


def _show(config, rows):
  """Prints the score table and writes it as Markdown."""
  human_starts = bool(config.start_states)
  console = rich.console.Console()
  if not console.is_terminal:
    console.width = 160
  console.print(score_table.score_table(rows, human_starts, console.width))
  markdown = score_table.score_markdown(rows, human_starts)
  with atomic_file(os.path.join(config.logdir, 'evaluation.md')) as file:
    file.write(markdown.encode())
