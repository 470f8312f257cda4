"""Hyperparameters of PRL (Mujika 2016, arXiv:1611.01457).

Most constants of the paper's appendix A are lost in every copy that was found;
what stands for them is marked ours, and numbered in prl/README.md. Each field's
documentation is the help of the flag of the same name.
"""

import dataclasses
import math

from core.config import field
from core.errors import UserError
from core.run_config import RunConfig


@dataclasses.dataclass(frozen=True)
class Config(RunConfig):
  """One run of PRL; every field is a flag of the same name.

  A schedule is written 1:0.001/4:0.0005: the first value from iteration 1 on,
  the second from iteration 4 on.
  """

  # The outer loop.
  num_iterations: int = field(
    19,
    'Iterations: collect, then train (section 4.5).',
    minimum=1,
    maximum=10_000,
    may_change=True,
  )
  random_cases: int = field(
    400_000, 'Cases per game of iteration 1, random play.', minimum=1
  )
  cases: int = field(
    200_000, 'Cases per game of every later iteration.', minimum=1
  )
  held_out_cases: int = field(
    4_000,
    'Cases per game and iteration, beside those, for the held-out loss. Ours.',
    minimum=0,
  )
  updates_per_game: int = field(
    33_333,
    'Updates per iteration and game: one game has a third of three (section 5; '
    'D7).',
    minimum=1,
  )
  weight_factor: float = field(
    3.0,
    'By this the weight of new cases grows every weight_iterations iterations '
    '(section 4.5).',
    minimum=1e-6,
    maximum=1e6,
  )
  weight_iterations: int = field(3, 'See weight_factor.', minimum=1)

  # Data.
  horizon: int = field(
    25, 'k, agent steps that are predicted.', minimum=1, maximum=1000
  )
  label_rules: str = field(
    '',
    'What is a death, by game, if not the default: pong=rewards. lives: a lost '
    'life, the default where the game counts them; rewards: a negative reward '
    '(D1).',
  )
  fire_games: str = field(
    'breakout',
    'Games in which fire is pressed at the start and after every death '
    '(appendix A), with commas.',
  )
  data_dir: str = field(
    '',
    'Folder of the data set; empty: data in the logdir.',
    may_change=True,
    changes_learning=False,
  )
  num_environments: int = field(
    24,
    'N, games that are played side by side; as many of each. Ours.',
    minimum=1,
    maximum=10_000,
  )
  num_groups: int = field(
    2,
    'Groups of games: emulators of one step while another is planned. Ours.',
    minimum=1,
    maximum=64,
  )
  collection_memory_mb: float = field(
    32.0,
    'Frames that wait in memory before they are written and safe.',
    minimum=0.001,
    modes=('train',),
    may_change=True,
    changes_learning=False,
  )

  # The networks.
  perception: str = field(
    'residual',
    'Figure 5 is lost (D4). residual: 9 layers; plain: 3 convolutions (Mnih et '
    'al. 2015); tiny: 2, for frames of 20 pixels.',
    choices=('residual', 'plain', 'tiny'),
  )
  perception_output: str = field(
    'linear',
    'Last layer of Perception: linear; relu: normalised and rectified (D5).',
    choices=('linear', 'relu'),
  )
  batch_norm: bool = field(
    True, 'Batch normalisation in Perception (Figure 5).'
  )
  batch_norm_decay: float = field(
    0.99, 'Of its running statistics. Ours.', minimum=0, maximum=0.99999
  )
  state_size: int = field(
    100, 'Units of h (section 3.2).', minimum=2, maximum=10_000
  )
  hidden_size: int = field(
    500, 'Hidden units of f (Table 1).', minimum=1, maximum=100_000
  )
  prediction: str = field(
    'rrnn',
    'rrnn: the residual recurrent network; lstm: of state_size units, 158 have '
    'as many parameters.',
    choices=('rrnn', 'lstm'),
  )
  prediction_relu: str = field(
    'none',
    'What of the input of f is rectified (D6): none; state: LN(h) alone; all: '
    'Table 1 to the letter, which hides left and down.',
    choices=('none', 'state', 'all'),
  )

  # Learning.
  batch_size: int = field(
    64, 'B, cases per update. Ours, lost (D8).', minimum=1, maximum=100_000
  )
  learning_rate: str = field(
    '1:1e-3/4:5e-4/7:2e-4',
    "Adam's, by iteration: three stages; values ours, lost (D8).",
  )
  halve_after: float = field(
    2 / 3,
    "Share of an iteration's updates after which the rate is halved. Ours, "
    'lost (D8).',
    minimum=0,
    maximum=1,
  )
  weight_decay: float = field(
    1e-4, 'Times the weights, added to gradients. Ours, lost (D8).', minimum=0
  )
  gradient_clamp: float = field(
    1.0,
    'Gradients are clamped to plus and minus this; 0: not. Ours, lost (D8).',
    minimum=0,
  )

  # Planning.
  num_candidates: str = field(
    '2:25/8:100/14:200',
    'k_s by iteration: 25 at first, 200 at last; what is between is ours '
    '(D10).',
    may_change=True,
  )
  survival_thresholds: str = field(
    'demon_attack=2:0.9/5:0.8/8:0.7/13:0.6',
    'By game and iteration, with commas; games that are not named: 1, the '
    'safest sequence only. Values ours, lost (D10).',
    may_change=True,
  )
  compared: str = field(
    'last',
    'Probabilities that sequences are compared by: last: at the end of the '
    'horizon; mean: over it (D3).',
    choices=('last', 'mean'),
    may_change=True,
  )
  test_num_candidates: int = field(
    0,
    "k_s in tests; 0: the schedule's.",
    minimum=0,
    maximum=100_000,
    modes=('test',),
    may_change=True,
    changes_learning=False,
  )


def read_schedule(flag: str, text: str) -> list[tuple[int, float]]:
  """Reads 1:0.001/4:0.0005.

  Args:
    flag: its name, for the error.
    text: stages, or one number for all iterations.

  Returns:
    (first iteration, value) of each stage, rising.

  Raises:
    UserError: it is written otherwise.
  """
  stages = []
  for part in text.replace(' ', '').split('/'):
    first, colon, value = part.rpartition(':')
    try:
      stage = (int(first) if colon else 1, float(value))
    except ValueError:
      stage = (0, math.nan)
    if stage[0] < 1 or not 0 <= stage[1] < math.inf:
      raise UserError(
        f'--{flag}: {part} is not an iteration, a colon and a number, such as '
        '4:0.5'
      )
    stages.append(stage)
  if stages != sorted(stages) or len({s for s, _ in stages}) < len(stages):
    raise UserError(f'--{flag}: the iterations of {text} do not rise')
  return stages


def at_iteration(flag: str, text: str, iteration: int) -> float:
  """Returns a schedule's value; before its first stage, that stage's."""
  stages = read_schedule(flag, text)
  reached = [value for first, value in stages if first <= iteration]
  return reached[-1] if reached else stages[0][1]


def num_candidates(config: Config, iteration: int) -> int:
  """Returns k_s.

  Raises:
    UserError: it would be less than 2, one random sequence beside the previous
      best, or no whole number.
  """
  k_s = at_iteration('num_candidates', config.num_candidates, iteration)
  if k_s < 2 or k_s % 1:
    raise UserError(
      f'--num_candidates={config.num_candidates}: k_s must be a whole number '
      f'of at least 2, not {k_s:g}: 1 leaves nothing to choose from'
    )
  return int(k_s)


def by_game(flag: str, text: str) -> dict[str, str]:
  """Reads game=value,game=value.

  Raises:
    UserError: it is written otherwise.
  """
  found = {}
  for part in filter(None, text.replace(' ', '').split(',')):
    game, equals, value = part.partition('=')
    if not (game and equals and value) or game in found:
      raise UserError(f'--{flag}: {part} is not game=value, once per game')
    found[game] = value
  return found


def survival_threshold(config: Config, game: str, iteration: int) -> float:
  """Returns the survival that a sequence must have; 1: the safest is chosen.

  Raises:
    UserError: the flag is malformed, or it is no probability.
  """
  flag = 'survival_thresholds'
  text = by_game(flag, config.survival_thresholds).get(game, '1')
  values = [value for _, value in read_schedule(flag, text)]
  if max(values) > 1:
    raise UserError(f'--{flag}: {max(values):g} of {game} is no probability')
  return at_iteration(flag, text, iteration)


def check(config: Config) -> None:
  """Refuses what cannot be played or learned, before anything is built.

  Raises:
    UserError: naming the flag.
  """
  stages = read_schedule('num_candidates', config.num_candidates)
  for iteration, _ in stages:
    num_candidates(config, iteration)
  read_schedule('learning_rate', config.learning_rate)
  for game in by_game('survival_thresholds', config.survival_thresholds):
    survival_threshold(config, game, 1)
  if config.test_num_candidates == 1:
    raise UserError(
      '--test_num_candidates must be at least 2: 1 leaves '
      'nothing to choose from'
    )
  if config.strategy != 'one_device':
    raise UserError('PRL learns on one device: --strategy=one_device')
  if config.precision != 'float32':
    raise UserError('PRL computes in float32: --precision=float32')


MULTI_TASK = dataclasses.replace(
  Config(),
  level_name='pong,breakout,demon_attack',
  full_action_space=True,  # Controls are those of the joystick.
  log_updates=100,
  checkpoint_secs=300.0,
  keep_checkpoints=19,  # One per iteration.
)
"""One network on three games, never told which it plays (sections 4 and 5)."""

SINGLE_TASK = dataclasses.replace(
  MULTI_TASK, level_name='breakout', num_environments=8
)
"""A network of its own: a third of the updates (section 5)."""

SMALL = dataclasses.replace(
  MULTI_TASK,
  perception='plain',
  random_cases=100_000,
  cases=50_000,
  num_iterations=5,
  updates_per_game=4_000,
)
"""What two cores can carry: fewer cases and updates, three convolutions."""

DEBUG = dataclasses.replace(
  SMALL,
  level_name='pong',
  num_environments=8,
  random_cases=2_400,
  cases=800,
  held_out_cases=160,
  num_iterations=1,
  updates_per_game=60,
  log_updates=1,
  checkpoint_updates=20,
  collection_memory_mb=4.0,
)
"""Pong, end to end in a minute; learns nothing."""

PRESETS = {
  'multi_task': MULTI_TASK,
  'single_task': SINGLE_TASK,
  'small': SMALL,
  'debug': DEBUG,
}
