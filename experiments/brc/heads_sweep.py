"""A head per task instead of embeddings (Figure 5): 9 runs.

python -m experiments.launch experiments/brc/heads_sweep.py
"""

from experiments.brc import control_settings as _settings

MODULE = 'brc.experiment'
FLAGFILE = _settings.FLAGFILE
OVERRIDES = {
  name: flags
  for width in _settings.WIDTHS
  for name, flags in _settings.of_all_tasks('heads', width).items()
}
SEEDS = _settings.SEEDS
LOGDIR = _settings.LOGDIR
ENVIRONMENT = _settings.ENVIRONMENT
