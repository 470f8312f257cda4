"""Runs that a command line names: folders, labels."""

import os

from absl.testing import absltest

from core.errors import UserError
from experiments.runs import grouping
from tests.experiments.fake_runs import write_run

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
    agents = grouping.read_agents(arguments)
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


class ProtocolsTest(absltest.TestCase):
  def runs(self, **changes):
    root = self.create_tempdir().full_path
    write_run(f'{root}/a', MEANS)
    write_run(f'{root}/b', MEANS, **changes)
    agents = grouping.read_agents([f'{root}/a', f'{root}/b'])
    return grouping.runs_of(agents)

  def test_same_protocols_pass(self):
    grouping.check_same_protocol(self.runs())

  def test_fields_that_differ_are_named(self):
    runs = self.runs(protocol=dict(full_action_space=True, noop_max=30))
    self.assertEqual(
      grouping.protocol_differences(runs),
      [
        'full_action_space: false (a), true (b)',
        'noop_max: not said (a), 30 (b)',
      ],
    )
    with self.assertRaisesRegex(grouping.NotComparable, 'noop_max: not said'):
      grouping.check_same_protocol(runs)

  def test_emulators_of_other_versions_differ(self):
    runs = self.runs(versions={'ale-py': '0.11.0'})
    with self.assertRaisesRegex(UserError, 'ale-py: "0.12.1" .a., "0.11.0" .b'):
      grouping.check_same_protocol(runs)

  def test_an_unknown_protocol_is_refused(self):
    with self.assertRaisesRegex(UserError, 'no protocol in run.json of .*/b'):
      grouping.check_same_protocol(self.runs(protocol=None))


if __name__ == '__main__':
  absltest.main()
