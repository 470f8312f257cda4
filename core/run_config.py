"""What the configs of all papers share: the run, its environments, the machine.

A paper's Config inherits these fields and adds the hyperparameters of its
network, losses and optimiser. Defaults are scalable_agent's flags, but for the
number of environments (impala/README.md, D5).
"""

import dataclasses
import math

from core.config import field
from core.strategies.options import StrategyOptions
from core.suites.options import SuiteOptions

# Of environments, unrolls and the like, all of which are held in memory: with
# more, minutes would pass without a word before the first update.
_MAX_SIZE = 10_000
# Seeds of actions count up by as many.
_MAX_GROUPS = 64


@dataclasses.dataclass(frozen=True)
class RunConfig(StrategyOptions, SuiteOptions):
  """One run of any kind; every field is a flag of the same name."""

  # The run.
  preset: str = field(
    '',
    'Named config to start from; flags given beside it replace its values.',
    may_change=True,
    changes_learning=False,
  )
  logdir: str = field(
    '/tmp/agent',
    'Folder of records and checkpoints.',
    may_change=True,
    changes_learning=False,
  )
  mode: str = field(
    'train',
    'train, test, benchmark or save_start_states.',
    choices=('train', 'test', 'benchmark', 'save_start_states'),
    may_change=True,
    changes_learning=False,
  )
  seed: int = field(
    1,
    'Seed of weights, action sampling and environments.',
    minimum=0,
    maximum=2_000_000_000,  # Test mode counts up from it, in 31 bits.
    changes_learning=False,
  )
  total_environment_frames: int = field(
    int(1e9),
    'Environment frames (agent steps x action repeats) after which training '
    'stops and schedules end.',
    minimum=1,
  )
  stop_frames: int = field(
    0,
    'Environment frames after which to stop earlier, on the same '
    'schedules; 0: at total_environment_frames.',
    minimum=0,
    modes=('train',),
    may_change=True,
  )

  # The machine.
  xla: str = field(
    'auto',
    'auto: compile the whole update on GPU and TPU, on CPU only what gains; '
    'on; off.',
    choices=('auto', 'on', 'off'),
    changes_learning=False,
  )
  precision: str = field(
    'float32',
    'Arithmetic of the convolutions; weights and losses stay float32.',
    choices=('float32', 'bfloat16'),
    changes_play=True,
  )

  # A population.
  population_slice: str = field(
    '',
    'Given by experiments.population: the slice of a member that this is. The '
    'fields that a population explores may then differ from the checkpoint, '
    'which keeps the slices that it descends from.',
    modes=('train',),
    may_change=True,
    changes_learning=False,
  )

  # Records.
  log_updates: int = field(
    1,
    'Updates per row of updates.csv.',
    minimum=1,
    modes=('train',),
    may_change=True,
    changes_learning=False,
  )
  checkpoint_secs: float = field(
    600.0,
    'Seconds between checkpoints.',
    minimum=0,
    modes=('train',),
    may_change=True,
    changes_learning=False,
  )
  checkpoint_updates: int = field(
    0,
    'Updates between checkpoints; 0: by the clock (checkpoint_secs).',
    minimum=0,
    modes=('train',),
    may_change=True,
    changes_learning=False,
  )
  keep_checkpoints: int = field(
    3,
    'Newest checkpoints that are kept.',
    minimum=1,
    modes=('train',),
    may_change=True,
    changes_learning=False,
  )

  # Evaluation.
  test_num_episodes: int = field(
    10,
    'Whole episodes per task in test mode.',
    minimum=1,
    modes=('test',),
    may_change=True,
    changes_learning=False,
  )
  start_states: str = field(
    '',
    'Folder of ALE start states to begin test episodes from, or to write '
    'them to.',
    modes=('test', 'save_start_states'),
    may_change=True,
    changes_learning=False,
  )
  num_start_states: int = field(
    100,
    'Start states to write per game (about 100 in Nair et al. 2015).',
    minimum=1,
    modes=('save_start_states',),
    may_change=True,
    changes_learning=False,
  )
  record_video: bool = field(
    False,
    'Write an mp4 of one episode per task.',
    modes=('test',),
    may_change=True,
    changes_learning=False,
  )


@dataclasses.dataclass(frozen=True)
class ActorLearnerConfig(RunConfig):
  """One run of actors beside a learner."""

  actor_mode: str = field(
    'async',
    'sync: act and learn in turn, reproducible to the bit but for the '
    'laser-tag levels of DeepMind Lab; async: act beside the learner.',
    choices=('sync', 'async'),
  )
  num_actors: int = field(
    1,
    'Actors of a learner, each with environments of its own; sync mode has '
    'one. With multi_worker every worker has as many.',
    minimum=1,
    maximum=_MAX_SIZE,
    modes=('train', 'benchmark'),
  )
  num_environments: int = field(
    32,
    'Environments per actor.',
    minimum=1,
    maximum=_MAX_SIZE,
    modes=('train', 'benchmark'),
  )
  num_groups: int = field(
    2,
    'Groups an actor cuts its environments into, a thread each: some step '
    'while others are in inference; more if one would be wider than 1.5 '
    'batches. Ours: measured, see README.',
    minimum=1,
    maximum=_MAX_GROUPS,
    modes=('train', 'benchmark'),
  )
  max_policy_lag: int = field(
    3,
    'Updates that may be made between the start of an unroll and its own '
    '(async): environments in excess of that many batches wait for their turn. '
    'Of local actors; remote ones have two unrolls each under way.',
    minimum=1,
    maximum=_MAX_SIZE,
    modes=('train', 'benchmark'),
  )
  queue_capacity: int = field(
    1,
    'Batches that may wait for the learner (async, local actors). '
    'scalable_agent holds one unroll in its queue and one batch in its staging '
    'area.',
    minimum=1,
    maximum=_MAX_SIZE,
    modes=('train', 'benchmark'),
  )
  # Actors on other machines: experiments/cluster.md.
  cluster: str = field(
    'local',
    'local: actors in this process; ray: on the machines of a Ray cluster.',
    choices=('local', 'ray'),
    modes=('train', 'benchmark'),
  )
  ray_address: str = field(
    '',
    'HOST:PORT of the Ray cluster; auto: the one that runs on this machine; '
    'empty: start one on this machine, for this run.',
    modes=('train', 'benchmark'),
    may_change=True,
    changes_learning=False,
  )
  num_remote_actors: int = field(
    1,
    'Remote actors, each a process with num_environments of its own.',
    minimum=1,
    maximum=_MAX_SIZE,
    modes=('train', 'benchmark'),
    may_change=True,
  )
  actor_cpus: float = field(
    1.0,
    'CPUs that Ray reserves for a remote actor.',
    minimum=0.1,
    modes=('train', 'benchmark'),
    may_change=True,
    changes_learning=False,
  )
  actor_label: str = field(
    '',
    'Label of the machines that remote actors run on, as role=actor; empty: '
    'any.',
    modes=('train', 'benchmark'),
    may_change=True,
    changes_learning=False,
  )
  actor_timeout: float = field(
    120.0,
    'Seconds without an unroll after which a remote actor is replaced, and '
    'with fewer than min_actors after which the run ends.',
    minimum=1,
    modes=('train', 'benchmark'),
    may_change=True,
    changes_learning=False,
  )
  min_actors: int = field(
    1,
    'Remote actors that must be alive.',
    minimum=1,
    maximum=_MAX_SIZE,
    modes=('train', 'benchmark'),
    may_change=True,
    changes_learning=False,
  )
  batch_size: int = field(
    2,
    'B, unrolls per update, of all devices and workers together.',
    minimum=1,
    maximum=_MAX_SIZE,
  )
  unroll_length: int = field(
    100, 'T, agent steps per unroll.', minimum=1, maximum=_MAX_SIZE
  )
  unroll_overlap: int = field(
    0,
    'Steps of an unroll that the one before it had too; the others must divide '
    'unroll_length.',
    minimum=0,
    maximum=_MAX_SIZE,
  )

  @property
  def all_environments(self) -> int:
    """Environments of all actors, wherever they run."""
    is_local = self.cluster == 'local'
    num_actors = self.num_actors if is_local else self.num_remote_actors
    return num_actors * self.num_environments

  @property
  def new_steps(self) -> int:
    """Agent steps of an unroll that no earlier one had."""
    return self.unroll_length - self.unroll_overlap

  def group_widths(self, num_tasks: int) -> list[int]:
    """Cuts an actor's environments into groups that step together.

    A group's unrolls end at once. In one much wider than a batch some of them
    would wait for updates made from the others.

    Args:
      num_tasks: N; each group has as many environments of each task if any such
        cut will do.

    Returns:
      The number of environments of each group.
    """
    n = self.num_environments
    fewest = math.ceil(n / (1.5 * self.batch_size))
    fewest = min(max(self.num_groups, fewest), _MAX_GROUPS)
    equal = [
      count
      for count in range(fewest, _MAX_GROUPS + 1)
      if n % (count * num_tasks) == 0
    ]
    num_groups = fewest
    if fewest > self.num_groups and equal:
      num_groups = equal[0]
    width, rest = divmod(n, num_groups)
    return [width + (i < rest) for i in range(num_groups)]


@dataclasses.dataclass(frozen=True)
class ReplayConfig(RunConfig):
  """One run that steps its environments and learns from a replay, in turn."""

  replay_capacity: int = field(
    1_000_000, 'Newest transitions of each task that are kept.', minimum=1
  )
  batch_size: int = field(
    1024, 'B, transitions per gradient step.', minimum=1, maximum=1_000_000
  )
  updates_per_step: int = field(
    2,
    'Gradient steps per step of all environments together.',
    minimum=1,
    maximum=64,
  )
  warm_up_steps: int = field(
    5000,
    'First step on which the policy acts and learning begins; before it '
    'actions are random.',
    minimum=1,
  )
  replay_memory_gb: float = field(
    2.0,
    'A replay of more GB lies in files of the logdir, mapped into memory.',
    minimum=0,
    changes_learning=False,
  )
  save_replay: bool = field(
    True,
    'Keep the replay over a resume; without it a resumed run plays '
    'warm_up_steps steps before it learns on.',
  )
  offline_replay: str = field(
    '',
    'Logdir of a run whose replay is learned from; no environment is stepped.',
  )
  evaluation_steps: int = field(
    50_000,
    'Steps of all environments between evaluations while training; 0: none.',
    minimum=0,
    modes=('train',),
    may_change=True,
    changes_learning=False,
  )
  evaluation_episodes: int = field(
    10,
    'Whole episodes per task in each of them.',
    minimum=1,
    modes=('train',),
    may_change=True,
    changes_learning=False,
  )
  measure_tasks: bool = field(
    False,
    'With every evaluation, measure loss, gradient and entropy of each task, '
    'how much they vary and how often gradients conflict.',
    modes=('train',),
    may_change=True,
    changes_learning=False,
  )
