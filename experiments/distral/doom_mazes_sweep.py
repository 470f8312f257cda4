"""The 15 runs of doom_mazes: five algorithms of Figure 4, three seeds.

python -m experiments.doom_results --run=doom_mazes
"""

MODULE = 'distral.experiment'
FLAGFILE = 'experiments/distral/doom_mazes_2cores.flags'
OVERRIDES = {
  name: {'preset': name}
  for name in ('a3c', 'a3c_multitask', 'a3c_2col', 'kl_2col', 'kl_ent_2col')
}
SEEDS = (1, 2, 3)
LOGDIR = 'runs/doom_mazes'
STAGES = ({}, {'mode': 'test', 'test_num_episodes': 16})
# Two runs at once.
ENVIRONMENT = {'TF_NUM_INTRAOP_THREADS': '1'}
