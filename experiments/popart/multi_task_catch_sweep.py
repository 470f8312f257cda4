"""The 15 runs of multi_task_catch: three agents, five seeds, train and test.

python -m experiments.launch experiments/popart/multi_task_catch_sweep.py
"""

MODULE = 'popart.experiment'
FLAGFILE = ''
OVERRIDES = {
  agent: {'flagfile': f'experiments/popart/multi_task_catch_{agent}.flags'}
  for agent in ('popart_impala', 'multihead_impala', 'impala')
}
SEEDS = (1, 2, 3, 4, 5)
LOGDIR = 'runs/multi_task_catch'
STAGES = ({}, {'mode': 'test', 'test_num_episodes': 100})
# One core per run: several run at once, and such small networks gain nothing.
ENVIRONMENT = {'TF_NUM_INTRAOP_THREADS': '1'}
