"""How tasks differ and disagree: Figures 3 and 5 of the paper.

Nauman et al. 2025 (arXiv:2505.23150); conflicts after Yu et al. 2020, PCGrad
(arXiv:2001.06782).

Axes: n tasks, P parameters.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from core.types import Transitions


def conflict_share(gradients: np.ndarray) -> float:
  """Returns the share of pairs of tasks whose gradients have a negative cosine.

  Args:
    gradients: float [n, P], of the critics' loss of each task.

  Returns:
    A share of the n (n - 1) / 2 pairs; NaN for one task.
  """
  products = gradients @ gradients.T
  first, second = np.triu_indices(len(gradients), k=1)
  if not len(first):
    return float('nan')
  return float(np.mean(products[first, second] < 0.0))


def relative_variance(values: np.ndarray) -> float:
  """Returns Var / mean^2 over the tasks, of values [n] (Figure 3)."""
  return float(np.var(values) / np.mean(values) ** 2)


def of_task(
  agent: Any,
  batch: Transitions,
  noise: tf.Tensor,
  variables: Sequence[tf.Variable],
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
  """Measures one task, without changing anything.

  Args:
    agent: with `critic_target`, `critic_losses` and `networks`.
    batch: of the task, [B, ...], features and rewards ready for the networks.
    noise: float32 [B, D].
    variables: the critics'.

  Returns:
    The critics' mean loss, the policy's entropy, and the loss's gradient [P].
  """
  target = agent.critic_target(batch, noise)
  with tf.GradientTape(watch_accessed_variables=False) as tape:
    tape.watch(variables)
    loss = tf.reduce_mean(agent.critic_losses(batch, target)[0])
  gradients = tape.gradient(loss, variables)
  _, log_prob = agent.networks.sample(batch.features, batch.task_id, noise)
  flat = tf.concat([tf.reshape(g, [-1]) for g in gradients], axis=0)
  return loss, -tf.reduce_mean(log_prob), flat


def summarise(
  measured: Iterable[tuple[tf.Tensor, tf.Tensor, tf.Tensor]],
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
  """Puts what `of_task` returned of each task together.

  Returns:
    Share of conflicting pairs and relative variances; and by name what was
    measured of each task, [n].
  """
  columns = zip(*measured, strict=True)
  losses, entropies, gradients = (np.stack(column) for column in columns)
  return compare(dict(td_loss=losses, policy_entropy=entropies), gradients)


def compare(
  of_each: Mapping[str, np.ndarray], gradients: np.ndarray
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
  """Compares what was measured of each task.

  Args:
    of_each: by name, [n].
    gradients: float [n, P], of the critics' loss of each task.

  Returns:
    Share of conflicting pairs and relative variances; and `of_each` with the
    norms of the gradients.
  """
  of_each = {**of_each, 'gradient_norm': np.linalg.norm(gradients, axis=1)}
  of_all = {
    f'{name}_relative_variance': relative_variance(values)
    for name, values in of_each.items()
  }
  return dict(gradient_conflicts=conflict_share(gradients), **of_all), of_each
