"""Tests of distral/agent.py: losses, gradients and updates.

Acting is in acting_test.py; the algorithms at their limits in parity_test.py.
"""

import functools
from types import SimpleNamespace

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from core.errors import UserError
from core.experience.timing import Timer
from core.training.learner import Learner
from distral.config import ALGORITHMS
from tests.distral.distral_test import softmax
from tests.impala.vtrace_test import ground_truth
from tests.runs import agent_of, tiny_config
from tests.unrolls import SMALL_SPEC, learner_input, random_unroll

T, B, A = 5, 6, 3
RATE = tf.constant(0.01)
THREE_TASKS = SMALL_SPEC._replace(task_names=('a', 'b', 'c'))
TASK_ID = np.array([1, 0, 2, 1, 2, 0], np.int32)

# Table 1 of the paper: alpha, and how much of h and of f is in the logits of
# the task policies.
TABLE_1 = {
  'a3c': (0.0, 0.0, 1.0),
  'a3c_multitask': (0.0, 1.0, 0.0),
  'a3c_2col': (0.0, 1.0, 1.0),
  'kl_1col': (1.0, 0.0, 1.0),
  'kl_2col': (1.0, 1.0, 1.0),
  'kl_ent_1col': (0.5, 0.0, 1.0),
  'kl_ent_2col': (0.5, 0.5, 1.0),
}


def make(name, spec=THREE_TASKS, **settings):
  """Returns a config, an agent of an algorithm, and a batch."""
  defaults = dict(
    torso='mlp',
    use_lstm=False,
    xla='off',  # XLA takes seconds to compile; test_xla_modes_agree.
    num_environments=B,
    batch_size=B,
    unroll_length=T,
    beta=2.0,  # So that the regularisers count.
    baseline_cost=0.7,
    value_regularization_cost=0.3,
  )
  config = tiny_config(ALGORITHMS[name], **{**defaults, **settings})
  agent = agent_of(config, spec)
  return config, agent, make_batch(agent)


# For tests that change no weights: an agent traces its loss for half a second.
make_once = functools.cache(make)


def make_batch(agent, seed=0):
  """Returns a random batch of TASK_ID's tasks, with random states."""
  rng = np.random.default_rng(seed)
  states = tf.nest.map_structure(
    lambda x: rng.normal(size=x.shape).astype(np.float32),
    agent.initial_state(B),
  )
  unroll = random_unroll(T, B, agent.env_spec, seed=seed)
  return learner_input(unroll._replace(task_id=TASK_ID, core_state=states))


def outputs_of(agent, unroll):
  """Returns what the columns put out, [T + 1, B, ...] each; () without."""
  task, shared = agent.network(
    unroll.task_id, unroll.env_outputs, unroll.core_state
  )
  return dict(
    h=shared.logits if shared else (),
    f=task.logits if task else (),
    shared_values=shared.values if shared else (),
    task_values=task.values if task else (),
  )


def gradients_of(agent, unroll):
  """Returns the loss's parts, and gradients by variable."""
  variables = agent.network.trainable_variables
  with tf.GradientTape() as tape:
    loss, metrics = agent.loss_fn(unroll)
  gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, variables)]
  names = [variable.name for variable in variables]
  return metrics, dict(zip(names, gradients, strict=True))


def assert_close(found, expected, message=''):
  """To 1e-4 of the largest: some entries are sums that cancel."""
  expected = np.asarray(expected)
  atol = 1e-4 * max(1e-3, np.max(np.abs(expected)))
  np.testing.assert_allclose(found, expected, 1e-4, atol, err_msg=message)


def look_at(name, config, agent, unroll):
  """Returns policies, values and targets of a batch as float64."""
  alpha, weight_of_h, weight_of_f = TABLE_1[name]
  found = SimpleNamespace(alpha=alpha, is_bonus=name.startswith('a3c'))
  outputs = {n: np.float64(x) for n, x in outputs_of(agent, unroll).items()}
  found.has_h, found.has_f = len(outputs['h']) > 0, len(outputs['f']) > 0
  h, f = (
    outputs[n] if len(outputs[n]) else np.zeros([T + 1, B, A]) for n in 'hf'
  )
  found.pi, found.pi_0 = softmax(weight_of_h * h + weight_of_f * f), softmax(h)
  found.values = outputs['task_values' if found.has_f else 'shared_values']
  found.shared_values = outputs['shared_values']
  found.actions = unroll.agent_outputs.action.numpy()[1:]
  behaviour = softmax(unroll.agent_outputs.policy_logits.numpy())[1:]
  rewards, discounts, log_rhos = np.zeros([3, T, B])
  for t, b in np.ndindex(T, B):
    a = found.actions[t, b]
    rewards[t, b] = unroll.env_outputs.reward[t + 1, b]
    if not found.is_bonus:  # Equation 1.
      rewards[t, b] -= np.log(found.pi[t, b, a]) / config.beta
      rewards[t, b] += alpha / config.beta * np.log(found.pi_0[t, b, a])
    if not unroll.env_outputs.done[t + 1, b]:
      discounts[t, b] = config.discounting
    if config.use_vtrace:  # Without, as on the policy: n-step returns.
      log_rhos[t, b] = np.log(found.pi[t, b, a] / behaviour[t, b, a])
  found.targets, found.advantages = ground_truth(
    log_rhos,
    discounts,
    rewards,
    found.values[:-1],
    found.values[-1],
    1.0,
    1.0,
  )
  return found


def pull_of(config, seen):
  """Returns how far values are from what they are pulled to, [T, B]."""
  is_shared = config.value_regularization == 'shared'
  return (seen.values - (seen.shared_values if is_shared else 0.0))[:-1]


def numpy_metrics(name, config, agent, unroll):
  """Computes what the agent reports from the network's outputs."""
  seen = look_at(name, config, agent, unroll)
  parts = dict(policy_gradient_loss=0.0, baseline_loss=0.0)
  entropies, divergences = np.zeros([2, 3])
  negative_entropy = cross_entropy = 0.0
  for t, b in np.ndindex(T, B):
    p, q = seen.pi[t, b], seen.pi_0[t, b]
    taken = p[seen.actions[t, b]]
    parts['policy_gradient_loss'] -= np.log(taken) * seen.advantages[t, b]
    error = seen.targets[t, b] - seen.values[t, b]
    parts['baseline_loss'] += config.baseline_cost * 0.5 * error**2
    negative_entropy += np.sum(p * np.log(p))
    cross_entropy -= np.sum(p * np.log(q))
    entropies[TASK_ID[b]] -= np.sum(p * np.log(p)) / (T * B / 3)
    divergences[TASK_ID[b]] += np.sum(p * np.log(p / q)) / (T * B / 3)
  if seen.is_bonus:
    parts['entropy_loss'] = negative_entropy / config.beta
  if seen.alpha:
    parts['distillation_loss'] = seen.alpha / config.beta * cross_entropy
  if config.value_regularization != 'none':
    squares = np.sum(pull_of(config, seen) ** 2)
    parts['value_regularization_loss'] = (
      config.value_regularization_cost * 0.5 * squares
    )
  metrics = dict(parts, total_loss=sum(parts.values()), entropy=entropies)
  if seen.has_h and seen.has_f:
    metrics['kl_to_distilled'] = divergences
  return metrics


def numpy_gradients(name, config, agent, unroll):
  """Computes the loss's gradient by each output, [T + 1, B, ...].

  By h and f it is less the gradient of equations 9 and 10, without gamma^t; the
  bootstrap, the last entry, has none.
  """
  seen = look_at(name, config, agent, unroll)
  _, weight_of_h, weight_of_f = TABLE_1[name]
  pi, pi_0 = seen.pi[:-1], seen.pi_0[:-1]
  taken = np.eye(A)[seen.actions]
  by_logits = seen.advantages[..., None] * (pi - taken)
  if seen.is_bonus:
    entropy = -np.sum(pi * np.log(pi), axis=2, keepdims=True)
    by_logits += pi * (np.log(pi) + entropy) / config.beta
  distillation = seen.alpha / config.beta * (pi_0 - pi)
  by_values = config.baseline_cost * (seen.values[:-1] - seen.targets)
  by_shared = by_values if name == 'a3c_multitask' else 0.0 * by_values
  if config.value_regularization != 'none':
    pull = config.value_regularization_cost * pull_of(config, seen)
    by_values, by_shared = by_values + pull, by_shared - pull
  found = dict(
    h=weight_of_h * by_logits + distillation,
    f=weight_of_f * by_logits,
    shared_values=by_shared,
    task_values=by_values,
  )
  return {
    n: np.pad(x, [(0, 1)] + [(0, 0)] * (x.ndim - 1)) for n, x in found.items()
  }


CASES = (
  *((name, name, {}) for name in ALGORITHMS),
  ('vtrace', 'kl_ent_2col', dict(use_vtrace=True)),
  ('to_zero', 'kl_ent_1col', dict(value_regularization='zero')),
  ('no_pull', 'kl_2col', dict(value_regularization='none')),
  ('lstm', 'kl_ent_2col', dict(use_lstm=True)),
  ('conv', 'a3c_2col', dict(torso='conv')),
)


class LossTest(parameterized.TestCase):
  @parameterized.named_parameters(*CASES)
  def test_equals_numpy(self, name, settings):
    config, agent, unroll = make_once(name, **settings)
    loss, metrics = agent.loss_fn(unroll)
    expected = numpy_metrics(name, config, agent, unroll)
    self.assertEqual(metrics.keys(), expected.keys())
    for part, value in expected.items():
      self.assertEqual(metrics[part].shape, np.shape(value))
      self.assertGreater(np.min(np.abs(value)), 1e-3, part)
      assert_close(metrics[part], value, part)
    np.testing.assert_array_equal(loss, metrics['total_loss'])

  @parameterized.named_parameters(*CASES)
  def test_gradients_are_equations_9_and_10(self, name, settings):
    config, agent, unroll = make_once(name, **settings)
    _, found = gradients_of(agent, unroll)
    upstream = numpy_gradients(name, config, agent, unroll)
    variables = agent.network.trainable_variables
    with tf.GradientTape() as tape:
      outputs = outputs_of(agent, unroll)
    outputs = {n: x for n, x in outputs.items() if len(x)}
    expected = tape.gradient(
      list(outputs.values()),
      variables,
      [tf.constant(upstream[n], tf.float32) for n in outputs],
    )
    for variable, value in zip(variables, expected, strict=True):
      self.assertTrue(np.any(value != 0), variable.name)
      assert_close(found[variable.name], value, variable.name)

  def test_every_task_trains_its_own_column(self):
    _, agent, unroll = make_once('kl_ent_2col')
    _, before = gradients_of(agent, unroll)
    # Other rewards in the columns of task 1.
    is_task = TASK_ID == 1
    reward = unroll.env_outputs.reward + 3.0 * is_task
    unroll = unroll._replace(
      env_outputs=unroll.env_outputs._replace(reward=tf.constant(reward))
    )
    _, after = gradients_of(agent, unroll)
    for name, gradient in before.items():
      is_reached = 'task_1/' in name or 'shared/' in name
      if 'shared/baseline' in name:
        is_reached = False  # It is pulled to values, not to rewards.
      self.assertEqual(np.any(after[name] != gradient), is_reached, name)


class UpdateTest(parameterized.TestCase):
  def test_step_is_rmsprops(self):
    config, agent, unroll = make('kl_ent_2col')
    _, gradients = gradients_of(agent, unroll)
    before = {v.name: v.numpy() for v in agent.network.trainable_variables}
    metrics = agent.update(unroll, RATE)
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in gradients.values()))
    np.testing.assert_allclose(metrics['gradient_norm'], norm, rtol=1e-4)
    for variable in agent.network.trainable_variables:
      g = gradients[variable.name].numpy()
      mean_square = config.decay + (1 - config.decay) * g**2
      step = 0.01 * g / np.sqrt(mean_square + config.epsilon)
      expected = before[variable.name] - step
      np.testing.assert_allclose(variable, expected, rtol=1e-4, atol=1e-6)

  def test_xla_modes_agree(self):
    results = []
    for mode in ('off', 'auto', 'on'):
      _, agent, unroll = make('kl_ent_2col', xla=mode)
      metrics = [agent.update(unroll, RATE) for _ in range(2)]
      results.append(tf.nest.flatten((metrics, agent.variables())))
    for expected, *others in zip(*results, strict=True):
      for found in others:
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)

  @parameterized.parameters('a3c', 'kl_1col', 'kl_ent_2col')
  def test_every_variable_is_saved(self, name):
    _, agent, unroll = make(name, momentum=0.5)
    before = {n: v.numpy() for n, v in agent.variables().items()}
    agent.update(unroll, RATE)
    # Weights, mean squares and moments: all of them moved.
    self.assertLen(before, 3 * len(agent.network.trainable_variables))
    for variable_name, variable in agent.variables().items():
      self.assertTrue(np.any(before[variable_name] != variable), variable_name)

  def test_traces_once(self):
    _, agent, _ = make('kl_ent_2col')
    for seed in range(3):
      agent.update(make_batch(agent, seed), tf.constant(0.1 * seed))
    self.assertEqual(agent.update.experimental_get_tracing_count(), 1)

  def test_learning_rate_ends_at_a_sixth(self):
    config, agent, _ = make('kl_ent_2col', total_environment_frames=2400)
    learner = Learner(config, agent, Timer())
    unroll = random_unroll(T, B, THREE_TASKS)
    unroll = unroll._replace(task_id=TASK_ID, core_state=((), ()))
    for env_frames, share in ((0, 1), (1200, 7 / 12), (2400, 1 / 6)):
      learner.set_state(dict(env_frames=env_frames))
      row, _ = learner.step(unroll)
      self.assertAlmostEqual(row['learning_rate'], 4e-4 * share)

  def test_learner_reports_every_task(self):
    config, agent, batch = make('kl_2col')
    unroll = random_unroll(T, B, THREE_TASKS)
    unroll = unroll._replace(task_id=TASK_ID, core_state=((), ()))
    expected = numpy_metrics('kl_2col', config, agent, batch)
    row, tasks = Learner(config, agent, Timer()).step(unroll)
    self.assertNoCommonElements(row, ('entropy', 'kl_to_distilled'))
    for index, name in enumerate('abc'):
      self.assertEqual(set(tasks[name]), {'entropy', 'kl_to_distilled'})
      for what, value in tasks[name].items():
        self.assertAlmostEqual(value, expected[what][index], places=4)


class RefusedTest(parameterized.TestCase):
  @parameterized.parameters(
    dict(batch_size=4),
    dict(batch_size=7),
    dict(num_environments=8),  # 4 in each of two groups.
    dict(num_environments=7),
    dict(num_environments=3),
  )
  def test_unequal_numbers_of_tasks(self, **settings):
    flag = f'--{next(iter(settings))}'
    with self.assertRaisesRegex(UserError, f'^{flag}=.* 3 tasks'):
      make('kl_ent_2col', **settings)

  @parameterized.parameters('conv', 'mlp')
  def test_tasks_without_frames(self, torso):
    spec = THREE_TASKS._replace(frame_shape=(), num_features=4)
    with self.assertRaisesRegex(UserError, '^a: Distral needs frames'):
      make('kl_ent_2col', spec, torso=torso)

  @parameterized.parameters(*ALGORITHMS)
  def test_distilled_policy_only_where_there_is_one(self, name):
    settings = dict(mode='test', test_policy='distilled')
    if name == 'a3c':
      with self.assertRaisesRegex(UserError, '^--test_policy=distilled'):
        make(name, **settings)
    else:
      make(name, **settings)


if __name__ == '__main__':
  absltest.main()
