"""The 168 runs of figure4_small; `figure4_small --run` launches them.

python -m experiments.launch experiments/distral/figure4_small_sweep.py
"""

from distral import config

# 1 / beta and the initial learning rate, as far apart as in appendix B.2 and
# where this grid world learns: an entropy cost above 0.1 makes wandering worth
# more than a goal, as each step costs 0.1.
_ENTROPY_COSTS = (0.01, 0.03, 0.1)
_LEARNING_RATES = (0.0005, 0.001, 0.002, 0.004)

MODULE = 'experiments.distral.figure4_small_run'
FLAGFILE = 'experiments/distral/figure4_small.flags'
OVERRIDES = {
  f'{algorithm},entropy_cost={cost},learning_rate={rate}': {
    'preset': algorithm,
    'beta': 1 / cost,
    'learning_rate': rate,
  }
  for cost in _ENTROPY_COSTS
  for rate in _LEARNING_RATES
  for algorithm in config.ALGORITHMS
}
SEEDS = (1, 2)
LOGDIR = 'runs/figure4_small'
# One core per run: several run at once, and such small networks gain nothing.
ENVIRONMENT = {'TF_NUM_INTRAOP_THREADS': '1', 'TF_NUM_INTEROP_THREADS': '1'}
