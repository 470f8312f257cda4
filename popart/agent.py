"""PopArt-IMPALA and its baselines, in full (Hessel et al. 2018).

arXiv:1809.04474. Reads top to bottom: variables, loss, update, acting, state
for checkpoints. One agent, three value heads:

  popart      a value per task, normalised by its statistics: PopArt-IMPALA
  multi_head  a value per task, statistics stay at 0 and 1: MultiHead-IMPALA
  single      one value for all tasks: IMPALA

The task chooses the value head and its statistics while learning; the policy
never sees it.
"""

import functools

import tensorflow as tf

from core import losses, optimizers
from core.device import Device
from core.networks.actor_critic import ActorCritic, sample_actions
from core.types import AgentOutput, EnvSpec, Unroll
from impala import vtrace
from popart import popart
from popart.config import Config


class Agent:
  """Actor-critic with V-trace targets and normalised updates.

  Attributes:
    env_spec: what the agent acts on.
    network: the ActorCritic, its values normalised, one per head.
    statistics: popart.Statistics of float64 variables [N], N heads.
    optimizer: RMSProp over the network's variables.
  """

  def __init__(self, config: Config, env_spec: EnvSpec, device: Device):
    """Creates network, statistics and optimiser on the device."""
    self._config = config
    self.env_spec = env_spec
    is_single = config.value_head == 'single'
    self._num_heads = 1 if is_single else len(env_spec.task_names)
    self._is_normalized = config.value_head == 'popart'
    second_moment = config.initial_second_moment if self._is_normalized else 1.0
    with device.scope():
      self.network = ActorCritic(
        env_spec,
        config.torso,
        config.use_lstm,
        num_values=self._num_heads,
        precision=config.precision,
        compile_parts=device.compiles_parts,
      )
      self.network.create_variables()
      self.statistics = tf.nest.map_structure(
        functools.partial(tf.Variable, trainable=False),
        popart.initial_statistics(self._num_heads, second_moment),
      )
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

  def loss_fn(
    self, unroll: Unroll
  ) -> tuple[tf.Tensor, dict[str, tf.Tensor], tf.Tensor]:
    """Computes the loss of a batch of unrolls.

    Args:
      unroll: [T + 1, B, ...] as documented in core.types.

    Returns:
      The total loss, a sum over time and batch, its parts as scalars, and the
      unnormalised value targets, float32 [T, B].
    """
    learner_outputs = self.network(
      unroll.agent_outputs.action, unroll.env_outputs, unroll.core_state
    )
    return self._losses(
      learner_outputs.policy_logits,
      learner_outputs.values,
      self._heads(unroll.task_id),
      unroll.agent_outputs.action,
      unroll.agent_outputs.policy_logits,
      unroll.env_outputs.reward,
      unroll.env_outputs.done,
    )

  def _heads(self, task_id):
    """Returns the value head of each column, int32 [B]."""
    return tf.zeros_like(task_id) if self._num_heads == 1 else task_id

  def _losses(
    self,
    target_policy_logits,
    all_values,
    heads,
    actions,
    behaviour_logits,
    rewards,
    done,
  ):
    is_head = tf.one_hot(heads, self._num_heads)  # [B, N]
    normalized_values = tf.reduce_sum(all_values * is_head, axis=2)
    shift, scale = (tf.gather(x, heads) for x in self._shift_and_scale())
    shift, scale = tf.cast(shift, tf.float32), tf.cast(scale, tf.float32)

    # The learner's output t is its view of environment output t; the action
    # taken there, its logits and its reward were recorded at t + 1; see
    # core.types.Unroll. The value at T is the bootstrap.
    actions, behaviour_logits = actions[1:], behaviour_logits[1:]
    rewards, done = rewards[1:], done[1:]
    target_policy_logits = target_policy_logits[:-1]
    values = popart.unnormalize(normalized_values, shift, scale)
    normalized_values = normalized_values[:-1]

    rewards = losses.clip_rewards(rewards, self._config.reward_clipping)
    discounts = tf.cast(~done, tf.float32) * self._config.discounting
    vtrace_returns = vtrace.from_logits(
      behaviour_policy_logits=behaviour_logits,
      target_policy_logits=target_policy_logits,
      actions=actions,
      discounts=discounts,
      rewards=rewards,
      values=values[:-1],
      bootstrap_value=values[-1],
    )
    # Equation 12: (G - mu) / sigma - n equals (G - v) / sigma.
    policy_gradient_loss = losses.compute_policy_gradient_loss(
      target_policy_logits, actions, vtrace_returns.pg_advantages / scale
    )
    # Equation 11.
    normalized_targets = popart.normalize(vtrace_returns.vs, shift, scale)
    baseline_loss = self._config.baseline_cost * losses.compute_baseline_loss(
      normalized_targets - normalized_values
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
    return total_loss, metrics, vtrace_returns.vs

  def _shift_and_scale(self):
    """Returns the statistics that normalise now, float64 [N] each."""
    config = self._config
    scale = popart.compute_scale(
      self.statistics, config.scale_lower_bound, config.scale_upper_bound
    )
    return tf.convert_to_tensor(self.statistics.shift), scale

  def _gradients(self, unroll):
    """Computes one replica's gradients and its rollouts' moments, [B] each."""
    with tf.GradientTape() as tape:
      loss, metrics, targets = self.loss_fn(unroll)
    gradients = tape.gradient(loss, self.network.trainable_variables)
    moments = popart.rollout_moments(targets, self._config.second_moment)
    heads = self._heads(unroll.task_id)
    return optimizers.dense_gradients(gradients), metrics, moments, heads

  def _apply(self, gradients, learning_rate, moments, heads):
    """Takes the optimiser's step, updates statistics, preserves outputs."""
    gradients, touched_rows = gradients
    gradients, norm = optimizers.clip_by_global_norm(
      gradients, self._config.max_gradient_norm
    )
    self.optimizer.apply(gradients, touched_rows, learning_rate)
    if not self._is_normalized:
      return dict(gradient_norm=norm)
    old_shift, old_scale = self._shift_and_scale()
    statistics = popart.update_statistics(
      self.statistics, moments, heads, self._config.statistics_step_size
    )
    tf.nest.map_structure(lambda v, x: v.assign(x), self.statistics, statistics)
    new_shift, new_scale = self._shift_and_scale()
    layer = self.network.value_head
    w, b = popart.preserve_outputs(
      layer.w, layer.b, old_shift, old_scale, new_shift, new_scale
    )
    layer.w.assign(w)
    layer.b.assign(b)
    return dict(gradient_norm=norm, shift=new_shift, scale=new_scale)

  # Acting.

  def initial_state(self, batch_size: int) -> tuple[tf.Tensor, ...]:
    """Returns the core's state before the first step of `batch_size` rows."""
    return self.network.initial_state(batch_size)

  def _act(self, task_id, last_action, env_output, core_state, seed):
    """Samples an action for each of N environments, whatever their tasks.

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
    return {
      **self.optimizer.named_variables(),
      'popart/shift': self.statistics.shift,
      'popart/second_moment': self.statistics.second_moment,
    }
