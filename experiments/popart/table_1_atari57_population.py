"""The populations behind the Atari-57 columns of Table 1 (Hessel et al. 2018).

FILE=experiments/popart/table_1_atari57_population.py
python -m experiments.population $FILE

Ranges, number of members and fitness are Tables 8 and 9; burn-in, margin and
perturbation those of Espeholt et al. 2018, appendix F, "as described" there. A
slice is ours (popart/README.md, D9): 5,000 episodes, after which the paper
compares, of some 10,000 frames. The rate does not decay: tuning replaces the
schedule. Fields of a machine, such as --num_actors, go into _ALL.
"""

MODULE = 'popart.experiment'
FLAGFILE = ''
_ALL = {'final_learning_rate_fraction': 1.0}
OVERRIDES = {
  f'{agent}_{rewards}': {
    'flagfile': f'experiments/popart/table_1_atari57_{agent}_{rewards}.flags',
    **_ALL,
  }
  for rewards in ('clipped', 'unclipped')
  for agent in ('popart_impala', 'impala', 'multihead_impala')
}
SEEDS = (1,)
LOGDIR = 'runs/table_1_atari57_population'
STAGES = ({}, {'mode': 'test', 'test_num_episodes': 200})
RESOURCES = {'CPU': 8, 'GPU': 1}

EXPLORED = {
  'entropy_cost': ('log_uniform', 5e-5, 1e-2),
  'learning_rate': ('log_uniform', 5e-6, 5e-3),
  'epsilon': ('categorical', 1e-1, 1e-3, 1e-5, 1e-7),
  'max_gradient_norm': ('uniform', 10, 100),
}
NUM_MEMBERS = 24
SLICE_FRAMES = 50_000_000
BURN_IN_FRAMES = 20_000_000
FITNESS_EPISODES = 5000
