"""Figure 4 (a) in small, late rewards: good and bad discounts, 75 runs.

python -m experiments.launch experiments/stacx/delayed_gamma_sweep.py
"""

# Learning rates: each agent's best over all of training in
# delayed_rates_sweep.py.
_AGENTS = {
  'impala': {'num_heads': 1, 'self_tuned': '', 'learning_rate': 0.006},
  'stacx': {'learning_rate': 0.006},
  # Self-tuned gammas start at .99 whatever the outer one; these are the outer.
  'stacx_gamma_fixed': {
    'learning_rate': 0.006,
    'self_tuned': 'lambda,alpha,g_v,g_p,g_e',
  },
}

MODULE = 'stacx.experiment'
FLAGFILE = 'experiments/stacx/delayed_catch.flags'
OVERRIDES = {
  f'{agent},gamma={gamma}': {**flags, 'discounting': gamma}
  for gamma in (0.9, 0.95, 0.98, 0.99, 0.995)
  for agent, flags in _AGENTS.items()
}
SEEDS = (1, 2, 3, 4, 5)
LOGDIR = 'runs/stacx/delayed_gamma'
# One core per run: several run at once, and such small networks gain nothing.
ENVIRONMENT = {'TF_NUM_INTRAOP_THREADS': '1', 'TF_NUM_INTEROP_THREADS': '1'}
