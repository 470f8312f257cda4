"""IMPALA and STACX on Crazy Climber, shallow, 5M frames: 8 runs.

python -m experiments.launch experiments/stacx/atari_sweep.py --max_parallel=1
"""

_AGENTS = {'impala': {'num_heads': 1, 'self_tuned': ''}, 'stacx': {}}

MODULE = 'stacx.experiment'
FLAGFILE = 'experiments/stacx/crazy_climber_small.flags'
OVERRIDES = {
  f'learning_rate={rate},{agent}': {**flags, 'learning_rate': rate}
  for rate in (0.0006, 0.0018)
  for agent, flags in _AGENTS.items()
}
SEEDS = (1, 2)
LOGDIR = 'runs/stacx/atari'
STAGES = ({}, {'mode': 'test', 'test_num_episodes': 10})
