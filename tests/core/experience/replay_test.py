"""The replay against Python lists, over wrap-around, resuming and files."""

import contextlib
import io
import os
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from core.errors import UserError
from core.experience import replay as replays
from core.experience.batches import Batches
from core.experience.replay import Replay
from core.types import ActionBox, EnvSpec

SIZES = (2, 5, 2)  # Own features of each task.
SPEC = EnvSpec(
  ('a', 'b', 'c'),
  action_box=ActionBox((-1.0,) * 3, (1.0,) * 3),
  num_features=5,
  task_num_features=SIZES,
)
CAPACITY = 7


def draw_transition(rng):
  """Returns one transition of every task, features padded."""
  is_own = np.arange(5) < np.array(SIZES)[:, None]
  features, next_features = rng.normal(size=[2, 3, 5]) * is_own
  arrays = (features, rng.normal(size=[3, 3]), rng.normal(size=3))
  goes_on = rng.random(3) < 0.5
  return *(np.float32(x) for x in (*arrays, next_features)), goes_on


class Model:
  """What the replay must be: a list of everything, cut at its capacity."""

  def __init__(self):
    self.transitions = []

  def gather(self, task_id, index):
    """Reads transitions, each counted since the first, one by one."""
    rows = [
      [part[task] for part in self.transitions[i]]
      for task, i in zip(task_id, index, strict=True)
    ]
    parts = [np.array(part) for part in zip(*rows, strict=True)]
    return [np.array(task_id), *parts[:4], np.float32(parts[4])]

  def oldest(self):
    """Returns the index of the first transition that may be drawn."""
    return max(0, len(self.transitions) - CAPACITY)


class RandomOperationsTest(parameterized.TestCase):
  def make(self, is_mapped, folder):
    spare = 2 if is_mapped else 0
    return Replay(SPEC, CAPACITY, folder if is_mapped else None, spare)

  @parameterized.named_parameters(('memory', False), ('files', True))
  def test_equals_a_list(self, is_mapped):
    folder = self.enter_context(tempfile.TemporaryDirectory())
    rng = np.random.default_rng(0)
    replay, model = self.make(is_mapped, folder), Model()
    num_resumes = 0
    for _ in range(300):
      operation = rng.random()
      if operation < 0.6:
        transition = draw_transition(rng)
        replay.add(*transition)
        model.transitions.append(transition)
      elif operation < 0.65:
        state = {n: np.array(x) for n, x in replay.get_state().items()}
        replay = self.make(is_mapped, folder)
        replay.set_state(state)
        num_resumes += 1
      elif replay.count:
        self._compare(rng, replay, model)
    self.assertGreater(replay.count, 10 * CAPACITY)
    self.assertGreater(num_resumes, 5)

  def _compare(self, rng, replay, model):
    self.assertEqual(replay.count, len(model.transitions))
    self.assertEqual(replay.size, min(CAPACITY, replay.count))
    task_id = rng.integers(3, size=20)
    index = rng.integers(model.oldest(), replay.count, size=20)
    found = replay.gather(task_id, index)
    for ours, theirs in zip(found, model.gather(task_id, index), strict=True):
      np.testing.assert_array_equal(ours, theirs)
    self.assertEqual(found.task_id.dtype, np.int32)
    self.assertEqual(found.goes_on.dtype, np.float32)

  @parameterized.named_parameters(('memory', False), ('files', True))
  def test_goes_back_to_a_checkpoint(self, is_mapped):
    # Rows that were added since must not show: memory is loaded anew, files
    # have spare rows.
    folder = self.enter_context(tempfile.TemporaryDirectory())
    rng = np.random.default_rng(1)
    replay, model = self.make(is_mapped, folder), Model()
    for _ in range(2 * CAPACITY + 3):
      model.transitions.append(draw_transition(rng))
      replay.add(*model.transitions[-1])
    state = {n: np.array(x) for n, x in replay.get_state().items()}
    for _ in range(2):
      replay.add(*draw_transition(rng))
    restored = self.make(is_mapped, folder)
    restored.set_state(state)
    index = np.repeat(np.arange(model.oldest(), restored.count), 3)
    self.assertLen(index, 3 * CAPACITY)
    task_id = np.tile(np.arange(3), CAPACITY)
    found = restored.gather(task_id, index)
    for ours, theirs in zip(found, model.gather(task_id, index), strict=True):
      np.testing.assert_array_equal(ours, theirs)


class StateTest(absltest.TestCase):
  def test_warns_where_files_are_too_far_ahead(self):
    folder = self.enter_context(tempfile.TemporaryDirectory())
    rng = np.random.default_rng(0)
    replay = Replay(SPEC, CAPACITY, folder, spare=2)
    for _ in range(5):
      replay.add(*draw_transition(rng))
    self.assertOutputs(folder, 3, '')
    self.assertOutputs(folder, 2, 'warning: the replay is 3 steps ahead')
    with self.assertRaisesRegex(UserError, 'less than the checkpoint says'):
      Replay(SPEC, CAPACITY, folder, spare=2).set_state(dict(count=6))

  def assertOutputs(self, folder, count, text):
    replay = Replay(SPEC, CAPACITY, folder, spare=2)
    with self.subTest(count=count):
      printed = io.StringIO()
      with contextlib.redirect_stdout(printed):
        replay.set_state(dict(count=count))
      self.assertStartsWith(printed.getvalue(), text)
      self.assertEqual(bool(printed.getvalue()), bool(text))

  def test_refuses_the_state_of_another_replay(self):
    replay = Replay(SPEC, CAPACITY)
    replay.add(*draw_transition(np.random.default_rng(0)))
    state = replay.get_state()
    other = Replay(SPEC._replace(task_num_features=()), CAPACITY)
    with self.assertRaisesRegex(UserError, 'no array features_5 of shape'):
      other.set_state(state)

  def test_padding_is_not_stored(self):
    rows = 10
    expected = rows * 4 * (2 * sum(SIZES) + 3 * 3 + 3) + 3 * rows
    self.assertEqual(replays.num_bytes(SPEC, rows), expected)


class SizeTest(absltest.TestCase):
  def test_lies_in_files_above_a_size(self):
    folder = self.enter_context(tempfile.TemporaryDirectory())
    gb = replays.num_bytes(SPEC, 100) / 1e9
    small = replays.make_replay(SPEC, 100, gb, folder)
    self.assertFalse(small.is_mapped)
    self.assertEqual(os.listdir(folder), [])
    large = replays.make_replay(SPEC, 101, gb, folder)
    self.assertTrue(large.is_mapped)
    self.assertEqual(large.spare, 11)
    self.assertIn('features_2', os.listdir(os.path.join(folder, 'replay')))

  def test_too_large_is_refused_with_its_bytes_before_anything_is_there(self):
    folder = self.enter_context(tempfile.TemporaryDirectory())
    capacity = 10**13
    needed = f'{replays.num_bytes(SPEC, capacity):,} bytes, the memory'
    with self.assertRaisesRegex(UserError, needed):
      replays.make_replay(SPEC, capacity, 1e12, folder)
    needed = f'{replays.num_bytes(SPEC, capacity + capacity // 10 + 1):,} bytes'
    with self.assertRaisesRegex(UserError, f'{needed}, the disk of'):
      replays.make_replay(SPEC, capacity, 1.0, folder)
    self.assertEqual(os.listdir(folder), [])


class BatchesTest(absltest.TestCase):
  def make(self, replay, seed=3):
    batches = Batches(replay, 2, 400, seed)
    self.addCleanup(batches.close)
    return batches

  def test_prepared_batches_equal_those_drawn_at_once(self):
    rng = np.random.default_rng(0)
    replay, num_newest = Replay(SPEC, CAPACITY), 0
    prepared, direct = self.make(replay), self.make(replay)
    for step in range(1, 3 * CAPACITY):
      transition = draw_transition(rng)
      replay.add(*transition)
      ours, theirs = prepared.take(step), direct.take(step)
      for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)
      newest = np.isin(ours.reward, transition[2])
      num_newest += newest.sum()
      prepared.prepare(step + 1)
    # A seventh of them; there are 20 steps of 800, and fewer rows at first.
    self.assertGreater(num_newest, 20 * 800 / 8)

  def test_are_uniform_over_tasks_and_rows(self):
    replay = Replay(SPEC, CAPACITY)
    for i in range(CAPACITY + 2):
      features = np.zeros([3, 5], np.float32)
      replay.add(
        features, np.zeros([3, 3]), np.full(3, i), features, np.ones(3)
      )
    batches = self.make(replay)
    pairs = np.zeros([3, CAPACITY + 2])
    for step in range(50):
      batch = batches.take(step)
      self.assertEqual(batch.features.shape, (2, 400, 5))
      np.add.at(pairs, (batch.task_id, batch.reward.astype(int)), 1)
    np.testing.assert_array_equal(pairs[:, :2], 0)
    expected = 50 * 800 / (3 * CAPACITY)
    deviations = (pairs[:, 2:] - expected) / np.sqrt(expected)
    self.assertLess(np.abs(deviations).max(), 4.5)
    self.assertGreater(np.abs(deviations).max(), 0.5)

  def test_depend_on_seed_and_step_alone(self):
    replay = Replay(SPEC, CAPACITY)
    replay.add(*draw_transition(np.random.default_rng(0)))
    first, second = (self.make(replay).take(5).task_id for _ in range(2))
    np.testing.assert_array_equal(first, second)
    for other in (
      self.make(replay, seed=4).take(5),
      self.make(replay).take(6),
    ):
      self.assertTrue(np.any(other.task_id != first))

  def test_of_each_task(self):
    replay = Replay(SPEC, CAPACITY)
    rng = np.random.default_rng(0)
    for _ in range(4):
      replay.add(*draw_transition(rng))
    batch = self.make(replay).of_each_task(1, 3)
    np.testing.assert_array_equal(
      batch.task_id, np.broadcast_to(np.arange(3)[:, None], [3, 400])
    )
    for task, size in enumerate(SIZES):
      is_used = np.any(batch.features[task] != 0.0, axis=0)
      np.testing.assert_array_equal(is_used, np.arange(5) < size)


if __name__ == '__main__':
  absltest.main()
