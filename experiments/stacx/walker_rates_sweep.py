"""Learning rates for IMPALA and STACX on walker walk: 6 runs.

python -m experiments.stacx.side_by_side --run=walker_rates
"""

_AGENTS = {'impala': {'num_heads': 1, 'self_tuned': ''}, 'stacx': {}}

MODULE = 'stacx.experiment'
FLAGFILE = 'experiments/stacx/control_small.flags'
OVERRIDES = {
  f'learning_rate={rate},{agent}': {
    **flags,
    'learning_rate': rate,
    'entropy_cost': 0.01,
    'level_name': 'control:walker/walk',
    'total_environment_frames': 250_000,
  }
  # .01: the paper's g_e; with cartpole's .1 nothing was learned.
  for rate in (0.0003, 0.001, 0.003)
  for agent, flags in _AGENTS.items()
}
SEEDS = (1,)
LOGDIR = 'runs/stacx/walker_rates'
STAGES = ({}, {'mode': 'test', 'test_num_episodes': 10})
# One core per run: two run at once, and such small networks gain nothing.
ENVIRONMENT = {'TF_NUM_INTRAOP_THREADS': '1', 'TF_NUM_INTEROP_THREADS': '1'}
