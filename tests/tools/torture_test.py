"""One case of each kind of torture, and that its check would notice."""

import os
import pathlib
import random
import shutil
import tempfile

from absl.testing import absltest, parameterized
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer import event_file_writer

from tools import same_runs
from tools.forked import Finished
from tools.torture import __main__ as torture
from tools.torture import cases, damage, flag_sets, kills, rewrites, soak
from tools.torture.soak import Sample

FAILING = 'print("logdir")\nraise ValueError("as it should not")\n'


def finished(status, stderr='', left_children=False):
  """Returns an end of a command."""
  return Finished(status, '', stderr, 0.0, left_children)


class TortureTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = tempfile.TemporaryDirectory()
    cls.addClassCleanup(folder.cleanup)
    cls.workshop = cases.Workshop(pathlib.Path(folder.name))
    os.environ['PYTHONPATH'] = folder.name
    cls.addClassCleanup(os.environ.pop, 'PYTHONPATH')
    (cls.workshop.folder / 'failing.py').write_text(FAILING)

  def test_killed_training(self):
    case = kills.sync_training(2, self.workshop)
    self.assertEqual(case.title, 'impala sync')
    self.assertEqual(case.problems, [])
    self.assertEqual(case.counts['bit_equal'], case.counts['bit_equal_kills'])
    self._check_notices_lost_rows(
      self.workshop.folder / 'samples' / 'impala_sync'
    )

  def _check_notices_lost_rows(self, whole):
    self.assertEqual(kills.broken_records(whole), [])
    for name, edit in (
      ('updates.csv', lambda lines: lines[:5] + lines[6:]),
      ('episodes.csv', lambda lines: [*lines, lines[1]]),
    ):
      hurt = self.workshop.fresh('hurt')
      shutil.copytree(whole, hurt, dirs_exist_ok=True)
      lines = (hurt / name).read_text().splitlines(keepends=True)
      (hurt / name).write_text(''.join(edit(lines)))
      self.assertNotEmpty(kills.broken_records(hurt), name)
      self.assertEqual(same_runs.differences(hurt, whole), [name])
    value = summary_pb2.Summary.Value(tag='total_loss', simple_value=1.0)
    events = event_file_writer.EventFileWriter(str(hurt))
    events.add_event(
      event_pb2.Event(step=1600, summary=summary_pb2.Summary(value=[value]))
    )
    events.close()
    self.assertTrue(kills.points(hurt) != kills.points(whole))
    self.assertIn(
      'TensorBoard: total_loss lacks or repeats points',
      kills.broken_records(hurt),
    )

  def test_command_that_fails_is_no_clean_end_of_a_killed_one(self):
    case = cases.Case(1)
    logdir = self.workshop.fresh('failing')
    kills.kill_training(case, 'failing', [], logdir, random.Random(1))
    self.assertNotEmpty(case.problems)

  def test_damaged_file(self):
    case = damage.run_files(4, self.workshop)
    self.assertEqual(case.problems, [])
    self.assertEqual(case.counts, {'files': 1, 'clean': 1})

  def test_flags(self):
    case = flag_sets.flag_set(3, self.workshop)
    self.assertEqual(case.problems, [])
    self.assertEqual(case.counts, {'sets': 1, 'clean': 1})
    folder = self.workshop.fresh('failing')
    (problem,) = flag_sets.start('failing', [], folder)
    self.assertEqual(problem, 'a traceback: ValueError: as it should not')

  def test_soak(self):
    case = soak.soak(1, self.workshop, 2, 'catch')
    self.assertEqual(case.problems, [])
    self.assertGreater(case.counts['gb'], 0.1)


class ChecksTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('done', finished(0)),
    ('refused', finished(1, 'error: no\n')),
    (
      'refused_after_lines_of_tensorflow',
      finished(1, 'I0000 00:00:17.1 1 port.cc:153] oneDNN\nerror: no\n'),
    ),
  )
  def test_clean(self, end):
    self.assertEqual(cases.complaints(end), [])

  @parameterized.named_parameters(
    ('traceback', finished(1, 'Traceback (most recent call last):\nE: x')),
    ('hang', finished(None)),
    ('crash', finished(-11)),
    ('usage', finished(2, 'usage: x\n')),
    ('silent', finished(1)),
    ('two_lines', finished(1, 'error: a\nerror: b\n')),
    ('other_words', finished(1, 'no\n')),
    ('children', finished(0, '', True)),
  )
  def test_not_clean(self, end):
    self.assertLen(cases.complaints(end), 1)

  def test_half_written_file_is_noticed(self):
    old, new = {'a': b'1', 'b': b'2'}, {'a': b'3', 'b': b'4'}
    for found in (old, new, {'a': b'3', 'b': b'2'}):
      self.assertEqual(rewrites.half_written(found, old, new), [])
    for found in ({'a': b'3'}, {'a': b'', 'b': b'2'}):
      self.assertLen(rewrites.half_written(found, old, new), 1)

  def test_growth_is_noticed(self):
    flat = [Sample(i, 500 + i % 2, 20, 30) for i in range(300)]
    # Such as memory takes before it stays flat.
    warming = [s._replace(memory_mb=min(500, 4 * s.secs)) for s in flat]
    for samples in (flat, warming):
      self.assertEqual(soak.growth(samples), [])
    for name, rate in (('memory_mb', 0.1), ('threads', 0.1), ('files', 0.1)):
      growing = [s._replace(**{name: int(10 + rate * s.secs)}) for s in flat]
      self.assertLen(soak.growth(growing), 1, name)

  def test_damage_leaves_another_file(self):
    folder = self.create_tempdir()
    content = b'{"starts": [1, {"a": "b"}]}'
    for seed in range(50):
      path = pathlib.Path(folder.full_path, f'{seed}.json')
      path.write_bytes(content)
      damage.damage(path, random.Random(seed))
      self.assertTrue(not path.is_file() or path.read_bytes() != content)

  def test_summary(self):
    found = {
      'kills': [
        cases.Case(1, counts={'bit_equal_kills': 3, 'bit_equal': 3}),
        cases.Case(2, '', ['bad'], {'whole_kills': 2, 'whole': 0}),
      ],
      'damage': [cases.Case(3, counts={'files': 1, 'clean': 1})],
      'soak': [
        cases.Case(4, counts={'minutes': 5, 'gb': 1.311, 'mb_per_min': 0.2})
      ],
    }
    self.assertEqual(
      torture.summary(found),
      'kills 3 of 3 bit-equal; kills 0 of 2 whole; damaged files 1: 1 clean; '
      'soak 5 min: 1.31 GB, +0.2 MB/min',
    )


if __name__ == '__main__':
  absltest.main()
