"""Figure 6 at full size: every subset of three choices, 40 runs for a GPU.

Scale is critics of width 4096 instead of 512, cross-entropy comes with
normalised rewards and squared errors with raw ones, embeddings stand against a
head per task (Nauman et al. 2025, arXiv:2505.23150).

python -m experiments.launch experiments/brc/figure_6_sweep.py
"""

_SCALES = {'': {'critic_width': 512}, 'scale,': {}}
_LOSSES = {
  '': {'loss': 'mse', 'normalise_rewards': False},
  'cross_entropy,': {},
}
_CONDITIONINGS = {'heads': {'task_conditioning': 'heads'}, 'embeddings': {}}

MODULE = 'brc.experiment'
FLAGFILE = 'experiments/brc/figure_1_humanoidbench_medium.flags'
OVERRIDES = {
  f'{scale}{loss}{conditioning}': {
    **_SCALES[scale],
    **_LOSSES[loss],
    **_CONDITIONINGS[conditioning],
  }
  for scale in _SCALES
  for loss in _LOSSES
  for conditioning in _CONDITIONINGS
}
SEEDS = (1, 2, 3, 4, 5)
LOGDIR = 'runs/brc/figure_6'
