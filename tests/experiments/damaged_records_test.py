"""Every command that reads records answers damaged ones with one line."""

import contextlib
import gzip
import importlib
import io
import os
import pathlib
import signal
import sys
import warnings
from unittest import mock

from absl.testing import absltest, parameterized

from experiments.runs import recorded
from experiments.tables import comparison
from tests.experiments import fake_runs, folders

RUN_JSON = {
  'list': '[]',
  'null': 'null',
  'number': '1',
  'empty': '',
  'cut_off': '{"config": {"seed": 1',
  'deep': '[' * 100_000,
  'deep_in_an_object': '{"protocol": {"a": ' + '[' * 900 + ']' * 900 + '}}',
  'not_utf8': b'{"command": "\xff"}',
  'surrogate': '{"command": "\\ud800"}',
  'binary': bytes(range(256)) * 9,
  'long_number': '{"config": {"seed": ' + '9' * 9999 + '}}',
  'config': '{"config": "x"}',
  'config_list': '{"config": [1]}',
  'git': '{"git": "x"}',
  'protocol': '{"protocol": [1]}',
  'versions': '{"versions": "x"}',
  'hardware': '{"hardware": "x"}',
  'accelerators': '{"hardware": {"accelerators": 1}}',
  'command': '{"command": 1}',
  'quotes': '{"command": "python \'"}',
  'frames': '{"config": {"total_environment_frames": "400000"}}',
  'stop': '{"config": {"stop_frames": "x"}}',
  'infinite': '{"config": {"total_environment_frames": Infinity}}',
  'huge': '{"config": {"total_environment_frames": 1' + '0' * 400 + '}}',
  'period': '{"config": {"log_updates": null, "batch_size": [1]}}',
}
HEADER = {
  'updates': 'num_updates,env_frames,frames_per_sec,wall_secs\n',
  'episodes': 'env_frames,task,episode_return,episode_length,wall_secs\n',
  'returns': 'env_frames,task,num_episodes,mean_return\n',
  'evaluation': 'task,episode,return,length,protocol\n',
  'tasks': 'env_frames,task,shift,scale\n',
}
# By name the table and its content.
CSV = {
  'updates_not_utf8': ('updates', HEADER['updates'].encode() + b'\xff,1,1,1\n'),
  'updates_infinite': ('updates', HEADER['updates'] + '1,inf,1,1\n'),
  'updates_nan': ('updates', HEADER['updates'] + '1,nan,1,1\n'),
  'updates_short': ('updates', HEADER['updates'] + '1,2\n'),
  'updates_word': ('updates', HEADER['updates'] + '1,2,x,1\n'),
  'updates_true': ('updates', HEADER['updates'] + 'True,2,1,1\n'),
  'updates_header': ('updates', 'a,b\n1,2\n'),
  'updates_binary': ('updates', bytes(range(256)) * 99),
  'updates_zeros': ('updates', b'\0' * 5000 + b'\n'),
  'updates_quote': ('updates', HEADER['updates'] + '"1,2,3,4\n'),
  'episodes_not_utf8': ('episodes', b'\xff' * 99 + b'\n1\n'),
  'episodes_header': ('episodes', 'a,b\n1,2\n'),
  'episodes_binary': ('episodes', bytes(range(256)) * 99),
  'episodes_long': ('episodes', HEADER['episodes'] + '1,pong,1,1,1,1,1\n'),
  'episodes_longer_by_one': ('episodes', HEADER['episodes'] + '1,a,1,1,1,1\n'),
  'episodes_long_word': (
    'episodes',
    HEADER['episodes'] + f'1,pong,{"x" * 9999},1,1\n',
  ),
  'episodes_control': ('episodes', HEADER['episodes'] + '1,a,\x1b[2J,1,1\n'),
  'returns_no_episodes': ('returns', HEADER['returns'] + '1,pong,0,1\n'),
  'evaluation_word': ('evaluation', HEADER['evaluation'] + 'pong,0,x,1,p\n'),
  'evaluation_no_task': ('evaluation', HEADER['evaluation'] + ',0,1,1,p\n'),
  'evaluation_zeros': ('evaluation', b'\0' * 4096 + b'\n'),
  'statistics': ('tasks', HEADER['tasks'] + '1,pong,x,1\n'),
}
COMMANDS = {
  'report': ['run', '--out=report.html'],
  'compare': ['run', '--with', 'good'],
  'curves': ['run', '--out=curve.png'],
  'plots': [],
  'tables': [],
}
READ = {
  'report': ('run', 'updates', 'episodes', 'tasks', 'evaluation', 'pong'),
  'compare': ('run', 'updates', 'evaluation'),
  'curves': ('run', 'updates', 'episodes'),
  'plots': ('run', 'updates', 'episodes', 'tasks'),
  'tables': ('run', 'updates', 'evaluation'),
  'record': ('run', 'updates', 'episodes', 'tasks', 'evaluation'),
}
RECORDS = (
  *('run.json', 'updates.csv', 'episodes.csv', 'tasks.csv', 'evaluation.csv'),
  'pong.mp4',
)
# What a command does not read, or only the end of, need not stop it.
UNREAD = {
  'compare': ('updates', 'tasks', 'episodes'),
  'curves': ('updates', 'tasks', 'evaluation'),
  'plots': ('updates', 'evaluation'),
  'tables': ('updates', 'tasks', 'episodes', 'returns'),
}
# What a table says of the run that is not the run's end.
INCOMPLETE = 'error: A has no complete run: run (incomplete: '


class CommandsTest(parameterized.TestCase):
  """Has a folder with two runs, and runs commands there."""

  is_of_tasks = False

  def setUp(self):
    super().setUp()
    self.enter_context(folders.working_in(self.create_tempdir().full_path))
    for folder in ('good', 'run'):
      fake_runs.write_run(folder, {'pong': 2.0})

  def run_command(self, name):
    """Returns what a command says when it is refused, '' if it is not."""
    main = importlib.import_module(
      f'experiments.{name}'
      + ('' if name in ('compare', 'curves', 'record') else '.__main__')
    ).main
    arguments = COMMANDS.get(name, ['run', 'impala/a/seed_1'])
    if name == 'plots':
      kind = 'statistics' if self.is_of_tasks else 'curves'
      arguments = [kind, 'run', '--out=plot.png']
    no_connections = mock.Mock(return_value=[])
    with (
      mock.patch.object(comparison, 'read_connections', no_connections),
      mock.patch.object(sys, 'argv', [name, *arguments]),
      contextlib.redirect_stdout(io.StringIO()),
      warnings.catch_warnings(action='error'),
    ):
      try:
        main()
      except SystemExit as error:
        return str(error.code)
    return ''

  def make_results(self):
    """Records the run as it is; returns the folder."""
    folder = pathlib.Path(recorded.RESULTS, 'impala', 'a', 'seed_1')
    folder.mkdir(parents=True)
    for path in pathlib.Path('run').iterdir():
      content = path.read_bytes()
      name = path.name
      if name.endswith('.csv') and name != 'evaluation.csv':
        name, content = f'{name}.gz', gzip.compress(content)
      (folder / name).write_bytes(content)
    return folder

  def assert_short(self, said):
    self.assertNotIn('\n', said)
    self.assertTrue(said.isprintable(), repr(said))
    self.assertLess(len(said), 300)


class DamagedRecordsTest(CommandsTest):
  def damage(self, name, content):
    """Writes a file of the run, and of a recorded one that is like it."""
    content = content.encode() if isinstance(content, str) else content
    pathlib.Path('run', name).write_bytes(content)
    if name == 'returns.csv':  # It stands for episodes.
      os.remove('run/episodes.csv')
    self.make_results()

  @parameterized.named_parameters(
    (f'{command}_{damage}', command, damage)
    for command in COMMANDS
    for damage in RUN_JSON
  )
  def test_run_json(self, command, damage):
    self.damage('run.json', RUN_JSON[damage])
    said = self.run_command(command)
    self.assertRegex(said, '^error: .*run.json')
    self.assert_short(said)

  @parameterized.named_parameters(
    (f'{command}_{damage}', command, damage)
    for command in COMMANDS
    for damage in CSV
  )
  def test_table(self, command, damage):
    table, content = CSV[damage]
    self.is_of_tasks = table == 'tasks'
    if table == 'returns':
      os.remove('run/evaluation.csv')
    self.damage(f'{table}.csv', content)
    said = self.run_command(command)
    if said.startswith(INCOMPLETE):
      self.assertEqual((table, command), ('updates', 'compare'))
    elif command == 'curves' and table == 'returns':
      self.assertEqual(said, 'error: no episodes.csv in run')
    elif said:
      self.assertRegex(said, f'^error: .*{table}.csv')
      self.assert_short(said)
    else:
      self.assertIn(table, UNREAD.get(command, ()))


class NotFilesTest(CommandsTest):
  def setUp(self):
    super().setUp()

    def give_up(*unused):
      raise TimeoutError('it waits for ever')

    previous = signal.signal(signal.SIGALRM, give_up)
    self.addCleanup(signal.signal, signal.SIGALRM, previous)
    self.addCleanup(signal.alarm, 0)

  @parameterized.named_parameters(
    (f'{command}_{name}_{what}', command, name, what)
    for command in (*COMMANDS, 'record')
    for name in RECORDS
    for what in ('pipe', 'folder', 'link_to_nowhere')
  )
  def test_ends_in_a_line_or_without_the_file(self, command, name, what):
    path = pathlib.Path('run', name)
    if command == 'tables':
      path = self.make_results() / name
      if name.endswith('.csv') and name != 'evaluation.csv':
        path = path.with_name(f'{name}.gz')
    path.unlink(missing_ok=True)
    if what == 'pipe':
      os.mkfifo(path)
    elif what == 'folder':
      path.mkdir()
    else:
      path.symlink_to('nowhere')
    self.is_of_tasks = name == 'tasks.csv'
    signal.alarm(30)
    said = self.run_command(command)
    signal.alarm(0)
    if said:
      self.assertStartsWith(said, 'error: ')
      self.assert_short(said)
    if what != 'link_to_nowhere':  # That is as if there were no file.
      self.assertEqual(path.name in said, name.split('.')[0] in READ[command])


if __name__ == '__main__':
  absltest.main()
