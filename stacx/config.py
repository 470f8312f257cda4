"""Hyperparameters of STAC and STACX (Zahavy et al. 2020, arXiv:2002.12928).

Defaults are Table 3's; presets name its domains. Each field's documentation is
the help of the flag of the same name. Where the paper contradicts itself, D3 in
stacx/README.md says what stands here.
"""

import dataclasses
import math

from core.config import field
from core.errors import UserError
from impala import config as impala_config

ALL = 'gamma,lambda,alpha,g_v,g_p,g_e'
"""What STAC and STACX tune."""


@dataclasses.dataclass(frozen=True)
class Config(impala_config.Config):
  """One run of STACX, STAC or their IMPALA baselines.

  The fields of IMPALA's config, some with another meaning or default, and
  those below; every one is a flag.
  """

  # IMPALA's, which are the outer loss here.
  torso: str = field(
    'deep',
    'For frames (Table 2), deep: Atari; strided: control suite; shallow: the '
    'two convolutions of IMPALA, not in the paper.',
    choices=('deep', 'shallow', 'strided'),
    changes_play=True,
  )
  use_lstm: bool = field(
    False, 'LSTM of 256 units; control suite (Table 2).', changes_play=True
  )
  entropy_cost: float = field(
    0.01,
    'g_e of the outer loss (Table 3); of the KL divergence to a standard '
    'Gaussian where actions are continuous.',
    minimum=0,
    explored=True,
  )
  baseline_cost: float = field(
    0.5,
    'Twice g_v of the outer loss, .25 in Table 3: the paper sums squared '
    'errors, this repository halves of them.',
    minimum=0,
  )
  discounting: float = field(
    0.995,
    'gamma of the outer loss; Table 3: .995 on Atari, .99 in control.',
    minimum=0,
    maximum=1,
    changes_play=True,  # Where its embedding is seen.
  )
  policy_cost: float = field(1.0, 'g_p of the outer loss (Table 3).', minimum=0)
  lambda_outer: float = field(
    1.0, 'lambda of the outer loss (Table 3).', minimum=0, maximum=1
  )
  alpha_rho: float = field(
    1.0,
    'alpha of rho in the outer loss, and in the inner one where it is not '
    'tuned (Table 3): 1, V-trace; 0, importance sampling.',
    minimum=0,
    maximum=1,
  )
  alpha_c: float = field(
    1.0,
    'The same of the traces; Theorem 1 needs alpha_rho >= alpha_c.',
    minimum=0,
    maximum=1,
  )
  truncation: float = field(
    1.0, 'rho-bar and c-bar (algorithm 2, line 3).', minimum=1e-6
  )
  advantage: str = field(
    'paper',
    'paper: r + gamma v (algorithm 1); rlax: v mixed with V by lambda.',
    choices=('paper', 'rlax'),
  )

  # Self-tuning.
  num_heads: int = field(
    3,
    'P: 1, STAC; more, STACX (Table 3: 3; 2, 5 and 8 were tried).',
    minimum=1,
    maximum=100,
    changes_play=True,
  )
  self_tuned: str = field(
    ALL,
    'Metaparameters to tune, with commas: gamma, lambda, alpha (or alpha_rho '
    'and alpha_c apart), truncation, g_v, g_p, g_e. None: IMPALA.',
    changes_play=True,  # Likewise.
  )
  initial_eta: float = field(
    4.6,
    'Raw start of every metaparameter, whose sigmoid counts: .99 (Table 3).',
    minimum=-30,
    maximum=30,
  )
  initial_values: str = field(
    '',
    'Other starts, after the sigmoid: gamma=.5,alpha=.9 (Figure 4 (c)).',
  )
  kl_cost: float = field(
    1.0, 'g_kl (Table 3; 0, .3 and 2 were tried).', minimum=0
  )
  kl_reduction: str = field(
    'sum',
    'Of the KL divergence over time and batch; not said (D5).',
    choices=('sum', 'mean'),
  )
  meta_learning_rate: float = field(
    0.001, "Adam's, of the metaparameters (Table 3).", minimum=0, explored=True
  )
  meta_beta_1: float = field(
    0.9, "Adam's b1 (Table 3).", minimum=0, maximum=0.999999
  )
  meta_beta_2: float = field(
    0.999, "Adam's b2 (Table 3).", minimum=0, maximum=0.999999
  )
  meta_epsilon: float = field(1e-4, "Adam's epsilon (Table 3).", minimum=1e-12)
  initial_mean_square: float = field(
    0.0,
    "RMSProp's mean square at the start: 0 as in Optax, which the paper used; "
    '1 as in TensorFlow 1; not said (D4).',
    minimum=0,
  )

  # Variants.
  behaviour: str = field(
    'main_head',
    'Who acts. main_head: head 1; random_head: one per episode; '
    'average_logits: the average of all (section 9.3).',
    choices=('main_head', 'random_head', 'average_logits'),
    changes_play=True,
  )
  gamma_embedding: str = field(
    'none',
    'Whether a head sees an embedding of its gamma, and shares its weights '
    '(section 9.5).',
    choices=('none', 'shared', 'separate'),
    changes_play=True,
  )
  gamma_embedding_size: int = field(
    16,
    'Length of that embedding; not printed.',
    minimum=1,
    maximum=10_000,
    changes_play=True,
  )
  outer_value_head: bool = field(
    False,
    'A value for the outer loss, learned with its gamma (Bonnet et al. 2022, '
    'arXiv:2211.10550); not in the paper.',
  )

  # Actions.
  policy: str = field(
    'softmax',
    'softmax: discrete actions; tanh_gaussian: continuous ones.',
    choices=('softmax', 'tanh_gaussian'),
    changes_play=True,
  )
  min_log_sigma: float = field(
    -5.0, 'Of tanh_gaussian; not printed (D6).', changes_play=True
  )
  max_log_sigma: float = field(
    0.5, 'Of tanh_gaussian; not printed (D6).', changes_play=True
  )


def tuned_names(config: Config) -> tuple[str, ...]:
  """Reads `self_tuned`.

  Args:
    config: a Config.

  Returns:
    The metaparameters to tune, perhaps none.

  Raises:
    UserError: one is unknown, there twice, or alpha is tuned tied and apart;
      or the fixed alpha_rho is less than alpha_c.
  """
  known = [*ALL.split(','), 'alpha_rho', 'alpha_c', 'truncation']
  names = tuple(filter(None, config.self_tuned.replace(' ', '').split(',')))
  for name in names:
    if name not in known:
      raise UserError(
        f'--self_tuned: there is no metaparameter {name}; there are '
        f'{", ".join(known)}'
      )
    if names.count(name) > 1:
      raise UserError(f'--self_tuned names {name} twice')
  if 'alpha' in names and {'alpha_rho', 'alpha_c'} & set(names):
    raise UserError(
      '--self_tuned: alpha is alpha_rho and alpha_c tied; tune either it or '
      'them'
    )
  if config.alpha_rho < config.alpha_c:
    raise UserError(
      f'--alpha_rho={config.alpha_rho} is less than --alpha_c='
      f'{config.alpha_c}: leaky V-trace need not contract then (theorem 1)'
    )
  return names


def initial_etas(config: Config) -> list[float]:
  """Returns the raw start of each metaparameter of `tuned_names`.

  Raises:
    UserError: `initial_values` is malformed, or of what is not tuned.
  """
  names = tuned_names(config)
  etas = dict.fromkeys(names, config.initial_eta)
  for part in filter(None, config.initial_values.replace(' ', '').split(',')):
    name, _, text = part.partition('=')
    try:
      value = float(text)
    except ValueError:
      value = math.nan
    if not 0.0 < value < 1.0:
      raise UserError(
        f'--initial_values: {part} is not a name and a number between 0 and 1, '
        'such as gamma=.5'
      )
    if name not in etas:
      raise UserError(
        f'--initial_values: {name} is not tuned; --self_tuned={",".join(names)}'
      )
    etas[name] = math.log(value / (1.0 - value))
  return list(etas.values())


ATARI = dataclasses.replace(
  Config(),
  level_name='pong',
  total_environment_frames=int(200e6),  # Table 3.
  batch_size=32,  # Table 3.
  unroll_length=20,  # Table 3; D1.
  learning_rate=0.0006,  # Table 3, linear to 0.
  log_updates=20,  # 51,200 frames.
)
"""STACX on one Atari game: Tables 2 and 3, RMSProp's decay .99 and epsilon .1,
without clipping of gradients; how games are played follows IMPALA (D8)."""

CONTROL_FEATURES = dataclasses.replace(
  Config(),
  level_name='control:cartpole/swingup',
  num_action_repeats=1,  # D15.
  total_environment_frames=int(30e6),  # Table 3.
  num_environments=24,  # D15.
  batch_size=24,  # Table 3.
  unroll_length=40,  # Table 3.
  unroll_overlap=30,  # Table 3; D9.
  use_lstm=True,  # Table 2.
  policy='tanh_gaussian',
  reward_clipping='none',  # Rewards lie between 0 and 1.
  discounting=0.99,  # Table 3.
  learning_rate=0.001,  # Table 3.
  final_learning_rate_fraction=0.1,  # Table 3: 1e-4 at the end.
  # 11,760 frames. Not a divisor of an episode: all end together in sync mode,
  # and every row would show the same part of them.
  log_updates=49,
)
"""STACX on a task of the DeepMind Control suite, from feature vectors."""

CONTROL_PIXELS = dataclasses.replace(
  CONTROL_FEATURES, control_observations='pixels', torso='strided'
)
"""The same from pixels (D15)."""

RWRL = dataclasses.replace(
  CONTROL_FEATURES, level_name='rwrl:cartpole/swingup/easy'
)
"""The same on a task of the Real-World RL challenge (D16)."""

CATCH = dataclasses.replace(
  ATARI,
  level_name='catch',
  num_action_repeats=1,
  total_environment_frames=300_000,
  num_environments=16,
  batch_size=16,
  torso='shallow',
  learning_rate=0.002,  # Ours.
)
"""Catch, to see the mechanism in minutes."""

DEBUG = dataclasses.replace(
  CATCH,
  total_environment_frames=20_000,
  num_environments=8,
  batch_size=8,
  log_updates=1,
  checkpoint_updates=20,
)
"""Catch, end to end in seconds."""

PRESETS = {
  'atari': ATARI,
  'control_features': CONTROL_FEATURES,
  'control_pixels': CONTROL_PIXELS,
  'rwrl': RWRL,
  'catch': CATCH,
  'debug': DEBUG,
}
