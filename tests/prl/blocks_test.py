"""Tests of prl/blocks.py against explicit loops."""

import errno
import os
import pathlib

import numpy as np
from absl.testing import absltest, parameterized

from core.errors import UserError
from prl.blocks import Block, BlockSpec, BlockWriter

SPEC = BlockSpec(
  iteration=1,
  task_names=['a', 'b'],
  row_tasks=[0, 0, 1, 1],
  rules=['lives', 'rewards'],
  protocol={'noop_max': 30},
  seed=1,
  frame_shape=[2, 3],
  num_stacked=4,
  horizon=5,
  num_cases=40,
  num_held_out=6,
)


def played(spec, seed=0):
  """Returns frames [T, N, ...], actions and events [T, N] of a block."""
  rng = np.random.default_rng(seed)
  shape = (spec.num_steps, spec.num_rows)
  frames = rng.integers(1, 256, (*shape, *spec.frame_shape), np.uint8)
  actions = rng.integers(0, 18, shape)
  events = [rng.random(shape) < p for p in (0.1, 0.2, 0.08)]
  return frames, actions, *events


def write(folder, spec, arrays, max_bytes=200, until=None):
  """Writes a block, or its first steps, row groups apart as collection does."""
  writer = BlockWriter(folder, spec, max_bytes)
  frames, *steps = arrays
  for t in range(writer.num_steps, until or spec.num_steps):
    for rows in (slice(0, 2), slice(2, 4)):
      writer.add_frames(t, rows, frames[t, rows])
      writer.add_step(t, rows, *(x[t, rows] for x in steps))
    if writer.is_due(t + 1):
      writer.commit(t + 1, {'t': t})
  writer.close()
  return writer


def case_by_loop(spec, arrays, t, row):
  """One case, by its definition."""
  frames, actions, deaths, points, ends = arrays
  stack = np.zeros([spec.num_stacked, *spec.frame_shape], np.uint8)
  for back in range(spec.num_stacked):
    if t - back < 0 or (back and ends[t - back, row]):
      break
    stack[-1 - back] = frames[t - back, row]
  labels, dead, scored, is_over = [], False, False, False
  for j in range(spec.horizon):
    if not is_over:
      dead = dead or bool(deaths[t + j, row])
      scored = scored or bool(points[t + j, row])
      is_over = bool(ends[t + j, row])
    labels.append([dead, scored and not dead])
  return stack, actions[t : t + spec.horizon, row], labels


class BlockTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.arrays = played(SPEC)

  def test_every_case_equals_its_definition(self):
    write(self.folder, SPEC, self.arrays)
    block = Block(self.folder, SPEC)
    self.assertEqual(block.num_cases, 40 * 4)
    cases = block.cases(np.arange(block.num_cases))
    for i in range(block.num_cases):
      stack, actions, labels = case_by_loop(SPEC, self.arrays, i // 4, i % 4)
      np.testing.assert_array_equal(cases.frames[i], stack)
      np.testing.assert_array_equal(cases.actions[i], actions)
      np.testing.assert_array_equal(cases.labels[i], labels)

  def test_held_out_cases_are_of_the_game_and_share_no_step(self):
    write(self.folder, SPEC, self.arrays)
    t, rows = Block(self.folder, SPEC).held_out(1)
    self.assertEqual(sorted(set(rows.tolist())), [2, 3])
    self.assertLen(t, 6 * 2)
    self.assertGreaterEqual(t.min(), 40 + 5)
    self.assertLessEqual(t.max() + 5, SPEC.num_steps)
    Block(self.folder, SPEC).at(t, rows)

  def test_without_held_out_cases_there_are_fewer_steps(self):
    self.assertEqual(SPEC.num_steps, 40 + 5 + 6 + 5)
    self.assertEqual(SPEC._replace(num_held_out=0).num_steps, 40 + 5)

  def test_frames_without_stack(self):
    spec = SPEC._replace(num_stacked=1, frame_shape=[2, 3, 1])
    arrays = played(spec)
    write(self.folder, spec, arrays)
    cases = Block(self.folder, spec).at(np.array([7]), np.array([3]))
    np.testing.assert_array_equal(cases.frames[0], arrays[0][7, 3])

  def test_counts(self):
    write(self.folder, SPEC, self.arrays)
    found = Block(self.folder, SPEC).counts(1)
    deaths, points, ends = (x[:, 2:].sum() for x in self.arrays[2:])
    self.assertEqual(found, dict(deaths=deaths, points=points, games=ends))

  @parameterized.parameters(1, 200, 1e6)
  def test_goes_on_where_it_was_left(self, max_bytes):
    first = write(self.folder, SPEC, self.arrays, max_bytes, until=31)
    self.assertLessEqual(first.num_steps, 31)
    # What was written after the last commit is taken back.
    for name in ('frames.bin', 'steps.bin'):
      with open(os.path.join(self.folder, name), 'ab') as file:
        file.write(b'junk')
    again = BlockWriter(self.folder, SPEC, max_bytes)
    self.assertEqual(again.num_steps, first.num_steps)
    np.testing.assert_array_equal(
      again.actions, self.arrays[1][: first.num_steps]
    )
    again.close()
    write(self.folder, SPEC, self.arrays, max_bytes)
    whole = self.create_tempdir().full_path
    write(whole, SPEC, self.arrays, max_bytes)
    for name in ('frames.bin', 'steps.bin', 'block.json'):
      found, expected = (
        pathlib.Path(folder, name).read_bytes()
        for folder in (self.folder, whole)
      )
      self.assertEqual(found, expected, name)

  def test_waits_in_no_more_memory_than_stated(self):
    writer = BlockWriter(self.folder, SPEC, 240)
    self.addCleanup(writer.close)
    self.assertEqual(writer._frames.nbytes, 240)

  def test_full_disk_loses_nothing(self):
    write(self.folder, SPEC, self.arrays, until=32)
    writer = BlockWriter(self.folder, SPEC, 200)
    kept = writer.num_steps

    class FullDisk:
      def seek(self, offset):
        del offset

      def write(self, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    writer._files[1].close()
    writer._files[1] = FullDisk()
    with self.assertRaisesRegex(UserError, f'No space.*{kept} of 56 steps'):
      writer.commit(kept + 1, {})
    writer._files[0].close()
    write(self.folder, SPEC, self.arrays)
    self.assertEqual(Block(self.folder, SPEC).num_cases, 160)


class WrongDataTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.arrays = played(SPEC)
    write(self.folder, SPEC, self.arrays)

  @parameterized.parameters(
    dict(task_names=['a', 'c']),
    dict(protocol={'noop_max': 0}),
    dict(rules=['rewards', 'rewards']),
    dict(seed=2),
  )
  def test_of_another_game_or_protocol(self, **changes):
    (name,) = changes
    for reader in (Block, lambda *args: BlockWriter(*args, 200)):
      with self.assertRaisesRegex(UserError, f'{name} was .*, is '):
        reader(self.folder, SPEC._replace(**changes))

  def test_cut_steps_are_refused(self):
    os.truncate(os.path.join(self.folder, 'steps.bin'), 100)
    with self.assertRaisesRegex(UserError, 'cut short or damaged'):
      Block(self.folder, SPEC)

  def test_changed_steps_are_refused(self):
    with open(os.path.join(self.folder, 'steps.bin'), 'r+b') as file:
      file.write(b'\xff')
    with self.assertRaisesRegex(UserError, 'cut short or damaged'):
      Block(self.folder, SPEC)

  def test_cut_frames_are_refused_and_can_be_written_again(self):
    path = os.path.join(self.folder, 'frames.bin')
    os.truncate(path, 7 * SPEC.frame_bytes + 3)
    with self.assertRaisesRegex(UserError, 'frames.bin has .* bytes, not'):
      Block(self.folder, SPEC)
    writer = BlockWriter(self.folder, SPEC, 200)
    self.assertEqual((writer.num_steps, writer.num_frames), (56, 7))
    frames, *steps = self.arrays
    for t in range(7, 56):
      writer.add_frames(t, slice(0, 4), frames[t])
      writer.add_step(t, slice(0, 4), *(x[t] for x in steps))
      if writer.is_due(t + 1):
        writer.commit(t + 1, {})
    writer.close()
    cases = Block(self.folder, SPEC).cases(np.array([79]))
    np.testing.assert_array_equal(
      cases.frames[0], case_by_loop(SPEC, self.arrays, 19, 3)[0]
    )

  def test_unreadable_description(self):
    with open(os.path.join(self.folder, 'block.json'), 'w') as file:
      file.write('{"spec"')
    with self.assertRaisesRegex(UserError, 'block.json cannot be read'):
      Block(self.folder, SPEC)

  def test_unfinished(self):
    folder = self.create_tempdir().full_path
    write(folder, SPEC, self.arrays, until=20)
    with self.assertRaisesRegex(UserError, 'not collected to its end'):
      Block(folder, SPEC)


if __name__ == '__main__':
  absltest.main()
