"""Tests of the learner and the evaluation in distral/tabular.py."""

import numpy as np
from absl.testing import absltest, parameterized

from distral import tabular
from distral.tabular import TabularConfig, Tasks


def random_tasks(rng, num_seeds, num_tasks, max_steps=7):
  """Returns deterministic tasks with 6 states and 3 actions."""
  shape = num_seeds, num_tasks, 6, 3
  return Tasks(
    next_state=rng.integers(6, size=[6, 3]),
    rewards=rng.normal(size=shape),
    is_last=rng.random(shape) < 0.1,
    starts=rng.integers(6, size=[num_seeds, num_tasks, 2]),
    max_steps=max_steps,
  )


def generators(num_seeds):
  return [np.random.default_rng(seed) for seed in range(num_seeds)]


def pick(probabilities, uniform):
  """Inverts the distribution function by adding up."""
  total = 0.0
  for action, probability in enumerate(probabilities):
    total += probability
    if uniform < total:
      return action
  return len(probabilities) - 1


class SlowLearner:
  """One seed, one task after another, equations as printed."""

  def __init__(self, tasks, config, is_distilled, rng):
    self.tasks, self.config, self.is_distilled = tasks, config, is_distilled
    self.rng = rng
    num_tasks, num_states, num_actions = tasks.rewards.shape[1:]
    self.q = np.zeros([num_tasks, num_states, num_actions])
    self.counts = np.zeros([num_states, num_actions])
    self.prior = np.full(self.counts.shape, 1 / num_actions)
    self.num_steps = [0] * num_tasks
    self.state = [
      self.start(i, u) for i, u in enumerate(rng.random([num_tasks]))
    ]

  def start(self, i, uniform):
    return self.tasks.starts[0, i, int(2 * uniform)]

  def value(self, i, state):  # Equation 2.
    c = self.config
    terms = self.prior[state] ** c.alpha * np.exp(c.beta * self.q[i, state])
    return np.log(terms.sum()) / c.beta

  def run_iteration(self):
    c, tasks = self.config, self.tasks
    num_tasks = len(self.state)
    uniforms = self.rng.random([2, c.rollout_length, num_tasks])
    self.counts = c.count_decay * self.counts
    for i in range(num_tasks):
      for t in range(c.rollout_length):
        state = self.state[i]
        advantages = self.q[i, state] - self.value(i, state)
        policy = self.prior[state] ** c.alpha * np.exp(c.beta * advantages)
        action = pick(policy, uniforms[0, t, i])
        next_state = tasks.next_state[state, action]
        is_last = tasks.is_last[0, i, state, action]
        target = tasks.rewards[0, i, state, action]
        if not is_last:
          target += c.discounting * self.value(i, next_state)
        q = self.q[i, state, action]
        self.q[i, state, action] = q + c.learning_rate * (target - q)
        self.counts[state, action] += 1
        self.num_steps[i] += 1
        self.state[i] = next_state
        if is_last or self.num_steps[i] == tasks.max_steps:
          self.num_steps[i] = 0
          self.state[i] = self.start(i, uniforms[1, t, i])
    if self.is_distilled:
      smoothed = self.counts + c.pseudocount
      self.prior = smoothed / smoothed.sum(axis=1, keepdims=True)


class LearnerTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('paper', TabularConfig(), True),
    (
      'all_different',
      TabularConfig(0.5, 3.0, 0.8, 0.3, 2.0, 4, 0.9),
      True,
    ),
    ('separate', TabularConfig(), False),
  )
  def test_against_one_task_after_another(self, config, is_distilled):
    tasks = random_tasks(np.random.default_rng(0), 1, 4)
    fast = tabular.Learner(tasks, config, is_distilled, generators(1))
    slow = SlowLearner(tasks, config, is_distilled, generators(1)[0])
    for _ in range(60):
      fast.run_iteration()
      slow.run_iteration()
    np.testing.assert_allclose(fast.q[0], slow.q, rtol=1e-9)
    np.testing.assert_allclose(fast.counts[0], slow.counts, rtol=1e-9)
    np.testing.assert_allclose(fast.prior[0], slow.prior, rtol=1e-9)

  def test_seeds_are_independent(self):
    tasks = random_tasks(np.random.default_rng(0), 3, 2)
    together = tabular.Learner(tasks, TabularConfig(), True, generators(3))
    last = Tasks(
      tasks.next_state, *(x[2:] for x in tasks[1:4]), tasks.max_steps
    )
    alone = tabular.Learner(last, TabularConfig(), True, generators(3)[2:])
    for _ in range(30):
      together.run_iteration()
      alone.run_iteration()
    np.testing.assert_array_equal(together.q[2], alone.q[0])
    np.testing.assert_array_equal(together.prior[2], alone.prior[0])

  def test_without_distillation_q_reaches_the_fixed_point(self):
    tasks = random_tasks(np.random.default_rng(8), 1, 2)
    tasks = tasks._replace(rewards=0.1 * tasks.rewards)  # Takes all actions.
    config = TabularConfig(discounting=0.8, learning_rate=1.0, beta=1.0)
    learner = tabular.Learner(tasks, config, False, generators(1))
    for _ in range(1000):
      learner.run_iteration()
    q = np.zeros([2, 6, 3])
    for _ in range(200):  # Equations 2 and 3; a cut episode has a next value.
      values = np.log(np.exp(q).mean(axis=-1))
      discount = 0.8 * ~tasks.is_last[0]
      q = tasks.rewards[0] + discount * values[:, tasks.next_state]
    was_taken = learner.q[0] != 0
    self.assertGreater(was_taken.mean(), 0.7)
    np.testing.assert_allclose(learner.q[0][was_taken], q[was_taken], atol=1e-8)
    np.testing.assert_array_equal(learner.prior, 1 / 3)

  def test_policies_are_those_of_equation_4(self):
    tasks = random_tasks(np.random.default_rng(0), 2, 3)
    learner = tabular.Learner(tasks, TabularConfig(), True, generators(2))
    for _ in range(5):
      learner.run_iteration()
    policies = learner.task_policies()
    expected = learner.prior[:, None] * np.exp(5 * learner.q)
    expected /= expected.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(policies, expected, rtol=1e-10)


class EvaluateTest(absltest.TestCase):
  def test_returns_and_lengths(self):
    # A line of 4 states, right or stay; task 0 ends at its end, task 1 never.
    next_state = np.array([[1, 0], [2, 1], [3, 2], [3, 3]])
    is_last = np.zeros([1, 2, 4, 2], bool)
    is_last[0, 0, 2, 0] = True
    rewards = np.full([1, 2, 4, 2], -0.5)
    rewards[0, 0, 2, 0] = 10.0
    starts = np.array([[[0, 1], [0, 0]]])
    tasks = Tasks(next_state, rewards, is_last, starts, max_steps=6)
    policies = np.zeros([1, 2, 4, 2])
    policies[..., 0] = 1.0
    result = tabular.evaluate(tasks, policies, 50, generators(1))
    lengths, returns = result.lengths[0], result.returns[0]
    self.assertEqual(set(lengths[0]), {2, 3})  # Both starts occur.
    np.testing.assert_allclose(returns[0], 10 - 0.5 * (lengths[0] - 1))
    np.testing.assert_array_equal(lengths[1], 6)
    np.testing.assert_allclose(returns[1], -3)

  def test_actions_are_sampled(self):
    next_state = np.zeros([1, 3], np.int64)
    rewards = np.array([0.0, 1.0, 100.0]).reshape([1, 1, 1, 3])
    tasks = Tasks(
      *(next_state, rewards, np.ones([1, 1, 1, 3], bool)),
      *(np.zeros([1, 1, 1], np.int64), 10),
    )
    policies = np.array([0.5, 0.3, 0.2]).reshape([1, 1, 1, 3])
    returns = tabular.evaluate(tasks, policies, 20_000, generators(1)).returns
    for reward, probability in ((0, 0.5), (1, 0.3), (100, 0.2)):
      self.assertAlmostEqual(
        (returns == reward).mean(), probability, delta=0.02
      )


if __name__ == '__main__':
  absltest.main()
