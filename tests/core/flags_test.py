"""Tests of core/flags.py."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

from absl import flags as absl_flags
from absl.testing import absltest, parameterized

from core import flags
from core.config import field
from core.errors import UserError

ROOT = pathlib.Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class Config:
  mode: str = field('train', 'What to do.', choices=('train', 'test', 'bench'))
  batch_size: int = field(2, 'Unrolls per update.', minimum=1)
  frames: int = field(1000, 'Environment frames.')
  discounting: float = field(0.99, 'Per step.', minimum=0, maximum=1)
  use_lstm: bool = field(True, 'LSTM core.')
  level_name: str = field('catch', 'The game.')
  num_actors: int = field(1, 'Actors.', modes=('train', 'bench'))


PRESETS = {
  'big': Config(batch_size=32, discounting=0.5, num_actors=7),
  'broken': Config(batch_size=0),
}

SCRIPT = """
import dataclasses, sys
from core import flags
from core.config import field
from core.errors import UserError

@dataclasses.dataclass(frozen=True)
class Config:
  mode: str = field('train', 'Mode.', choices=('train', 'test'))
  batch_size: int = field(2, 'Batch.', minimum=1)
  use_lstm: bool = field(True, 'LSTM.')
  failure: str = field('', 'How main ends.')
  announced: bool = field(False, 'Whether it says what is run.')
  level_name: str = field('pong', 'Tasks.')
  seed: int = field(1, 'Seed.')
  logdir: str = field('runs/1', 'Folder.')

PRESETS = {'small': Config()}

def main(argv):
  config = flags.resolve(Config, PRESETS)
  if config.announced:
    flags.announce(config, PRESETS)
  if config.failure == 'user':
    raise UserError('no such game\\nnearest: pong')
  if config.failure == 'bug':
    raise RuntimeError('a bug')
  if config.failure == 'interrupt':
    raise KeyboardInterrupt
  print('batch', config.batch_size)

if __name__ == '__main__':
  flags.define(Config, PRESETS)
  flags.run(main)
"""


# Ctrl-C in a callback of the garbage collector, and at the interpreter's end.
SWALLOWED = """
import atexit, gc, os, signal, sys, time
from core import flags

def interrupt(*unused):
  gc.callbacks.clear()
  signal.raise_signal(signal.SIGINT)

def main(argv):
  if os.environ['MOMENT'] == 'at the end':
    atexit.register(interrupt)
    return
  gc.callbacks.append(interrupt)
  gc.collect()
  time.sleep(20)

flags.run(main)
"""


SHELL = """
from absl import flags as a
from core import flags
a.DEFINE_integer('a', 1, 'A.')
flags.run(lambda argv: print(a.FLAGS.a))
"""


def resolve(*arguments):
  argv = ['program', *arguments]
  flag_values = absl_flags.FlagValues()
  absl_flags.DEFINE_string('flagfile', '', 'File.', flag_values=flag_values)
  flags.define(Config, PRESETS, flag_values)
  flag_values(argv)
  return flags.resolve(Config, PRESETS, flag_values, argv)


class ResolveTest(parameterized.TestCase):
  def test_without_flags_gives_the_defaults(self):
    self.assertEqual(resolve(), Config())

  def test_every_field_follows_its_flag(self):
    other = Config('bench', 3, 4, 0.25, False, 'pong', 5)
    for f in dataclasses.fields(Config):
      value = getattr(other, f.name)
      mode = [] if f.name == 'mode' else ['--mode=bench']
      config = resolve(*mode, f'--{f.name}={value}')
      self.assertEqual(
        config, dataclasses.replace(Config(mode='bench'), **{f.name: value})
      )

  def test_preset_yields_to_given_flags_only(self):
    self.assertEqual(
      resolve('--preset=big', '--discounting=0.99'),
      Config(batch_size=32, discounting=0.99, num_actors=7),
    )

  @parameterized.named_parameters(
    ('exponent', '2e8', 200_000_000),
    ('fraction_in_exponent', '1.5e3', 1500),
    ('beyond_float', '9007199254740993', 9007199254740993),
    ('negative', '-3', -3),
  )
  def test_whole_numbers(self, text, expected):
    value = resolve(f'--frames={text}').frames
    self.assertEqual(value, expected)
    self.assertIsInstance(value, int)

  @parameterized.parameters('1.5', 'many', '', 'inf', 'nan', '1e999999999')
  def test_refuses_other_numbers_for_an_int(self, text):
    with self.assertRaisesRegex(absl_flags.Error, 'is not a whole number'):
      resolve(f'--frames={text}')

  @parameterized.named_parameters(
    ('minimum', '--batch_size=0', 'batch_size must be at least 1, not 0'),
    ('maximum', '--discounting=1.5', 'discounting must be at most 1, not 1.5'),
    (
      'nan',
      '--discounting=nan',
      'discounting must be a finite number, not nan',
    ),
    (
      'inf',
      '--discounting=inf',
      'discounting must be a finite number, not inf',
    ),
    ('preset', '--preset=broken', 'batch_size must be at least 1, not 0'),
  )
  def test_refuses_values_out_of_range(self, argument, message):
    with self.assertRaises(UserError) as context:
      resolve(argument)
    self.assertEqual(str(context.exception), message)

  def test_refuses_a_preset_with_an_unknown_choice(self):
    flag_values = absl_flags.FlagValues()
    presets = {'bad': Config(mode='fly')}
    flags.define(Config, presets, flag_values)
    flag_values(['program', '--preset=bad'])
    with self.assertRaisesRegex(UserError, 'train, test, bench, not fly'):
      flags.resolve(Config, presets, flag_values, [])

  def test_refuses_an_unknown_choice(self):
    with self.assertRaisesRegex(absl_flags.Error, 'train.*test.*bench'):
      resolve('--mode=fly')

  @parameterized.parameters(['--num_actors=1'], ['--num_actors', '3'])
  def test_refuses_a_typed_flag_without_effect(self, *arguments):
    with self.assertRaises(UserError) as context:
      resolve('--mode=test', *arguments)
    self.assertEqual(
      str(context.exception),
      '--num_actors does nothing with --mode=test; '
      'it works with --mode=train or --mode=bench',
    )

  def test_flag_files_and_presets_serve_every_mode(self):
    path = os.path.join(
      self.enter_context(tempfile.TemporaryDirectory()), 'row.flags'
    )
    pathlib.Path(path).write_text('--num_actors=3\n')
    config = resolve('--preset=big', f'--flagfile={path}', '--mode=test')
    self.assertEqual(config.num_actors, 3)
    self.assertEqual(resolve('--preset=big', '--mode=test').num_actors, 7)

  def test_help_is_the_documentation(self):
    flag_values = absl_flags.FlagValues()
    flags.define(Config, PRESETS, flag_values)
    for f in dataclasses.fields(Config):
      self.assertIn(f.metadata['doc'], flag_values[f.name].help)


class RunTest(parameterized.TestCase):
  def run_script(self, *arguments, timeout=None):
    folder = self.enter_context(tempfile.TemporaryDirectory())
    script = os.path.join(folder, 'script.py')
    pathlib.Path(script).write_text(SCRIPT)
    return subprocess.run(
      [sys.executable, script, *arguments],
      cwd=folder,
      env={**os.environ, 'PYTHONPATH': str(ROOT)},
      capture_output=True,
      text=True,
      timeout=timeout,
    )

  def test_passes_the_flags_on(self):
    result = self.run_script('--batch_size=1e3')
    self.assertEqual(result.stderr, '')
    self.assertEqual((result.returncode, result.stdout), (0, 'batch 1000\n'))

  @parameterized.named_parameters(
    (
      'unknown_flag',
      ['--batchsize=3'],
      "Unknown command line flag 'batchsize'. Did you mean: batch_size",
    ),
    ('flag_file', ['--flagfile=none.flags'], "directory: 'none.flags'"),
    ('flag_file_is_a_folder', ['--flagfile=.'], "Is a directory: '.'"),
    ('flag_file_is_binary', ['--flagfile=/bin/sh'], 'is not text'),
    ('wrong_value', ['--batch_size=few'], 'few is not a whole number'),
    ('leftover', ['--use_lstm', 'false'], 'unexpected argument false'),
    ('no_dashes', ['mode=test'], 'unexpected argument mode=test'),
    ('out_of_range', ['--batch_size=0'], 'batch_size must be at least 1'),
    ('user_error', ['--failure=user'], 'no such game; nearest: pong'),
  )
  def test_one_line_and_status_1(self, arguments, message):
    result = self.run_script(*arguments)
    self.assertEqual(result.returncode, 1)
    self.assertEqual(result.stdout, '')
    self.assertIn(message, result.stderr)
    self.assertRegex(result.stderr, r'\Aerror: [^\n]+\n\Z')

  @parameterized.named_parameters(
    ('neither', [], True),
    ('preset', ['--preset=small'], False),
    ('flag_file', ['--flagfile=/dev/null'], False),
    ('flag_file_apart', ['--flagfile', '/dev/null'], False),
  )
  def test_says_what_is_run(self, arguments, says_presets):
    result = self.run_script('--announced', *arguments)
    self.assertEqual(result.returncode, 0, result.stderr)
    first, *more = result.stdout.splitlines()
    self.assertEqual(first, 'train pong, seed 1, logdir runs/1')
    self.assertEqual('presets: small' in result.stdout, says_presets)
    self.assertLen(more, 2 if says_presets else 1)

  def test_flag_file_that_is_a_pipe_does_not_hang(self):
    path = os.path.join(
      self.enter_context(tempfile.TemporaryDirectory()), 'row.flags'
    )
    os.mkfifo(path)
    outer = path + '.outer'
    pathlib.Path(outer).write_text(f'--flagfile={path}\n')
    for arguments in (
      [f'--flagfile={path}'],
      ['-flagfile', path],
      [f'--flagfile={outer}'],
    ):
      result = self.run_script(*arguments, timeout=10)
      self.assertEqual(
        (result.returncode, result.stderr),
        (1, f'error: {path} is a named pipe, not a file\n'),
      )

  def test_flag_file_of_a_shell(self):
    result = subprocess.run(
      ['bash', '-c', f'{sys.executable} -c "{SHELL}" --flagfile=<(echo --a=5)'],
      cwd=ROOT,
      capture_output=True,
      text=True,
      timeout=20,
    )
    self.assertEqual(result.stdout, '5\n', result.stderr)

  def test_other_exceptions_keep_their_traceback(self):
    result = self.run_script('--failure=bug')
    self.assertNotEqual(result.returncode, 0)
    self.assertIn('Traceback', result.stderr)
    self.assertIn("raise RuntimeError('a bug')", result.stderr)

  def test_interrupt_is_status_130(self):
    result = self.run_script('--failure=interrupt')
    self.assertEqual((result.returncode, result.stderr), (130, 'interrupted\n'))

  @parameterized.parameters(
    ('in a callback', 130, 'interrupted\n'), ('at the end', -signal.SIGINT, '')
  )
  def test_interrupt_is_not_swallowed(self, moment, status, stderr):
    result = subprocess.run(
      [sys.executable, '-c', SWALLOWED],
      env={**os.environ, 'MOMENT': moment},
      cwd=ROOT,
      capture_output=True,
      text=True,
      timeout=15,
    )
    self.assertEqual((result.returncode, result.stderr), (status, stderr))

  def test_help_lists_the_flags(self):
    result = self.run_script('--help')
    self.assertRegex(result.stdout, r'--batch_size: Batch\.')

  def test_nothing_happens_at_import(self):
    code = (
      'import sys; from absl import flags; import impala.config; '
      "print('batch_size' in flags.FLAGS, 'tensorflow' in sys.modules)"
    )
    result = subprocess.run(
      [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True
    )
    self.assertEqual(result.stdout, 'False False\n')


if __name__ == '__main__':
  absltest.main()
