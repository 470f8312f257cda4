"""IMPALA and STACX on three tasks of control: 18 runs.

python -m experiments.stacx.side_by_side --run=control
"""

# Learning rates: each agent's best of swingup_rates_sweep.py and of
# walker_rates_sweep.py, by the mean return of all of training.
_IMPALA = {'num_heads': 1, 'self_tuned': ''}
_CARTPOLE = {
  'impala': {**_IMPALA, 'learning_rate': 0.001},
  'stacx': {'learning_rate': 0.0003},
}
_WALKER = {
  'impala': {**_IMPALA, 'learning_rate': 0.001, 'entropy_cost': 0.01},
  'stacx': {'learning_rate': 0.001, 'entropy_cost': 0.01},
}
_TASKS = {
  'cartpole_swingup': ('control:cartpole/swingup', _CARTPOLE),
  'walker_walk': ('control:walker/walk', _WALKER),
  'cartpole_swingup_easy': ('rwrl:cartpole/swingup/easy', _CARTPOLE),
}

MODULE = 'stacx.experiment'
FLAGFILE = 'experiments/stacx/control_small.flags'
OVERRIDES = {
  f'{task},{agent}': {**flags, 'level_name': level_name}
  for task, (level_name, agents) in _TASKS.items()
  for agent, flags in agents.items()
}
SEEDS = (1, 2, 3)
LOGDIR = 'runs/stacx/control'
STAGES = ({}, {'mode': 'test', 'test_num_episodes': 10})
# One core per run: two run at once, and such small networks gain nothing.
ENVIRONMENT = {'TF_NUM_INTRAOP_THREADS': '1', 'TF_NUM_INTEROP_THREADS': '1'}
