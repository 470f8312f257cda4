"""Tests of core/training/run_info.py."""

import dataclasses
import json
import os
import pathlib
import subprocess
import tempfile
from unittest import mock

import ale_py
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from core.environments.atari import AtariProtocol
from core.errors import UserError
from core.suites.tasks import Tasks
from core.training import run_info
from impala.config import Config

CATCH = Config(level_name='catch')


class RunInfoTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.enter_context(tempfile.TemporaryDirectory())

  def test_says_what_the_run_was_made_of(self):
    os.environ['A_SECRET_FOR_THIS_TEST'] = 'hunter2'
    self.addCleanup(os.environ.pop, 'A_SECRET_FOR_THIS_TEST')
    config = Config(level_name='pong', num_action_repeats=3)
    text = json.dumps(run_info.describe(config, Tasks.of(config)))
    self.assertNotIn('hunter2', text)
    info = json.loads(text)
    self.assertEqual(info['config'], dataclasses.asdict(config))
    protocol = dataclasses.asdict(AtariProtocol(num_action_repeats=3))
    self.assertEqual(info['protocol'], protocol)
    self.assertEqual(info['versions']['numpy'], np.__version__)
    self.assertEqual(info['versions']['tensorflow'], tf.__version__)
    self.assertEqual(info['versions']['ale-py'], ale_py.__version__)
    self.assertNotIn(None, info['versions'].values())
    self.assertGreater(info['hardware']['memory_gib'], 0.1)
    self.assertEqual(
      info['hardware']['cpu_cores'], len(os.sched_getaffinity(0))
    )
    self.assertRegex(info['start_time'], r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]')

  def test_only_the_suites_that_are_played(self):
    info = run_info.describe(CATCH, Tasks.of(CATCH))
    self.assertEqual(info['protocol'], {})
    self.assertNotIn('ale-py', info['versions'])
    both = Config(level_name='rooms_watermaze,pong', width=80)
    info = run_info.describe(both, Tasks.of(both))
    self.assertEqual(info['protocol']['width'], 80)
    self.assertEqual(info['protocol']['noop_max'], 30)
    self.assertIn('ale-py', info['versions'])

  def test_commit_of_a_checkout_and_outside_one(self):
    folder = self.folder
    self.enter_context(mock.patch.object(run_info, '_ROOT', folder))
    git = ['git', '-C', folder, '-c', 'user.name=n', '-c', 'user.email=e@x']

    def info():
      return run_info.describe(CATCH, Tasks.of(CATCH))['git']

    self.assertIsNone(info())
    path = pathlib.Path(folder, 'file')
    path.write_text('one')
    for arguments in (['init', '-q'], ['add', '.'], ['commit', '-qm', 'one']):
      subprocess.run([*git, *arguments], check=True)
    commit = info()['commit']
    self.assertRegex(commit, '^[0-9a-f]{40}$')
    self.assertEqual(info(), {'commit': commit, 'dirty': False})
    path.write_text('two')
    self.assertEqual(info(), {'commit': commit, 'dirty': True})

    index = pathlib.Path(folder, '.git', 'index')
    path.write_text('one')
    os.utime(path, (1, 1))  # So that git would write it down anew.
    before = index.stat().st_ino
    self.assertEqual(info(), {'commit': commit, 'dirty': False})
    self.assertEqual(index.stat().st_ino, before)

  def test_the_commit_is_this_checkouts(self):
    root = pathlib.Path(__file__).resolve().parents[3]
    self.assertTrue(os.path.samefile(run_info._ROOT, root))

  def test_a_second_start_keeps_the_first(self):
    logdir = os.path.join(self.folder, 'new', 'folder')
    for number in range(3):
      run_info.check(logdir)
      path = run_info.write(logdir, {'number': number})
    with open(path, encoding='utf-8') as file:
      info = json.load(file)
    self.assertEqual(
      info, {'number': 2, 'starts': [{'number': 0}, {'number': 1}]}
    )
    self.assertEqual(os.listdir(logdir), ['run.json'])

  @parameterized.named_parameters(
    ('cut_off', b'{"number": '),
    ('list', b'[]'),
    ('null', b'null'),
    ('starts_null', b'{"starts": null}'),
    ('starts_of_another_type', b'{"starts": [1]}'),
    ('deep', b'[' * 100_000),
    ('not_text', b'{"a": "\xff"}'),
  )
  def test_refuses_to_replace_a_damaged_file(self, content):
    path = pathlib.Path(self.folder, 'run.json')
    path.write_bytes(content)
    for refuse in (run_info.check, lambda logdir: run_info.write(logdir, {})):
      message = f'^{path} is damaged .*; move it'
      with self.assertRaisesRegex(UserError, message):
        refuse(self.folder)
    self.assertEqual(path.read_bytes(), content)
    self.assertEqual(os.listdir(self.folder), ['run.json'])

  def test_refuses_what_is_no_file(self):
    path = os.path.join(self.folder, 'run.json')
    os.mkfifo(path)  # Reading it would wait for ever.
    with self.assertRaisesRegex(UserError, f'{path} is a named pipe'):
      run_info.check(self.folder)

  def test_logdir_that_cannot_be_made(self):
    file = os.path.join(self.folder, 'file')
    pathlib.Path(file).touch()
    with self.assertRaisesRegex(
      UserError, f'cannot write {file}/run/run.json: Not a directory'
    ):
      run_info.write(f'{file}/run', {})


if __name__ == '__main__':
  absltest.main()
