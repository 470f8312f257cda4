"""Figure 4 (c) in small, late rewards: where the metaparameters start, 20 runs.

python -m experiments.launch experiments/stacx/delayed_eta_starts_sweep.py
"""

import math

MODULE = 'stacx.experiment'
FLAGFILE = 'experiments/stacx/delayed_catch.flags'
OVERRIDES = {
  f'stacx,start={start}': {
    'initial_eta': round(math.log(start / (1 - start)), 6),
    'learning_rate': 0.006,  # The best of delayed_rates_sweep.py.
  }
  for start in (0.9, 0.99, 0.995, 0.999)
}
SEEDS = (1, 2, 3, 4, 5)
LOGDIR = 'runs/stacx/delayed_eta_starts'
# One core per run: several run at once, and such small networks gain nothing.
ENVIRONMENT = {'TF_NUM_INTRAOP_THREADS': '1', 'TF_NUM_INTEROP_THREADS': '1'}
