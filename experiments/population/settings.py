"""Reads a population file: a sweep file, and how its runs are tuned.

    MODULE = 'popart.experiment'  # These as in a sweep file; each setting and
    FLAGFILE = 'experiments/popart/multi_task_catch_impala.flags'  # seed is a
    OVERRIDES = ({},)             # population of its own.
    SEEDS = (1, 2, 3)
    LOGDIR = 'runs/tuned_catch'
    STAGES = ({}, {'mode': 'test', 'test_num_episodes': 100})  # Optional.

    EXPLORED = {
      'learning_rate': ('log_uniform', 5e-6, 5e-3),
      'epsilon': ('categorical', 1e-1, 1e-3, 1e-5, 1e-7),
      'max_gradient_norm': ('uniform', 10, 100),
    }
    NUM_MEMBERS = 24
    SLICE_FRAMES = 100_000_000  # Of a member, between two comparisons.
    BURN_IN_FRAMES = 20_000_000  # Of a member, before the first one.
    MARGIN = 5.0  # Optional, in points of fitness.
    PROBABILITY = 0.33  # Optional.
    FACTOR = 1.2  # Optional.
    FITNESS_EPISODES = 5000  # Optional: the newest ones of all tasks.
    REFERENCES = ''  # Optional: CSV file of tasks' random and human scores.

The first stage trains the members; the others are of the best one.
"""

import dataclasses
import difflib
import importlib
import os
from collections.abc import Mapping
from typing import Any

from core import flags
from core.errors import UserError
from core.run_config import ActorLearnerConfig
from core.suites import tasks as suites
from experiments.launch import sweeps
from experiments.population import rule
from experiments.runs import scoring

OPTIONAL = {
  'MARGIN': 5.0,
  'PROBABILITY': 0.33,
  'FACTOR': 1.2,
  'FITNESS_EPISODES': 5000,
  'REFERENCES': '',
}
REQUIRED = ('EXPLORED', 'NUM_MEMBERS', 'SLICE_FRAMES', 'BURN_IN_FRAMES')
OWN = (*REQUIRED, *OPTIONAL)
MAX_MEMBERS = 1000  # Member i of seed s trains with seed 1000 s + i.


@dataclasses.dataclass(frozen=True)
class Population:
  """Members that are tuned together.

  Attributes:
    name: '<setting>/seed_<n>'.
    logdir: of the population.
    seed: of the population.
    rule: by which it evolves.
    num_members: at least 2.
    slice_frames: environment frames of a member between two comparisons.
    total_frames: at which a member ends.
    fitness_episodes: newest episodes of all tasks that its fitness is of.
    command: what stands after `python`, without what is a slice's own.
    config: the resolved config of that command.
    references: of the tasks' scores.
    test_run: the stages after training; their logdir is the best member's.
  """

  name: str
  logdir: str
  seed: int
  rule: rule.Rule
  num_members: int
  slice_frames: int
  total_frames: int
  fitness_episodes: int
  command: tuple[str, ...]
  config: Any
  references: scoring.References
  test_run: sweeps.PlannedRun | None

  def member_logdir(self, member: int) -> str:
    """Returns the logdir of a member."""
    return os.path.join(self.logdir, f'member_{member:02d}')

  def member_seed(self, member: int) -> int:
    """Returns the seed of a member's training."""
    return MAX_MEMBERS * self.seed + member


@dataclasses.dataclass(frozen=True)
class PopulationFile:
  """What a population file says.

  Attributes:
    sweep: its LOGDIR, environment and resources.
    populations: ordered by seed, then by setting.
  """

  sweep: sweeps.Sweep
  populations: tuple[Population, ...]


def read(path: str) -> PopulationFile:
  """Reads a population file.

  Args:
    path: of a Python file with the constants above.

  Raises:
    UserError: the file cannot be read; a constant is missing, malformed or
      unknown; a flag is wrong; or a field may not be explored.
  """
  constants = sweeps.read_constants(path, 'a population file')
  try:
    return _parse(constants)
  except UserError as error:
    raise UserError(f'{path}: {error}') from error


def describe(population: Population) -> dict[str, Any]:
  """Returns what may not change while a population is at work.

  Returns:
    Values that JSON can hold, by the names that a user knows.
  """
  own = population.rule
  config = dataclasses.asdict(population.config)
  kept = [
    f.name
    for f in dataclasses.fields(population.config)
    if not f.metadata['may_change'] and f.name not in ('seed', *own.ranges)
  ]
  return {
    'EXPLORED': {
      name: [of.kind, *of.values] for name, of in own.ranges.items()
    },
    'NUM_MEMBERS': population.num_members,
    'SLICE_FRAMES': population.slice_frames,
    'BURN_IN_FRAMES': own.burn_in_frames,
    'MARGIN': own.margin,
    'PROBABILITY': own.probability,
    'FACTOR': own.factor,
    'FITNESS_EPISODES': population.fitness_episodes,
    'MODULE': population.command[1],
    'seed': population.seed,
    **{f'--{name}': config[name] for name in kept},
  }


def _parse(constants):
  own = {name: value for name, value in constants.items() if name in OWN}
  shared = {name: v for name, v in constants.items() if name not in OWN}
  for name in shared:
    if name not in (*sweeps.REQUIRED, *sweeps.OPTIONAL):
      known = (*OWN, *sweeps.REQUIRED, *sweeps.OPTIONAL)
      close = difflib.get_close_matches(name, known, 1)
      hint = f'; {close[0]}?' if close else ''
      raise UserError(f'{name} is not a constant of a population{hint}')
  missing = [name for name in REQUIRED if name not in own]
  if missing:
    raise UserError(f'{", ".join(missing)} is missing')
  own = {**OPTIONAL, **own}
  _check_numbers(own)
  sweep = sweeps.parse(shared)
  if sweep.learners > 1:
    raise UserError('LEARNERS is not for populations: a member has one learner')
  return PopulationFile(
    sweep, tuple(_make(own, sweep.logdir, run) for run in sweep.runs)
  )


def _check_numbers(own):
  """Refuses numbers that a population cannot have."""
  for name, least in (
    ('NUM_MEMBERS', 2),
    ('SLICE_FRAMES', 1),
    ('BURN_IN_FRAMES', 0),
    ('FITNESS_EPISODES', 1),
  ):
    if type(own[name]) is not int or own[name] < least:
      raise UserError(
        f'{name} must be a whole number of at least {least}, not {own[name]!r}'
      )
  if own['NUM_MEMBERS'] > MAX_MEMBERS:
    raise UserError(f'NUM_MEMBERS must be at most {MAX_MEMBERS}')
  for name, low, high in (
    ('MARGIN', 0, 1e9),
    ('PROBABILITY', 0, 1),
    ('FACTOR', 1, 1e3),
  ):
    if type(own[name]) not in (int, float) or not low <= own[name] <= high:
      raise UserError(f'{name} must be {low} to {high:g}, not {own[name]!r}')
  if not isinstance(own['REFERENCES'], str):
    raise UserError(f'REFERENCES must be a string, not {own["REFERENCES"]!r}')
  if not isinstance(own['EXPLORED'], Mapping) or not own['EXPLORED']:
    raise UserError(f'EXPLORED must be a dict of ranges: {own["EXPLORED"]!r}')


def _make(own, root, run):
  """Returns the population of one setting and seed."""
  if run.modes[0] != 'train':
    raise UserError('the first of STAGES must train')
  module = run.stages[0][1]
  config_class, presets = _config_of(module)
  config = flags.config_of(config_class, presets, run.stages[0][2:])
  for stage in run.stages[1:]:
    flags.config_of(config_class, presets, stage[2:])
  for name in ('stop_frames', 'population_slice'):
    if getattr(config, name):
      raise UserError(f'--{name} is of the slices: leave it out')
  if not own['SLICE_FRAMES'] <= config.total_environment_frames:
    raise UserError(
      f'SLICE_FRAMES is {own["SLICE_FRAMES"]}, more than '
      f'--total_environment_frames={config.total_environment_frames}'
    )
  if config.seed * MAX_MEMBERS > 2_000_000_000 - MAX_MEMBERS:
    raise UserError(f'SEEDS: {config.seed} is above 1,999,999')
  level_names = suites.expand(config.level_name)
  references = scoring.find_references(level_names, path=own['REFERENCES'])
  unknown = [name for name in level_names if name not in references]
  if unknown:
    raise UserError(
      f'no score of 0 and 100 % is known for {", ".join(unknown)}: give '
      'REFERENCES, a CSV file with the columns task, random, human'
    )
  test_run = None
  if run.stages[1:]:
    test_run = dataclasses.replace(
      run, stages=run.stages[1:], modes=run.modes[1:]
    )
  return Population(
    name=run.name,
    logdir=os.path.join(root, run.name),
    seed=config.seed,
    rule=rule.Rule(
      _ranges(own['EXPLORED'], config_class, module),
      own['BURN_IN_FRAMES'],
      float(own['MARGIN']),
      float(own['PROBABILITY']),
      float(own['FACTOR']),
    ),
    num_members=own['NUM_MEMBERS'],
    slice_frames=own['SLICE_FRAMES'],
    total_frames=config.total_environment_frames,
    fitness_episodes=own['FITNESS_EPISODES'],
    command=tuple(
      a for a in run.stages[0] if not a.startswith(('--seed=', '--logdir='))
    ),
    config=config,
    references=references,
    test_run=test_run,
  )


def _config_of(module):
  """Returns the Config and PRESETS of an experiment."""
  try:
    imported = importlib.import_module(module)
    config_class, presets = imported.Config, imported.PRESETS
  except (ImportError, AttributeError) as error:
    raise UserError(f'MODULE: {module} is not a paper: {error}') from error
  if not issubclass(config_class, ActorLearnerConfig):
    # A replay lies in the logdir beside the checkpoint: it cannot be copied.
    raise UserError(f'MODULE: {module} has no actors: only such have members')
  return config_class, presets


def _ranges(explored, config_class, module):
  """Returns the ranges of fields that may be explored."""
  fields = {f.name: f.metadata for f in dataclasses.fields(config_class)}
  able = sorted(name for name, meta in fields.items() if meta['explored'])
  ranges = {}
  for name, written in explored.items():
    if name not in fields:
      close = difflib.get_close_matches(str(name), fields, 1)
      hint = f'; {close[0]}?' if close else ''
      raise UserError(f'EXPLORED: {module} has no field {name!r}{hint}')
    if name not in able:
      raise UserError(
        f'EXPLORED: {name} may not change while a run goes on; these may: '
        f'{", ".join(able)}'
      )
    meta = fields[name]
    try:
      ranges[name] = rule.parse_range(
        name, written, meta['minimum'], meta['maximum']
      )
    except UserError as error:
      raise UserError(f'EXPLORED: {error}') from error
  return ranges
