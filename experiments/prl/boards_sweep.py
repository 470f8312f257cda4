"""Experiment 4: three games on 10 x 10, one network or three, 5 seeds.

python -m experiments.prl.results --run=boards
"""

_MODULE = 'experiments.prl.boards'

MODULE = 'prl.experiment'
FLAGFILE = 'experiments/prl/boards.flags'
OVERRIDES = {'multi_task': {}} | {
  f'single_task_{game}': {
    'level_name': f'{_MODULE}:{game}',
    'num_environments': 8,
  }
  for game in ('catch', 'breakout', 'shooter')
}
SEEDS = (1, 2, 3, 4, 5)
LOGDIR = 'runs/prl/boards'
STAGES = ({}, {'mode': 'test', 'test_num_episodes': 100})
# One core per run: several run at once, and such small networks gain nothing.
ENVIRONMENT = {'TF_NUM_INTRAOP_THREADS': '1', 'TF_NUM_INTEROP_THREADS': '1'}
