"""IMPALA, its fixed auxiliary tasks, STAC and STACX on the wide board: 20 runs.

python -m experiments.launch experiments/stacx/mechanism_sweep.py
"""

MODULE = 'stacx.experiment'
FLAGFILE = 'experiments/stacx/wide_catch.flags'
# Learning rates: each agent's best of learning_rates_sweep.py.
OVERRIDES = {
  'impala': {'num_heads': 1, 'self_tuned': '', 'learning_rate': 0.006},
  'stac': {'num_heads': 1, 'learning_rate': 0.006},
  'impala_auxiliary': {'self_tuned': '', 'learning_rate': 0.012},
  'stacx': {'learning_rate': 0.012},
}
SEEDS = (1, 2, 3, 4, 5)
LOGDIR = 'runs/stacx/mechanism'
STAGES = ({}, {'mode': 'test', 'test_num_episodes': 100})
# One core per run: several run at once, and such small networks gain nothing.
ENVIRONMENT = {'TF_NUM_INTRAOP_THREADS': '1', 'TF_NUM_INTEROP_THREADS': '1'}
