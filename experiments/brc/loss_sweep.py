"""Three losses on five reward scales (Figure 3 in small): 15 runs.

python -m experiments.launch experiments/brc/loss_sweep.py
"""

MODULE = 'brc.experiment'
FLAGFILE = 'experiments/brc/scaled_point_masses.flags'
OVERRIDES = {
  'mse': {'loss': 'mse', 'normalise_rewards': False},
  'mse_normalised': {'loss': 'mse'},
  'cross_entropy': {},
}
SEEDS = (1, 2, 3, 4, 5)
LOGDIR = 'runs/brc/loss'
# One core per run: several run at once, and such small networks gain nothing.
ENVIRONMENT = {'TF_NUM_INTRAOP_THREADS': '1', 'TF_NUM_INTEROP_THREADS': '1'}
