"""The 12 runs of doom_sparse: with and without pixel control, three seeds.

python -m experiments.doom_results --run=doom_sparse
"""

MODULE = 'pixel_control.experiment'
FLAGFILE = 'experiments/pixel_control/doom_sparse_2cores.flags'
OVERRIDES = {
  f'{task},{name}': {'level_name': f'doom:{task}', 'pixel_control_cost': cost}
  for task in ('nav_goal', 'explore_goal_locations_small')
  for name, cost in (('with', 0.01), ('without', 0.0))
}
SEEDS = (1, 2, 3)
LOGDIR = 'runs/doom_sparse'
STAGES = ({}, {'mode': 'test', 'test_num_episodes': 16})
# Two runs at once.
ENVIRONMENT = {'TF_NUM_INTRAOP_THREADS': '1'}
