"""The settings of the sweeps on four tasks of DeepMind Control.

Agents are `multi` (BRC on all tasks at once), `heads` (a head per task instead
of embeddings), both also with `_mse` (squared errors and raw rewards, as in
Figure 6), and `single` (a run per task). Of several tasks a batch has 256
transitions and of one 64, the paper's ratio: as many of each task.
"""

from collections.abc import Mapping
from typing import Any

Settings = dict[str, dict[str, Any]]

FLAGFILE = 'experiments/brc/four_control_tasks.flags'
LOGDIR = 'runs/brc/control'
# One core per run: several run at once.
ENVIRONMENT = {'TF_NUM_INTRAOP_THREADS': '1', 'TF_NUM_INTEROP_THREADS': '1'}
SEEDS = (1, 2, 3)
STEPS = 15_000  # Of each task.
TASKS = (
  *('cartpole/balance', 'cartpole/swingup', 'pendulum/swingup'),
  'walker/stand',
)
NEW_TASK = 'walker/walk'  # Of the transfer.
WIDTHS = (64, 256, 512)
ABLATED_WIDTHS = (64, 256)

_MSE = {'loss': 'mse', 'normalise_rewards': False}
_FLAGS = {
  'multi': {},
  'heads': {'task_conditioning': 'heads'},
  'multi_mse': _MSE,
  'heads_mse': {'task_conditioning': 'heads', **_MSE},
}


def of_all_tasks(agent: str, width: int) -> Settings:
  """Returns the setting of an agent with critics of some width."""
  return {f'{agent},width={width}': {'critic_width': width, **_FLAGS[agent]}}


def of_one_task(task: str, width: int, **flags: Any) -> Mapping[str, Any]:
  """Returns the flags of a run on one task."""
  return {
    'level_name': f'control:{task}',
    'critic_width': width,
    'batch_size': 64,
    'total_environment_frames': STEPS,
    'measure_tasks': False,
    **flags,
  }


def of_single_tasks(width: int) -> Settings:
  """Returns a setting per task."""
  return {
    f'single,width={width},task={task.replace("/", "_")}': of_one_task(
      task, width
    )
    for task in TASKS
  }
