"""Seven scales of Catch at once, each agent tuned by populations of its own.

python -m experiments.population experiments/popart/tuned_catch_population.py

Nine populations of eight: three agents, three seeds; the rest is
multi_task_catch.flags. The rule is the papers'. Ranges are equal for all
agents, as in the paper, and wider than the paper's where seven scales and a
ten-thousandth of its frames ask for it (popart/README.md, D10):

- entropy cost: 0.3 is right for normalised updates of Catch, and as much times
  the scale of the rewards for others;
- gradient norm: the paper's [10, 100] is the lower end; without normalisation
  norms are 1e6 to 1e8 here, nearly all of it the value's;
- learning rate: the upper two thirds, as there are 1,563 updates only.

The rate does not decay: tuning replaces the schedule.
"""

MODULE = 'popart.experiment'
FLAGFILE = ''
OVERRIDES = {
  agent: {
    'flagfile': f'experiments/popart/multi_task_catch_{agent}.flags',
    'final_learning_rate_fraction': 1.0,
  }
  for agent in ('popart_impala', 'multihead_impala', 'impala')
}
SEEDS = (1, 2, 3)
LOGDIR = 'runs/tuned_catch'
STAGES = ({}, {'mode': 'test', 'test_num_episodes': 100})
# One core per run: several run at once, and such small networks gain nothing.
ENVIRONMENT = {'TF_NUM_INTRAOP_THREADS': '1'}

EXPLORED = {
  'learning_rate': ('log_uniform', 5e-5, 5e-3),
  'entropy_cost': ('log_uniform', 0.03, 300),
  'max_gradient_norm': ('log_uniform', 10, 1e5),
}
NUM_MEMBERS = 8
SLICE_FRAMES = 100_000  # A process's start costs as much as 60,000 frames.
BURN_IN_FRAMES = 100_000  # After the first slice.
FITNESS_EPISODES = 5000
