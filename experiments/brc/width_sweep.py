"""The same as multi_task_sweep.py, widths 64 and 512: 30 runs.

python -m experiments.launch experiments/brc/width_sweep.py
"""

from experiments.brc import control_settings as _settings

MODULE = 'brc.experiment'
FLAGFILE = _settings.FLAGFILE
OVERRIDES = {
  name: flags
  for width in (64, 512)
  for name, flags in {
    **_settings.of_all_tasks('multi', width),
    **_settings.of_single_tasks(width),
  }.items()
}
SEEDS = _settings.SEEDS
LOGDIR = _settings.LOGDIR
ENVIRONMENT = _settings.ENVIRONMENT
