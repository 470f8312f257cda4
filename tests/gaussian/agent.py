"""An actor-critic with continuous actions: V-trace, and a Gaussian policy.

No paper's: it shows that core handles feature vectors and continuous actions,
padded where tasks differ.
"""

import math

import numpy as np
import sonnet as snt
import tensorflow as tf

from core import losses, optimizers
from core.device import Device
from core.networks.mlp import MLP
from core.types import AgentOutput, EnvSpec, Unroll
from impala import vtrace
from tests.gaussian.config import Config

MIN_LOG_SCALE, MAX_LOG_SCALE = -3.0, 0.0


class Network(snt.Module):
  """Mean, logarithm of the scale, and value of each step."""

  def __init__(self, num_numbers: int):
    """Declares the layers; `num_numbers` is D."""
    super().__init__(name='gaussian')
    self._torso = MLP([64, 64], name='torso')
    self._policy_head = snt.Linear(2 * num_numbers, name='policy')
    self._value_head = snt.Linear(1, name='baseline')

  def __call__(self, features: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Maps float32 [T, B, F] to parameters [T, B, 2 D] and values [T, B]."""
    num_steps, batch_size, num_features = features.shape
    hidden = self._torso(tf.reshape(features, [-1, num_features]))
    mean, scale = tf.split(self._policy_head(hidden), 2, axis=1)
    log_scale = MIN_LOG_SCALE + (MAX_LOG_SCALE - MIN_LOG_SCALE) * tf.sigmoid(
      scale + 2.0
    )
    parameters = tf.concat([tf.tanh(mean), log_scale], axis=1)
    return (
      tf.reshape(parameters, [num_steps, batch_size, -1]),
      tf.reshape(self._value_head(hidden), [num_steps, batch_size]),
    )


class Agent:
  """Gaussian actor-critic."""

  def __init__(self, config: Config, env_spec: EnvSpec, device: Device):
    """Creates network and optimiser on the device."""
    self._config = config
    self.env_spec = env_spec
    num_numbers = len(env_spec.action_box.low)
    sizes = env_spec.action_box.task_sizes or [num_numbers] * len(
      env_spec.task_names
    )
    # 1 where a task reads the number, 0 where it is padding: [tasks, D].
    self._is_read = np.float32(
      np.arange(num_numbers) < np.array(sizes)[:, None]
    )
    with device.scope():
      self.network = Network(num_numbers)
      self.network(tf.zeros([1, 1, env_spec.num_features]))
      self.optimizer = optimizers.RMSProp(
        self.network.trainable_variables, 0.99, 0.0, 0.01
      )
    self._losses = device.compile_part(self._losses)
    self.update = device.compile_update(self._gradients, self._apply)
    self.act = device.compile_act(self._act)

  def learning_rate(self, env_frames: int) -> float:
    """Returns the rate of the update at a frame."""
    return optimizers.linear_decay(
      self._config.learning_rate,
      env_frames,
      self._config.total_environment_frames,
    )

  def _log_probabilities(self, parameters, actions, is_read):
    mean, log_scale = tf.split(parameters, 2, axis=-1)
    z = (actions - mean) * tf.exp(-log_scale)
    each = -0.5 * z * z - log_scale - 0.5 * math.log(2.0 * math.pi)
    return tf.reduce_sum(each * is_read, axis=-1)

  def _losses(self, task_id, parameters, values, unroll):
    config, actions = self._config, unroll.agent_outputs.action[1:]
    is_read = tf.gather(self._is_read, task_id)  # [B, D]
    behaviour = self._log_probabilities(
      unroll.agent_outputs.policy_logits[1:], actions, is_read
    )
    target = self._log_probabilities(parameters[:-1], actions, is_read)
    goes_on = tf.cast(~unroll.env_outputs.done[1:], tf.float32)
    returns = vtrace.from_importance_weights(
      log_rhos=tf.stop_gradient(target) - behaviour,
      discounts=goes_on * config.discounting,
      rewards=unroll.env_outputs.reward[1:],
      values=values[:-1],
      bootstrap_value=values[-1],
    )
    policy_gradient_loss = -tf.reduce_sum(
      target * tf.stop_gradient(returns.pg_advantages)
    )
    baseline_loss = 0.5 * losses.compute_baseline_loss(returns.vs - values[:-1])
    log_scale = tf.split(parameters[:-1], 2, axis=-1)[1]
    entropy_loss = -config.entropy_cost * tf.reduce_sum(log_scale * is_read)
    parts = dict(
      policy_gradient_loss=policy_gradient_loss,
      baseline_loss=baseline_loss,
      entropy_loss=entropy_loss,
    )
    total_loss = tf.add_n(list(parts.values()))
    return total_loss, dict(total_loss=total_loss, **parts)

  def _gradients(self, unroll: Unroll):
    with tf.GradientTape() as tape:
      parameters, values = self.network(unroll.env_outputs.observation.features)
      loss, metrics = self._losses(unroll.task_id, parameters, values, unroll)
    return tape.gradient(loss, self.network.trainable_variables), metrics

  def _apply(self, gradients, learning_rate):
    gradients, norm = optimizers.clip_by_global_norm(gradients, 40.0)
    self.optimizer.apply(gradients, [None] * len(gradients), learning_rate)
    return dict(gradient_norm=norm)

  def initial_state(self, batch_size: int) -> tuple[()]:
    """Returns no state."""
    del batch_size
    return ()

  def _act(self, task_id, last_action, env_output, core_state, seed):
    del task_id, last_action
    parameters, _ = self.network(env_output.observation.features[None])
    mean, log_scale = tf.split(parameters[0], 2, axis=1)
    noise = tf.random.stateless_normal(tf.shape(mean), seed)
    action = mean + tf.exp(log_scale) * noise
    return AgentOutput(action, parameters[0]), core_state

  def variables(self) -> dict[str, tf.Variable]:
    """Returns every variable by name."""
    return self.optimizer.named_variables()
