"""Runs as data: folders, labels, how far a run is, malformed files."""

import gzip
import os

from absl.testing import absltest, parameterized

from core.errors import UserError
from experiments import run_records
from tests.experiments.written_runs import write_run

MEANS = {'pong': 10.0, 'breakout': 20.0}


class GroupsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.root = self.create_tempdir().full_path
    for agent in ('new', 'old'):
      for seed in (10, 2):
        write_run(f'{self.root}/{agent}/seed_{seed}', MEANS, seed)
    write_run(f'{self.root}/single', MEANS, seed=7)

  def groups(self, *arguments):
    agents = run_records.read_agents(arguments)
    return {label: [r.seed for r in runs] for label, runs in agents.items()}

  def test_seeds_of_a_folder_are_one_agent_sorted_by_number(self):
    found = self.groups(f'{self.root}/new', f'{self.root}/single')
    self.assertEqual(found, {'new': ['2', '10'], 'single': ['7']})

  def test_seed_folders_named_one_by_one_are_one_agent(self):
    folders = [f'{self.root}/old/seed_{seed}' for seed in (10, 2)]
    self.assertEqual(self.groups(*folders), {'old': ['10', '2']})

  def test_a_label_joins_folders(self):
    found = self.groups(f'all={self.root}/new', f'all={self.root}/single')
    self.assertEqual(found, {'all': ['2', '10', '7']})

  def test_folders_of_the_same_name_get_longer_names(self):
    write_run(f'{self.root}/elsewhere/new/seed_1', MEANS)
    found = self.groups(f'{self.root}/new', f'{self.root}/elsewhere/new')
    name = os.path.basename(self.root)
    self.assertEqual(list(found), [f'{name}/new', 'elsewhere/new'])

  def test_a_run_named_twice_is_refused(self):
    with self.assertRaisesRegex(UserError, 'seed_2 is named twice'):
      self.groups(f'{self.root}/new', f'{self.root}/new/seed_2')

  def test_folders_without_records_are_refused(self):
    for folder in (self.root, f'{self.root}/nothing'):
      with self.assertRaisesRegex(UserError, f'no records in {folder}: name a'):
        self.groups(folder)
    with self.assertRaisesRegex(UserError, 'neither FOLDER nor LABEL=FOLDER'):
      self.groups('label=')


class CompletenessTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('at_its_end', dict(), True),
    ('one_period_of_the_log_before', dict(env_frames=360_000), True),
    ('more_than_that', dict(env_frames=350_000), False),
    ('killed', dict(env_frames=100_000), False),
    ('without_config', dict(config=None), False),
  )
  def test_is_complete(self, changes, is_complete):
    folder = self.create_tempdir().full_path
    run = run_records.read_run(write_run(folder, MEANS, **changes), 'a')
    self.assertEqual(run.is_complete, is_complete)

  def test_stop_frames_are_the_end_and_states_say_how_far(self):
    folder = self.create_tempdir().full_path
    write_run(folder, MEANS, env_frames=102_400)
    run = run_records.read_run(folder, 'a')
    self.assertEqual(run.state, 'incomplete: 102k of 400k')
    self.assertEqual(run.name, 'a, seed 1 (incomplete: 102k of 400k)')
    config = {**run.info['config'], 'stop_frames': 102_400}
    write_run(folder, MEANS, env_frames=102_400, config=config)
    self.assertTrue(run_records.read_run(folder, 'a').is_complete)


class TablesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    write_run(self.folder, MEANS, num_episodes=3)
    self.path = f'{self.folder}/episodes.csv'
    with open(self.path) as file:
      self.lines = file.read().splitlines(keepends=True)

  def write(self, lines):
    with open(self.path, 'w') as file:
      file.writelines(lines)

  def read(self):
    return run_records.read_table(self.folder, 'episodes')

  def test_compressed_is_the_same(self):
    plain = self.read()
    self.assertLen(plain, 6)
    with open(self.path, 'rb') as file, gzip.open(f'{self.path}.gz', 'w') as to:
      to.write(file.read())
    os.remove(self.path)
    self.assertTrue(self.read().equals(plain))
    os.remove(f'{self.path}.gz')
    self.assertIsNone(self.read())

  @parameterized.named_parameters(
    ('half_a_line', 0.5), ('all_but_its_end', 1.0)
  )
  def test_a_line_that_is_being_written_is_left_out(self, share):
    last = self.lines[-1][:-1]
    self.write([*self.lines[:-1], last[: int(len(last) * share)]])
    self.assertLen(self.read(), 5)

  def test_a_file_just_opened_has_no_rows(self):
    self.write([])
    self.assertEmpty(self.read())
    self.assertIn('task', self.read())

  @parameterized.named_parameters(
    ('word', '1,pong,high,1000,1\n', 'line 4: episode_return is high'),
    ('infinite', '1,pong,inf,1000,1\n', 'line 4: episode_return is inf'),
    ('missing', '1,pong\n', 'line 4: episode_return is nan'),
    ('no_task', '1,,2,1000,1\n', 'line 4: task is nan'),
    ('blank', '\n', 'line 4: env_frames is nan'),
    ('too_many', '1,pong,2,1000,1,7,8\n', 'Expected 5 fields in line 4, saw 7'),
  )
  def test_malformed_lines_are_named(self, line, message):
    self.write([*self.lines[:3], line, *self.lines[4:]])
    with self.assertRaisesRegex(UserError, f'{self.path}.*{message}'):
      self.read()

  def test_missing_columns_and_broken_archives_are_named(self):
    self.write(['env_frames,task\n', '1,pong\n'])
    with self.assertRaisesRegex(UserError, 'has no column episode_return'):
      self.read()
    os.remove(self.path)
    with open(f'{self.path}.gz', 'wb') as file:
      file.write(gzip.compress(b'env_frames\n' * 99)[:20])
    with self.assertRaisesRegex(UserError, 'cannot read .*episodes.csv.gz'):
      self.read()

  def test_a_damaged_run_json_is_named(self):
    for text in ('{', '[]'):
      with open(f'{self.folder}/run.json', 'w') as file:
        file.write(text)
      with self.assertRaisesRegex(UserError, 'cannot read .*run.json'):
        run_records.read_run(self.folder, 'a')


class ProtocolsTest(absltest.TestCase):
  def runs(self, **changes):
    root = self.create_tempdir().full_path
    write_run(f'{root}/a', MEANS)
    write_run(f'{root}/b', MEANS, **changes)
    agents = run_records.read_agents([f'{root}/a', f'{root}/b'])
    return [run for runs in agents.values() for run in runs]

  def test_same_protocols_pass(self):
    run_records.check_same_protocol(self.runs())

  def test_fields_that_differ_are_named(self):
    runs = self.runs(protocol=dict(num_action_repeats=4, noop_max=30))
    self.assertEqual(
      run_records.protocol_differences(runs),
      [
        'full_action_space: true (a), not said (b)',
        'noop_max: not said (a), 30 (b)',
      ],
    )
    with self.assertRaisesRegex(
      run_records.NotComparable, 'noop_max: not said'
    ):
      run_records.check_same_protocol(runs)

  def test_emulators_of_other_versions_differ(self):
    runs = self.runs(versions={'ale-py': '0.11.0'})
    with self.assertRaisesRegex(UserError, 'ale-py: "0.12.1" .a., "0.11.0" .b'):
      run_records.check_same_protocol(runs)

  def test_an_unknown_protocol_is_refused(self):
    with self.assertRaisesRegex(UserError, 'no protocol in run.json of .*/b'):
      run_records.check_same_protocol(self.runs(protocol=None))


if __name__ == '__main__':
  absltest.main()
