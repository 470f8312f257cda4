"""The 2 runs of doom_single: two tasks alone, train and test.

python -m experiments.doom_results --run=doom_single
"""

MODULE = 'impala.experiment'
FLAGFILE = 'experiments/impala/doom_explore_goal_locations_small_2cores.flags'
OVERRIDES = {
  task: {'level_name': f'doom:{task}'}
  for task in ('explore_goal_locations_small', 'lasertag_one_small')
}
SEEDS = (1,)
LOGDIR = 'runs/doom_single'
STAGES = ({}, {'mode': 'test', 'test_num_episodes': 32, 'record_video': True})
