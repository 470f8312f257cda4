"""Pixel-PopArt-IMPALA and Pixel-IMPALA, in full (Hessel et al. 2018).

arXiv:1809.04474, section "Extensions" and appendix "Pixel Control". Reads top
to bottom: variables, loss, update, acting, state for checkpoints, and last the
head that pixel control adds. What popart/agent.py says of the three value heads
holds here; what is added is an auxiliary loss, in the learner alone.
"""

import functools
import math

import sonnet as snt
import tensorflow as tf

from core import losses, optimizers
from core.device import Device
from core.errors import UserError
from core.networks.actor_critic import ActorCritic, sample_actions
from core.types import AgentOutput, EnvSpec, Unroll
from impala import vtrace
from pixel_control import pixel_control
from pixel_control.config import Config
from popart import popart


class Agent:
  """Actor-critic with V-trace, normalised updates and pixel control.

  Attributes:
    env_spec: what the agent acts on.
    network: the ActorCritic, its values normalised, one per head.
    pixel_control_head: a PixelControlHead on the network's core.
    statistics: popart.Statistics of float64 variables [N], N heads.
    trainable_variables: of the network, then of the head.
    optimizer: RMSProp over `trainable_variables`.
  """

  def __init__(self, config: Config, env_spec: EnvSpec, device: Device):
    """Creates networks, statistics and optimiser on the device.

    Raises:
      UserError: if the frames do not divide into a grid of cells.
    """
    self._config = config
    self.env_spec = env_spec
    map_shape = head_map_shape(
      env_spec, config.pixel_control_cell_size, config.pixel_control_border
    )
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
      self.pixel_control_head = PixelControlHead(
        map_shape, env_spec.num_actions
      )
      num_features = self.network.value_head.input_size
      self.pixel_control_head(tf.zeros([1, 1, num_features]))  # Its variables.
      self.trainable_variables = (
        self.network.trainable_variables
        + self.pixel_control_head.trainable_variables
      )
      self.statistics = tf.nest.map_structure(
        functools.partial(tf.Variable, trainable=False),
        popart.initial_statistics(self._num_heads, second_moment),
      )
      self.optimizer = optimizers.RMSProp(
        self.trainable_variables,
        config.decay,
        config.momentum,
        config.epsilon,
      )
    self._losses = device.compile_part(self._losses)
    self._pixel_control_loss = device.compile_part(self._pixel_control_loss)
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
    loss, metrics, targets = self._losses(
      learner_outputs.policy_logits,
      learner_outputs.values,
      self._heads(unroll.task_id),
      unroll.agent_outputs.action,
      unroll.agent_outputs.policy_logits,
      unroll.env_outputs.reward,
      unroll.env_outputs.done,
    )
    auxiliary_loss = self._pixel_control_loss(
      self.pixel_control_head(learner_outputs.core_output),
      unroll.env_outputs.observation.frame,
      unroll.agent_outputs.action,
      unroll.env_outputs.done,
    )
    total_loss = loss + auxiliary_loss
    metrics.update(total_loss=total_loss, pixel_control_loss=auxiliary_loss)
    return total_loss, metrics, targets

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

  def _pixel_control_loss(self, head_output, frames, actions, done):
    config = self._config
    values, advantages = head_output[..., :1], head_output[..., 1:]
    pseudo_rewards = pixel_control.cell_pseudo_rewards(
      self._visible_part(frames), config.pixel_control_cell_size
    )
    # Where an episode ended at t + 1, frame t + 1 belongs to the next one: no
    # reward, nothing to come (D4). The action of t was recorded at t + 1.
    goes_on = tf.cast(~done[1:], tf.float32)
    loss = pixel_control.pixel_control_loss(
      pixel_control.dueling_q_values(values, advantages),
      actions[1:],
      pseudo_rewards * goes_on[:, :, None, None],
      goes_on * config.pixel_control_discount,
    )
    return config.pixel_control_cost * loss

  def _visible_part(self, frames):
    """Cuts off the border; of stacked frames keeps the newest (D5)."""
    if self.env_spec.channels_first:
      frames = frames[:, :, -1, :, :, None]
    border = self._config.pixel_control_border
    height, width = frames.shape[2:4]
    return frames[:, :, border : height - border, border : width - border]

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
    gradients = tape.gradient(loss, self.trainable_variables)
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


class PixelControlHead(snt.Module):
  """Dueling action values of every cell, from the core's output.

  A linear layer draws a map of h x w x 32; a deconvolution widens it by 2 on
  each axis, and two of stride 2 make of it the cells' value and advantages:
  6x9 to 8x11 to 18x24 on DeepMind Lab, 7x7 to 9x9 to 20x20 on Atari.
  """

  def __init__(
    self,
    map_shape: tuple[int, int],
    num_actions: int,
    name: str = 'pixel_control',
  ):
    """Declares the head; variables appear with the first call.

    Args:
      map_shape: h, w of the first map, from `head_map_shape`.
      num_actions: A.
      name: name of the module.
    """
    super().__init__(name=name)
    self._map_shape = (*map_shape, 32)
    self.linear = snt.Linear(math.prod(self._map_shape), name='linear')
    self.deconvolution = snt.Conv2DTranspose(
      32, 3, padding='VALID', name='deconvolution'
    )
    # The paper's two deconvolutions read the same map: computed as one, they
    # take half the time. Left to itself, Sonnet would append a row and a column
    # that no input reaches.
    self.value_and_advantages = snt.Conv2DTranspose(
      1 + num_actions,
      4,
      output_shape=[2 * side + 6 for side in map_shape],
      stride=2,
      padding='VALID',
      name='value_and_advantages',
    )

  def __call__(self, core_output: tf.Tensor) -> tf.Tensor:
    """Returns value and advantages of all cells at every step.

    Args:
      core_output: float32 [T, B, F], what the policy head reads too.

    Returns:
      float32 [T, B, 2 h + 6, 2 w + 6, 1 + A], the value first.
    """
    num_steps, batch_size, num_features = core_output.shape
    x = tf.reshape(core_output, [num_steps * batch_size, num_features])
    x = tf.nn.relu(self.linear(x))
    x = tf.reshape(x, [-1, *self._map_shape])
    x = tf.nn.relu(self.deconvolution(x))  # D6: where the rectifiers are.
    x = self.value_and_advantages(x)
    return tf.reshape(x, [num_steps, batch_size, *x.shape[1:]])


def head_map_shape(
  env_spec: EnvSpec, cell_size: int, border: int
) -> tuple[int, int]:
  """Returns the h, w of the map from which the head reaches one value per cell.

  A side of n becomes (n + 2) by the first deconvolution and 2 (n + 1) + 4 by
  the second, so the frame must be an even number of cells, at least 8.

  Args:
    env_spec: frames to divide into cells.
    cell_size: pixels along a cell's side.
    border: pixels left out on all four sides of the frame.

  Raises:
    UserError: if there are no frames, or they do not divide so.
  """
  if not env_spec.frame_shape:
    raise UserError(f'{env_spec.task_names[0]}: pixel control needs frames')
  height, width = env_spec.frame_shape[:2]
  if env_spec.channels_first:
    height, width = env_spec.frame_shape[1:]
  map_shape = []
  for side in (height, width):
    num_cells, rest = divmod(side - 2 * border, cell_size)
    if rest or num_cells % 2 or num_cells < 8:
      raise UserError(
        f'pixel control needs an even number of cells, at least 8, along each '
        f'side: {height}x{width} frames less a border of {border} do not '
        f'divide so into cells of {cell_size}x{cell_size} pixels; see '
        '--pixel_control_border and --pixel_control_cell_size'
      )
    map_shape.append((num_cells - 6) // 2)
  return tuple(map_shape)
