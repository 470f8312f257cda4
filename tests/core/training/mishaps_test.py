"""What may happen to a run from outside: nothing lost, nothing silent."""

import dataclasses
import json
import os
import pathlib
import resource
import shutil
import signal
import zipfile

import numpy as np
from absl.testing import absltest, parameterized

from core import checkpointing
from tests import runs
from tests.core.training.reference_runs import (
  NUM_UPDATES,
  RunsTest,
  config_of,
  reference,
)


def assert_one_line(finished, message):
  """Asserts that a command ended in status 1 and one line that says why."""
  assert finished.status == 1, finished
  assert 'Traceback' not in finished.stderr, finished.stderr
  lines = [x for x in finished.stderr.splitlines() if x.startswith('error: ')]
  assert len(lines) == 1 and message in lines[0], finished.stderr


class RefusedStartTest(RunsTest):
  @parameterized.named_parameters(
    ('learning_rate', dict(learning_rate=0.5), 'learning_rate was 0.0006'),
    ('groups', dict(num_groups=50), 'num_groups was 2, is 50'),
    ('actors', dict(num_actors=2), 'num_actors was 1, is 2'),
  )
  def test_leaves_the_records_as_they_were(self, changes, message):
    config = config_of(self.logdir(), stop_frames=40)
    runs.train(config)
    before = self.files(config)
    other = dataclasses.replace(config, **changes)
    assert_one_line(runs.Run(other).finish(), message)
    self.assertEqual(self.files(config), before)

  @parameterized.named_parameters(
    (
      'environments',
      dict(
        level_name='catch,tests.user_environments:make_catch',
        num_environments=1,
        num_groups=1,
      ),
      '2 tasks need at least as many',
    ),
    ('groups', dict(num_groups=50), '--num_groups=50 exceeds'),
    ('actors', dict(num_actors=2), 'sync has one actor, not 2'),
  )
  def test_a_first_start_writes_nothing(self, changes, message):
    logdir = os.path.join(self.logdir(), 'run')
    assert_one_line(runs.Run(config_of(logdir, **changes)).finish(), message)
    self.assertEqual(os.listdir(logdir), ['lock'])

  @parameterized.named_parameters(
    ('run_json', 'run.json', b'{"starts": 1}', 'run.json is damaged'),
    ('records', 'updates.csv', b'x' * 10_000, 'updates.csv is damaged'),
    ('folder', 'tasks.csv', None, 'tasks.csv is not a file'),
    ('checkpoints', 'checkpoints', b'', 'checkpoints is not a folder'),
  )
  def test_damaged_files_are_refused_before_anything_is_built(
    self, name, content, message
  ):
    config = config_of(self.logdir(), stop_frames=40)
    runs.train(config)
    path = pathlib.Path(config.logdir, name)
    if name == 'checkpoints':
      shutil.rmtree(path)
    if content is None:
      path.mkdir()
    else:
      path.write_bytes(content)
    before = self.files(config)
    finished = runs.Run(dataclasses.replace(config, stop_frames=80)).finish()
    assert_one_line(finished, message)
    self.assertNotIn('building', finished.stdout)
    self.assertEqual(self.files(config), before)

  def files(self, config):
    """Returns all files of the logdir by name, but for the lock."""
    return {
      str(path): path.read_bytes()
      for path in pathlib.Path(config.logdir).rglob('*')
      if path.is_file() and path.name != 'lock'
    }


class OutsideTest(RunsTest):
  def test_second_run_in_a_logdir_is_refused(self):
    config = config_of(
      self.logdir(), level_name='tests.user_environments:make_sleeping'
    )
    first = runs.Run(config)
    first.wait_for_stderr('sleeping at')
    assert_one_line(
      runs.Run(config).finish(), f'is in use by process {first.pid}'
    )
    first.signal(signal.SIGKILL)
    first.finish()
    self.assertLess(len(runs.rows(config, 'updates.csv')), NUM_UPDATES)

  def test_interrupt_while_environments_are_built(self):
    config = config_of(
      self.logdir(), level_name='tests.user_environments:make_slowly'
    )
    run = runs.Run(config)
    run.wait_for_stderr('building slowly')
    run.signal(signal.SIGINT)
    finished = run.finish()
    self.assertEqual(finished.status, 130, finished)
    self.assertEndsWith(finished.stderr, 'interrupted\n')
    self.assertEqual(finished.stderr.count('building slowly'), 1)
    self.assertFalse(finished.left_children)
    self.assertFalse(os.path.exists(f'{config.logdir}/run.json'))

  @parameterized.parameters('logdir', 'updates.csv')
  def test_files_that_vanish_are_noticed(self, what):
    config = config_of(self.logdir(), checkpoint_updates=10**6)
    run = runs.Run(config)
    run.wait_for_updates(10)
    if what == 'logdir':
      shutil.rmtree(config.logdir)
    else:
      os.remove(os.path.join(config.logdir, what))
    assert_one_line(run.finish(), 'was removed, moved or replaced')
    self.assertEqual(runs.restore(config)[1]['num_updates'], NUM_UPDATES)
    finished = runs.Run(config).finish()
    self.assertEqual(finished.status, 0, finished)
    self.assertIn('updates.csv is gone', finished.stdout)

  def test_full_disk_while_records_are_written(self):
    config = config_of(self.logdir())
    runs.train(dataclasses.replace(config, stop_frames=20 * 4))
    run = runs.Run(config)
    # Bytes; updates.csv has more after four updates.
    resource.prlimit(run.pid, resource.RLIMIT_FSIZE, (500, 500))
    assert_one_line(run.finish(), 'File too large')
    self.assertEqual(runs.restore(config)[1]['num_updates'], 4)
    runs.train(config)
    runs.assert_same_run(config, reference('plain'))


class WrongMetadataTest(RunsTest):
  @parameterized.named_parameters(
    ('list', []),
    ('text', 'x'),
    ('nothing', {}),
    ('frames', {'env_frames': '20'}),
    ('config', {'config': 'x'}),
    ('records', {'records': None}),
    ('negative', {'num_updates': -1}),
    ('endless', {'records': {'env_frames': 10**30}}),
    ('length', {'records': {'updates.csv': 'x'}}),
    ('checksums', {'records': {'checksums': {'updates.csv': None}}}),
    ('source', {'source': [1]}),
    ('tasks', {'task_names': 3}),
  )
  def test_falls_back_to_the_checkpoint_before(self, damage):
    config = config_of(self.logdir())
    runs.train(dataclasses.replace(config, stop_frames=20 * 14))
    directory = pathlib.Path(checkpointing.directory_of(config.logdir))
    newest = max(directory.glob('*.npz'))
    self.rewrite(newest, damage)
    finished = runs.Run(config).finish()
    self.assertEqual(finished.status, 0, finished)
    self.assertRegex(finished.stdout, f'{newest} is damaged .its ')
    self.assertIn('at frame 140', finished.stdout)
    runs.assert_same_run(config, reference('plain'))

  def rewrite(self, path, damage):
    """Replaces entries of a checkpoint's metadata, or all of it."""
    with np.load(path) as archive:
      arrays = {name: archive[name] for name in archive.files}
    metadata = json.loads(arrays.pop('metadata').item())
    is_part = isinstance(damage, dict) and damage
    metadata = {**metadata, **damage} if is_part else damage
    arrays['metadata'] = np.asarray(json.dumps(metadata))
    del arrays['metadata_sha256']  # Written on purpose; older ones lack it.
    with zipfile.ZipFile(path, 'w') as archive:
      for name, array in arrays.items():
        with archive.open(f'{name}.npy', 'w') as entry:
          np.lib.format.write_array(entry, array)


if __name__ == '__main__':
  absltest.main()
