"""Figure 4 (b) in small, late rewards: weights of the value loss, 50 runs.

python -m experiments.launch experiments/stacx/delayed_g_v_sweep.py
"""

# Learning rates: each agent's best over all of training in
# delayed_rates_sweep.py.
_AGENTS = {
  'impala': {'num_heads': 1, 'self_tuned': '', 'learning_rate': 0.006},
  'stacx': {'learning_rate': 0.006},
}

MODULE = 'stacx.experiment'
FLAGFILE = 'experiments/stacx/delayed_catch.flags'
OVERRIDES = {
  # The flag weighs half of the squared error (D13 in stacx/README.md).
  f'{agent},g_v={g_v}': {**flags, 'baseline_cost': 2 * g_v}
  for g_v in (0.05, 0.1, 0.25, 0.5, 1.0)
  for agent, flags in _AGENTS.items()
}
SEEDS = (1, 2, 3, 4, 5)
LOGDIR = 'runs/stacx/delayed_g_v'
# One core per run: several run at once, and such small networks gain nothing.
ENVIRONMENT = {'TF_NUM_INTRAOP_THREADS': '1', 'TF_NUM_INTEROP_THREADS': '1'}
