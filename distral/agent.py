"""Distral and its A3C baselines, in full (Teh et al. 2017).

arXiv:1707.04175. Reads top to bottom: variables, loss, update, acting, state
for checkpoints. Three settings make the seven algorithms of table 1: which
columns the policy of a task adds up (`architecture`), the weight of the KL
divergence to the distilled policy (`alpha_loss`), and where the entropy stands
(`entropy`).
"""

import functools

import tensorflow as tf

from core import losses, optimizers
from core.device import Device
from core.errors import UserError
from core.networks.actor_critic import sample_actions
from core.types import AgentOutput, EnvSpec, Unroll
from distral import distral
from distral.config import Config
from distral.networks import Network
from impala import vtrace


class Agent:
  """Actor-critics of several tasks that share a distilled policy.

  Attributes:
    env_spec: what the agent acts on.
    network: the columns.
    optimizer: RMSProp over all of them.
  """

  def __init__(self, config: Config, env_spec: EnvSpec, device: Device):
    """Creates network and optimiser on the device.

    Raises:
      UserError: batches cannot hold as many unrolls of every task, or there is
        no distilled policy to test.
    """
    self._config = config
    self.env_spec = env_spec
    self._num_tasks = len(env_spec.task_names)
    has_shared_column = config.architecture != 'task' or config.alpha_loss > 0
    _check_columns(config, env_spec, has_shared_column)
    # Elsewhere every group of rows and every batch has as many of each task,
    # so that all shapes are known to XLA.
    self._is_playing = config.mode in ('test', 'save_start_states')
    if not self._is_playing:
      _check_batches(config, self._num_tasks, device.num_replicas)
    with device.scope():
      self.network = Network(
        env_spec,
        config.torso,
        config.use_lstm,
        has_task_columns=config.architecture != 'shared',
        has_shared_column=has_shared_column,
        has_shared_values=(
          config.architecture == 'shared'
          or config.value_regularization == 'shared'
        ),
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
      self._gradients, self._apply, columns_unit=self._num_tasks
    )
    self.act = device.compile_act(
      self._act, has_static_shapes=not self._is_playing
    )

  # Learning.

  def learning_rate(self, env_frames: int) -> float:
    """Returns the rate of the update at a frame (appendix B.2)."""
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
      unroll: [T + 1, B, ...] as documented in core.types, B / N unrolls of each
        of the N tasks in any order.

    Returns:
      The total loss, a sum over time and batch, and its parts.
    """
    task_output, shared_output = self.network(
      unroll.task_id,
      unroll.env_outputs,
      unroll.core_state,
      rows_per_task=unroll.task_id.shape[0] // self._num_tasks,
    )
    return self._losses(
      unroll.task_id,
      task_output and task_output._replace(core_state=()),
      shared_output and shared_output._replace(core_state=()),
      unroll.agent_outputs.action,
      unroll.agent_outputs.policy_logits,
      unroll.env_outputs.reward,
      unroll.env_outputs.done,
    )

  def _policy_logits(self, task_output, shared_output):
    """Returns the logits of the task policies, table 1."""
    if self._config.architecture == 'task':
      return task_output.logits
    if self._config.architecture == 'shared':
      return shared_output.logits
    return distral.two_column_logits(
      shared_output.logits, task_output.logits, self._config.alpha_arch
    )

  def _losses(
    self,
    task_id,
    task_output,
    shared_output,
    actions,
    behaviour_logits,
    rewards,
    done,
  ):
    config = self._config
    policy_logits = self._policy_logits(task_output, shared_output)
    values = (task_output or shared_output).values

    # The learner's output t is its view of environment output t; the action
    # taken there, its logits and its reward were recorded at t + 1; see
    # core.types.Unroll. The value at T is the bootstrap.
    actions, behaviour_logits = actions[1:], behaviour_logits[1:]
    rewards, done = rewards[1:], done[1:]
    policy_logits = policy_logits[:-1]
    distilled_logits = shared_output.logits[:-1] if shared_output else None
    bootstrap_value, values = values[-1], values[:-1]

    discounts = tf.cast(~done, tf.float32) * config.discounting
    rewards = self._rewards(rewards, policy_logits, distilled_logits, actions)
    targets, advantages = self._targets(
      policy_logits,
      behaviour_logits,
      actions,
      rewards,
      discounts,
      values,
      bootstrap_value,
    )
    # Equation 9, and with two columns the first line of equation 10: the
    # gradient flows into the shared column too. Without gamma^t (D10).
    parts = dict(
      policy_gradient_loss=losses.compute_policy_gradient_loss(
        policy_logits, actions, advantages
      ),
      baseline_loss=config.baseline_cost
      * losses.compute_baseline_loss(targets - values),
    )
    parts |= self._regularizers(
      policy_logits, distilled_logits, values, shared_output
    )
    total_loss = tf.add_n(list(parts.values()))
    per_task = self._per_task(task_id, policy_logits, distilled_logits)
    return total_loss, dict(total_loss=total_loss, **parts, **per_task)

  def _rewards(self, rewards, policy_logits, distilled_logits, actions):
    """Returns clipped rewards, regularised where entropy is in the return."""
    config = self._config
    rewards = losses.clip_rewards(rewards, config.reward_clipping)
    if config.entropy == 'bonus':
      return rewards
    distilled_log_probabilities = 0.0
    if config.alpha_loss:
      distilled_log_probabilities = distral.log_probabilities(
        distilled_logits, actions
      )
    return distral.regularized_rewards(
      rewards,
      distral.log_probabilities(policy_logits, actions),
      distilled_log_probabilities,
      config.alpha_loss,
      config.beta,
    )

  def _targets(
    self,
    policy_logits,
    behaviour_logits,
    actions,
    rewards,
    discounts,
    values,
    bootstrap_value,
  ):
    """Returns value targets and advantages, float32 [T, B] each."""
    if not self._config.use_vtrace:
      targets = distral.n_step_returns(rewards, discounts, bootstrap_value)
      return targets, targets - values
    vtrace_returns = vtrace.from_logits(
      behaviour_policy_logits=behaviour_logits,
      target_policy_logits=policy_logits,
      actions=actions,
      discounts=discounts,
      rewards=rewards,
      values=values,
      bootstrap_value=bootstrap_value,
    )
    return vtrace_returns.vs, vtrace_returns.pg_advantages

  def _regularizers(
    self, policy_logits, distilled_logits, values, shared_output
  ):
    """Returns the losses beside those of an actor-critic, by name."""
    config = self._config
    parts = {}
    if config.alpha_loss:
      # The second line of equation 10.
      parts['distillation_loss'] = distral.distillation_loss(
        policy_logits, distilled_logits, config.alpha_loss, config.beta
      )
    if config.entropy == 'bonus':
      negative_entropy = losses.compute_entropy_loss(policy_logits)
      parts['entropy_loss'] = negative_entropy / config.beta
    if config.value_regularization != 'none':
      is_shared = config.value_regularization == 'shared'
      shared_values = shared_output.values[:-1] if is_shared else 0.0
      parts['value_regularization_loss'] = (
        config.value_regularization_cost
        * distral.value_regularization_loss(values, shared_values)
      )
    return parts

  def _per_task(self, task_id, policy_logits, distilled_logits):
    """Returns each task's entropy and KL divergence in nats, float32 [N]."""
    config = self._config
    log_policy = tf.nn.log_softmax(policy_logits)
    found = dict(
      entropy=-tf.reduce_sum(tf.exp(log_policy) * log_policy, axis=2)
    )
    if distilled_logits is not None and config.architecture != 'shared':
      found['kl_to_distilled'] = distral.kl_divergences(
        policy_logits, distilled_logits
      )
    # Means, as sums of shares: replicas add them up.
    num_steps = config.unroll_length * config.batch_size // self._num_tasks
    is_task = tf.one_hot(task_id, self._num_tasks) / num_steps  # [B, N]
    return {
      name: tf.linalg.matvec(is_task, tf.reduce_sum(x, axis=0), True)
      for name, x in found.items()
    }

  def _gradients(self, unroll):
    """Computes one replica's gradients, sums over its columns."""
    with tf.GradientTape() as tape:
      loss, metrics = self.loss_fn(unroll)
    variables = self.network.trainable_variables
    return tape.gradient(loss, variables), metrics

  def _apply(self, gradients, learning_rate):
    """Takes the optimiser's step; returns the gradient norm before clipping."""
    gradients, norm = optimizers.clip_by_global_norm(
      gradients, self._config.max_gradient_norm
    )
    self.optimizer.apply(gradients, [None] * len(gradients), learning_rate)
    return dict(gradient_norm=norm)

  # Acting.

  def initial_state(self, batch_size: int) -> tuple[tf.Tensor, ...]:
    """Returns the cores' states before the first step of `batch_size` rows."""
    return self.network.initial_state(batch_size)

  def _act(self, task_id, last_action, env_output, core_state, seed):
    """Samples an action for each of N environments.

    Args:
      task_id: int32 [N], in any order; in training as many of each task.
      last_action: int32 [N], not read (D4).
      env_output: EnvOutput, each [N, ...], with an empty info.
      core_state: states of the cores.
      seed: int32 [2], of the sampling.

    Returns:
      AgentOutput, each [N, ...], and the new core state.
    """
    del last_action
    add_time = functools.partial(tf.expand_dims, axis=0)
    env_outputs = tf.nest.map_structure(add_time, env_output)
    rows_per_task = task_id.shape[0] // self._num_tasks
    outputs = self.network(
      task_id,
      env_outputs,
      core_state,
      rows_per_task=None if self._is_playing else rows_per_task,
    )
    task_output, shared_output = outputs
    if self._is_playing and self._config.test_policy == 'distilled':
      policy_logits = shared_output.logits[0]
    else:
      policy_logits = self._policy_logits(task_output, shared_output)[0]
    action = sample_actions(policy_logits, seed)
    core_state = tuple(x.core_state if x else () for x in outputs)
    return AgentOutput(action, policy_logits), core_state

  # State for checkpoints.

  def variables(self) -> dict[str, tf.Variable]:
    """Returns every variable by a name that stays the same between runs."""
    return self.optimizer.named_variables()


def _check_columns(config, env_spec, has_shared_column):
  """Refuses settings that contradict each other."""
  without = 'a network per task without a KL divergence has no'
  is_playing = config.mode in ('test', 'save_start_states')
  if is_playing and config.test_policy == 'distilled' and not has_shared_column:
    raise UserError(f'--test_policy=distilled: {without} distilled policy')
  if config.value_regularization == 'shared' and not has_shared_column:
    raise UserError(f'--value_regularization=shared: {without} shared value')
  if config.entropy == 'bonus' and config.alpha_loss:
    raise UserError(
      f'--entropy=bonus is for --alpha_loss=0, not {config.alpha_loss:g}: the '
      'KL divergence is in the return, and entropy with it'
    )
  if not env_spec.frame_shape:
    return  # The network refuses it.
  height, width = env_spec.frame_shape[env_spec.channels_first :][:2]
  if config.torso == 'conv' and min(height, width) < 20:
    raise UserError(
      f'--torso=conv needs frames of 20x20 at least, not {height}x{width}: '
      'choose --torso=mlp'
    )


def _check_batches(config, num_tasks, num_replicas):
  """Refuses what would mix tasks in unequal parts."""
  widths = config.group_widths(num_tasks)
  if any(width % num_tasks for width in widths):
    raise UserError(
      f'--num_environments={config.num_environments} in {len(widths)} groups '
      '(--num_groups, --batch_size): each group needs as many of each of the '
      f'{num_tasks} tasks'
    )
  if config.batch_size % (num_tasks * num_replicas):
    raise UserError(
      f'--batch_size={config.batch_size}: needs a multiple of {num_tasks} '
      f'tasks x {num_replicas} replicas'
    )
