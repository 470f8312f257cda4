"""The 9 runs of doom14: three agents, three seeds, train and test.

python -m experiments.doom_results --run=doom14
"""

MODULE = 'popart.experiment'
FLAGFILE = 'experiments/popart/doom14_2cores.flags'
OVERRIDES = {
  name: {'value_head': name} for name in ('popart', 'multi_head', 'single')
}
SEEDS = (1, 2, 3)
LOGDIR = 'runs/doom14'
STAGES = ({}, {'mode': 'test', 'test_num_episodes': 16})
# Two runs at once.
ENVIRONMENT = {'TF_NUM_INTRAOP_THREADS': '1'}
