"""Tests of distral/networks.py: columns, and which rows pass which."""

import functools

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from core.networks.torsos import scale_frames
from core.types import EnvOutput, EnvSpec, Observation
from distral.networks import Network
from tests.unrolls import SMALL_SPEC, random_unroll

T, B = 4, 6
THREE_TASKS = SMALL_SPEC._replace(task_names=('a', 'b', 'c'))
BALANCED = (2, 0, 1, 1, 0, 2)
UNEQUAL = (1, 0, 1, 1, 1, 0)  # And none of task 2.


@functools.cache  # No test changes the weights.
def make(torso='mlp', use_lstm=False, spec=THREE_TASKS, **settings):
  """Returns a network with all columns whose biases are random."""
  settings = dict(
    has_task_columns=True,
    has_shared_column=True,
    has_shared_values=True,
    compile_parts=False,
    **settings,
  )
  network = Network(spec, torso, use_lstm, **settings)
  network.create_variables()
  rng = np.random.default_rng(1)
  for variable in network.trainable_variables:
    variable.assign_add(rng.normal(scale=0.1, size=variable.shape))
  return network


def make_inputs(task_id, use_lstm=False, seed=0, num_steps=T):
  """Returns task_id, environment outputs and states that all differ."""
  batch_size = len(task_id)
  unroll = random_unroll(num_steps - 1, batch_size, THREE_TASKS, seed=seed)
  rng = np.random.default_rng(seed)
  state = ()
  if use_lstm:
    state = tuple(
      tf.constant(rng.normal(size=[batch_size, 256]), tf.float32)
      for _ in range(2)
    )
  env_outputs = unroll.env_outputs._replace(info=())
  return (
    tf.constant(task_id, tf.int32),
    tf.nest.map_structure(tf.constant, env_outputs),
    (state, tf.nest.map_structure(lambda x: -x, state)),
  )


def alone(column, inputs, row, state_index):
  """Returns what a column makes of one row."""
  _, env_outputs, states = inputs
  frames = env_outputs.observation.frame[:, row]
  return column(
    scale_frames(frames, False)[:, None],
    env_outputs.done[:, row : row + 1],
    tuple(x[row : row + 1] for x in states[state_index]),
  )


def take_rows(inputs, rows):
  """Returns the inputs of some rows, in the order of `rows`."""
  task_id, env_outputs, states = inputs
  return (
    tf.gather(task_id, rows),
    tf.nest.map_structure(lambda x: tf.gather(x, rows, axis=1), env_outputs),
    tf.nest.map_structure(lambda x: tf.gather(x, rows), states),
  )


def assert_rows_equal(output, rows, expected):
  """Compares rows of a ColumnOutput with all of another."""
  for found, wanted in zip(output[:2], expected[:2], strict=True):
    np.testing.assert_allclose(
      tf.gather(found, rows, axis=1), wanted, rtol=1e-4, atol=1e-5
    )
  for found, wanted in zip(output.core_state, expected.core_state, strict=True):
    np.testing.assert_allclose(tf.gather(found, rows), wanted, 1e-4, 1e-5)


# A balanced batch, then what needs shapes that are not known beforehand.
ROUTES = (
  dict(task_id=BALANCED, rows_per_task=2),
  dict(task_id=BALANCED, rows_per_task=None),
  dict(task_id=UNEQUAL, rows_per_task=None),
  dict(task_id=(1,), rows_per_task=None),  # One game that is filmed.
)
COLUMNS = (
  # As a graph, where a size may be unknown; that of an LSTM takes seconds.
  dict(torso='mlp', use_lstm=False, is_graph=True),
  dict(torso='conv', use_lstm=False, is_graph=True),
  dict(torso='conv', use_lstm=True, is_graph=False),
)


class RoutingTest(parameterized.TestCase):
  @parameterized.product(ROUTES, COLUMNS)
  def test_row_passes_its_own_tasks_column(
    self, task_id, rows_per_task, torso, use_lstm, is_graph
  ):
    network = make(torso, use_lstm)
    inputs = make_inputs(task_id, use_lstm)
    call = functools.partial(network, rows_per_task=rows_per_task)
    if is_graph:
      call = tf.function(call)
    task_output, shared_output = call(*inputs)
    for row, task in enumerate(task_id):
      column = network.task_columns[task]
      assert_rows_equal(task_output, [row], alone(column, inputs, row, 0))
      other = alone(network.task_columns[task - 1], inputs, row, 0)
      difference = other.logits - task_output.logits[:, row : row + 1]
      self.assertGreater(np.max(np.abs(difference)), 1e-3)
      expected = alone(network.shared_column, inputs, row, 1)
      assert_rows_equal(shared_output, [row], expected)

  @parameterized.product(ROUTES, COLUMNS[1:])
  def test_gradient_of_a_column_is_of_its_own_rows(
    self, task_id, rows_per_task, torso, use_lstm, is_graph
  ):
    network = make(torso, use_lstm)
    inputs = make_inputs(task_id, use_lstm)

    def gradients():
      with tf.GradientTape() as tape:
        output, _ = network(*inputs, rows_per_task=rows_per_task)
        loss = loss_of(output, range(len(task_id)))
      variables = [c.trainable_variables for c in network.task_columns]
      return tape.gradient(
        loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO
      )

    def loss_of(output, rows):
      weights = tf.constant([1.0 + row for row in rows], tf.float32)
      values = tf.reduce_sum(output.values * weights)
      logits = tf.reduce_sum(output.logits[..., 0] ** 2 * weights)
      return values + logits

    if is_graph:
      gradients = tf.function(gradients)
    for task, found in enumerate(gradients()):
      rows = np.flatnonzero(np.equal(task_id, task))
      column = network.task_columns[task]
      with tf.GradientTape() as tape:
        losses = [loss_of(alone(column, inputs, r, 0), [r]) for r in rows]
        loss = tf.add_n(losses) if losses else tf.zeros([])
      expected = tape.gradient(
        loss,
        column.trainable_variables,
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
      )
      for variable, a, b in zip(
        column.trainable_variables, found, expected, strict=True
      ):
        self.assertEqual(bool(np.any(a)), len(rows) > 0, variable.name)
        atol = 1e-4 * max(1.0, np.max(np.abs(b)))
        np.testing.assert_allclose(a, b, 1e-3, atol, err_msg=variable.name)

  @parameterized.parameters(2, None)
  def test_any_order_of_rows(self, rows_per_task):
    network = make(use_lstm=True)
    inputs = make_inputs(BALANCED, use_lstm=True)
    outputs = network(*inputs, rows_per_task=rows_per_task)
    for seed in range(5):
      order = np.random.default_rng(seed).permutation(B)
      found = network(*take_rows(inputs, order), rows_per_task=rows_per_task)
      for output, permuted in zip(outputs, found, strict=True):
        assert_rows_equal(output, order, permuted)

  def test_unequal_parts_are_refused(self):
    network = make()
    inputs = make_inputs(UNEQUAL)
    with self.assertRaisesRegex(
      tf.errors.InvalidArgumentError, 'as many rows of each task'
    ):
      network(*inputs, rows_per_task=2)

  def test_known_and_unknown_sizes_agree(self):
    network = make('conv', use_lstm=True)
    inputs = make_inputs(BALANCED, use_lstm=True)
    for a, b in zip(
      tf.nest.flatten(network(*inputs, rows_per_task=2)),
      tf.nest.flatten(network(*inputs)),
      strict=True,
    ):
      np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)

  @parameterized.parameters(False, True)
  def test_rows_are_independent(self, use_lstm):
    network = make(use_lstm=use_lstm)
    outputs, others = (
      tf.nest.flatten(network(*inputs, rows_per_task=2))
      for inputs in self._with_another_row(3, use_lstm)
    )
    for a, b in zip(outputs, others, strict=True):
      axis = 0 if a.shape[0] == B else 1
      changed = np.any(
        np.not_equal(a, b), axis=tuple(i for i in range(a.ndim) if i != axis)
      )
      np.testing.assert_array_equal(np.flatnonzero(changed), [3])

  def _with_another_row(self, row, use_lstm):
    """Returns inputs twice; frames and states of one row differ."""
    is_row = np.arange(B) == row
    first, other = (make_inputs(BALANCED, use_lstm, seed) for seed in (0, 5))
    frame = tf.where(
      is_row[None, :, None, None, None],
      other[1].observation.frame,
      first[1].observation.frame,
    )
    states = tf.nest.map_structure(
      lambda a, b: tf.where(is_row[:, None], a, b), other[2], first[2]
    )
    env_outputs = first[1]._replace(observation=Observation(frame))
    return first, (first[0], env_outputs, states)

  def test_columns_compute_their_own_rows_only(self):
    network = make()
    inputs = make_inputs(BALANCED)
    call = tf.function(lambda *x: network(*x, rows_per_task=2))
    graph = call.get_concrete_function(*inputs).graph
    products = [op for op in graph.get_operations() if op.type == 'MatMul']
    rows = sorted(op.inputs[0].shape[0] for op in products)
    # Two layers and two heads in each of four columns.
    self.assertEqual(rows, [T * 2] * 12 + [T * B] * 4)


class ColumnsTest(parameterized.TestCase):
  def test_unroll_equals_steps(self):
    network = make('conv', use_lstm=True)
    inputs = make_inputs(BALANCED, use_lstm=True, num_steps=7)
    task_id, env_outputs, states = inputs
    self.assertTrue(np.any(env_outputs.done[1:]))
    whole = network(*inputs, rows_per_task=2)
    for t in range(7):
      step = tf.nest.map_structure(lambda x, t=t: x[t : t + 1], env_outputs)
      outputs = network(task_id, step, states, rows_per_task=2)
      states = tuple(output.core_state for output in outputs)
      for found, expected in zip(outputs, whole, strict=True):
        for name in ('logits', 'values'):
          np.testing.assert_allclose(
            getattr(found, name)[0], getattr(expected, name)[t], atol=1e-5
          )
    for a, b in zip(
      tf.nest.flatten(states),
      tf.nest.flatten([output.core_state for output in whole]),
      strict=True,
    ):
      np.testing.assert_allclose(a, b, atol=1e-5)

  def test_end_of_an_episode_forgets(self):
    network = make(use_lstm=True)
    task_id, env_outputs, states = make_inputs(BALANCED, True)
    done = np.zeros([T, B], bool)
    done[2, 4] = True
    outputs, others = (
      network(task_id, env_outputs._replace(done=done), s, rows_per_task=2)
      for s in (states, tf.nest.map_structure(tf.zeros_like, states))
    )
    for output, other in zip(outputs, others, strict=True):
      same = np.all(np.equal(output.logits, other.logits), axis=2)
      expected = np.zeros([T, B], bool)
      expected[2:, 4] = True
      np.testing.assert_array_equal(same, expected)

  def test_sizes_of_the_a3c_column(self):
    spec = EnvSpec(
      task_names=('a', 'b'), num_actions=9, frame_shape=(84, 84, 3)
    )
    network = make('conv', use_lstm=True, spec=spec)
    found = {
      variable.name.partition('/')[2]: tuple(variable.shape)
      for variable in network.task_columns[1].trainable_variables
    }
    expected = {
      'shallow_torso/conv1/w': (8, 8, 3, 16),
      'shallow_torso/conv2/w': (4, 4, 16, 32),
      'layer_0/w': (9 * 9 * 32, 256),
      'core/w': (256 + 256, 4 * 256),
      'policy_logits/w': (256, 9),
      'baseline/w': (256, 1),
    }
    for name, shape in list(expected.items()):
      expected[name[:-1] + 'b'] = shape[-1:]
    self.assertEqual(sorted(found.values()), sorted(expected.values()))
    sizes = [
      sum(np.prod(v.shape) for v in column.trainable_variables)
      for column in (*network.task_columns, network.shared_column)
    ]
    convolutions = 8 * 8 * 3 * 16 + 16 + 4 * 4 * 16 * 32 + 32
    layers = 2592 * 256 + 256 + 512 * 1024 + 1024
    self.assertEqual(sizes, 3 * [convolutions + layers + 257 * 9 + 257])

  def test_convolutions_are_rectified(self):
    column = make('conv').shared_column
    frames = tf.random.stateless_uniform(
      [1, 6, *SMALL_SPEC.frame_shape], (1, 2)
    )
    maps = column._convolutions(frames[0])
    self.assertLess(np.min(maps), 0.0)
    (layer,) = column._layers
    x = np.maximum(layer(np.maximum(maps, 0.0).reshape(6, -1)), 0.0)
    found = column(frames, tf.zeros([1, 6], tf.bool), ())
    np.testing.assert_allclose(
      found.logits[0], column._policy_head(x), rtol=1e-4, atol=1e-5
    )

  def test_grid_column_has_two_layers_of_64(self):
    network = make(
      spec=EnvSpec(task_names=('a',), num_actions=5, frame_shape=(1, 1, 63))
    )
    shapes = {tuple(v.shape) for v in network.task_columns[0].variables}
    expected = {(63, 64), (64, 64), (64,), (64, 5), (5,), (64, 1), (1,)}
    self.assertEqual(shapes, expected)

  def test_columns_begin_apart_and_have_names_of_their_own(self):
    network = Network(THREE_TASKS, 'mlp', False, True, True, True)
    network.create_variables()
    variables = network.trainable_variables
    self.assertLen({v.name for v in variables}, len(variables))
    self.assertLen(variables, 4 * 8)
    first_layers = {
      v.numpy().tobytes() for v in variables if 'layer_0/w' in v.name
    }
    self.assertLen(first_layers, 4)

  @parameterized.parameters(
    (True, False, False), (False, True, True), (True, True, False)
  )
  def test_only_the_columns_asked_for(self, has_task, has_shared, has_values):
    network = Network(
      THREE_TASKS,
      'mlp',
      True,
      has_task,
      has_shared,
      has_values,
      compile_parts=False,
    )
    network.create_variables()
    self.assertLen(network.task_columns, 3 * has_task)
    self.assertEqual(network.shared_column is not None, has_shared)
    num_heads = sum('baseline/w' in v.name for v in network.variables)
    self.assertEqual(num_heads, 3 * has_task + has_values)
    states = network.initial_state(B)
    self.assertEqual([len(s) for s in states], [2 * has_task, 2 * has_shared])
    task_id, env_outputs, _ = make_inputs(BALANCED)
    task_output, shared_output = network(task_id, env_outputs, states, 2)
    self.assertEqual(task_output is not None, has_task)
    self.assertEqual(shared_output is not None, has_shared)
    if has_shared:
      self.assertEqual(shared_output.logits.shape, (T, B, 3))
      values = shared_output.values
      self.assertEqual(np.shape(values), (T, B) if has_values else (0,))

  def test_channels_first(self):
    frames = np.random.default_rng(0).integers(0, 256, [T, B, 4, 20, 24])
    done = tf.zeros([T, B], tf.bool)
    outputs = []
    for channels_first in (True, False):
      x = frames if channels_first else np.moveaxis(frames, 2, -1)
      spec = EnvSpec(
        task_names=('a', 'b', 'c'),
        num_actions=3,
        frame_shape=x.shape[2:],
        channels_first=channels_first,
      )
      tf.random.set_seed(3)
      network = make('conv', spec=spec)
      env_outputs = EnvOutput((), (), done, Observation(np.uint8(x)))
      outputs.append(network(np.int32(BALANCED), env_outputs, ((), ()), 2))
    for a, b in zip(*map(tf.nest.flatten, outputs), strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)

  def test_bfloat16_is_near_float32(self):
    outputs = []
    for precision in ('float32', 'bfloat16'):
      tf.random.set_seed(3)
      network = make('conv', precision=precision)
      outputs.append(network(*make_inputs(BALANCED), rows_per_task=2))
    for a, b in zip(*map(tf.nest.flatten, outputs), strict=True):
      self.assertEqual(b.dtype, tf.float32)
      np.testing.assert_allclose(a, b, atol=0.05)
      self.assertTrue(np.any(np.not_equal(a, b)))


if __name__ == '__main__':
  absltest.main()
