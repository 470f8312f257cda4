"""Tests of experiments/tables/script.py."""

from unittest import mock

from absl.testing import absltest, parameterized

from experiments.tables import markdown, script


class ScriptTest(parameterized.TestCase):
  def call(self, *arguments, texts=(('README.md', 'fast', 'a table'),)):
    """Returns what the command did, in order."""
    done = []
    with (
      mock.patch('sys.argv', ['script', *arguments]),
      mock.patch.object(
        markdown, 'write_all', lambda found: done.append(('wrote', *found))
      ),
    ):
      script.main(
        'experiments.invented',
        'Nothing real.',
        ('fast', 'alone'),
        lambda *run: done.append(run),
        lambda: list(texts),
        lambda: done.append('drew'),
        alone=('alone',),
      )
    return done

  @parameterized.parameters(
    (('--run=fast',), ('fast', 2)),
    (('--run=alone',), ('alone', 1)),
    (('--run=alone', '--num_parallel=3'), ('alone', 3)),
  )
  def test_as_many_at_once(self, arguments, expected):
    self.assertEqual(self.call(*arguments), [expected])

  def test_writes_only_if_asked(self):
    wrote = ('wrote', ('README.md', 'fast', 'a table'))
    self.assertEqual(self.call(), [])
    self.assertEqual(self.call('--write'), [wrote, 'drew'])
    self.assertEqual(
      self.call('--run=fast', '--write'), [('fast', 2), wrote, 'drew']
    )

  def test_without_records(self):
    with self.assertRaisesRegex(SystemExit, 'error: nothing is recorded'):
      self.call('--write', texts=())


if __name__ == '__main__':
  absltest.main()
