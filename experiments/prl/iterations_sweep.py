"""Experiment 2: further iterations, three games in one network or in three.

python -m experiments.prl.results --run=iterations
"""

_FLAGFILES = 'experiments/prl/small_'
_GAMES = ('pong', 'breakout', 'demon_attack')

MODULE = 'prl.experiment'
FLAGFILE = ''
OVERRIDES = {'multi_task': {'flagfile': f'{_FLAGFILES}multi_task.flags'}} | {
  f'single_task_{game}': {'flagfile': f'{_FLAGFILES}single_task_{game}.flags'}
  for game in _GAMES
}
SEEDS = (1,)
LOGDIR = 'runs/prl/iterations'
STAGES = ({}, {'mode': 'test', 'test_num_episodes': 30})
