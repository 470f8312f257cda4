"""The 2 runs of doom_single: two tasks alone, train and test.

python -m experiments.doom_results --run=doom_single
"""

MODULE = 'impala.experiment'
FLAGFILE = 'experiments/impala/doom_explore_goal_locations_small_2cores.flags'
OVERRIDES = {
  'explore_goal_locations_small': {},
  'lasertag_one_small': {
    'level_name': 'doom:lasertag_one_small',
    'num_action_repeats': 4,
  },
}
SEEDS = (1,)
LOGDIR = 'runs/doom_single'
STAGES = ({}, {'mode': 'test', 'test_num_episodes': 32, 'record_video': True})
# Two runs at once.
ENVIRONMENT = {'TF_NUM_INTRAOP_THREADS': '1'}
