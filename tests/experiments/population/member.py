"""A member without TensorFlow, with which the tests of populations are fast.

It has the flags, records, checkpoints and end of a real run. Its weights are a
skill, which grows best at learning rate 0.1, and, frame by frame, which member
learned in which slice: a witness of its own of the lineage.
"""

import contextlib
import dataclasses
import math
import os
import time

import numpy as np

from core import config as configs
from core import flags
from core.config import field
from core.errors import UserError
from core.files import locked
from core.interrupt import Interrupt
from core.run_config import ActorLearnerConfig
from core.training import resume, run_info
from core.training.records import Records
from core.types import Episode

FRAMES_PER_UPDATE = 100
MAX_UPDATES = 1000


@dataclasses.dataclass(frozen=True)
class Config(ActorLearnerConfig):
  """What a member is given."""

  learning_rate: float = field(
    0.1, 'Rate.', minimum=0, maximum=10, explored=True
  )
  entropy_cost: float = field(0.1, 'Cost.', minimum=0, explored=True)
  discounting: float = field(0.9, 'Not explored.')
  update_secs: float = field(0.0, 'Seconds of an update.', may_change=True)
  fails_above: float = field(10.0, 'Learning rate that fails.')


PRESETS = {'tiny': Config(level_name='catch', checkpoint_updates=4)}


class Variable:
  """An array that is assigned like a variable."""

  def __init__(self, array):
    self.array = array

  @property
  def shape(self):
    return self.array.shape

  def assign(self, array):
    self.array = array

  def numpy(self):
    return self.array


class Member:
  """Agent, learner and source in one."""

  class env_spec:
    task_names = ('catch',)

  def __init__(self, config):
    self.agent = self
    self._config = config
    self.env_frames = 0
    self.num_updates = 0
    self.skill = Variable(np.zeros(()))
    self.learned_in = Variable(np.full((MAX_UPDATES, 2), -1))

  def variables(self):
    return {'skill': self.skill, 'learned_in': self.learned_in}

  def set_state(self, state):
    self.env_frames = state.get('env_frames', 0)
    self.num_updates = state.get('num_updates', 0)
    self._lineage = resume.extend_lineage(self._config, state)

  def get_state(self):
    return dict(
      env_frames=self.env_frames,
      num_updates=self.num_updates,
      lineage=self._lineage,
    )

  def update(self):
    """Learns from 100 frames; returns the mean return, at most 1."""
    rate = self._config.learning_rate
    if rate > self._config.fails_above:
      raise UserError('total_loss is nan')
    time.sleep(self._config.update_secs)
    gain = math.exp(-abs(math.log10(rate / 0.1)))
    self.skill.array = self.skill.array + 0.02 * gain
    numbers = self._config.population_slice.split('/')[1:]
    learned_in = self.learned_in.array.copy()
    learned_in[self.num_updates] = [int(number) for number in numbers]
    self.learned_in.array = learned_in
    self.num_updates += 1
    self.env_frames += FRAMES_PER_UPDATE
    return min(float(self.skill.array), 1.0)


class Source:
  """A source that has nothing to save."""

  @staticmethod
  def get_state():
    return {'arrays': {}}


def train(config):
  """Counts on from the newest checkpoint; a signal ends it with another."""
  member = Member(config)
  last_frame = config.stop_frames or config.total_environment_frames
  with contextlib.ExitStack() as stack:
    stack.enter_context(locked(config.logdir))
    with open(os.path.join(config.logdir, 'starts'), 'a') as starts:
      starts.write(f'{config.population_slice} {os.getpid()}\n')
    state = resume.restore(config, member)
    Records.check(config.logdir, state.get('records'))
    member.set_state(state)
    run_info.write(config.logdir, {'config': configs.describe(config)})
    records = stack.enter_context(
      contextlib.closing(Records(config.logdir, state.get('records')))
    )
    interrupt = stack.enter_context(Interrupt())
    while member.env_frames < last_frame and not interrupt.requested:
      mean_return = member.update()
      frames = member.env_frames
      records.episodes([Episode(frames, 'catch', mean_return, 9, None)], frames)
      records.update(
        dict(num_updates=member.num_updates, env_frames=frames)
        | dict(frames_per_sec=1.0)
      )
      if member.num_updates % config.checkpoint_updates == 0:
        resume.save(config, member, Source, records)
    resume.save(config, member, Source, records)


def main(unused_argv):
  """Trains, or plays a test."""
  config = flags.resolve(Config, PRESETS)
  if config.mode == 'train':
    train(config)
  else:
    with open(os.path.join(config.logdir, 'tests'), 'a') as file:
      file.write(f'{config.mode} {config.test_num_episodes}\n')


if __name__ == '__main__':
  flags.define(Config, PRESETS)
  flags.run(main)
