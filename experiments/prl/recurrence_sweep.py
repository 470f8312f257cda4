"""Experiment 3: the residual recurrent network against an LSTM, 3 seeds.

Runs of a seed have the same cases, in the same order.

python -m experiments.prl.results --run=recurrence
"""

MODULE = 'prl.experiment'
FLAGFILE = ''
OVERRIDES = {
  name: {'flagfile': f'experiments/prl/small_{name}.flags'}
  for name in ('rrnn', 'lstm')
}
SEEDS = (1, 2, 3)
LOGDIR = 'runs/prl/recurrence'
STAGES = ({}, {'mode': 'test', 'test_num_episodes': 10})
