"""Which learning rate suits which agent when rewards are late: 36 runs.

python -m experiments.launch experiments/stacx/delayed_rates_sweep.py
"""

_AGENTS = {
  'impala': {'num_heads': 1, 'self_tuned': ''},
  'stacx': {},
  # As far as Table 3's .001 moves metaparameters in the paper's 78,000 updates,
  # .03 moves them in 2,600; these runs have 940.
  'stacx_fast': {'meta_learning_rate': 0.03},
}
_LEARNING_RATES = (0.003, 0.006, 0.012, 0.024)

MODULE = 'stacx.experiment'
FLAGFILE = 'experiments/stacx/delayed_catch.flags'
OVERRIDES = {
  f'{agent},learning_rate={rate}': {**flags, 'learning_rate': rate}
  for rate in _LEARNING_RATES
  for agent, flags in _AGENTS.items()
}
SEEDS = (1, 2, 3)
LOGDIR = 'runs/stacx/delayed_rates'
# One core per run: several run at once, and such small networks gain nothing.
ENVIRONMENT = {'TF_NUM_INTRAOP_THREADS': '1', 'TF_NUM_INTEROP_THREADS': '1'}
