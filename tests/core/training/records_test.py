"""Tests of core/training/records.py."""

import contextlib
import csv
import errno
import io
import json
import os
import pathlib
import tempfile
import time

import numpy as np
from absl.testing import absltest, parameterized
from tensorboard.backend.event_processing import event_accumulator

from core.errors import UserError
from core.training import records
from core.types import Episode


def row(num_updates):
  return {
    'num_updates': num_updates,
    'env_frames': 100 * num_updates,
    'total_loss': np.float32(-num_updates) / 4,
    'learning_rate': np.float64(0.5) / num_updates,
    'entropy': 0.1,
  }


def episode(num_updates, task='pong'):
  return Episode(100 * num_updates, task, float(num_updates), 40 * num_updates)


class RecordsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.logdir = os.path.join(
      self.enter_context(tempfile.TemporaryDirectory()), 'run'
    )

  def open(self, resume_state=None):
    result = records.Records(self.logdir, resume_state)
    self.addCleanup(result.close)
    return result

  def play(self, writer, *numbers):
    for number in numbers:
      both = [episode(number), episode(number, 'breakout')]
      writer.episodes(both, 100 * number)
      writer.update(row(number))

  def rows(self, name):
    path = pathlib.Path(self.logdir, name)
    with open(path, newline='', encoding='utf-8') as file:
      return list(csv.DictReader(file))

  def scalars(self):
    accumulator = event_accumulator.EventAccumulator(self.logdir)
    accumulator.Reload()
    return {
      tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
      for tag in accumulator.Tags()['scalars']
    }

  def assert_recorded(self, *numbers):
    """Each number is in every file, once and in order."""
    self.assertEqual(
      [(r['env_frames'], r['task']) for r in self.rows('episodes.csv')],
      [(f'{100 * n}', t) for n in numbers for t in ('pong', 'breakout')],
    )
    self.assertEqual(
      [r['num_updates'] for r in self.rows('updates.csv')],
      [str(n) for n in numbers],
    )
    scalars = self.scalars()
    self.assertEqual(
      scalars['total_loss'], [(100 * n, -n / 4) for n in numbers]
    )
    self.assertEqual(
      scalars['pong/episode_return'], [(100 * n, n) for n in numbers]
    )

  def test_what_is_written(self):
    writer = self.open()
    self.play(writer, 1, 2)
    writer.close()
    header, first, *_ = (
      pathlib.Path(self.logdir, 'episodes.csv').read_text().splitlines()
    )
    self.assertEqual(
      header, 'env_frames,task,episode_return,episode_length,wall_secs'
    )
    self.assertRegex(first, r'^100,pong,1\.0,40,\d+\.\d+$')
    update = self.rows('updates.csv')[1]
    secs = float(update.pop('wall_secs'))
    self.assertBetween(secs, 0, 60)
    self.assertEqual(
      update,
      {
        'num_updates': '2',
        'env_frames': '200',
        'total_loss': '-0.5',
        'learning_rate': '0.25',
        'entropy': '0.1',
      },
    )
    self.assertEqual(
      self.scalars(),
      {
        'learning_rate': [(100, 0.5), (200, 0.25)],
        'total_loss': [(100, -0.25), (200, -0.5)],
        'pong/episode_return': [(100, 1.0), (200, 2.0)],
        'pong/episode_frames': [(100, 40.0), (200, 80.0)],
        'breakout/episode_return': [(100, 1.0), (200, 2.0)],
        'breakout/episode_frames': [(100, 40.0), (200, 80.0)],
      },
    )

  def test_rows_can_be_read_while_the_run_goes_on(self):
    self.play(self.open(), 1)
    self.assertLen(self.rows('episodes.csv'), 2)
    self.assertLen(self.rows('updates.csv'), 1)

  def test_refuses_other_columns(self):
    writer = self.open()
    writer.update(row(1))
    for other in ({**row(2), 'new': 1}, {'env_frames': 3}):
      with self.assertRaisesRegex(ValueError, 'the columns of updates.csv are'):
        writer.update(other)
    self.assertLen(self.rows('updates.csv'), 1)

  def test_resume_cuts_what_came_after_the_checkpoint(self):
    writer = self.open()
    self.play(writer, 1, 2)
    state = writer.state()
    self.play(writer, 3, 4)
    writer.close()
    self.assert_recorded(1, 2, 3, 4)
    writer = self.open(state)
    self.assert_recorded(1, 2)
    self.play(writer, 3)
    state = writer.state()
    self.play(writer, 4)
    writer.close()
    writer = self.open(state)
    self.play(writer, 4, 5)
    writer.close()
    self.assert_recorded(1, 2, 3, 4, 5)

  def test_resume_keeps_the_columns(self):
    writer = self.open()
    self.play(writer, 1)
    state = writer.state()
    writer.close()
    with self.assertRaisesRegex(ValueError, 'the columns of updates.csv are'):
      self.open(state).update({'env_frames': 3})

  def test_resume_from_before_the_first_update(self):
    writer = self.open()
    state = writer.state()
    self.play(writer, 1)
    writer.close()
    writer = self.open(state)
    self.play(writer, 1)
    writer.close()
    self.assert_recorded(1)

  def test_run_without_checkpoint_is_begun_anew(self):
    writer = self.open()
    self.play(writer, 1, 2, 3)
    writer.close()
    writer = self.open()
    self.play(writer, 1, 2)
    writer.close()
    self.assert_recorded(1, 2)

  def test_state_is_what_stands_on_the_disk(self):
    writer = self.open()
    self.play(writer, 1, 2)
    state = writer.state()
    self.assertEqual(state['env_frames'], 200)
    for name in ('episodes.csv', 'updates.csv'):
      size = os.path.getsize(os.path.join(self.logdir, name))
      self.assertEqual(state[name], size)
      self.assertGreater(size, 0)

  def test_wall_time_goes_on(self):
    writer = self.open()
    self.play(writer, 1)
    state = {**writer.state(), 'wall_secs': 1000.0}
    writer.close()
    writer = self.open(state)
    time.sleep(0.01)
    self.play(writer, 2)
    for name in ('episodes.csv', 'updates.csv'):
      secs = float(self.rows(name)[-1]['wall_secs'])
      self.assertBetween(secs, 1000.005, 1060)
    self.assertGreater(writer.state()['wall_secs'], 1000.005)

  @parameterized.parameters('episodes.csv', 'updates.csv', 'tasks.csv')
  def test_refuses_a_file_shorter_than_recorded(self, name):
    writer = self.open()
    self.play_tasks(writer, 1, 2)
    state = writer.state()
    self.play_tasks(writer, 3)
    writer.close()
    path = os.path.join(self.logdir, name)
    os.truncate(path, state[name] - 1)
    before = self.rows('episodes.csv'), self.rows('updates.csv')
    with self.assertRaisesRegex(
      UserError, f'{path} has {state[name] - 1} bytes, but {state[name]}'
    ):
      self.open(state)
    # The other file was not cut either.
    self.assertEqual(
      before, (self.rows('episodes.csv'), self.rows('updates.csv'))
    )

  @parameterized.parameters('episodes.csv', 'updates.csv', 'tasks.csv')
  def test_goes_on_without_a_file_that_is_gone(self, name):
    writer = self.open()
    self.play_tasks(writer, 1, 2)
    state = writer.state()
    writer.close()
    os.remove(os.path.join(self.logdir, name))
    with contextlib.redirect_stdout(io.StringIO()) as said:
      writer = self.open(state)
    self.assertRegex(said.getvalue(), f'warning: .*{name} is gone.*frame 200')
    self.play_tasks(writer, 3)
    writer.close()
    for other in ('episodes.csv', 'updates.csv', 'tasks.csv'):
      frames = {row['env_frames'] for row in self.rows(other)}
      expected = {'300'} if other == name else {'100', '200', '300'}
      self.assertEqual(frames, expected, other)

  @parameterized.parameters('episodes.csv', 'updates.csv', 'tasks.csv')
  def test_refuses_a_file_that_is_not_what_was_written(self, name):
    writer = self.open()
    self.play_tasks(writer, 1, 2)
    state = json.loads(json.dumps(writer.state()))
    writer.close()
    path = pathlib.Path(self.logdir, name)
    written = path.read_bytes()
    path.write_bytes(written.replace(b'1', b'7', 1))
    with self.assertRaisesRegex(UserError, f'{name} is damaged'):
      self.open(state)
    path.write_bytes(written + b'what came after the checkpoint')
    self.open(state).close()

  @parameterized.parameters('removed', 'moved', 'replaced')
  def test_notices_what_happens_to_a_file(self, what):
    writer = self.open()
    self.play(writer, 1)
    writer.check_files()
    path = pathlib.Path(self.logdir, 'updates.csv')
    if what == 'removed':
      path.unlink()
    else:
      path.rename(path.with_suffix('.old'))
    if what == 'replaced':
      path.touch()
    with self.assertRaisesRegex(UserError, 'updates.csv was removed, moved or'):
      writer.check_files()

  def test_tensorboard_repeats_no_point_after_a_kill(self):
    writer = self.open()
    self.play(writer, 1, 2)
    state = writer.state()
    # Ended in the batch after the checkpoint, whose counter was still 200.
    writer.episodes([Episode(200, 'pong', 9.0, 40)], 300)
    writer.close()  # As a kill leaves it: the checkpoint knows nothing of it.
    writer = self.open(state)
    writer.episodes([Episode(200, 'pong', 9.0, 40)], 300)
    writer.close()
    self.assertEqual(
      self.scalars()['pong/episode_return'],
      [(100, 1.0), (200, 2.0), (300, 9.0)],
    )

  def play_tasks(self, writer, *numbers):
    for number in numbers:
      self.play(writer, number)
      metrics = {
        task: dict(shift=number + i, scale=0.5)
        for i, task in enumerate(('pong', 'breakout'))
      }
      writer.tasks(100 * number, metrics)

  def assert_tasks_recorded(self, *numbers):
    self.assertEqual(
      [tuple(r.values()) for r in self.rows('tasks.csv')],
      [
        (f'{100 * n}', task, f'{n + i}', '0.5')
        for n in numbers
        for i, task in enumerate(('pong', 'breakout'))
      ],
    )
    self.assertEqual(
      self.scalars()['breakout/shift'], [(100 * n, n + 1.0) for n in numbers]
    )

  def test_tasks(self):
    writer = self.open()
    self.play_tasks(writer, 1, 2)
    writer.close()
    text = pathlib.Path(self.logdir, 'tasks.csv').read_text()
    self.assertStartsWith(text, 'env_frames,task,shift,scale\n100,pong,1,0.5\n')
    self.assert_tasks_recorded(1, 2)
    self.assert_recorded(1, 2)

  def test_no_tasks_no_file(self):
    writer = self.open()
    self.play(writer, 1)
    writer.tasks(100, {})
    self.assertNotIn('tasks.csv', writer.state())
    writer.close()
    self.assertFalse(os.path.exists(os.path.join(self.logdir, 'tasks.csv')))

  def test_resume_cuts_tasks_too(self):
    writer = self.open()
    self.play_tasks(writer, 1, 2)
    state = writer.state()
    self.play_tasks(writer, 3, 4)
    writer.close()
    writer = self.open(state)
    self.assert_tasks_recorded(1, 2)
    self.play_tasks(writer, 3)
    writer.close()
    self.assert_tasks_recorded(1, 2, 3)

  def test_resume_from_before_the_first_tasks(self):
    writer = self.open()
    state = writer.state()  # As a checkpoint from before there were any.
    self.play_tasks(writer, 1, 2)
    writer.close()
    writer = self.open(state)
    self.play_tasks(writer, 1)
    writer.close()
    self.assert_tasks_recorded(1)

  def test_logdir_that_cannot_be_made(self):
    pathlib.Path(self.logdir).touch()
    with self.assertRaisesRegex(
      UserError, f'cannot write the records in {self.logdir}: File exists'
    ):
      self.open()

  def test_full_disk(self):
    writer = self.open()
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with (
      absltest.mock.patch.object(os, 'fsync', side_effect=full),
      self.assertRaisesRegex(UserError, 'No space left on device'),
    ):
      writer.state()


class WriteEvaluationTest(absltest.TestCase):
  def test_writes_all_rows(self):
    folder = self.enter_context(tempfile.TemporaryDirectory())
    path = os.path.join(folder, 'evaluation.csv')
    names = ('task', 'episode', 'return', 'length', 'protocol')
    names += ('preset', 'checkpoint')
    rows = [
      dict(zip(names, values, strict=True))
      for values in (
        ('pong', 0, -21.0, 3056, 'no-ops, 1 to 30', 'debug', 'a.npz'),
        ('pong', 1, 20.5, 7000, 'no-ops, 1 to 30', '', 'a.npz'),
      )
    ]
    for written in (rows[:1], rows):
      records.write_evaluation(path, written)
      self.assertEqual(os.listdir(folder), ['evaluation.csv'])
    self.assertEqual(
      pathlib.Path(path).read_text().splitlines(),
      [
        'task,episode,return,length,protocol,preset,checkpoint',
        'pong,0,-21.0,3056,"no-ops, 1 to 30",debug,a.npz',
        'pong,1,20.5,7000,"no-ops, 1 to 30",,a.npz',
      ],
    )
    with self.assertRaises(ValueError):
      records.write_evaluation(path, [{**rows[0], 'score': 1}])
    self.assertLen(pathlib.Path(path).read_text().splitlines(), 3)


if __name__ == '__main__':
  absltest.main()
