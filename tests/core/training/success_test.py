"""Success of episodes in the records: core/training/records.py."""

import csv
import os
import pathlib

from absl.testing import absltest
from tensorboard.backend.event_processing import event_accumulator

from core.training import records
from tests.core.training.records_test import episode, row


class SuccessTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.logdir = os.path.join(self.create_tempdir().full_path, 'run')

  def rows(self):
    with open(pathlib.Path(self.logdir, 'episodes.csv'), newline='') as file:
      return list(csv.DictReader(file))

  def scalars(self):
    accumulator = event_accumulator.EventAccumulator(self.logdir)
    accumulator.Reload()
    return {
      tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
      for tag in accumulator.Tags()['scalars']
    }

  def test_success_is_a_last_column_where_a_task_can(self):
    writer = records.Records(self.logdir, None, has_success=True)
    self.addCleanup(writer.close)
    successes = [True, False, None]
    played = [
      episode(1, task)._replace(episode_success=success)
      for task, success in zip('abc', successes, strict=True)
    ]
    writer.episodes(played, 100)
    writer.update(row(1))
    state = writer.state()
    writer.close()
    # A resumed run goes on in the same columns.
    writer = records.Records(self.logdir, state, has_success=True)
    self.addCleanup(writer.close)
    writer.episodes([episode(2)._replace(episode_success=True)], 200)
    writer.close()
    path = pathlib.Path(self.logdir, 'episodes.csv')
    header, *_ = path.read_text().splitlines()
    self.assertEndsWith(header, ',episode_length,wall_secs,episode_success')
    found = [r['episode_success'] for r in self.rows()]
    self.assertEqual(found, ['1', '0', '', '1'])
    scalars = self.scalars()
    self.assertEqual(scalars['a/episode_success'], [(100, 1.0)])
    self.assertEqual(scalars['b/episode_success'], [(100, 0.0)])
    self.assertNotIn('c/episode_success', scalars)

  def test_success_of_an_evaluation(self):
    rows = [
      {'task': task, 'episode': 0, 'return': 1.0, 'length': 5, 'protocol': 'p'}
      for task in 'ab'
    ]
    rows[0]['success'] = 1
    path = os.path.join(self.create_tempdir().full_path, 'evaluation.csv')
    records.write_evaluation(path, rows)
    self.assertEqual(
      pathlib.Path(path).read_text(),
      'task,episode,return,length,protocol,preset,checkpoint,success\n'
      'a,0,1.0,5,p,,,1\nb,0,1.0,5,p,,,\n',
    )


if __name__ == '__main__':
  absltest.main()
