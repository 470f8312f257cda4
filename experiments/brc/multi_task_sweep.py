"""All tasks at once against one at a time, width 256: 15 runs.

python -m experiments.launch experiments/brc/multi_task_sweep.py
"""

from experiments.brc import control_settings as _settings

MODULE = 'brc.experiment'
FLAGFILE = _settings.FLAGFILE
OVERRIDES = {
  **_settings.of_all_tasks('multi', 256),
  **_settings.of_single_tasks(256),
}
SEEDS = _settings.SEEDS
LOGDIR = _settings.LOGDIR
ENVIRONMENT = _settings.ENVIRONMENT
