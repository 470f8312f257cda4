"""The Q-network of BRC on frames, and how it is told the task.

Nauman et al. 2025, appendix C.3 and C.4, figures 14 and 15 (arXiv:2505.23150):
IMPALA's encoder, which does not know the task; a layer normalisation; the
embedding; two dense layers; N logits per action.

Axes: B batch, A actions, N atoms, n tasks.
"""

import math

import tensorflow as tf

from brc import categorical
from brc.bronet import Dense, LayerNorm
from brc.config import conditioning_of
from brc.drq_config import Config, channels_of
from brc.networks import Embeddings, of_task
from core.networks.torsos import DeepTorso
from core.types import EnvSpec


class QNetwork(tf.Module):
  """Distributions of the return of every action, or its mean.

  Attributes:
    embeddings: of the tasks; None without.
  """

  def __init__(self, config: Config, env_spec: EnvSpec, name: str = 'q'):
    """Creates the variables.

    Args:
      config: a Config.
      env_spec: of the tasks.
      name: of the module.
    """
    super().__init__(name=name)
    n, self._num_actions = len(env_spec.task_names), env_spec.num_actions
    conditioning = conditioning_of(config, n)
    self._num_heads = n if conditioning == 'heads' else 1
    self._is_categorical = config.loss == 'cross_entropy'
    self._support = categorical.make_support(config.num_atoms, config.v_max)
    self._num_outputs = config.num_atoms if self._is_categorical else 1
    self._encoder = DeepTorso(
      tf.dtypes.as_dtype(config.precision),
      channels=channels_of(config),
      name='encoder',
    )
    shape = env_spec.frame_shape
    if env_spec.channels_first:
      shape = (*shape[1:], shape[0])
    num_inputs = math.prod(self._encoder(tf.zeros([1, *shape])).shape)
    self._norm = LayerNorm(num_inputs, (), 'norm')
    self.embeddings = None
    if conditioning == 'embedding':
      size = config.embedding_size
      self.embeddings = Embeddings(n, size, config.embedding_norm, 'embedding')
      num_inputs += size
    self._layers = []
    for i in range(config.critic_depth):
      width, label = config.critic_width, f'dense_{i}'
      self._layers.append(
        Dense(num_inputs, width, (), label, precision=config.precision)
      )
      num_inputs = width
    self._head = Dense(
      *(num_inputs, self._num_heads * self._num_actions * self._num_outputs),
      *((), 'head'),
      precision=config.precision,
    )

  def __call__(self, frames: tf.Tensor, task_id: tf.Tensor) -> tf.Tensor:
    """Maps float32 [B, H, W, C] and int32 [B] to logits [B, A, N].

    With squared errors N is 1: the value itself.
    """
    x = tf.nn.relu(tf.cast(self._encoder(frames), tf.float32))
    x = self._norm(tf.reshape(x, [-1, math.prod(x.shape[1:])]))
    if self.embeddings is not None:
      x = tf.concat([x, self.embeddings(task_id)], axis=1)
    for layer in self._layers:
      x = tf.nn.relu(layer(x))
    x = of_task(self._head(x), task_id, self._num_heads)
    return tf.reshape(x, [-1, self._num_actions, self._num_outputs])

  def values(self, outputs: tf.Tensor) -> tf.Tensor:
    """Maps outputs [..., N] to values [...]."""
    if not self._is_categorical:
      return outputs[..., 0]
    return tf.linalg.matvec(tf.nn.softmax(outputs), self._support)
