"""Tests of core/actor.py."""

import copy

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from core import catch
from core.actor import Actor, Batcher, join_unrolls, take_turns
from core.distribution import select_columns
from core.environments import TaskEnvironments
from core.timing import Timer
from tests import runs
from tests.unrolls import SMALL_SPEC, random_unroll

T = 5


def make_actor(config, agent, group_sizes, seed=3):
  groups = [
    TaskEnvironments(
      agent.env_spec.task_names,
      np.zeros(size, np.int32),
      runs.protocol_of(config),
      is_training=True,
    )
    for size in group_sizes
  ]
  return Actor(
    agent.act,
    agent.initial_state,
    groups,
    agent.env_spec,
    config.unroll_length,
    seed,
    Timer(),
  )


def assert_unrolls_equal(found, expected):
  tf.nest.map_structure(
    lambda a, b: np.testing.assert_array_equal(a, b, strict=True),
    found,
    expected,
  )


def entry(unroll, t):
  """Returns the outputs of environment and agent at one entry."""
  outputs = (unroll.env_outputs, unroll.agent_outputs)
  return tf.nest.map_structure(lambda x: x[t], outputs)


class CatchActorTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.agents = {}
    for use_lstm in (False, True):
      config = runs.tiny_config(unroll_length=T, use_lstm=use_lstm)
      cls.agents[use_lstm] = (config, runs.make_agent(config))

  def collect(self, num_unrolls, group_sizes, use_lstm=False):
    """Returns the unrolls, each a list over groups."""
    actor = make_actor(*self.agents[use_lstm], group_sizes)
    self.addCleanup(actor.close)
    return [actor.collect(10 + k) for k in range(num_unrolls)]

  @parameterized.named_parameters(
    ('one_group', (4,), False),
    ('two_groups', (2, 2), False),
    ('uneven_groups', (3, 1), False),
    ('lstm', (2, 2), True),
  )
  def test_entry_0_repeats_the_last_of_the_previous(self, sizes, use_lstm):
    unrolls = self.collect(4, sizes, use_lstm)
    for previous, following in zip(unrolls, unrolls[1:], strict=False):
      for a, b in zip(previous, following, strict=True):
        assert_unrolls_equal(entry(b, 0), entry(a, T))

  def test_very_first_entry(self):
    for unroll in self.collect(1, (2, 1), use_lstm=True)[0]:
      env_output, agent_output = entry(unroll, 0)
      self.assertTrue(env_output.done.all())
      zeros = (env_output.reward, env_output.info, agent_output)
      for leaf in tf.nest.flatten((zeros, unroll.core_state)):
        self.assertFalse(np.any(leaf))
      # A ball in the uppermost row, the paddle in the middle.
      frame = env_output.observation.frame[:, ::2, ::4, 0]
      self.assertEqual(np.count_nonzero(frame[:, 0]), len(frame))
      self.assertTrue(np.all(frame[:, -1, 2] == 255))

  @parameterized.named_parameters(
    ('one_group', (4,), False),
    ('two_groups', (2, 2), False),
    ('lstm', (4,), True),
    ('lstm_two_groups', (1, 3), True),
  )
  def test_behaviour_logits_belong_to_the_entry_before(self, sizes, use_lstm):
    _, agent = self.agents[use_lstm]
    unrolls = self.collect(4, sizes, use_lstm)
    for group in range(len(sizes)):
      core_state = agent.initial_state(sizes[group])
      for unroll in (u[group] for u in unrolls):
        # What is recorded is the state before entry 0.
        for found, expected in zip(unroll.core_state, core_state, strict=True):
          np.testing.assert_allclose(found, expected, atol=1e-5)
        inputs = tf.nest.map_structure(
          lambda x: tf.constant(x[:-1]),
          (unroll.agent_outputs.action, unroll.env_outputs),
        )
        output = agent.network(*inputs, unroll.core_state)
        recorded = unroll.agent_outputs
        np.testing.assert_allclose(
          recorded.policy_logits[1:], output.policy_logits, atol=1e-5
        )
        np.testing.assert_allclose(
          recorded.baseline[1:], output.values[:, :, 0], atol=1e-5
        )
        core_state = output.core_state
    done = np.concatenate([u[0].env_outputs.done[1:] for u in unrolls])
    self.assertTrue(done.any(axis=0).all())  # Of whole episodes, with resets.

  def test_environment_outputs_follow_the_recorded_actions(self):
    unrolls = self.collect(5, (3,))
    envs = catch.make_vector_env(3, is_training=True)
    frames, _ = envs.reset(seed=3)
    total = np.zeros(3)
    length = np.zeros(3, int)
    for (unroll,) in unrolls:
      np.testing.assert_array_equal(
        unroll.env_outputs.observation.frame[0], frames
      )
      for t in range(1, T + 1):
        output = entry(unroll, t)[0]
        frames, rewards, done, _, _ = envs.step(unroll.agent_outputs.action[t])
        np.testing.assert_array_equal(output.observation.frame, frames)
        np.testing.assert_array_equal(output.reward, rewards)
        np.testing.assert_array_equal(output.done, done)
        np.testing.assert_array_equal(output.info.episode_done, done)
        total, length = total + rewards, length + 1
        np.testing.assert_array_equal(output.info.episode_return, total)
        np.testing.assert_array_equal(output.info.episode_step, length)
        total[done], length[done] = 0, 0

  def test_groups_split_the_same_environments(self):
    (whole,) = self.collect(1, (4,))[0]
    parts = self.collect(1, (3, 1))[0]
    first = [u.env_outputs.observation.frame[0] for u in parts]
    np.testing.assert_array_equal(
      np.concatenate(first), whole.env_outputs.observation.frame[0]
    )

  def test_every_draw_has_a_seed_of_its_own(self):
    # With the same seed twice, equal rows of two groups or two steps would
    # draw the same actions.
    unrolls = self.collect(8, (2, 2))
    actions = np.concatenate(
      [[u.agent_outputs.action[1:] for u in pair] for pair in unrolls], axis=1
    )  # [2, 8 T, 2]
    self.assertTrue(np.any(actions[0] != actions[1]))
    self.assertTrue(np.any(actions[:, 1:] != actions[:, :-1]))
    for row in actions.transpose(0, 2, 1).reshape(4, -1):
      self.assertEqual(set(row), {0, 1, 2})

  def test_policy_version_and_tasks(self):
    unrolls = self.collect(2, (2, 1))
    for version, pair in zip((10, 11), unrolls, strict=True):
      for unroll, size in zip(pair, (2, 1), strict=True):
        np.testing.assert_array_equal(unroll.policy_version, [version] * size)
        self.assertEqual(unroll.policy_version.dtype, np.int64)
        np.testing.assert_array_equal(unroll.task_id, [0] * size)

  def test_unrolls_are_not_written_to_again(self):
    actor = make_actor(*self.agents[True], (2, 1))
    self.addCleanup(actor.close)
    first = actor.collect(0)
    kept = copy.deepcopy(first)
    for _ in range(3):
      actor.collect(0)
    assert_unrolls_equal(first, kept)

  def test_state_there_and_back(self):
    actor, other = (
      make_actor(*self.agents[True], (2, 1), seed) for seed in (3, 4)
    )
    self.addCleanup(actor.close)
    self.addCleanup(other.close)
    actor.collect(0)
    state = copy.deepcopy(actor.get_state())
    for array in tf.nest.flatten(state['arrays']):
      self.assertIsInstance(array, np.ndarray)
    expected = [actor.collect(1) for _ in range(4)]
    other.set_state(state)
    assert_unrolls_equal([other.collect(1) for _ in range(4)], expected)

  def test_empty_unroll_has_the_shapes(self):
    actor = make_actor(*self.agents[True], (2, 2))
    self.addCleanup(actor.close)
    unroll = actor.collect(0)[0]
    empty = actor.empty_unroll(3)
    wide = join_unrolls([unroll, select_columns(unroll, slice(0, 1))])
    for a, b in zip(tf.nest.flatten(empty), tf.nest.flatten(wide), strict=True):
      self.assertEqual((a.shape, a.dtype), (b.shape, b.dtype))


class AtariActorTest(absltest.TestCase):
  def test_returns_are_of_whole_games(self):
    config = runs.tiny_config(
      level_name='breakout', num_action_repeats=4, unroll_length=40
    )
    actor = make_actor(config, runs.make_agent(config), (2, 2))
    self.addCleanup(actor.close)
    columns = [join_unrolls(actor.collect(0)).env_outputs for _ in range(7)]
    reward, info, done = (
      tf.nest.map_structure(
        lambda *x: np.concatenate([a[1:] for a in x]),
        *(getattr(c, name) for c in columns),
      )
      for name in ('reward', 'info', 'done')
    )
    self.assertGreaterEqual(info.episode_done.sum(), 3)
    self.assertGreater(done.sum(), 3 * info.episode_done.sum())  # Lives.
    totals = []
    for column in range(4):
      total, length = 0.0, 0
      for t in range(len(reward)):
        total, length = total + reward[t, column], length + 1
        self.assertEqual(info.episode_return[t, column], total)
        self.assertEqual(info.episode_step[t, column], length)
        if info.episode_done[t, column]:
          totals.append(total)
          total, length = 0.0, 0
    self.assertGreater(max(totals), 0)


def tagged_unroll(first, width):
  """Returns an unroll whose columns are numbered, from `first` on."""
  numbers = np.arange(first, first + width)
  unroll = random_unroll(2, width, SMALL_SPEC, use_lstm=True, seed=first)
  return unroll._replace(
    task_id=numbers.astype(np.int32),
    env_outputs=unroll.env_outputs._replace(
      reward=np.tile(numbers, (3, 1)).astype(np.float32)
    ),
  )


class BatcherTest(parameterized.TestCase):
  @parameterized.named_parameters(
    *((f'seed_{seed}', seed) for seed in range(20))
  )
  def test_cuts_any_widths_in_order_without_loss(self, seed):
    rng = np.random.default_rng(seed)
    batch_size = int(rng.integers(1, 9))
    batcher = Batcher(batch_size)
    unrolls, batches, num_columns = [], [], 0
    for width in rng.integers(1, 13, size=8):
      unrolls.append(tagged_unroll(num_columns, int(width)))
      num_columns += int(width)
      complete = batcher.add(unrolls[-1])
      batches += complete
      self.assertLen(batches, num_columns // batch_size)  # None held back.
    for batch in batches:
      self.assertLen(batch.task_id, batch_size)
      self.assertEqual(batch.env_outputs.reward.shape, (3, batch_size))
    assert_unrolls_equal(
      join_unrolls(batches + batcher.pending), join_unrolls(unrolls)
    )

  def test_tasks_share_every_batch_and_every_part_of_it(self):
    # Three tasks, which environments order by task, and two groups.
    task_id = np.repeat(np.arange(3, dtype=np.int32), 4)
    batcher, batches = Batcher(6), []
    for first in (0, 12, 24):
      unroll = tagged_unroll(first, 12)._replace(task_id=task_id)
      batches += batcher.add(take_turns(unroll))
    self.assertLen(batches, 6)
    for batch in batches:
      np.testing.assert_array_equal(batch.task_id, [0, 1, 2, 0, 1, 2])
    numbers = [batch.env_outputs.reward[0] for batch in batches]
    np.testing.assert_array_equal(np.sort(np.ravel(numbers)), np.arange(36))

  def test_what_is_pending_is_not_ordered_again(self):
    # A resumed run adds it to an empty batcher.
    task_id = np.array([0, 0, 1, 1], np.int32)
    unrolls = [
      take_turns(tagged_unroll(4 * i, 4)._replace(task_id=task_id))
      for i in range(4)
    ]
    batcher, resumed = Batcher(5), Batcher(5)
    for unroll in unrolls[:2]:
      batcher.add(unroll)
    for unroll in batcher.pending:
      resumed.add(unroll)
    for unroll in unrolls[2:]:
      for found, expected in zip(
        resumed.add(unroll), batcher.add(unroll), strict=True
      ):
        assert_unrolls_equal(found, expected)


class TakeTurnsTest(absltest.TestCase):
  def test_tasks_alternate_and_columns_stay_whole(self):
    unroll = tagged_unroll(0, 7)
    task_id = np.array([0, 0, 0, 1, 1, 2, 0], np.int32)
    found = take_turns(unroll._replace(task_id=task_id))
    np.testing.assert_array_equal(found.task_id, [0, 1, 2, 0, 1, 0, 0])
    order = [0, 3, 5, 1, 4, 2, 6]
    expected = select_columns(unroll._replace(task_id=task_id), order)
    assert_unrolls_equal(found, expected)
    assert_unrolls_equal(take_turns(found), found)

  def test_one_task_is_left_alone(self):
    unroll = tagged_unroll(0, 3)._replace(task_id=np.zeros(3, np.int32))
    self.assertIs(take_turns(unroll), unroll)


class JoinUnrollsTest(absltest.TestCase):
  def test_join_and_select_are_inverse(self):
    parts = [tagged_unroll(first, w) for first, w in ((0, 2), (2, 1), (3, 4))]
    joined = join_unrolls(parts)
    self.assertEqual(joined.env_outputs.observation.frame.shape[:2], (3, 7))
    start = 0
    for part in parts:
      stop = start + len(part.task_id)
      assert_unrolls_equal(select_columns(joined, slice(start, stop)), part)
      start = stop

  def test_one_is_itself(self):
    unroll = tagged_unroll(0, 2)
    self.assertIs(join_unrolls([unroll]), unroll)


if __name__ == '__main__':
  absltest.main()
