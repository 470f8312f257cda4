"""Tests of prl/agent.py."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from core.errors import UserError
from core.types import EnvOutput, Observation
from tests.prl import small

NUM_CASES, HORIZON = 256, 4


def cases(num_cases, seed=0):
  """Boards of Catch whose ball falls into the paddle, or not, at some step."""
  rng = np.random.default_rng(seed)
  frames = np.zeros([num_cases, 20, 20, 1], np.uint8)
  actions = rng.integers(0, 3, (num_cases, HORIZON), np.int32)
  labels = np.zeros([num_cases, HORIZON, 2], bool)
  for i, (row, ball, paddle) in enumerate(rng.integers(0, 5, (num_cases, 3))):
    row = row + 5  # The ball lands within the horizon, or nearly.
    frames[i, 2 * row : 2 * row + 2, 4 * ball : 4 * ball + 4] = 255
    frames[i, 18:20, 4 * paddle : 4 * paddle + 4] = 255
    for j, action in enumerate(actions[i]):
      row, paddle = row + 1, np.clip(paddle + action - 1, 0, 4)
      if row == 9:
        labels[i, j:, int(paddle == ball)] = True
  return frames, actions, labels


def output(frames, done=False):
  num_games = len(frames)
  return EnvOutput(
    (), (), tf.fill([num_games], done), Observation(tf.constant(frames))
  )


class LossTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.agent = small.make_agent(small.config())
    self.cases = cases(8)

  def test_equals_the_papers_sum(self):
    frames, actions, labels = self.cases
    controls = tf.gather(self.agent.controls, actions)
    logits = self.agent.network(frames, controls, is_training=True)
    y = 1 / (1 + np.exp(-logits.numpy().astype(np.float64)))
    by_output = [0.0, 0.0]
    for b in range(8):
      for j in range(HORIZON):
        for o in range(2):
          r = float(labels[b, j, o])
          term = r * np.log(y[b, j, o]) + (1 - r) * np.log(1 - y[b, j, o])
          by_output[o] -= term / 8
    loss, metrics = self.agent.loss_fn(*map(tf.constant, self.cases))
    self.assertAlmostEqual(float(loss), sum(by_output), places=4)
    found = [float(metrics[f'{name}_loss']) for name in ('death', 'point')]
    np.testing.assert_allclose(found, by_output, rtol=1e-5)

  def test_every_weight_has_a_gradient(self):
    weights = self.agent.network.trainable_variables
    with tf.GradientTape() as tape:
      loss, _ = self.agent.loss_fn(*map(tf.constant, self.cases))
    for gradient, weight in zip(
      tape.gradient(loss, weights), weights, strict=True
    ):
      self.assertGreater(np.abs(gradient).max(), 0, weight.name)


class UpdateTest(absltest.TestCase):
  def test_learns_256_cases_by_heart(self):
    agent = small.make_agent(
      small.config(state_size=32, hidden_size=64, weight_decay=0.0)
    )
    batch = tuple(map(tf.constant, cases(NUM_CASES)))
    rate, losses = tf.constant(3e-3), []
    for _ in range(150):
      losses.append(float(agent.update(*batch, rate)['total_loss']))
    self.assertAlmostEqual(losses[0], 2 * HORIZON * np.log(2), delta=1.5)
    # Per step and output, as the papers' mean cross-entropy.
    self.assertLess(losses[-1] / (2 * HORIZON), 0.05)
    # Planning has running statistics, which must not spoil it.
    logits = agent.predict(*batch[:2]).numpy()
    wrong = np.mean((logits > 0) != batch[2].numpy())
    self.assertLess(wrong, 0.03)
    self.assertEqual(agent.update.experimental_get_tracing_count(), 1)

  def test_one_step_is_adams_with_clamp_and_decay(self):
    config = small.config(weight_decay=0.5, gradient_clamp=1e-3)
    agent = small.make_agent(config)
    batch = tuple(map(tf.constant, cases(16)))
    weights = agent.network.trainable_variables
    before = [w.numpy() for w in weights]
    with tf.GradientTape() as tape:
      loss, _ = agent.loss_fn(*batch)
    gradients = [g.numpy() for g in tape.gradient(loss, weights)]
    self.assertGreater(max(np.abs(g).max() for g in gradients), 1e-3)
    agent.update(*batch, tf.constant(0.01))
    for old, new, gradient in zip(before, weights, gradients, strict=True):
      gradient = np.clip(gradient, -1e-3, 1e-3)
      if old.ndim > 1:  # Not of biases and gains.
        gradient = gradient + 0.5 * old
      # Adam's first step: both moments are their gradients'.
      step = 0.01 * gradient / (np.abs(gradient) + 1e-8)
      is_clear = np.abs(gradient) > 2e-5  # Else rounding decides.
      np.testing.assert_allclose(
        (old - new.numpy())[is_clear], step[is_clear], rtol=1e-2
      )

  def test_learning_rate_has_stages_and_halves(self):
    agent = small.make_agent(
      small.config(learning_rate='1:1e-3/4:5e-4', halve_after=0.5)
    )
    rates = [
      agent.learning_rate(iteration, update, 10)
      for iteration, update in ((1, 0), (1, 4), (1, 5), (3, 9), (4, 0), (9, 9))
    ]
    expected = [1e-3, 1e-3, 5e-4, 5e-4, 5e-4, 2.5e-4]
    np.testing.assert_allclose(rates, expected)


class ActTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.agent = small.make_agent(small.config(num_candidates='2:5/3:9'))
    cls.frames = cases(6)[0]

  def _act(self, task_id=0, done=False, state=None, frames=None, seed=(1, 2)):
    frames = self.frames if frames is None else frames
    return self.agent.act(
      tf.fill([len(frames)], task_id),
      tf.zeros([len(frames)], tf.int32),
      output(frames, done),
      state or self.agent.initial_state(len(frames)),
      tf.constant(seed),
    )

  def test_plays_the_first_action_of_its_plan(self):
    found, plan = self._act()
    np.testing.assert_array_equal(found.action, plan.sequence[:, 0])
    self.assertEqual(plan.probabilities.shape, (6, HORIZON, 2))
    logits = self.agent.predict(tf.constant(self.frames), plan.sequence)
    np.testing.assert_allclose(
      plan.probabilities, tf.sigmoid(logits), rtol=1e-4
    )

  def test_is_the_safest_of_the_candidates(self):
    # k_s grows with the iterations, and with it the choice.
    self.addCleanup(self.agent.iteration.assign, 0)
    for weight in self.agent.network.prediction.trainable_variables:
      self.addCleanup(weight.assign, weight.numpy())
      weight.assign(5.0 * weight)  # Controls matter to this network.
    means = []
    for iteration in (1, 2):
      self.agent.iteration.assign(iteration)
      death = [
        self._act(seed=(s, 2))[1].probabilities[:, -1, 0] for s in range(20)
      ]
      means.append(np.mean(death))
    self.assertEqual(self.agent.num_candidates, 9)
    self.assertLess(means[1], means[0])

  def test_a_new_game_forgets_the_plan(self):
    kept = self.agent.initial_state(6)._replace(
      sequence=tf.zeros([6, HORIZON], tf.int32)
    )
    fresh, _ = self._act()
    after_end, _ = self._act(done=True, state=kept)
    np.testing.assert_array_equal(after_end.action, fresh.action)

  def test_games_do_not_see_each_other(self):
    _, plan = self._act()
    other = self.frames.copy()
    other[1:] = 255 - other[1:]
    _, changed = self._act(frames=other)
    np.testing.assert_array_equal(plan.sequence[0], changed.sequence[0])

  def test_variables_have_names_of_their_own(self):
    variables = self.agent.variables()
    self.assertLen({id(v) for v in variables.values()}, len(variables))
    wanted = {id(v) for v in self.agent.network.variables}
    wanted |= {id(v) for v in self.agent.optimizer.m + self.agent.optimizer.v}
    self.assertContainsSubset(wanted, {id(v) for v in variables.values()})


class WrongInputTest(parameterized.TestCase):
  @parameterized.parameters(
    (dict(num_candidates='1'), 'k_s must be a whole number of at least 2'),
    (dict(num_candidates='2:25/8:1'), 'not 1'),
    (dict(num_candidates='2:a'), '--num_candidates: 2:a is not'),
    (dict(num_candidates='5:10/2:20'), 'do not rise'),
    (dict(test_num_candidates=1), 'at least 2'),
    (dict(learning_rate='0:1'), '--learning_rate: 0:1 is not'),
    (dict(survival_thresholds='pong=1.5'), '1.5 of pong is no probability'),
    (dict(survival_thresholds='pong'), 'pong is not game=value'),
    (dict(strategy='mirrored'), 'one device'),
    (dict(precision='bfloat16'), 'float32'),
    (dict(perception='residual'), 'too small'),
    (dict(level_name='gym:CartPole-v1'), 'sees frames'),
    (dict(level_name='two_rooms/1/12'), 'two_rooms/1/12'),
  )
  def test_is_refused_in_a_line(self, changes, message):
    with self.assertRaisesRegex(UserError, message):
      small.make_agent(small.config(**changes))

  def test_games_with_buttons_of_their_own(self):
    with self.assertRaisesRegex(UserError, 'full_action_space'):
      small.make_agent(
        small.config(level_name='pong,breakout', perception='plain')
      )


if __name__ == '__main__':
  absltest.main()
