"""A new task from scratch, and from networks of four others: 9 runs.

After multi_task_sweep.py: each seed begins with the networks of its own there.

python -m experiments.launch experiments/brc/transfer_sweep.py
"""

from experiments.brc import control_settings as _settings

_NEW = _settings.of_one_task(_settings.NEW_TASK, 256)
_PRETRAINED = {
  **_NEW,
  'init_from': f'{_settings.LOGDIR}/multi,width=256/seed_{{seed}}',
}

MODULE = 'brc.experiment'
FLAGFILE = _settings.FLAGFILE
OVERRIDES = {
  'scratch': _NEW,
  'pretrained': _PRETRAINED,
  'pretrained_fitted': {**_PRETRAINED, 'embedding_transfer': 'fitted'},
}
SEEDS = _settings.SEEDS
LOGDIR = 'runs/brc/transfer'
ENVIRONMENT = _settings.ENVIRONMENT
