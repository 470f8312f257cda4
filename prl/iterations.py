"""The outer loop of PRL: collect, train, collect, ... (section 4.3 to 4.5).

A run can be killed at any point. A checkpoint is written before and after each
block and now and then while training; what was collected since the last one is
in the data set already (prl/collection.py).
"""

import collections
import contextlib
import dataclasses
import math
import os
import time
import zlib
from typing import Any

import numpy as np
import tensorflow as tf

from core import checkpointing
from core.errors import UserError
from core.experience.timing import Timer
from core.files import locked
from core.interrupt import Interrupt
from core.suites.tasks import Tasks
from core.training import resume, run_info
from core.training.progress import Progress, time_left
from core.training.records import Records
from prl import blocks, evaluation
from prl.blocks import Block
from prl.collection import Collection, block_spec
from prl.config import Config
from prl.dataset import Batches, Dataset


class Position:
  """Where the outer loop is; what `core.training.resume` calls a learner.

  Attributes:
    agent: that learns.
    env_frames: environment frames of all blocks that are whole.
    num_updates: made so far.
    iteration: under way, from 1.
    is_training: whether its block is whole.
    updates_done: of its updates.
    returns: by task, number, sum and sum of squares of the returns of the games
      that ended in its block.
  """

  def __init__(self, agent: Any, state: dict[str, Any]):
    """Goes on from a checkpoint's metadata; {} begins."""
    self.agent = agent
    self.env_frames = state.get('env_frames', 0)
    self.num_updates = state.get('num_updates', 0)
    self.iteration = state.get('iteration', 1)
    self.is_training = state.get('is_training', False)
    self.updates_done = state.get('updates_done', 0)
    self.returns = state.get('returns', {})

  def get_state(self) -> dict[str, Any]:
    """Returns what a resumed run goes on from."""
    names = ('env_frames', 'num_updates', 'iteration', 'is_training')
    names += ('updates_done', 'returns')
    return {name: getattr(self, name) for name in names}


class _Games:
  """Stands for the actors' state in a checkpoint: blocks hold it."""

  @staticmethod
  def get_state():
    return dict(arrays={})


def train(config: Config, agent: Any, tasks: Tasks) -> int:
  """Runs the outer loop, resuming what is in the logdir.

  Args:
    config: a Config.
    agent: to train.
    tasks: the games.

  Returns:
    Environment frames collected at the end.

  Raises:
    UserError: the loss is not finite, or logdir or data folder hold what does
      not fit.
  """
  specs = [
    block_spec(config, tasks, i) for i in range(1, config.num_iterations + 1)
  ]
  last_frame = _last_frame(config, specs)
  data_dir = config.data_dir or os.path.join(config.logdir, 'data')
  with contextlib.ExitStack() as stack:

    def closing(thing):
      return stack.enter_context(contextlib.closing(thing))

    # What may be refused comes before anything is built or written.
    stack.enter_context(locked(config.logdir))
    if config.data_dir:
      stack.enter_context(locked(data_dir))
    run_info.check(config.logdir)
    state = resume.restore(config, agent)
    Records.check(config.logdir, state.get('records'))
    position = Position(agent, state)
    for spec in specs[: position.iteration]:
      blocks.is_whole(blocks.folder_of(data_dir, spec.iteration), spec)
    # Readers of a run ask there where it ends.
    ends = dict(
      total_environment_frames=last_frame,
      stop_frames=min(config.stop_frames, last_frame),
    )
    info = run_info.describe(dataclasses.replace(config, **ends), tasks)
    run_info.write(config.logdir, info)
    records = closing(Records(config.logdir, state.get('records')))
    loop = _Loop(config, tasks, specs, data_dir, position, records, last_frame)
    progress = closing(Progress(last_frame, tasks.names))
    interrupt = stack.enter_context(Interrupt())
    loop.run(progress, interrupt)
  return position.env_frames


def updates_per_iteration(config: Config, num_tasks: int) -> int:
  """Returns an iteration's updates: as many per game, however many games."""
  return config.updates_per_game * num_tasks


def _frames_of(config, spec):
  """Returns the environment frames of a block."""
  return spec.num_steps * spec.num_rows * config.num_action_repeats


def _last_frame(config, specs):
  """Returns where the run ends, or begins its last updates."""
  planned = sum(_frames_of(config, spec) for spec in specs)
  limits = (config.stop_frames, config.total_environment_frames, planned)
  return min(filter(None, limits))


class _Loop:
  """The parts of a run, and what is done in turn."""

  def __init__(
    self, config, tasks, specs, data_dir, position, records, last_frame
  ):
    self._config, self._tasks, self._specs = config, tasks, specs
    self._data_dir, self._position, self._records = data_dir, position, records
    self._timer = Timer()
    self._returns = collections.defaultdict(
      lambda: collections.deque(maxlen=100)
    )
    self._last_save = time.monotonic()
    self._last_frame = last_frame

  def run(self, progress, interrupt):
    """Collects and trains until the iterations or frames are spent."""
    position = self._position
    while position.iteration <= self._config.num_iterations:
      is_over = position.env_frames >= self._last_frame
      if is_over and not position.is_training:
        break
      if not self._collect(progress, interrupt):
        return
      if not self._train(progress, interrupt):
        return
      self._finish_iteration()
    self._save()

  def _folder(self, spec):
    return blocks.folder_of(self._data_dir, spec.iteration)

  # Collecting.

  def _collect(self, progress, interrupt):
    """Sees to the blocks; returns whether all of them are whole."""
    position = self._position
    for spec in self._specs[: position.iteration]:
      is_new = spec.iteration == position.iteration and not position.is_training
      folder = self._folder(spec)
      if not is_new and blocks.is_whole(folder, spec):
        continue
      if not is_new:
        self._check_can_be_repaired(folder, spec)
      if not self._collect_block(spec, folder, is_new, progress, interrupt):
        return False
    if not position.is_training:
      newest = self._specs[position.iteration - 1]
      position.env_frames += _frames_of(self._config, newest)
      position.is_training, position.updates_done = True, 0
      self._save()
    return True

  def _check_can_be_repaired(self, folder, spec):
    if spec.iteration > 1 and not blocks.exists(folder):
      raise UserError(
        f'{folder} is gone, and the weights that planned it too: put it back, '
        'or give another --logdir'
      )
    print(
      f'warning: {folder} is not whole: its games are played again', flush=True
    )

  def _collect_block(self, spec, folder, is_new, progress, interrupt):
    position, config = self._position, self._config
    weights = _fingerprint(position.agent) if spec.iteration > 1 else 0
    collection = Collection(
      *(config, position.agent, self._tasks, spec, folder),
      *(weights if is_new else None, self._timer),
    )
    tally = {name: [0, 0.0, 0.0] for name in self._tasks.names}
    repeats = config.num_action_repeats
    how = 'at random'
    if spec.iteration > 1:
      how = f'of {position.agent.num_candidates} sequences'
    before = position.env_frames if is_new else 0
    start = time.monotonic()
    with contextlib.closing(collection):
      for episodes in collection.steps(interrupt):
        frames = collection.num_steps * spec.num_rows * repeats
        rate = frames / max(time.monotonic() - start, 1e-9)
        frames += before
        episodes = [
          e._replace(
            env_frames=before + e.env_frames * spec.num_rows * repeats,
            episode_length=e.episode_length * repeats,
          )
          for e in episodes
        ]
        if episodes and is_new:
          self._records.episodes(episodes, frames)
          self._add_returns(episodes, tally)
        note = f'iteration {spec.iteration}: collecting, {how}'
        progress.update(frames, rate, self._returns, note)
      if is_new:
        position.returns = tally
      return collection.is_whole

  def _add_returns(self, episodes, tally):
    for episode in episodes:
      value = episode.episode_return
      self._returns[episode.task_name].append(value)
      moments = zip(tally[episode.task_name], (1, value, value**2), strict=True)
      tally[episode.task_name] = [a + b for a, b in moments]

  # Training.

  def _train(self, progress, interrupt):
    """Makes the iteration's updates; returns whether all are made."""
    config, position = self._config, self._position
    specs = self._specs[: position.iteration]
    dataset = Dataset(
      [Block(self._folder(spec), spec) for spec in specs],
      config.weight_factor,
      config.weight_iterations,
    )
    self._blocks = dataset.blocks
    _warn_of_rare_events(dataset.blocks[-1])
    num_updates = updates_per_iteration(config, len(self._tasks.names))
    seed = [config.seed, position.iteration]
    batches = Batches(dataset, seed, config.batch_size, num_updates)
    with contextlib.closing(batches):
      while position.updates_done < num_updates:
        row = self._update(batches, num_updates)
        if position.num_updates % config.log_updates == 0:
          self._record(row, progress, num_updates)
        if interrupt.requested:
          self._save()
          return False
        if self._save_is_due():
          self._save()
    if not self._records.has_updates:  # A run of less than --log_updates.
      self._record(row, progress, num_updates)
    return True

  def _update(self, batches, num_updates):
    position = self._position
    with self._timer.phase('waiting'):
      cases = batches.take(position.updates_done)
    agent = position.agent
    rate = agent.learning_rate(
      position.iteration, position.updates_done, num_updates
    )
    with self._timer.phase('learner'):
      metrics = agent.update(
        *map(tf.constant, cases), tf.constant(rate, tf.float32)
      )
    position.updates_done += 1
    position.num_updates += 1
    return dict(metrics, learning_rate=rate)

  def _record(self, row, progress, num_updates):
    position = self._position
    row = {name: float(value) for name, value in row.items()}
    _check_finite(self._config, position, row)
    secs = collections.defaultdict(float, self._timer.take())
    counts = dict(
      num_updates=position.num_updates,
      env_frames=position.env_frames,
      frames_per_sec=round(
        position.env_frames / max(self._records.wall_secs, 1e-9), 1
      ),
      iteration=position.iteration,
    )
    times = {
      f'{name}_secs': round(secs[name], 4) for name in ('learner', 'waiting')
    }
    self._records.update({**counts, **row, **times})
    spent = sum(secs[name] for name in ('learner', 'waiting'))
    rate = min(self._config.log_updates, position.updates_done) / max(
      spent, 1e-9
    )
    left = time_left(num_updates - position.updates_done, rate)
    note = (
      f'iteration {position.iteration}: update {position.updates_done:,}/'
      f'{num_updates:,}, {rate:,.1f} updates/s, {left} left of them, loss '
      f'{row["total_loss"]:.2f}'
    )
    progress.update(position.env_frames, None, self._returns, note)

  def _finish_iteration(self):
    """Measures the model on held-out cases and goes to the next iteration."""
    position = self._position
    frames = position.env_frames
    rows = evaluation.measure_iteration(
      self._config, position.agent, self._blocks, position.returns
    )
    self._records.tasks(frames, rows)
    position.agent.iteration.assign(position.iteration)
    position.iteration += 1
    position.is_training, position.updates_done = False, 0
    self._save()

  def _save_is_due(self):
    every = self._config.checkpoint_updates
    if every:
      return self._position.num_updates % every == 0
    return time.monotonic() - self._last_save >= self._config.checkpoint_secs

  def _save(self):
    """Writes a checkpoint, also where the records are gone; then says so."""
    for name, variable in self._position.agent.variables().items():
      if not np.all(np.isfinite(variable.numpy())):
        raise UserError(f'{name} is not finite; stopped without a checkpoint')
    resume.save(self._config, self._position, _Games, self._records)
    self._records.check_files()
    self._last_save = time.monotonic()


def _fingerprint(agent):
  """Returns a checksum of the weights that plan."""
  checksum = 0
  for variable in agent.network.variables:
    checksum = zlib.crc32(np.ascontiguousarray(variable.numpy()), checksum)
  return checksum


def _warn_of_rare_events(block):
  """Says where a game's labels have nothing to predict."""
  for task, (name, rule) in enumerate(
    zip(block.spec.task_names, block.spec.rules, strict=True)
  ):
    counts = block.counts(task)
    for event in ('deaths', 'points'):
      if not counts[event]:
        print(
          f'warning: {name} had no {event} in iteration '
          f'{block.spec.iteration}, told by {rule} (--label_rules)',
          flush=True,
        )


def _check_finite(config, position, row):
  for name in ('total_loss', 'gradient_norm'):
    if not math.isfinite(row[name]):
      raise UserError(
        f'update {position.num_updates} of iteration {position.iteration}: '
        f'{name} is {row[name]}; stopped, the last good checkpoint is kept in '
        f'{checkpointing.directory_of(config.logdir)}'
      )
