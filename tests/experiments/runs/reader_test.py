"""What a run is and how far it is."""

import pathlib

from absl.testing import absltest, parameterized

from core.errors import UserError
from experiments.runs import reader
from tests.experiments.fake_runs import write_run

MEANS = {'pong': 10.0, 'breakout': 20.0}


class CompletenessTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('at_its_end', {}, True),
    ('one_period_of_the_log_before', dict(env_frames=360_000), True),
    ('more_than_that', dict(env_frames=350_000), False),
    ('killed', dict(env_frames=100_000), False),
    ('without_config', dict(config=None), False),
  )
  def test_is_complete(self, changes, is_complete):
    folder = self.create_tempdir().full_path
    run = reader.read_run(write_run(folder, MEANS, **changes), 'a')
    self.assertEqual(run.is_complete, is_complete)

  def test_stop_frames_are_the_end_and_states_say_how_far(self):
    folder = self.create_tempdir().full_path
    write_run(folder, MEANS, env_frames=102_400)
    run = reader.read_run(folder, 'a')
    self.assertEqual(run.state, 'incomplete: 102k of 400k')
    self.assertEqual(run.name, 'a, seed 1 (incomplete: 102k of 400k)')
    config = {'stop_frames': 102_400}
    write_run(folder, MEANS, env_frames=102_400, config=config)
    self.assertTrue(reader.read_run(folder, 'a').is_complete)


class ReaderTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def test_numbers_of_the_newest_row(self):
    write_run(self.folder, MEANS, seed=3)
    run = reader.read_run(self.folder, 'a')
    self.assertEqual((run.frames, run.total), (358_400, 400_000))
    self.assertEqual((run.frames_per_sec, run.wall_secs), (5000.0, 358.4))
    self.assertEqual((run.seed, run.tasks), ('3', ('pong', 'breakout')))

  def test_a_row_that_is_being_written_does_not_count(self):
    header = 'env_frames,loss,frames_per_sec,wall_secs\n'
    rows = ''.join(f'{i}00,0.5,{i}.5,9\n' for i in range(1, 5000))
    path = pathlib.Path(self.folder, 'updates.csv')
    for text, frames, rate in (
      ('', 0, 0.0),
      (header, 0, 0.0),
      (header + '100,0.', 0, 0.0),
      (header + rows + '50000', 499_900, 4999.5),
    ):
      path.write_text(text)
      run = reader.read_run(self.folder)
      self.assertEqual((run.frames, run.frames_per_sec), (frames, rate))

  def test_a_folder_without_records(self):
    run = reader.read_run(self.folder)
    self.assertEqual((run.frames, run.total, run.info), (0, 0, {}))
    self.assertFalse(reader.has_records(self.folder))
    self.assertEqual(run.problem, 'no run.json')

  def test_checkpoints_have_their_frames_in_their_names(self):
    run = reader.read_run(self.folder)
    self.assertIsNone(run.checkpoint_frames)
    folder = pathlib.Path(self.folder, 'checkpoints')
    folder.mkdir()
    for frames in (900, 1000, 500):
      (folder / f'checkpoint_{frames:015d}.npz').touch()
    self.assertEqual(run.checkpoint_frames, 1000)

  def test_a_damaged_run_json_is_named(self):
    for text in ('{', '[]'):
      pathlib.Path(self.folder, 'run.json').write_text(text)
      with self.assertRaisesRegex(UserError, 'cannot read .*run.json'):
        reader.read_run(self.folder, 'a')


if __name__ == '__main__':
  absltest.main()
