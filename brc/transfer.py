"""Networks of another run, and embeddings for new tasks.

Nauman et al. 2025, section 5 (arXiv:2505.23150): a run begins with pretrained
networks, or only the embedding is tuned on a few hundred transitions of the new
task. How is not said; D8.

Axes: m old tasks, n new tasks, K transitions of each.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from brc import reward_normalizer
from core.types import Transitions

_OF_TASKS = ('embedding', 'target_embedding', 'entropies')


def taken_over(variables: Mapping[str, tf.Variable]) -> dict[str, tf.Variable]:
  """Returns an agent's networks: not its optimisers, and nothing per task.

  Args:
    variables: all of them, by name.
  """
  return {
    name: variable
    for name, variable in variables.items()
    if name not in _OF_TASKS and 'adam' not in name
  }


def prepare(
  agent: Any, played: Sequence[Transitions], discount: float
) -> list[Transitions]:
  """Makes transitions ready for an agent's networks.

  Rewards are normalised by the greatest return of the K rewards as if they were
  one truncated episode: few transitions may hold no whole one.

  Args:
    agent: with `prepare`.
    played: n of arrays [K, ...], rewards raw.
    discount: gamma.

  Returns:
    n of tensors [K, ...].
  """
  greatest = []
  for batch in played:
    bootstrap = np.mean(batch.reward) / (1.0 - discount)
    returns = reward_normalizer.monte_carlo_returns(
      batch.reward, bootstrap, discount
    )
    greatest.append(np.max(np.abs(returns)))
  greatest = tf.constant(greatest, tf.float32)
  return [
    agent.prepare(Transitions(*map(tf.constant, batch)), greatest)
    for batch in played
  ]


def choose(
  agent: Any,
  batches: Sequence[Transitions],
  tables: Sequence[np.ndarray],
) -> np.ndarray:
  """Gives each new task the old embedding with the least loss.

  Args:
    agent: with `networks`, `critic_target` and `critic_losses`; its embeddings
      are set.
    batches: from `prepare`, n of [K, ...].
    tables: the old embeddings of critics and target, [m, size] each.

  Returns:
    int [n], indices of old tasks.
  """
  modules = agent.networks.embeddings, agent.networks.target_embeddings
  losses = np.empty([len(batches), len(tables[0])])

  def assign(old):
    for module, table in zip(modules, tables, strict=True):
      module.table.assign(table[old])

  for old in range(len(tables[0])):
    assign(np.full(len(batches), old))
    losses[:, old] = [_loss(agent, batch) for batch in batches]
  chosen = np.argmin(losses, axis=1)
  assign(chosen)
  return chosen


def fit(
  agent: Any,
  batches: Sequence[Transitions],
  optimizer: Any,
  num_steps: int = 200,
) -> None:
  """Moves the embeddings down the critics' loss, networks fixed.

  Args:
    agent: as for `choose`; its embeddings are where to start.
    batches: from `prepare`, n of [K, ...].
    optimizer: `apply` takes the gradient of the embeddings.
    num_steps: each is on all transitions.
  """
  networks = agent.networks
  table = networks.embeddings.table
  columns = zip(*batches, strict=True)
  batch = Transitions(*(tf.concat(column, axis=0) for column in columns))

  @tf.function(autograph=False)
  def step():
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch(table)
      loss = _loss(agent, batch)
    gradient = tape.gradient(loss, table)
    optimizer.apply([tf.convert_to_tensor(gradient)])
    networks.target_embeddings.table.assign(table)

  for _ in range(num_steps):
    step()


def _loss(agent, batch):
  """Returns the critics' mean loss with the greedy next action."""
  target = agent.critic_target(batch, tf.zeros_like(batch.action))
  return tf.reduce_mean(agent.critic_losses(batch, target)[0])
