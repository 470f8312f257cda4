"""The PRL agent, in full (Mujika 2016, arXiv:1611.01457).

Reads top to bottom: variables, loss, update, acting, state for checkpoints.
"""

import numpy as np
import sonnet as snt
import tensorflow as tf

from core.device import Device
from core.errors import UserError
from core.suites.tasks import Tasks
from core.types import AgentOutput, EnvOutput, EnvSpec
from prl import config as configs
from prl import model as models
from prl import planner
from prl.config import Config
from prl.planner import Plan


class Agent:
  """A model of deaths and points, and a planner that plays by it.

  Attributes:
    env_spec: what the agent acts on.
    network: the Model.
    optimizer: Adam over its variables.
    iteration: int64 variable, iterations of the outer loop that are trained.
    controls: float32 [A, 3], what each action presses.
    latest_plan: the Plan of the last decisions, None before the first.
  """

  def __init__(self, config: Config, env_spec: EnvSpec, device: Device):
    """Creates network and optimiser on the device.

    Raises:
      UserError: the config or the tasks are none that PRL can play.
    """
    configs.check(config)
    self._config = config
    self.env_spec = env_spec
    self.latest_plan: Plan | None = None
    self.controls = tf.constant(_read_controls(config, env_spec), tf.float32)
    with device.scope():
      self.network = _make_model(config, env_spec)
      self.optimizer = snt.optimizers.Adam()
      self._learning_rate = tf.Variable(0.0, trainable=False)
      self.optimizer.learning_rate = self._learning_rate
      self.iteration = tf.Variable(0, trainable=False, dtype=tf.int64)
      self._create_variables()

    def compiled(function):
      return tf.function(
        function, autograph=False, jit_compile=device.compiles_all
      )

    self.update = compiled(self._update)
    self.predict = compiled(self._predict)
    self._plan = compiled(self._plan)

  def _create_variables(self):
    frames = tf.zeros([1, *self.env_spec.frame_shape], tf.uint8)
    controls = tf.zeros([1, self._config.horizon, models.NUM_CONTROLS])
    self.network(frames, controls, is_training=False)
    weights = self.network.trainable_variables
    self.optimizer.apply([tf.zeros_like(w) for w in weights], weights)
    self.optimizer.step.assign(0)  # That made the slots, and no step.

  # Learning.

  def learning_rate(
    self, iteration: int, update: int, num_updates: int
  ) -> float:
    """Returns the rate of an update.

    Args:
      iteration: of the outer loop, from 1.
      update: of the iteration, from 0.
      num_updates: of the iteration.
    """
    config = self._config
    rate = configs.at_iteration(
      'learning_rate', config.learning_rate, iteration
    )
    is_late = update >= config.halve_after * num_updates
    return 0.5 * rate if is_late else rate

  def loss_fn(
    self, frames: tf.Tensor, actions: tf.Tensor, labels: tf.Tensor
  ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Computes the loss of a batch of cases.

        L = -1/B sum_b sum_j sum_o [r log y + (1 - r) log(1 - y)]

    Args:
      frames: uint8 [B, *frame_shape].
      actions: int32 [B, horizon], c_{i+1} to c_{i+k}.
      labels: bool [B, horizon, 2], death and point.

    Returns:
      The loss, a sum over horizon and outputs and a mean over the batch, and
      its parts as scalars.
    """
    controls = tf.gather(self.controls, actions)
    logits = self.network(frames, controls, is_training=True)
    cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(
      tf.cast(labels, tf.float32), logits
    )
    death, point = tf.unstack(
      tf.reduce_sum(tf.reduce_mean(cross_entropy, axis=0), axis=0)
    )
    loss = death + point
    return loss, dict(total_loss=loss, death_loss=death, point_loss=point)

  def _update(self, frames, actions, labels, learning_rate):
    """Makes one update; the arguments are `loss_fn`'s and the rate."""
    weights = self.network.trainable_variables
    with tf.GradientTape() as tape:
      loss, metrics = self.loss_fn(frames, actions, labels)
    gradients = tape.gradient(loss, weights)
    norm = tf.linalg.global_norm(gradients)
    clamp = self._config.gradient_clamp
    if clamp:
      gradients = [tf.clip_by_value(g, -clamp, clamp) for g in gradients]
    # D9: after the clamp, as Torch's optimisers do; not of biases and gains.
    decay = self._config.weight_decay
    gradients = [
      g + decay * w if len(w.shape) > 1 else g
      for g, w in zip(gradients, weights, strict=True)
    ]
    self._learning_rate.assign(learning_rate)
    self.optimizer.apply(gradients, weights)
    return dict(metrics, gradient_norm=norm)

  def _predict(self, frames, actions):
    """Returns the logits [B, horizon, 2] of cases, with running statistics."""
    controls = tf.gather(self.controls, actions)
    return self.network(frames, controls, is_training=False)

  # Acting.

  def initial_state(self, num_games: int) -> Plan:
    """Returns the plan before the first step of `num_games` rows: none."""
    return planner.empty_plan(num_games, self._config.horizon)

  @property
  def num_candidates(self) -> int:
    """k_s of the next iteration's planner, or the test's."""
    if self._config.mode == 'test' and self._config.test_num_candidates:
      return self._config.test_num_candidates
    return configs.num_candidates(self._config, self._next_iteration)

  @property
  def policy_name(self) -> str:
    """What evaluation calls the way to play."""
    fire = self._config.fire_games
    return f'planner, best of {self.num_candidates} sequences' + (
      f', fire pressed after deaths in {fire}' if fire else ''
    )

  @property
  def survival_thresholds(self) -> list[float]:
    """What the next iteration's planner asks of sequences, per task."""
    return [
      configs.survival_threshold(self._config, name, self._next_iteration)
      for name in self.env_spec.task_names
    ]

  @property
  def _next_iteration(self):
    return int(self.iteration.numpy()) + 1

  def act(
    self,
    task_id: tf.Tensor,
    last_action: tf.Tensor,
    env_output: EnvOutput,
    core_state: Plan,
    seed: tf.Tensor,
    num_candidates: int | None = None,
  ) -> tuple[AgentOutput, Plan]:
    """Plans anew for each of N games and plays the first action.

    Args:
      task_id: int32 [N], for the survival threshold alone: the network is not
        told the game.
      last_action: int32 [N], not read.
      env_output: EnvOutput, each [N, ...].
      core_state: the Plan of the step before.
      seed: int32 [2], of the candidates.
      num_candidates: k_s; None: the schedule's.

    Returns:
      AgentOutput without logits, and the new Plan.
    """
    del last_action
    thresholds = tf.gather(
      tf.constant(self.survival_thresholds, tf.float32), task_id
    )
    plan = self._plan(
      env_output.observation.frame,
      env_output.done,
      core_state.sequence,
      thresholds,
      seed,
      num_candidates or self.num_candidates,
    )
    self.latest_plan = plan
    return AgentOutput(plan.sequence[:, 0], ()), plan

  def _plan(self, frames, done, previous, thresholds, seed, num_candidates):
    previous = tf.where(done[:, tf.newaxis], -1, previous)
    return planner.plan(
      lambda x: self.network.perception(x, is_training=False),
      self.network.unroll,
      lambda h: tf.sigmoid(self.network.valuation(h)),
      frames,
      previous,
      self.controls,
      thresholds,
      num_candidates,
      seed,
      self._config.compared,
    )

  # State for checkpoints.

  def variables(self) -> dict[str, tf.Variable]:
    """Returns every variable by a name that stays the same between runs."""
    named = {'iteration': self.iteration, 'adam_step': self.optimizer.step}
    weights = self.network.trainable_variables
    for kind, variables in (
      ('network', self.network.variables),
      ('adam_m', self.optimizer.m),
      ('adam_v', self.optimizer.v),
    ):
      names = variables if kind == 'network' else weights
      for i, (variable, of) in enumerate(zip(variables, names, strict=True)):
        named[f'{kind}/{i:03d}/{of.name.removesuffix(":0")}'] = variable
    return named


def _make_model(config, env_spec):
  try:
    perception = models.Perception(
      env_spec.frame_shape,
      env_spec.channels_first,
      config.perception,
      config.state_size,
      config.batch_norm_decay if config.batch_norm else None,
      config.perception_output,
    )
  except ValueError as error:
    raise UserError(f'--perception={config.perception}: {error}') from error
  if config.prediction == 'lstm':
    prediction = models.LstmPrediction(config.state_size)
  else:
    prediction = models.ResidualPrediction(
      config.state_size, config.hidden_size, config.prediction_relu
    )
  return models.Model(
    perception, prediction, models.Valuation(config.state_size)
  )


def _read_controls(config, env_spec):
  """Returns what the actions press, the same in all tasks."""
  if not env_spec.frame_shape or not env_spec.num_actions:
    raise UserError('PRL sees frames and plays discrete actions')
  tasks = Tasks(env_spec.task_names, config)
  tables = [tasks.controls(name) for name in tasks.names]
  for name, table in zip(tasks.names, tables, strict=True):
    if not np.array_equal(table, tables[0]):
      raise UserError(
        f'the actions of {name} press other things than those of '
        f'{tasks.names[0]}: add --full_action_space'
      )
  return tables[0]
