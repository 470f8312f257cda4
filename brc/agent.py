"""BRC: soft actor-critic with big, regularised, categorical critics.

Nauman et al. 2025 (arXiv:2505.23150) on Haarnoja et al. 2018
(arXiv:1812.05905). A gradient step updates the critics, their target, the actor
with the new critics, and the temperature, in the official code's order.
"""

import functools
import math

import numpy as np
import tensorflow as tf

from brc import categorical, reward_normalizer, task_measures
from brc.config import Config, check_tasks
from brc.networks import Networks
from core.device import Device
from core.optimizers import AdamW
from core.types import AgentOutput, EnvSpec, Transitions


class Agent:
  """SAC + BRC on tasks with feature vectors and continuous actions.

  Attributes:
    env_spec: of the tasks.
    networks: critics, their target, and the actor.
    normalizer: keeps the greatest return of each task.
    policy_name: of `act`, which evaluation uses and which does not sample.
  """

  policy_name = 'greedy policy'

  def __init__(self, config: Config, env_spec: EnvSpec, device: Device):
    """Creates networks and optimisers on the device.

    Raises:
      UserError: the tasks or the devices are not for this agent.
    """
    check_tasks(env_spec, device.num_replicas)
    self._config = config
    self.env_spec = env_spec
    self._has_warned = False
    self._num_tasks = len(env_spec.task_names)
    num_numbers = len(env_spec.action_box.low)
    self._target_entropy = -config.target_entropy_scale * num_numbers
    self._support = categorical.make_support(config.num_atoms, config.v_max)
    self.normalizer = reward_normalizer.RewardNormalizer(
      self._num_tasks, config.discounting
    )
    with device.scope():
      self.networks = Networks(config, env_spec)
      self._create_variables()
    # Traced once, though called for each of U batches.
    self._step = tf.function(self.gradient_step, autograph=False)
    self._update = device.compile_part(self._update)
    self._act = device.compile_act(self._act)
    self._value = device.compile_act(self.networks.greedy_values)
    self._measure = device.compile_part(self._measure)

  def _create_variables(self):
    config, networks = self._config, self.networks
    self._critic_variables = networks.critic_variables
    self._target_variables = networks.target_variables
    self._actor_variables = list(networks.actor.trainable_variables)
    self.log_temperature = tf.Variable(
      math.log(config.initial_temperature), name='log_temperature'
    )
    # H of each task; the official code's until it was measured.
    self.entropies = tf.Variable(
      tf.fill([self._num_tasks], -self._target_entropy / 2.0),
      trainable=False,
      name='entropies',
    )
    adamw = functools.partial(AdamW, weight_decay=config.weight_decay)
    self.critic_optimizer = adamw(
      self._critic_variables, config.critic_learning_rate, name='critic_adamw'
    )
    self.actor_optimizer = adamw(
      self._actor_variables, config.actor_learning_rate, name='actor_adamw'
    )
    self.temperature_optimizer = AdamW(
      [self.log_temperature],
      config.temperature_learning_rate,
      beta_1=config.temperature_beta_1,
      name='temperature_adam',
    )

  # Learning.

  def update(
    self, batches: Transitions, num_updates: int
  ) -> dict[str, tf.Tensor]:
    """Makes one gradient step with each of U batches.

    Args:
      batches: arrays [U, B, ...], rewards raw.
      num_updates: gradient steps made so far; with the config's seed it says
        which noise is drawn.

    Returns:
      Scalars of the last step; `outside_support`, of all of them.
    """
    seed = np.array([self._config.seed, num_updates], np.int32)
    metrics = self._update(
      Transitions(*map(tf.constant, batches)),
      tf.constant(self.normalizer.greatest),
      tf.constant(seed),
    )
    if not self._has_warned and num_updates % 1000 < len(batches.reward):
      self._warn(metrics['outside_support'])
    return metrics

  def _warn(self, num_outside):
    if num_outside:
      self._has_warned = True
      print(
        f'warning: {num_outside:.0f} rewards of a batch lie outside of the '
        f'support of +-{self._config.v_max:g}: raise --v_max, or normalise '
        'them; updates.csv counts them as outside_support',
        flush=True,
      )

  def _update(self, batches, greatest, seed):
    """Does what `update` says, with G [n]."""
    rewards = self._normalise(batches.reward, batches.task_id, greatest)
    num_steps, batch_size = batches.reward.shape
    shape = [num_steps, 2, batch_size, len(self.env_spec.action_box.low)]
    noise = tf.random.stateless_normal(shape, seed, alg='philox')
    outside = tf.abs(rewards) > self._config.v_max
    num_outside = tf.reduce_sum(tf.cast(outside, tf.float32))
    batches = batches._replace(reward=rewards)
    for i in range(num_steps):
      batch = Transitions(*(x[i] for x in batches))
      metrics = self._step(batch, noise[i, 0], noise[i, 1])
    return {**metrics, 'outside_support': num_outside}

  def _normalise(self, rewards, task_id, greatest):
    """Normalises raw rewards (equation 3) with G [n]."""
    if not self._config.normalise_rewards:
      return rewards
    denominators = self._denominators(greatest)
    return rewards / tf.gather(denominators, task_id)

  def _denominators(self, greatest):
    """Returns what rewards are divided by, float32 [n]."""
    config = self._config
    entropies = tf.constant(-self._target_entropy / 2.0)
    if config.entropy_correction == 'empirical':
      # D3: a policy of negative entropy adds nothing to a return.
      entropies = tf.maximum(self.entropies, 0.0)
    temperature = tf.exp(self.log_temperature)
    return reward_normalizer.denominators(
      greatest, temperature, entropies, config.discounting, config.v_max
    )

  def gradient_step(
    self, batch: Transitions, next_noise: tf.Tensor, noise: tf.Tensor
  ) -> dict[str, tf.Tensor]:
    """Updates critics, target, actor and temperature once.

    Args:
      batch: tensors [B, ...], rewards normalised.
      next_noise: standard normal [B, D], of the target's actions.
      noise: the same, of the actor's loss.

    Returns:
      Scalars; entropy and temperature are those before their step.
    """
    if self.networks.statistics is not None:
      self.networks.statistics.update(batch.features)
    batch = self.networks.scale_batch(batch)
    critic_metrics = self._critic_step(batch, next_noise)
    for target, online in zip(
      self._target_variables, self._critic_variables, strict=True
    ):
      polyak = self._config.polyak
      target.assign(polyak * online + (1.0 - polyak) * target)
    # With the new critics and embeddings (spec of the official code).
    actor_metrics, entropy = self._actor_step(batch, noise)
    temperature = tf.exp(self.log_temperature)
    excess = entropy - self._target_entropy
    self.temperature_optimizer.apply([temperature * excess])
    metrics = {
      **critic_metrics,
      **actor_metrics,
      'temperature_loss': temperature * excess,
      'temperature': temperature,
      'entropy': entropy,
      'reward_mean': tf.reduce_mean(batch.reward),
    }
    losses = [metrics[f'{x}_loss'] for x in ('critic', 'actor', 'temperature')]
    return dict(total_loss=tf.add_n(losses), **metrics)

  def _critic_step(self, batch, noise):
    """Makes the critics' step."""
    target = self.critic_target(batch, noise)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch(self._critic_variables)
      losses, values = self.critic_losses(batch, target)
      loss = tf.reduce_mean(losses)
    gradients = tape.gradient(loss, self._critic_variables)
    self.critic_optimizer.apply(gradients)
    return dict(
      critic_loss=loss,
      gradient_norm=tf.linalg.global_norm(gradients),
      q_mean=tf.reduce_mean(values),
      q_min=tf.reduce_min(values),
      q_max=tf.reduce_max(values),
    )

  def critic_target(self, batch: Transitions, noise: tf.Tensor) -> tf.Tensor:
    """Returns what critics regress to: [B, N], or [B] with squared errors.

    The next action comes from the online actor with the online embedding.
    """
    task_id = batch.task_id
    networks = self.networks
    action, log_prob = networks.sample(batch.next_features, task_id, noise)
    outputs = networks.criticise(
      batch.next_features, action, task_id, is_target=True
    )
    discounts = self._config.discounting * batch.goes_on
    costs = tf.exp(self.log_temperature) * log_prob
    if self._config.loss == 'cross_entropy':
      return categorical.project(
        categorical.mixture(outputs),
        *(batch.reward, discounts, costs, self._support),
      )
    return batch.reward + discounts * (networks.values(outputs) - costs)

  def critic_losses(
    self, batch: Transitions, target: tf.Tensor
  ) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the critics' loss of each row, [B], and their values, [B]."""
    outputs = self.networks.criticise(
      batch.features, batch.action, batch.task_id
    )
    values = self.networks.values(outputs)
    if self._config.loss == 'cross_entropy':
      return categorical.cross_entropy_loss(outputs, target), values
    return categorical.squared_error_loss(outputs[..., 0], target), values

  def _actor_step(self, batch, noise):
    """Makes the actor's step; also returns its entropy before it."""
    config, networks = self._config, self.networks
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch(self._actor_variables)
      action, log_prob = networks.sample(batch.features, batch.task_id, noise)
      values = networks.values(
        networks.criticise(batch.features, action, batch.task_id)
      )
      temperature = tf.exp(self.log_temperature)
      loss = tf.reduce_mean(temperature * log_prob - values)
      if config.behaviour_cloning_cost:
        distance = tf.reduce_sum(tf.square(action - batch.action), axis=1)
        loss += config.behaviour_cloning_cost * tf.reduce_mean(distance)
    gradients = tape.gradient(loss, self._actor_variables)
    self.actor_optimizer.apply(gradients)
    if config.entropy_correction == 'empirical':
      moved = reward_normalizer.moving_entropies(
        self.entropies, log_prob, batch.task_id
      )
      self.entropies.assign(moved)
    metrics = dict(
      actor_loss=loss, actor_gradient_norm=tf.linalg.global_norm(gradients)
    )
    return metrics, -tf.reduce_mean(log_prob)

  def measure(
    self, batches: Transitions, step: int
  ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Measures how the tasks differ, on a batch of each; changes nothing.

    Args:
      batches: arrays [n, B, ...], rewards raw.
      step: says with the config's seed which noise is drawn.

    Returns:
      Share of conflicting pairs and relative variances; and by name what was
      measured of each task, [n].
    """
    greatest = tf.constant(self.normalizer.greatest)
    seed = tf.constant([self._config.seed, step], tf.int32)
    return task_measures.summarise(
      self._measure(Transitions(*(x[i] for x in batches)), greatest, seed)
      for i in range(self._num_tasks)
    )

  def _measure(self, batch, greatest, seed):
    """Returns loss, entropy and the critics' flat gradient of a batch."""
    noise = tf.random.stateless_normal(batch.action.shape, seed, alg='philox')
    batch = self.prepare(batch, greatest)
    return task_measures.of_task(self, batch, noise, self._critic_variables)

  def prepare(self, batch: Transitions, greatest: tf.Tensor) -> Transitions:
    """Makes raw transitions [B, ...] ready for the networks, with G [n]."""
    rewards = self._normalise(batch.reward, batch.task_id, greatest)
    return self.networks.scale_batch(batch)._replace(reward=rewards)

  def describe_tasks(self) -> dict[str, dict[str, float]]:
    """Returns by task what the records show of it."""
    greatest = self.normalizer.greatest
    divided_by = self._denominators(tf.constant(greatest)).numpy()
    return {
      name: dict(
        greatest_return=float(greatest[i]),
        reward_denominator=float(divided_by[i]),
      )
      for i, name in enumerate(self.env_spec.task_names)
    }

  # Acting.

  def explore(
    self, task_id: np.ndarray, features: np.ndarray, seed: np.ndarray
  ) -> np.ndarray:
    """Samples actions between -1 and 1, float32 [N, D].

    Args:
      task_id: int32 [N].
      features: float32 [N, F].
      seed: int32 [2], of the sampling.
    """
    inputs = map(tf.constant, (task_id, features, seed))
    return self._act(*inputs, tf.constant(1.0)).numpy()

  def act(self, task_id, last_action, env_output, core_state, seed):
    """Returns the greedy action tanh(mean); see `core.evaluation.episodes`."""
    del last_action
    features = env_output.observation.features
    action = self._act(task_id, features, seed, tf.constant(0.0))
    action = self.env_spec.action_box.stretch(action)
    return AgentOutput(action, ()), core_state

  def _act(self, task_id, features, seed, std_scale):
    shape = [tf.shape(features)[0], len(self.env_spec.action_box.low)]
    noise = tf.random.stateless_normal(shape, seed, alg='philox')
    features = self.networks.scale(features)
    return self.networks.sample(features, task_id, std_scale * noise)[0]

  def initial_state(self, batch_size: int) -> tuple[()]:
    """Returns no state: nothing is recurrent."""
    del batch_size
    return ()

  def observe(
    self,
    task_id: np.ndarray,
    reward: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    last_features: np.ndarray,
  ) -> None:
    """Takes in one step of every task, for the normalisation of rewards.

    Args:
      task_id: int32 [n].
      reward: raw, [n].
      terminated: bool [n].
      truncated: bool [n].
      last_features: float32 [n, F], after the step, before any reset.
    """
    bootstraps = None
    if self._config.return_bootstrap == 'critic' and np.any(truncated):
      values = self._value(*map(tf.constant, (last_features, task_id)))
      # D2: not finite before the first episode ended.
      greatest = tf.constant(self.normalizer.greatest)
      bootstraps = (values * self._denominators(greatest)).numpy()
    self.normalizer.add(reward, terminated, truncated, bootstraps)

  # State for checkpoints.

  def variables(self) -> dict[str, tf.Variable]:
    """Returns every variable by a name that stays the same between runs."""
    others = [self.log_temperature, self.entropies]
    if self.networks.statistics is not None:
      others += self.networks.statistics.variables
    online = [*self._critic_variables, *self._actor_variables, *others]
    named = {_name(v): v for v in online}
    named |= {f'target_{_name(v)}': v for v in self._target_variables}
    for name in ('critic', 'actor', 'temperature'):
      named |= getattr(self, f'{name}_optimizer').named_variables()
    return named

  def get_state(self) -> dict[str, np.ndarray]:
    """Returns what is no variable."""
    return self.normalizer.get_state()

  def set_state(self, state: dict[str, np.ndarray]) -> None:
    """Goes on from `get_state`."""
    self.normalizer.set_state(state)

  def begin_episodes(self) -> None:
    """Notes that episodes begin anew."""
    self.normalizer.begin_episodes()


def _name(variable):
  return variable.name.removesuffix(':0')
