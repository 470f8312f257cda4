"""The populations behind the DmLab-30 columns of Table 1 (Hessel et al. 2018).

FILE=experiments/popart/table_1_dmlab30_population.py
python -m experiments.population $FILE

Ranges and fitness are Tables 8 and 9, without the gradient norm, which the text
tunes on Atari alone. 24 members as in Figure 6 and in Espeholt et al. 2018; the
runs of Table 1 had 8, three populations each ("very similar"): NUM_MEMBERS = 8,
SEEDS = (1, 2, 3). Burn-in, margin and perturbation are Espeholt et al. 2018,
appendix F. A slice is ours (popart/README.md, D9). The rate does not decay:
tuning replaces the schedule.
"""

MODULE = 'popart.experiment'
FLAGFILE = ''
_ALL = {
  'final_learning_rate_fraction': 1.0,
  'dataset_path': 'brady_konkle_oliva2008',
  'level_cache_dir': 'runs/level_cache',
}
OVERRIDES = {
  agent: {
    'flagfile': f'experiments/popart/table_1_dmlab30_{agent}.flags',
    **_ALL,
  }
  for agent in ('popart_impala', 'impala')
}
SEEDS = (1,)
LOGDIR = 'runs/table_1_dmlab30_population'
STAGES = ({}, {'mode': 'test', 'test_num_episodes': 500})
RESOURCES = {'CPU': 160, 'GPU': 1}

EXPLORED = {
  'entropy_cost': ('log_uniform', 5e-5, 1e-2),
  'learning_rate': ('log_uniform', 5e-6, 5e-3),
  'epsilon': ('categorical', 1e-1, 1e-3, 1e-5, 1e-7),
}
NUM_MEMBERS = 24
SLICE_FRAMES = 50_000_000
BURN_IN_FRAMES = 20_000_000
FITNESS_EPISODES = 5000
