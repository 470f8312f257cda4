"""BRC: soft actor-critic with big, regularised, categorical critics.

Nauman et al. 2025 (arXiv:2505.23150) on Haarnoja et al. 2018
(arXiv:1812.05905). A gradient step updates the critics, their target, the actor
with the new critics, and the temperature, in the official code's order.
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from brc import categorical, reward_normalizer, task_measures
from brc.config import Config
from brc.networks import Networks
from core.device import Device
from core.errors import UserError
from core.optimizers import AdamW
from core.types import AgentOutput, EnvSpec, Transitions


class Noise(NamedTuple):
  """Standard normal numbers of a gradient step.

  Attributes:
    next_action: float32 [B, D], of the target's actions.
    action: float32 [B, D], of the actor's loss.
  """

  next_action: tf.Tensor
  action: tf.Tensor


class Agent:
  """SAC + BRC on tasks with feature vectors and continuous actions.

  Attributes:
    env_spec: of the tasks.
    networks: critics, their target, and the actor.
    normalizer: keeps the greatest return of each task.
    is_greedy: that `act`, which evaluation uses, does not sample.
  """

  is_greedy = True

  def __init__(self, config: Config, env_spec: EnvSpec, device: Device):
    """Creates networks and optimisers on the device.

    Raises:
      UserError: the tasks or the devices are not for this agent.
    """
    _check(env_spec, device)
    self._config = config
    self.env_spec = env_spec
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
    self._update = device.compile_part(self._update)
    self._act = device.compile_act(self._act)
    self._value = device.compile_act(self._value)
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
    decay = config.weight_decay
    self.critic_optimizer = AdamW(
      self._critic_variables,
      config.critic_learning_rate,
      weight_decay=decay,
      name='critic_adamw',
    )
    self.actor_optimizer = AdamW(
      self._actor_variables,
      config.actor_learning_rate,
      weight_decay=decay,
      name='actor_adamw',
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
    return self._update(
      Transitions(*map(tf.constant, batches)),
      tf.constant(self.normalizer.greatest),
      tf.constant(seed),
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
      metrics = self.gradient_step(batch, Noise(noise[i, 0], noise[i, 1]))
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
    self, batch: Transitions, noise: Noise
  ) -> dict[str, tf.Tensor]:
    """Updates critics, target, actor and temperature once.

    Args:
      batch: tensors [B, ...], rewards normalised.
      noise: of both samples of the policy.

    Returns:
      Scalars; entropy and temperature are those before their step.
    """
    if self.networks.statistics is not None:
      self.networks.statistics.update(batch.features)
    batch = self._scale(batch)
    critic_metrics = self._critic_step(batch, noise.next_action)
    for target, online in zip(
      self._target_variables, self._critic_variables, strict=True
    ):
      polyak = self._config.polyak
      target.assign(polyak * online + (1.0 - polyak) * target)
    # With the new critics and embeddings (spec of the official code).
    actor_metrics, entropy = self._actor_step(batch, noise.action)
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

  def _scale(self, batch):
    return batch._replace(
      features=self.networks.scale(batch.features),
      next_features=self.networks.scale(batch.next_features),
    )

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
      self._measure_entropies(log_prob, batch.task_id)
    metrics = dict(
      actor_loss=loss, actor_gradient_norm=tf.linalg.global_norm(gradients)
    )
    return metrics, -tf.reduce_mean(log_prob)

  def _measure_entropies(self, log_prob, task_id):
    """Moves H of the tasks in a batch a hundredth of the way (D3)."""
    n = self._num_tasks
    sums = tf.math.unsorted_segment_sum(-log_prob, task_id, n)
    counts = tf.math.unsorted_segment_sum(tf.ones_like(log_prob), task_id, n)
    means = tf.math.divide_no_nan(sums, counts)
    moved = self.entropies + 0.01 * (means - self.entropies)
    self.entropies.assign(tf.where(counts > 0.0, moved, self.entropies))

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
    batch = self._scale(batch)
    rewards = self._normalise(batch.reward, batch.task_id, greatest)
    batch = batch._replace(reward=rewards)
    return task_measures.of_task(self, batch, noise, self._critic_variables)

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
      values = self._value(tf.constant(task_id), tf.constant(last_features))
      # D2: not finite before the first episode ended.
      greatest = tf.constant(self.normalizer.greatest)
      bootstraps = (values * self._denominators(greatest)).numpy()
    self.normalizer.add(reward, terminated, truncated, bootstraps)

  def _value(self, task_id, features):
    """Returns Q of the greedy action, in units of normalised rewards, [n]."""
    networks = self.networks
    features = networks.scale(features)
    action = tf.tanh(networks.policy(features, task_id)[0])
    return networks.values(networks.criticise(features, action, task_id))

  # State for checkpoints.

  def variables(self) -> dict[str, tf.Variable]:
    """Returns every variable by a name that stays the same between runs."""
    online = {_name(v): v for v in self._critic_variables}
    target = {f'target_{_name(v)}': v for v in self._target_variables}
    actor = {_name(v): v for v in self._actor_variables}
    others = [self.log_temperature, self.entropies]
    if self.networks.statistics is not None:
      others += self.networks.statistics.variables
    named = {**online, **target, **actor, **{_name(v): v for v in others}}
    for optimizer in (
      self.critic_optimizer,
      self.actor_optimizer,
      self.temperature_optimizer,
    ):
      named |= optimizer.named_variables()
    return named

  def get_state(self) -> dict[str, np.ndarray]:
    """Returns what is no variable: the normaliser's arrays."""
    return self.normalizer.get_state()

  def set_state(self, state: dict[str, np.ndarray]) -> None:
    """Goes on from `get_state`."""
    self.normalizer.set_state(state)

  def begin_episodes(self) -> None:
    """Takes note that all episodes begin anew."""
    self.normalizer.begin_episodes()


def _name(variable):
  return variable.name.removesuffix(':0')


def _check(env_spec, device):
  """Refuses tasks and devices that the agent is not for."""
  first = env_spec.task_names[0]
  if env_spec.frame_shape or not env_spec.num_features:
    raise UserError(f'{first}: this agent sees feature vectors, not frames')
  if env_spec.action_box is None:
    raise UserError(f'{first} has discrete actions; BRC has continuous ones')
  if device.num_replicas > 1:
    raise UserError('BRC learns on one device: leave --strategy at one_device')
