"""The IMPALA agent, in full (Espeholt et al. 2018, arXiv:1802.01561).

Reads top to bottom: variables, loss, update, acting, state for checkpoints.
"""

import functools

import tensorflow as tf

from core import losses, optimizers
from core.device import Device
from core.networks.actor_critic import ActorCritic, sample_actions
from core.types import AgentOutput, EnvSpec, Unroll
from impala import vtrace
from impala.config import Config


class Agent:
  """Actor-critic with V-trace targets.

  Attributes:
    env_spec: what the agent acts on.
    network: the ActorCritic.
    optimizer: RMSProp over the network's variables.
  """

  def __init__(self, config: Config, env_spec: EnvSpec, device: Device):
    """Creates network and optimiser on the device."""
    self._config = config
    self.env_spec = env_spec
    with device.scope():
      self.network = ActorCritic(
        env_spec,
        config.torso,
        config.use_lstm,
        precision=config.precision,
        compile_parts=device.compiles_parts,
      )
      self.network.create_variables()
      self.optimizer = optimizers.RMSProp(
        self.network.trainable_variables,
        config.decay,
        config.momentum,
        config.epsilon,
      )
    self._losses = device.compile_part(self._losses)
    self.update = device.compile_update(
      self._gradients, self._apply, needs_all_cores=config.torso == 'deep'
    )
    self.act = device.compile_act(self._act)

  # Learning.

  def learning_rate(self, env_frames: int) -> float:
    """Returns the rate of the update at a frame: linear to the last one."""
    config = self._config
    return optimizers.linear_decay(
      config.learning_rate,
      env_frames,
      config.total_environment_frames,
      config.final_learning_rate_fraction,
    )

  def loss_fn(self, unroll: Unroll) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Computes the loss of a batch of unrolls.

    Args:
      unroll: [T + 1, B, ...] as documented in core.types.

    Returns:
      The total loss, a sum over time and batch, and its parts as scalars.
    """
    learner_outputs = self.network(
      unroll.agent_outputs.action, unroll.env_outputs, unroll.core_state
    )
    return self._losses(
      learner_outputs.policy_logits,
      learner_outputs.values[:, :, 0],
      unroll.agent_outputs.action,
      unroll.agent_outputs.policy_logits,
      unroll.env_outputs.reward,
      unroll.env_outputs.done,
    )

  def _losses(
    self, target_policy_logits, values, actions, behaviour_logits, rewards, done
  ):
    # The learner's output t is its view of environment output t; the action
    # taken there, its logits and its reward were recorded at t + 1:
    #
    #   environment   0   1   2   ...   T
    #   learner       0   1   2   ...   T -> bootstrap value
    #   actor             1   2   ...   T
    #   aligned           0   1   ... T-1
    bootstrap_value = values[-1]
    actions, behaviour_logits = actions[1:], behaviour_logits[1:]
    rewards, done = rewards[1:], done[1:]
    target_policy_logits, values = target_policy_logits[:-1], values[:-1]

    rewards = losses.clip_rewards(rewards, self._config.reward_clipping)
    discounts = tf.cast(~done, tf.float32) * self._config.discounting
    vtrace_returns = vtrace.from_logits(
      behaviour_policy_logits=behaviour_logits,
      target_policy_logits=target_policy_logits,
      actions=actions,
      discounts=discounts,
      rewards=rewards,
      values=values,
      bootstrap_value=bootstrap_value,
    )
    policy_gradient_loss = losses.compute_policy_gradient_loss(
      target_policy_logits, actions, vtrace_returns.pg_advantages
    )
    baseline_loss = self._config.baseline_cost * losses.compute_baseline_loss(
      vtrace_returns.vs - values
    )
    negative_entropy = losses.compute_entropy_loss(target_policy_logits)
    entropy_loss = self._config.entropy_cost * negative_entropy
    total_loss = policy_gradient_loss + baseline_loss + entropy_loss
    metrics = dict(
      total_loss=total_loss,
      policy_gradient_loss=policy_gradient_loss,
      baseline_loss=baseline_loss,
      entropy_loss=entropy_loss,
      negative_entropy=negative_entropy,
    )
    return total_loss, metrics

  def _gradients(self, unroll):
    """Computes one replica's gradients; sums, so that replicas add up."""
    with tf.GradientTape() as tape:
      loss, metrics = self.loss_fn(unroll)
    gradients = tape.gradient(loss, self.network.trainable_variables)
    return optimizers.dense_gradients(gradients), metrics

  def _apply(self, gradients, learning_rate):
    """Takes the optimiser's step; returns the gradient norm before clipping."""
    gradients, touched_rows = gradients
    gradients, norm = optimizers.clip_by_global_norm(
      gradients, self._config.max_gradient_norm
    )
    self.optimizer.apply(gradients, touched_rows, learning_rate)
    return dict(gradient_norm=norm)

  # Acting.

  def initial_state(self, batch_size: int) -> tuple[tf.Tensor, ...]:
    """Returns the core's state before the first step of `batch_size` rows."""
    return self.network.initial_state(batch_size)

  def _act(self, task_id, last_action, env_output, core_state, seed):
    """Samples an action for each of N environments.

    Args:
      task_id: int32 [N], not read: the policy is not told the task.
      last_action: int32 [N].
      env_output: EnvOutput, each [N, ...], with an empty info.
      core_state: state of the core.
      seed: int32 [2], of the sampling.

    Returns:
      AgentOutput, each [N, ...], and the new core state.
    """
    del task_id
    add_time = functools.partial(tf.expand_dims, axis=0)
    output = self.network(
      add_time(last_action),
      tf.nest.map_structure(add_time, env_output),
      core_state,
    )
    policy_logits = output.policy_logits[0]
    action = sample_actions(policy_logits, seed)
    return AgentOutput(action, policy_logits), output.core_state

  # State for checkpoints.

  def variables(self) -> dict[str, tf.Variable]:
    """Returns every variable by a name that stays the same between runs."""
    return self.optimizer.named_variables()
