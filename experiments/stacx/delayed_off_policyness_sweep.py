"""Actors 0, 5 and 20 updates behind; four ways to set alpha: 60 runs.

python -m experiments.launch experiments/stacx/delayed_off_policyness_sweep.py
"""

# IMPALA's best learning rate, of delayed_rates_sweep.py; alpha alone differs.
_COMMON = {'num_heads': 1, 'learning_rate': 0.006}
_ALPHAS = {
  'truncated': {'self_tuned': ''},
  'not_truncated': {'self_tuned': '', 'alpha_rho': 0.0, 'alpha_c': 0.0},
  'self_tuned': {'self_tuned': 'alpha'},
  # Else 940 updates hardly move it: see delayed_rates_sweep.py.
  'self_tuned_fast': {'self_tuned': 'alpha', 'meta_learning_rate': 0.03},
}

MODULE = 'experiments.stacx.off_policyness_run'
FLAGFILE = 'experiments/stacx/delayed_catch.flags'
OVERRIDES = {
  f'{name},policy_age={age}': {**flags, 'policy_age': age, **_COMMON}
  for age in (0, 5, 20)
  for name, flags in _ALPHAS.items()
}
SEEDS = (1, 2, 3, 4, 5)
LOGDIR = 'runs/stacx/delayed_off_policyness'
# One core per run: several run at once, and such small networks gain nothing.
ENVIRONMENT = {'TF_NUM_INTRAOP_THREADS': '1', 'TF_NUM_INTEROP_THREADS': '1'}
