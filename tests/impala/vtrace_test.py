"""Tests of impala/vtrace.py."""

import functools

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from impala import vtrace

MODES = (
  ('eager', lambda f: f),
  ('graph', tf.function),
  ('xla', functools.partial(tf.function, jit_compile=True)),
)


def each_mode(*cases):
  """Names every case three times: eager, as a graph and compiled."""
  return parameterized.named_parameters(
    (f'{name}_{mode}', compile_fn, *values)
    for mode, compile_fn in MODES
    for name, *values in cases
  )


def ground_truth(
  log_rhos,
  discounts,
  rewards,
  values,
  bootstrap_value,
  clip_rho_threshold,
  clip_pg_rho_threshold,
):
  """Computes V-trace as the paper's sums, Espeholt et al. 2018, section 4.1.

    v_s = V(x_s) + sum_{t=s}^{T-1} gamma^{t-s} (prod_{i=s}^{t-1} c_i) delta_t
    delta_t = rho_t (r_t + gamma V(x_{t+1}) - V(x_t))
    advantage_s = rho_s (r_s + gamma v_{s+1} - V(x_s))

  where gamma^{t-s} is the product of the discounts of steps s to t - 1.
  """
  num_steps = len(discounts)
  rhos = np.exp(log_rhos)
  bound, pg_bound = (
    np.inf if x is None else x
    for x in (clip_rho_threshold, clip_pg_rho_threshold)
  )
  cs, pg_rhos = np.minimum(rhos, 1.0), np.minimum(rhos, pg_bound)
  values_t_plus_1 = np.concatenate([values[1:], bootstrap_value[None]])
  deltas = np.minimum(rhos, bound) * (
    rewards + discounts * values_t_plus_1 - values
  )
  vs = []
  for s in range(num_steps):
    v_s = np.copy(values[s])
    for t in range(s, num_steps):
      v_s += (
        np.prod(discounts[s:t], axis=0) * np.prod(cs[s:t], axis=0) * (deltas[t])
      )
    vs.append(v_s)
  vs = np.stack(vs)
  vs_t_plus_1 = np.concatenate([vs[1:], bootstrap_value[None]])
  return vs, pg_rhos * (rewards + discounts * vs_t_plus_1 - values)


def thresholds(rho, pg_rho):
  return dict(clip_rho_threshold=rho, clip_pg_rho_threshold=pg_rho)


def upstream_inputs(batch_size, num_steps=5):
  """Returns the inputs of scalable_agent's own test."""
  shape = (num_steps, batch_size)
  size = num_steps * batch_size
  counts = np.arange(size, dtype=np.float32).reshape(shape)
  return dict(
    # exp(5 x [-0.5, 0.5)): importance weights on both sides of each clip.
    log_rhos=5.0 * (counts / size - 0.5),
    discounts=np.full(shape, 0.9, np.float32)
    / (np.arange(batch_size, dtype=np.float32) + 1.0),
    rewards=counts,
    values=counts / batch_size,
    bootstrap_value=np.arange(batch_size, dtype=np.float32) + 1.0,
  )


# rlax's fixture, batch-major as there.
RLAX = dict(
  rewards=[[-1.3, -1.3, 2.3, 42.0], [1.3, 5.3, -3.3, -5.0]],
  discounts=[[0.0, 0.89, 0.85, 0.99], [0.88, 1.0, 0.83, 0.95]],
  values=[[2.1, 1.1, -3.1, 0.0], [3.1, 0.1, -1.1, 7.4]],
  bootstrap_value=[8.4, -1.2],
  behaviour_policy_logits=[
    [[8.9, 0.7], [5.0, 1.0], [0.6, 0.1], [-0.9, -0.1]],
    [[0.3, -5.0], [1.0, -8.0], [0.3, 1.7], [4.7, 3.3]],
  ],
  target_policy_logits=[
    [[0.4, 0.5], [9.2, 8.8], [0.7, 4.4], [7.9, 1.4]],
    [[1.0, 0.9], [1.0, -1.0], [-4.3, 8.7], [0.8, 0.3]],
  ],
  actions=[[0, 1, 0, 0], [1, 0, 0, 1]],
)
RLAX_VS_MINUS_VALUES = [
  [-1.6155143, -3.4973226, 1.8670533, 50.316002],
  [1.4662437, 3.6116405, -8.3327e-5, -13.540000],
]


def time_major(name):
  array = np.array(RLAX[name])
  array = array.astype(np.int32 if name == 'actions' else np.float32)
  return array if name == 'bootstrap_value' else array.swapaxes(0, 1)


def random_logits_inputs(num_steps=6, batch_size=3, num_actions=4, seed=0):
  rng = np.random.default_rng(seed)
  shape = (num_steps, batch_size)

  def normal(*extra):
    return rng.normal(size=(*shape, *extra)).astype(np.float32)

  return dict(
    behaviour_policy_logits=2 * normal(num_actions),
    target_policy_logits=2 * normal(num_actions),
    actions=rng.integers(num_actions, size=shape, dtype=np.int32),
    discounts=(0.9 * (rng.random(shape) < 0.8)).astype(np.float32),
    rewards=normal(),
    values=normal(),
    bootstrap_value=rng.normal(size=batch_size).astype(np.float32),
  )


class LogProbsTest(parameterized.TestCase):
  @parameterized.named_parameters(('batch_of_1', 1), ('batch_of_2', 2))
  def test_equals_log_of_softmax(self, batch_size):
    num_steps, num_actions = 7, 3
    shape = (num_steps, batch_size, num_actions)
    logits = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) + 10
    actions = np.random.default_rng(0).integers(
      num_actions, size=shape[:2], dtype=np.int32
    )
    found = vtrace.log_probs_from_logits_and_actions(logits, actions)
    # log(exp(l_a) / sum_i exp(l_i))
    shifted = np.exp(logits - logits.max(axis=2, keepdims=True))
    policy = shifted / shifted.sum(axis=2, keepdims=True)
    taken = np.take_along_axis(policy, actions[:, :, None], axis=2)[:, :, 0]
    np.testing.assert_allclose(found, np.log(taken), rtol=1e-5)


class FromImportanceWeightsTest(parameterized.TestCase):
  @each_mode(
    *(
      (f'batch_of_{b}_{name}', b, *thresholds)
      for b in (1, 5)
      for name, *thresholds in (
        ('both_high', 3.7, 2.2),
        ('both_one', 1.0, 1.0),
        ('unclipped', None, None),
        ('one_unclipped', 1.0, None),
      )
    )
  )
  def test_equals_double_sum(self, compile_fn, batch_size, rho, pg_rho):
    inputs = upstream_inputs(batch_size)
    bounds = thresholds(rho, pg_rho)
    # Both sides of each clip occur.
    for bound in (x for x in (rho, pg_rho) if x is not None):
      self.assertTrue(np.any(np.exp(inputs['log_rhos']) > bound))
      self.assertTrue(np.any(np.exp(inputs['log_rhos']) < bound))
    compute = functools.partial(vtrace.from_importance_weights, **bounds)
    found = compile_fn(compute)(**inputs)
    vs, pg_advantages = ground_truth(**inputs, **bounds)
    np.testing.assert_allclose(found.vs, vs, rtol=2e-5)
    np.testing.assert_allclose(found.pg_advantages, pg_advantages, rtol=2e-5)

  @each_mode(
    (
      'clipped_high',
      *(3.7, 2.2),
      [0.200182, 2.709682, 8.513628, 11.932397, 7.33],
      [0.200182, 1.709682, 6.513628, 10.876614, 1.98],
    ),
    (
      'clipped_at_one',
      *(1.0, 1.0),
      [0.163557, 2.213930, 6.044953, 7.41, 4.9],
      [0.163557, 1.213930, 4.044953, 4.41, 0.9],
    ),
  )
  def test_known_numbers(self, compile_fn, rho, pg_rho, vs, pg_advantages):
    compute = functools.partial(
      vtrace.from_importance_weights, **thresholds(rho, pg_rho)
    )
    found = compile_fn(compute)(**upstream_inputs(1))
    np.testing.assert_allclose(found.vs[:, 0], vs, atol=2e-6)
    np.testing.assert_allclose(
      found.pg_advantages[:, 0], pg_advantages, atol=2e-6
    )

  def test_known_numbers_of_five_columns(self):
    found = vtrace.from_importance_weights(
      **upstream_inputs(5), **thresholds(3.7, 2.2)
    )
    np.testing.assert_allclose(
      found.vs[0], [0.929816, 0.556437, 0.816895, 1.189767, 1.654995], atol=1e-6
    )
    np.testing.assert_allclose(
      found.vs[-1], [66.53, 69.69, 72.85, 76.01, 79.17], rtol=1e-6
    )
    np.testing.assert_allclose(
      found.pg_advantages[-1], [37.18, 38.94, 40.70, 42.46, 44.22], rtol=1e-6
    )

  @each_mode(('', 42))
  def test_trailing_dimensions_broadcast(self, compile_fn, num_values):
    rng = np.random.default_rng(1)
    shape = (4, 2)
    narrow = dict(
      log_rhos=rng.normal(size=(*shape, 1)),
      discounts=rng.random((*shape, 1)),
    )
    wide = dict(
      rewards=rng.normal(size=(*shape, num_values)),
      values=rng.normal(size=(*shape, num_values)),
      bootstrap_value=rng.normal(size=(shape[1], num_values)),
    )
    inputs = {k: v.astype(np.float32) for k, v in {**narrow, **wide}.items()}
    found = compile_fn(vtrace.from_importance_weights)(**inputs)
    vs, pg_advantages = ground_truth(**inputs, **thresholds(1.0, 1.0))
    self.assertEqual(found.vs.shape, (*shape, num_values))
    np.testing.assert_allclose(found.vs, vs, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
      found.pg_advantages, pg_advantages, rtol=1e-4, atol=1e-5
    )

  @parameterized.named_parameters(
    ('bootstrap_too_low', 'bootstrap_value', (3,), 'bootstrap_value', 2),
    ('bootstrap_too_high', 'bootstrap_value', (3, 1, 1), 'bootstrap_value', 2),
    ('values', 'values', (4, 3), 'values', 3),
    ('rewards', 'rewards', (4, 3), 'rewards', 3),
    ('discounts', 'discounts', (4, 3), 'discounts', 3),
  )
  def test_wrong_rank(self, name, shape, reported, rank):
    inputs = dict.fromkeys(
      ('log_rhos', 'discounts', 'rewards', 'values'), np.zeros([4, 3, 1])
    )
    inputs['bootstrap_value'] = np.zeros([3, 1])
    inputs[name] = np.zeros(shape)
    with self.assertRaisesRegex(
      ValueError, f'{reported} must have rank {rank}'
    ):
      vtrace.from_importance_weights(**inputs)

  def test_ends_inside_equal_separate_episodes(self):
    inputs = upstream_inputs(2, num_steps=6)
    inputs['discounts'][2] = 0.0  # The first episode ends with step 2.
    whole = vtrace.from_importance_weights(**inputs)
    for steps in (slice(0, 3), slice(3, 6)):
      part = {
        k: v if k == 'bootstrap_value' else v[steps] for k, v in inputs.items()
      }
      if steps.start == 0:  # Nothing of it may come through.
        part['bootstrap_value'] = np.array([1e6, -1e6], np.float32)
      episode = vtrace.from_importance_weights(**part)
      for found, expected in zip(episode, whole, strict=True):
        np.testing.assert_array_equal(found, expected[steps])

  def test_on_policy_is_the_n_step_return(self):
    inputs = upstream_inputs(2)
    inputs['log_rhos'] = np.zeros_like(inputs['log_rhos'])
    # R_t = r_t + gamma_t R_{t+1}, R_T = V(x_T)
    returns, following = [], inputs['bootstrap_value']
    for r, gamma in zip(
      inputs['rewards'][::-1], inputs['discounts'][::-1], strict=True
    ):
      following = r + gamma * following
      returns.insert(0, following)
    found = vtrace.from_importance_weights(**inputs)
    np.testing.assert_allclose(found.vs, returns, rtol=1e-5)
    np.testing.assert_allclose(
      found.pg_advantages, returns - inputs['values'], rtol=1e-5, atol=1e-6
    )

  def test_no_gradient_comes_out(self):
    inputs = {k: tf.constant(v) for k, v in upstream_inputs(2).items()}
    with tf.GradientTape(persistent=True) as tape:
      for tensor in inputs.values():
        tape.watch(tensor)
      found = vtrace.from_importance_weights(**inputs)
      sums = [tf.reduce_sum(x) for x in found]
    for total in sums:
      self.assertEqual(tape.gradient(total, list(inputs.values())), [None] * 5)


class FromLogitsTest(parameterized.TestCase):
  @each_mode(('',))
  def test_equals_from_importance_weights(self, compile_fn):
    inputs = random_logits_inputs()
    bounds = thresholds(None, None)
    compute = functools.partial(vtrace.from_logits, **bounds)
    found = compile_fn(compute)(**inputs)
    behaviour, target = (
      vtrace.log_probs_from_logits_and_actions(
        inputs.pop(f'{policy}_policy_logits'), inputs['actions']
      )
      for policy in ('behaviour', 'target')
    )
    del inputs['actions']
    expected = vtrace.from_importance_weights(
      log_rhos=target - behaviour, **inputs, **bounds
    )
    for name, value in (
      ('vs', expected.vs),
      ('pg_advantages', expected.pg_advantages),
      ('log_rhos', target - behaviour),
      ('behaviour_action_log_probs', behaviour),
      ('target_action_log_probs', target),
    ):
      np.testing.assert_allclose(
        getattr(found, name), value, rtol=1e-4, atol=1e-5, err_msg=name
      )

  @parameterized.named_parameters(('rho', 0), ('pg_rho', 1))
  def test_thresholds_reach_their_place(self, place):
    inputs = random_logits_inputs()
    bounds = thresholds(2.0, 0.5) if place else thresholds(0.5, 2.0)
    found = vtrace.from_logits(**inputs, **bounds)
    log_rhos = found.log_rhos.numpy()
    for name in ('behaviour_policy_logits', 'target_policy_logits', 'actions'):
      del inputs[name]
    vs, pg_advantages = ground_truth(log_rhos, **inputs, **bounds)
    np.testing.assert_allclose(found.vs, vs, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
      found.pg_advantages, pg_advantages, rtol=1e-4, atol=1e-5
    )

  def test_unknown_static_shapes(self):
    inputs = random_logits_inputs()
    names = list(inputs)
    signature = [
      tf.TensorSpec([None] * inputs[name].ndim, inputs[name].dtype)
      for name in names
    ]
    compute = tf.function(
      lambda *args: vtrace.from_logits(**dict(zip(names, args, strict=True))),
      input_signature=signature,
    )
    found = compute(*(inputs[name] for name in names))
    expected = vtrace.from_logits(**inputs)
    for name, value in expected._asdict().items():
      np.testing.assert_allclose(
        getattr(found, name), value, rtol=1e-5, atol=1e-6, err_msg=name
      )

  @each_mode(('',))
  def test_rlax_numbers(self, compile_fn):
    found = compile_fn(vtrace.from_logits)(
      **{name: time_major(name) for name in RLAX}
    )
    vs_minus_values = (found.vs - time_major('values')).numpy().T
    np.testing.assert_allclose(
      vs_minus_values, RLAX_VS_MINUS_VALUES, rtol=1e-3, atol=1e-6
    )

  @parameterized.named_parameters(
    ('logits', 'target_policy_logits', (4, 3), 'policy_logits', 3),
    ('actions', 'actions', (4,), 'actions', 2),
  )
  def test_wrong_rank(self, name, shape, reported, rank):
    inputs = random_logits_inputs(num_steps=4)
    inputs[name] = np.zeros(shape, inputs[name].dtype)
    with self.assertRaisesRegex(
      ValueError, f'{reported} must have rank {rank}'
    ):
      vtrace.from_logits(**inputs)


if __name__ == '__main__':
  absltest.main()
