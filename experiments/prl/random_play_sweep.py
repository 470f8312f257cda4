"""Experiment 1: three games after random play alone, 350,000 cases of each.

python -m experiments.prl.results --run=random_play
"""

MODULE = 'prl.experiment'
FLAGFILE = 'experiments/prl/small_random_play.flags'
OVERRIDES = {'multi_task': {}}
SEEDS = (1,)
LOGDIR = 'runs/prl/random_play'
STAGES = ({}, {'mode': 'test', 'test_num_episodes': 30})
