"""Which learning rate suits which agent on the wide board: 60 runs.

python -m experiments.launch experiments/stacx/learning_rates_sweep.py
"""

_AGENTS = {
  'impala': {'num_heads': 1, 'self_tuned': ''},
  'stac': {'num_heads': 1},
  'impala_auxiliary': {'self_tuned': ''},
  'stacx': {},
}
_LEARNING_RATES = (0.003, 0.006, 0.012, 0.024, 0.048)

MODULE = 'stacx.experiment'
FLAGFILE = 'experiments/stacx/wide_catch.flags'
OVERRIDES = {
  f'{agent},learning_rate={rate}': {**flags, 'learning_rate': rate}
  for rate in _LEARNING_RATES
  for agent, flags in _AGENTS.items()
}
SEEDS = (1, 2, 3)
LOGDIR = 'runs/stacx/learning_rates'
# One core per run: several run at once, and such small networks gain nothing.
ENVIRONMENT = {'TF_NUM_INTRAOP_THREADS': '1', 'TF_NUM_INTEROP_THREADS': '1'}
