"""STAC, STACX and their IMPALA baselines, in full (Zahavy et al. 2020).

arXiv:2002.12928. Reads top to bottom: variables, the update (algorithm 2),
acting, state for checkpoints. One agent:

  num_heads 1, self_tuned ''   IMPALA
  num_heads 3, self_tuned ''   IMPALA with fixed auxiliary tasks
  num_heads 1                  STAC
  num_heads 3                  STACX

An update changes the network in place before the outer loss looks at it. What
came of the network as it was, is kept: see stacx/README.md.
"""

import functools

import tensorflow as tf

from core import optimizers
from core.device import Device, Parts
from core.losses import clip_rewards
from core.networks.actor_critic import sample_actions
from core.types import AgentOutput, EnvSpec, Unroll
from stacx import losses, meta_gradient
from stacx.config import Config, initial_etas
from stacx.networks import Network, make_objective


class Agent:
  """Actor-critic whose hyperparameters follow a meta-gradient.

  Attributes:
    env_spec: what the agent acts on.
    network: torso and heads.
    optimizer: RMSProp's slots over the network's variables.
    eta: float32 [M, P], raw metaparameters, M those that are tuned.
  """

  def __init__(self, config: Config, env_spec: EnvSpec, device: Device):
    """Creates network, optimisers and metaparameters on the device.

    Raises:
      UserError: the config contradicts itself or the tasks' actions.
    """
    self._config = config
    self.env_spec = env_spec
    self._objective = make_objective(config, env_spec)
    self._policy, self._tuned, *_ = self._objective
    with device.scope():
      self.network = Network(
        config, env_spec, self._policy.num_parameters, device.compiles_parts
      )
      self.network.create_variables()
      self.optimizer = optimizers.RMSProp(
        self.network.trainable_variables,
        config.decay,
        config.momentum,
        config.epsilon,
        config.initial_mean_square,
      )
      starts = tf.reshape(initial_etas(config), [-1, 1])
      self.eta = tf.Variable(
        tf.tile(starts, [1, config.num_heads]), trainable=False, name='eta'
      )
      self._eta_optimizer = meta_gradient.Adam(
        self.eta,
        config.meta_learning_rate,
        config.meta_beta_1,
        config.meta_beta_2,
        config.meta_epsilon,
      )
    self._inner_cotangents = device.compile_part(self._inner_cotangents)
    self._outer_cotangents = device.compile_part(self._outer_cotangents)
    self._eta_gradient = device.compile_part(self._eta_gradient)
    self._step = device.compile_joint(self._step)
    self._directions = device.compile_joint(self._directions)
    self._eta_step = device.compile_joint(self._eta_step)
    self.update = device.compile_stages(
      self._update, needs_all_cores=config.torso != 'shallow'
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

  def _update(self, parts: Parts, learning_rate):
    """Takes a step of theta, then one of eta (algorithm 2, lines 10 to 15)."""
    gradients, metrics, outputs, tangents = parts.map(self._inner_gradients)
    gradients, metrics = parts.sum(gradients), parts.sum(metrics)
    slopes, norm = self._step(gradients, learning_rate)
    metrics = {
      **self._by_head(metrics, parts.batch_size),
      'gradient_norm': norm,
    }
    if not self._tuned:
      return metrics
    kl_scale = self._config.kl_cost
    if self._config.kl_reduction == 'mean':
      kl_scale /= parts.batch_size * self._config.unroll_length
    outer_gradients, outer_metrics = parts.map(
      self._outer_gradients, outputs, tf.constant(kl_scale)
    )
    directions = self._directions(
      parts.sum(outer_gradients), slopes, gradients, norm
    )
    (eta_gradients,) = parts.map(
      self._eta_gradients, outputs, tangents, directions
    )
    return {
      **metrics,
      **parts.sum(outer_metrics),
      **self._eta_step(parts.sum(eta_gradients)),
    }

  def _inner_gradients(self, unroll):
    """Computes a part's G (line 11); sums, so that parts add up.

    Returns:
      G; metrics; y; and J as a function of directions in the weights. The last
      two are of the network as it is before its step.
    """
    variables = self.network.trainable_variables
    with tf.GradientTape() as tape:
      outputs = self._outputs(unroll)
    cotangents, metrics = self._inner_cotangents(
      outputs, _without_observations(unroll), tf.convert_to_tensor(self.eta)
    )
    gradients, tangents = meta_gradient.transposable_gradients(
      tape, outputs, variables, cotangents
    )
    return gradients, metrics, outputs, tangents

  def _step(self, gradients, learning_rate):
    """Steps the network; returns d theta' / d G and the norm of G (line 12)."""
    config, optimizer = self._config, self.optimizer
    gradients, norm = optimizers.clip_by_global_norm(
      gradients, config.max_gradient_norm
    )
    slopes = []
    for variable, mean_square, moment, gradient in zip(
      self.network.trainable_variables,
      optimizer.mean_squares,
      optimizer.moments,
      gradients,
      strict=True,
    ):
      step = meta_gradient.rms_prop_step(
        gradient,
        mean_square,
        moment,
        learning_rate,
        config.decay,
        config.momentum,
        config.epsilon,
      )
      mean_square.assign(step.mean_square)
      moment.assign(step.moment)
      variable.assign_sub(step.moment)
      slopes.append(step.slope)
    return slopes, norm

  def _outer_gradients(self, unroll, old_outputs, kl_scale):
    """Computes a part's v at theta' (lines 13 and 14)."""
    acts_alone = self._config.behaviour == 'main_head'
    with tf.GradientTape() as tape:
      outputs = self._outputs(unroll, num_heads=1 if acts_alone else None)
    cotangents, metrics = self._outer_cotangents(
      outputs, old_outputs, _without_observations(unroll), kl_scale
    )
    gradients = tape.gradient(
      outputs,
      self.network.trainable_variables,
      output_gradients=cotangents,
      unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
    return gradients, metrics

  def _directions(self, outer_gradients, slopes, gradients, norm):
    """Takes v back through the step: u, the cotangent of G."""
    directions = [v * d for v, d in zip(outer_gradients, slopes, strict=True)]
    return meta_gradient.clip_transposed(
      directions, gradients, norm, self._config.max_gradient_norm
    )

  def _eta_gradients(self, unroll, outputs, tangents, directions):
    """Computes a part's d <u, G(eta)> / d eta."""
    gradient = self._eta_gradient(
      outputs,
      tangents(directions),
      _without_observations(unroll),
      tf.convert_to_tensor(self.eta),
    )
    return (gradient,)

  def _eta_step(self, gradient):
    """Takes Adam's step of eta (line 15); reports eta before it."""
    metrics = {}
    fractions = tf.sigmoid(self.eta)
    for i, name in enumerate(self._tuned):
      for head in range(self._config.num_heads):
        metrics[f'{name}_head_{head + 1}'] = fractions[i, head]
        metrics[f'{name}_gradient_head_{head + 1}'] = gradient[i, head]
    self._eta_optimizer.apply(gradient)
    return metrics

  # Functions of the network's outputs.

  def _outputs(self, unroll, num_heads=None):
    """Passes a batch through the network."""
    output = self.network(
      unroll.agent_outputs.action,
      unroll.env_outputs,
      self._lstm_state(unroll.core_state),
      self._gammas(),
      num_heads,
    )
    parameters = self._policy.parameters(output.policy)
    return losses.Outputs(parameters, output.values, output.extra_values)

  def _lstm_state(self, core_state):
    """Leaves out which head acts."""
    return core_state[:2] if self._config.use_lstm else ()

  def _gammas(self):
    """Returns the heads' discounts, float32 [P], as constants (D10)."""
    zeta = losses.hyperparameters(self.eta, self._tuned, self._objective.outer)
    gammas = tf.broadcast_to(zeta.gamma, [self._config.num_heads])
    return tf.stop_gradient(gammas)

  def _experience(self, unroll):
    # The learner's output t is its view of environment output t; the action
    # taken there, its policy and its reward were recorded at t + 1; see
    # core.types.Unroll. The value at T is the bootstrap.
    agent_outputs = AgentOutput(*(x[1:] for x in unroll.agent_outputs))
    taken = self._policy.taken(agent_outputs, unroll.task_id)
    rewards = unroll.env_outputs.reward[1:]
    return losses.Experience(
      actions=taken.actions,
      behaviour_log_probs=taken.log_probs,
      rewards=clip_rewards(rewards, self._config.reward_clipping),
      goes_on=tf.cast(~unroll.env_outputs.done[1:], tf.float32),
      task_id=unroll.task_id,
      truncated=tf.nest.map_structure(
        lambda x: x[1:], unroll.env_outputs.truncated
      ),
    )

  def _inner_cotangents(self, outputs, unroll, eta):
    """Computes s, the inner loss's gradient in the network's outputs."""
    experience = self._experience(unroll)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch(outputs)
      loss, metrics = losses.inner_loss(
        self._objective, outputs, experience, eta
      )
    return tape.gradient(loss, outputs), metrics

  def _outer_cotangents(self, outputs, old_outputs, unroll, kl_scale):
    """Computes the outer loss's gradient in the outputs at theta'."""
    experience = self._experience(unroll)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch(outputs)
      loss, metrics = losses.outer_loss(
        self._objective, outputs, old_outputs, experience, kl_scale
      )
    zero = tf.UnconnectedGradients.ZERO
    return tape.gradient(loss, outputs, unconnected_gradients=zero), metrics

  def _eta_gradient(self, outputs, tangents, unroll, eta):
    """Computes d <s, J u> / d eta."""
    experience = self._experience(unroll)

    def inner_loss(y, x):
      return losses.inner_loss(self._objective, y, experience, x)[0]

    return meta_gradient.eta_gradient(inner_loss, outputs, eta, tangents)

  def _by_head(self, metrics, batch_size):
    """Turns counts of truncated weights into shares, a scalar per head."""
    num_steps = batch_size * self._config.unroll_length
    counts = metrics.pop('num_truncated')
    for head in range(self._config.num_heads):
      metrics[f'truncated_share_head_{head + 1}'] = counts[head] / num_steps
    return metrics

  # Acting.

  def initial_state(self, batch_size: int) -> tuple[tf.Tensor, ...]:
    """Returns the core's state before the first step of `batch_size` rows.

    Where a random head acts, the last element says which, int32 [N].
    """
    state = self.network.initial_state(batch_size)
    if self._config.behaviour == 'random_head':
      state = (*state, tf.zeros([batch_size], tf.int32))
    return state

  def _act(self, task_id, last_action, env_output, core_state, seed):
    """Samples an action for each of N environments.

    Args:
      task_id: int32 [N], not read: the policy is not told the task.
      last_action: int32 [N] or float32 [N, D].
      env_output: EnvOutput, each [N, ...], with an empty info.
      core_state: from `initial_state`, or the last step's.
      seed: int32 [2], of the sampling.

    Returns:
      AgentOutput, each [N, ...], and the new core state.
    """
    del task_id
    behaviour = self._config.behaviour
    add_time = functools.partial(tf.expand_dims, axis=0)
    output = self.network(
      add_time(last_action),
      tf.nest.map_structure(add_time, env_output),
      self._lstm_state(core_state),
      self._gammas(),
      num_heads=1 if behaviour == 'main_head' else None,
    )
    parameters = self._policy.parameters(output.policy[0])  # [N, P, ...]
    new_state = output.core_state
    if behaviour == 'random_head':
      head = tf.random.stateless_uniform(
        env_output.done.shape,
        tf.random.experimental.stateless_fold_in(seed, 1),
        maxval=self._config.num_heads,
        dtype=tf.int32,
      )
      head = tf.where(env_output.done, head, core_state[-1])
      parameters = tf.gather(parameters, head, axis=1, batch_dims=1)
      new_state = (*new_state, head)
    else:
      parameters = tf.reduce_mean(parameters, axis=1)  # Of one, or of all.
    if self.env_spec.action_box is None:
      action, recorded = sample_actions(parameters, seed), parameters
    else:
      action, recorded = self._policy.sample(parameters, seed)
    return AgentOutput(action, recorded), new_state

  # State for checkpoints.

  def variables(self) -> dict[str, tf.Variable]:
    """Returns every variable by a name that stays the same between runs."""
    variables = self.optimizer.named_variables()
    if self._tuned:
      adam = self._eta_optimizer.named_variables()
      variables['eta'] = self.eta
      variables |= {f'eta_{name}': variable for name, variable in adam.items()}
    return variables


def _without_observations(unroll: Unroll) -> Unroll:
  """Returns what the losses read of an unroll."""
  return unroll._replace(
    core_state=(), env_outputs=unroll.env_outputs._replace(observation=())
  )
