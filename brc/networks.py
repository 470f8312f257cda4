"""Critics and actor of BRC, and how they are told the task.

Nauman et al. 2025, section 3 and appendix C.3 (arXiv:2505.23150). The critics
are one network whose weights have a leading axis E.

Axes: E critics, B batch, F features, D numbers of an action, n tasks.
"""

import copy
from collections.abc import Sequence

import tensorflow as tf

from brc import categorical, squashed_gaussian
from brc.baselines import MLP, RunningStatistics, SimBa
from brc.bronet import BroNet, Dense, Shape
from brc.config import Config, conditioning_of
from core.types import EnvSpec, Transitions

_MIN_LOG_STD, _MAX_LOG_STD = -10.0, 2.0

_TRUNKS = {'bronet': BroNet, 'simba': SimBa, 'mlp': MLP}


class Critic(tf.Module):
  """E critics of a state and an action."""

  def __init__(
    self,
    shape: Shape,
    num_inputs: int,
    num_outputs: int,
    num_critics: int,
    num_heads: int,
    name: str = 'critic',
  ):
    """Declares the layers.

    Args:
      shape: of the trunk.
      num_inputs: features, action and embedding together.
      num_outputs: N logits of a distribution, or 1 value.
      num_critics: E.
      num_heads: n with a head per task, else 1.
      name: prefix of the variables' names.
    """
    super().__init__()
    ensemble, self._num_heads = (num_critics,), num_heads
    self._trunk = _TRUNKS[shape.architecture](shape, num_inputs, ensemble, name)
    self._head = Dense(
      *(shape.width, num_outputs * num_heads, ensemble, f'{name}/head'),
      precision=shape.precision,
    )

  def __call__(
    self, parts: Sequence[tf.Tensor], task_id: tf.Tensor
  ) -> tf.Tensor:
    """Maps parts of float32 [B, inputs], int32 [B] to [E, B, outputs]."""
    outputs = self._head(self._trunk(*(part[None] for part in parts)))
    return of_task(outputs, task_id, self._num_heads)


class Actor(tf.Module):
  """Mean and log standard deviation of the Gaussian before the tanh."""

  def __init__(
    self,
    shape: Shape,
    num_inputs: int,
    num_numbers: int,
    num_heads: int,
    name: str = 'actor',
  ):
    """Declares the layers; arguments as of Critic, `num_numbers` is D."""
    super().__init__()
    self._num_heads = num_heads
    self._trunk = _TRUNKS[shape.architecture](shape, num_inputs, (), name)
    self._mean, self._log_std = (
      Dense(shape.width, num_numbers * num_heads, (), f'{name}/{label}', gain)
      for label, gain in (('mean', 2.0**0.5), ('log_std', 1.0))
    )

  def __call__(
    self, inputs: tf.Tensor, task_id: tf.Tensor
  ) -> tuple[tf.Tensor, tf.Tensor]:
    """Maps float32 [B, inputs] and int32 [B] to two of float32 [B, D]."""
    hidden = self._trunk(inputs)
    mean, x = (
      of_task(head(hidden), task_id, self._num_heads)
      for head in (self._mean, self._log_std)
    )
    half_range = 0.5 * (_MAX_LOG_STD - _MIN_LOG_STD)
    return mean, _MIN_LOG_STD + half_range * (1.0 + tf.tanh(x))


def of_task(
  outputs: tf.Tensor, task_id: tf.Tensor, num_heads: int
) -> tf.Tensor:
  """Chooses each row's head.

  Args:
    outputs: [..., B, heads times outputs].
    task_id: int32 [B].
    num_heads: 1, or a head per task.

  Returns:
    [..., B, outputs].
  """
  if num_heads == 1:
    return outputs
  shape = tf.concat([tf.shape(outputs)[:-1], [num_heads, -1]], axis=0)
  is_own = tf.one_hot(task_id, num_heads)[:, :, None]  # [B, n, 1]
  return tf.reduce_sum(tf.reshape(outputs, shape) * is_own, axis=-2)


class Embeddings(tf.Module):
  """A vector of norm 1 per task, normalised in every pass."""

  def __init__(self, num_tasks: int, size: int, norm: str, name: str):
    """Draws the rows, whose norm is about 1.

    Args:
      num_tasks: n.
      size: length of a row.
      norm: 'l2' (the official code) or 'l1' (the paper).
      name: of the variable.
    """
    super().__init__()
    rows = tf.random.normal([num_tasks, size], stddev=size**-0.5)
    self.table = tf.Variable(rows, name=name)
    self._norm = dict(l2='euclidean', l1=1)[norm]

  def __call__(self, task_id: tf.Tensor) -> tf.Tensor:
    """Maps int32 [B] to float32 [B, size]; gradients reach the table."""
    norms = tf.norm(self.table, ord=self._norm, axis=1, keepdims=True)
    return tf.gather(self.table / norms, task_id)


class Networks(tf.Module):
  """All networks of an agent, and what its losses need of them.

  Attributes:
    critic: the online critics.
    target_critic: those that follow them.
    embeddings: of the tasks, a part of the critics; None without.
    target_embeddings: those that follow them.
    actor: the policy.
    statistics: of SimBa's features; None without.
  """

  def __init__(self, config: Config, env_spec: EnvSpec):
    """Creates the variables; the target equals the online critics."""
    super().__init__(name='networks')
    n, num_numbers = len(env_spec.task_names), len(env_spec.action_box.low)
    conditioning = conditioning_of(config, n)
    num_heads = n if conditioning == 'heads' else 1
    num_inputs = env_spec.num_features
    self._is_categorical = config.loss == 'cross_entropy'
    self._support = categorical.make_support(config.num_atoms, config.v_max)

    def shape(width, depth):
      return Shape(config.architecture, width, depth, config.precision)

    self.embeddings = None
    if conditioning == 'embedding':
      size = config.embedding_size
      self.embeddings = Embeddings(n, size, config.embedding_norm, 'embedding')
      num_inputs += size
    self.critic = Critic(
      shape(config.critic_width, config.critic_depth),
      num_inputs + num_numbers,
      config.num_atoms if self._is_categorical else 1,
      config.num_critics,
      num_heads,
    )
    self.target_critic = copy.deepcopy(self.critic)
    self.target_embeddings = copy.deepcopy(self.embeddings)
    self.actor = Actor(
      shape(config.actor_width, config.actor_depth),
      *(num_inputs, num_numbers, num_heads),
    )
    self.statistics = None
    if config.architecture == 'simba':
      self.statistics = RunningStatistics(env_spec.num_features)

  @property
  def critic_variables(self) -> list[tf.Variable]:
    """What the critics' loss trains, embeddings last."""
    return _variables(self.critic, self.embeddings)

  @property
  def target_variables(self) -> list[tf.Variable]:
    """The same of the target, in the same order."""
    return _variables(self.target_critic, self.target_embeddings)

  def scale(self, features: tf.Tensor) -> tf.Tensor:
    """Normalises SimBa's features, [B, F]; leaves others as they are."""
    return features if self.statistics is None else self.statistics(features)

  def scale_batch(self, batch: Transitions) -> Transitions:
    """Does the same with both features of transitions."""
    return batch._replace(
      features=self.scale(batch.features),
      next_features=self.scale(batch.next_features),
    )

  def policy(
    self, features: tf.Tensor, task_id: tf.Tensor
  ) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns mean and log standard deviation, two of [B, D].

    Embeddings get no gradient from it: only the critics' loss moves them.
    """
    inputs = features
    if self.embeddings is not None:
      embedding = tf.stop_gradient(self.embeddings(task_id))
      inputs = tf.concat([features, embedding], axis=1)
    return self.actor(inputs, task_id)

  def sample(
    self, features: tf.Tensor, task_id: tf.Tensor, noise: tf.Tensor
  ) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns actions of the policy, [B, D], and their log pi, [B].

    Numbers that only pad an action are drawn and counted too (official code).
    """
    return squashed_gaussian.sample(*self.policy(features, task_id), noise)

  def criticise(
    self,
    features: tf.Tensor,
    action: tf.Tensor,
    task_id: tf.Tensor,
    is_target: bool = False,
  ) -> tf.Tensor:
    """Returns the outputs of online or target critics, [E, B, N] or 1."""
    critic, embeddings = self.critic, self.embeddings
    if is_target:
      critic, embeddings = self.target_critic, self.target_embeddings
    parts = [features, action]
    if embeddings is not None:
      parts.append(embeddings(task_id))
    return critic(parts, task_id)

  def values(self, outputs: tf.Tensor) -> tf.Tensor:
    """Returns Q, [B], of critics' outputs: no minimum, but a mean of them."""
    if not self._is_categorical:
      return tf.reduce_mean(outputs[..., 0], axis=0)
    probs = categorical.mixture(outputs)
    return categorical.expectation(probs, tf.constant(self._support))

  def greedy_values(self, features: tf.Tensor, task_id: tf.Tensor) -> tf.Tensor:
    """Returns Q of the greedy action, [B], in normalised rewards."""
    features = self.scale(features)
    action = tf.tanh(self.policy(features, task_id)[0])
    return self.values(self.criticise(features, action, task_id))


def _variables(critic, embeddings):
  variables = list(critic.trainable_variables)
  return variables if embeddings is None else [*variables, embeddings.table]
