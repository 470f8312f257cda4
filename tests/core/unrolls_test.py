"""Tests of core/unrolls.py."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from core.suites.tasks import assign_tasks
from core.types import Unroll
from core.unrolls import (
  Batcher,
  join_unrolls,
  select_columns,
  split_unroll,
  take_turns,
)
from tests.unrolls import (
  LANGUAGE_SPEC,
  SMALL_SPEC,
  assert_unrolls_equal,
  random_unroll,
)


class SplitUnrollTest(absltest.TestCase):
  def test_parts_in_order(self):
    unroll = random_unroll(3, 6, LANGUAGE_SPEC, use_lstm=True)
    parts = split_unroll(unroll, 3)
    for i, part in enumerate(parts):
      self.assertEqual(part.agent_outputs.policy_logits.shape, (4, 2, 3))
      self.assertEqual(part.core_state[0].shape, (2, 256))
      np.testing.assert_array_equal(
        part.env_outputs.observation.instruction,
        unroll.env_outputs.observation.instruction[:, 2 * i : 2 * i + 2],
      )
    tf.nest.map_structure(
      np.testing.assert_array_equal, join_unrolls(parts), unroll
    )

  def test_does_not_divide(self):
    with self.assertRaisesRegex(
      ValueError, '4 replicas do not divide a batch of 6'
    ):
      split_unroll(random_unroll(3, 6), 4)


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

  def test_which_of_57_games_meet_in_a_batch_of_32(self):
    # impala/README.md, D12: 114 environments in 3 groups.
    task_ids = np.split(assign_tasks(114, 57), 3)
    batcher, batches = Batcher(32), []
    while len(batches) < 57:
      for ids in task_ids:
        nothing = Unroll(ids, np.zeros(38, np.int64), (), (), ())
        batches += batcher.add(take_turns(nothing))
    meet = np.zeros([57, 57], int)
    for batch in batches[:57]:
      is_there = np.bincount(batch.task_id, minlength=57)
      meet += np.outer(is_there, is_there)
    np.testing.assert_array_equal(np.diag(meet), 32)
    others = meet[~np.eye(57, dtype=bool)]
    self.assertEqual((others.min(), others.max()), (13, 32))
    self.assertAlmostEqual(others.mean(), 17.7, places=1)

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
