"""BRC on frames: DrQ(eps) with a big categorical critic for many games.

Nauman et al. 2025 (arXiv:2505.23150) on DrQ(eps), Agarwal et al. 2021
(arXiv:2108.13264), which is DrQ, Yarats et al. 2021 (arXiv:2004.13649), without
noisy networks. The authors released no code of this half.
"""

import functools

import numpy as np
import tensorflow as tf

from brc import augmentation, categorical, n_step, task_measures
from brc import reward_normalizer as normalizing
from brc.drq_config import Config, check
from brc.drq_networks import QNetwork
from core.device import Device
from core.networks.torsos import scale_frames
from core.optimizers import AdamW
from core.types import AgentOutput, EnvSpec, FrameTransitions


class Agent:
  """DrQ(eps) + BRC on tasks with frames and discrete actions.

  Attributes:
    env_spec: of the tasks.
    n_step: steps that a transition spans.
    online: the Q-network, embeddings of the tasks included.
    target: the one that follows it.
    normalizer: keeps the greatest return of each task.
    policy_name: of `act`, which evaluation uses.
  """

  def __init__(self, config: Config, env_spec: EnvSpec, device: Device):
    """Creates networks and optimiser on the device.

    Raises:
      UserError: the tasks or the devices are not for this agent.
    """
    check(config, env_spec, device.num_replicas)
    self._config = config
    self.env_spec = env_spec
    self.n_step = config.n_step
    self.policy_name = f'epsilon-greedy policy ({config.evaluation_epsilon:g})'
    self._has_warned = False
    self._num_tasks = len(env_spec.task_names)
    self._support = categorical.make_support(config.num_atoms, config.v_max)
    self.normalizer = normalizing.RewardNormalizer(
      self._num_tasks, config.discounting
    )
    with device.scope():
      self.online = QNetwork(config, env_spec)
      self.target = QNetwork(config, env_spec)
      self._variables = list(self.online.trainable_variables)
      self._target_variables = list(self.target.trainable_variables)
      for target, online in self._pairs():
        target.assign(online)
      self.optimizer = AdamW(
        self._variables,
        config.learning_rate,
        epsilon=config.adam_epsilon,
        weight_decay=config.weight_decay,
        name='adamw',
      )
    # Fused by XLA on a CPU too, where its convolutions are slow.
    self._augment = device.compile_part(self._augment)
    self._scale = device.compile_part(
      functools.partial(scale_frames, channels_first=env_spec.channels_first)
    )
    self._apply = device.compile_part(self._apply)
    compile_whole = device.compile_act
    # Traced once, though called for each of U batches.
    self._step = compile_whole(self.gradient_step)
    self._update = compile_whole(self._update)
    self._act = compile_whole(self._act)
    self._value = compile_whole(self._value)
    self._measure = compile_whole(self._measure)

  def _pairs(self):
    """Returns each variable of the target with the one that it follows."""
    return zip(self._target_variables, self._variables, strict=True)

  # Learning.

  def update(
    self, batches: FrameTransitions, num_updates: int
  ) -> dict[str, tf.Tensor]:
    """Makes one gradient step with each of U batches.

    Args:
      batches: arrays [U, B, ...], rewards raw.
      num_updates: gradient steps made so far; with the config's seed it says
        how frames are augmented.

    Returns:
      Scalars of the last step; `outside_support`, of all of them.
    """
    seed = np.array([self._config.seed, num_updates], np.int32)
    metrics = self._update(
      FrameTransitions(*map(tf.constant, batches)),
      tf.constant(self.normalizer.greatest),
      tf.constant(seed),
    )
    if not self._has_warned and num_updates % 1000 < len(batches.action):
      self._warn(metrics['outside_support'])
    return metrics

  def _warn(self, num_outside):
    if num_outside:
      self._has_warned = True
      print(
        f'warning: {num_outside:.0f} n-step returns of a batch lie outside of '
        f'the support of +-{self._config.v_max:g}: raise --v_max, or normalise '
        'rewards; updates.csv counts them as outside_support',
        flush=True,
      )

  def _update(self, batches, greatest, seed):
    """Does what `update` says, with G [n]."""
    rewards = self._normalise(batches.rewards, batches.task_id, greatest)
    batches = batches._replace(rewards=rewards)
    num_steps, batch_size = batches.action.shape
    shape = [num_steps, 2, batch_size]
    draws = augmentation.draw(shape, seed, self._config.shift_pixels)
    num_outside = 0.0
    for i in range(num_steps):
      batch = FrameTransitions(*(x[i] for x in batches))
      metrics = self._step(batch, *(x[i] for x in draws))
      num_outside += metrics['outside_support']
    return {**metrics, 'outside_support': num_outside}

  def _normalise(self, rewards, task_id, greatest):
    """Normalises raw rewards [..., n] (equation 3) with G [n]."""
    if not self._config.normalise_rewards:
      return rewards
    return rewards / tf.gather(self._denominators(greatest), task_id)[..., None]

  def _denominators(self, greatest):
    """Returns what rewards are divided by, float32 [n]; there is no entropy.

    D20: infinite also while no finished episode had a reward.
    """
    config = self._config
    greatest = tf.where(greatest > 0.0, greatest, np.inf)
    return normalizing.denominators(
      *(greatest, 0.0, 0.0), config.discounting, config.v_max
    )

  def gradient_step(
    self, batch: FrameTransitions, offsets: tf.Tensor, noise: tf.Tensor
  ) -> dict[str, tf.Tensor]:
    """Updates the network, then its target.

    Args:
      batch: tensors [B, ...], rewards normalised.
      offsets: int32 [2, B, 2], shifts of frames and next frames.
      noise: standard normal [2, B], of their intensities.

    Returns:
      Scalars.
    """
    batch = self.prepare(batch, offsets, noise)
    target, num_outside = self.critic_target(batch)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch(self._variables)
      losses, values = self.critic_losses(batch, target)
      loss = tf.reduce_mean(losses)
    gradients = tape.gradient(loss, self._variables)
    self._apply(gradients)
    return dict(
      total_loss=loss,
      gradient_norm=tf.linalg.global_norm(gradients),
      q_mean=tf.reduce_mean(values),
      q_min=tf.reduce_min(values),
      q_max=tf.reduce_max(values),
      reward_mean=tf.reduce_mean(batch.rewards[:, 0]),
      outside_support=num_outside,
    )

  def _apply(self, gradients):
    """Makes the optimiser's step; the target follows."""
    self.optimizer.apply(gradients)
    polyak = self._config.polyak
    for target, online in self._pairs():
      target.assign(polyak * online + (1.0 - polyak) * target)

  def prepare(
    self, batch: FrameTransitions, offsets: tf.Tensor, noise: tf.Tensor
  ) -> FrameTransitions:
    """Makes frames ready for the network: float32 [B, H, W, C] near [0, 1]."""
    if not self._config.augmentation:
      frame, next_frame = map(self._scale, (batch.frame, batch.next_frame))
    else:
      frame = self._augment(batch.frame, offsets[0], noise[0])
      next_frame = self._augment(batch.next_frame, offsets[1], noise[1])
    return batch._replace(frame=frame, next_frame=next_frame)

  def _augment(self, frames, offsets, noise):
    config = self._config
    if self.env_spec.channels_first:
      frames = tf.transpose(frames, [0, 2, 3, 1])
    shifted = augmentation.shift(frames, offsets, config.shift_pixels)
    scales = augmentation.intensities(noise, config.intensity_scale) / 255.0
    return tf.cast(shifted, tf.float32) * scales[:, None, None, None]

  def critic_target(
    self, batch: FrameTransitions
  ) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns what the network regresses to: [B, N], or [B] with mse.

    Also how many n-step returns lie outside of the support. Neither carries a
    gradient.
    """
    config, target = self._config, self.target
    returns = n_step.returns(batch.rewards, config.discounting)
    discounts = n_step.discounts(
      batch.num_steps, batch.goes_on, config.discounting
    )
    outputs = target(batch.next_frame, batch.task_id)
    chosen_by = outputs
    if config.double_q:
      chosen_by = self.online(batch.next_frame, batch.task_id)
    action = tf.argmax(target.values(chosen_by), axis=1, output_type=tf.int32)
    outputs = tf.gather(outputs, action, axis=1, batch_dims=1)
    outside = tf.abs(returns) > config.v_max
    num_outside = tf.reduce_sum(tf.cast(outside, tf.float32))
    if config.loss == 'cross_entropy':
      projected = categorical.project(
        tf.nn.softmax(outputs),
        *(returns, discounts, tf.zeros_like(returns), self._support),
      )
      return projected, num_outside
    values = returns + discounts * target.values(outputs)
    return tf.stop_gradient(values), num_outside

  def critic_losses(
    self, batch: FrameTransitions, target: tf.Tensor
  ) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the loss of each row, [B], and the value of its action, [B]."""
    outputs = self.online(batch.frame, batch.task_id)
    outputs = tf.gather(outputs, batch.action, axis=1, batch_dims=1)
    values = self.online.values(outputs)
    if self._config.loss == 'cross_entropy':
      return categorical.cross_entropy_loss(outputs[None], target), values
    return categorical.squared_error_loss(values[None], target), values

  def measure(
    self, batches: FrameTransitions, step: int
  ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Measures how the tasks differ, on a batch of each; changes nothing.

    Args:
      batches: arrays [n, B, ...], rewards raw.
      step: says with the config's seed how frames are augmented.

    Returns:
      Share of conflicting pairs and relative variances; and by name what was
      measured of each task, [n].
    """
    greatest = tf.constant(self.normalizer.greatest)
    seed = tf.constant([self._config.seed, step], tf.int32)
    measured = [
      self._measure(FrameTransitions(*(x[i] for x in batches)), greatest, seed)
      for i in range(self._num_tasks)
    ]
    losses, gradients = (np.stack(x) for x in zip(*measured, strict=True))
    return task_measures.compare(dict(td_loss=losses), gradients)

  def _measure(self, batch, greatest, seed):
    """Returns loss and flat gradient of a batch."""
    rewards = self._normalise(batch.rewards, batch.task_id, greatest)
    shape = [2, *batch.action.shape]
    draws = augmentation.draw(shape, seed, self._config.shift_pixels)
    batch = self.prepare(batch._replace(rewards=rewards), *draws)
    target, _ = self.critic_target(batch)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch(self._variables)
      loss = tf.reduce_mean(self.critic_losses(batch, target)[0])
    gradients = tape.gradient(loss, self._variables)
    return loss, tf.concat([tf.reshape(g, [-1]) for g in gradients], axis=0)

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
    self, task_id: np.ndarray, frames: np.ndarray, seed: np.ndarray
  ) -> np.ndarray:
    """Returns epsilon-greedy actions, int32 [N].

    Args:
      task_id: int32 [N].
      frames: uint8 [N, *frame_shape].
      seed: int32 [2], of the run, and the number of the step, which epsilon
        follows.
    """
    config = self._config
    share = n_step.epsilon(
      int(seed[1]),
      config.warm_up_steps,
      config.epsilon_decay_steps,
      config.final_epsilon,
    )
    inputs = map(tf.constant, (task_id, frames, seed))
    return self._act(*inputs, tf.constant(share, tf.float32)).numpy()

  def act(self, task_id, last_action, env_output, core_state, seed):
    """Acts with evaluation's epsilon; see `core.evaluation.episodes`."""
    del last_action
    frames = env_output.observation.frame
    share = tf.constant(self._config.evaluation_epsilon)
    action = self._act(task_id, frames, seed, share)
    return AgentOutput(action, ()), core_state

  def _act(self, task_id, frames, seed, share):
    shape, num_actions = tf.shape(task_id), self.env_spec.num_actions
    outputs = self.online(self._scale(frames), task_id)
    values = self.online.values(outputs)
    greedy = tf.argmax(values, axis=1, output_type=tf.int32)
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    is_random = tf.random.stateless_uniform(shape, seeds[0], alg='philox')
    action = tf.random.stateless_uniform(
      shape, seeds[1], 0, num_actions, tf.int32, alg='philox'
    )
    return tf.where(is_random < share, action, greedy)

  def _value(self, frames, task_id):
    """Returns the greedy action's value, [N], in normalised rewards."""
    outputs = self.online(self._scale(frames), task_id)
    return tf.reduce_max(self.online.values(outputs), axis=1)

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
    last_frames: np.ndarray,
  ) -> None:
    """Takes in one step of every task, for the normalisation of rewards.

    Args:
      task_id: int32 [n].
      reward: raw, [n].
      terminated: bool [n], also where a life was lost.
      truncated: bool [n].
      last_frames: uint8 [n, *frame_shape], after the step, before any reset.
    """
    bootstraps = None
    if self._config.return_bootstrap == 'critic' and np.any(truncated):
      values = self._value(*map(tf.constant, (last_frames, task_id)))
      # D2: not finite before the first episode ended.
      greatest = tf.constant(self.normalizer.greatest)
      bootstraps = (values * self._denominators(greatest)).numpy()
    self.normalizer.add(reward, terminated, truncated, bootstraps)

  # State for checkpoints.

  def variables(self) -> dict[str, tf.Variable]:
    """Returns every variable by a name that stays the same between runs."""
    named = {_name(v): v for v in self._variables}
    named |= {f'target_{_name(v)}': v for v in self._target_variables}
    return named | self.optimizer.named_variables()

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
