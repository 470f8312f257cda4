"""The settings of Figure 6 that other sweeps lack: 12 runs.

python -m experiments.launch experiments/brc/ablation_sweep.py
"""

from experiments.brc import control_settings as _settings

MODULE = 'brc.experiment'
FLAGFILE = _settings.FLAGFILE
OVERRIDES = {
  name: flags
  for width in _settings.ABLATED_WIDTHS
  for agent in ('multi_mse', 'heads_mse')
  for name, flags in _settings.of_all_tasks(agent, width).items()
}
SEEDS = _settings.SEEDS
LOGDIR = _settings.LOGDIR
ENVIRONMENT = _settings.ENVIRONMENT
