"""Tests of sweep files and of what launch says of them before it runs."""

import os
import pathlib
import subprocess
import sys

from absl.testing import absltest, parameterized

from core.errors import UserError
from experiments.launch import process, sweeps
from tests.experiments.launch.sweep_case import ROOT, SweepTestCase

EXAMPLE = ROOT / 'experiments' / 'popart' / 'multi_task_catch_sweep.py'


def launch(*arguments):
  """Runs a launcher to its end."""
  return subprocess.run(
    [sys.executable, '-m', 'experiments.launch', *arguments],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=60,
  )


class NamesTest(SweepTestCase):
  @parameterized.named_parameters(
    ('number', {'learning_rate': 0.001}, 'learning_rate=0.001'),
    ('small_number', {'learning_rate': 1e-5}, 'learning_rate=1e-05'),
    ('two', {'a': 1, 'b': 'x'}, 'a=1,b=x'),
    ('boolean', {'xla': True}, 'xla=true'),
    ('flag_file', {'flagfile': 'a/b/table_1.flags'}, 'flagfile=table_1'),
    ('path', {'level_name': 'a.b:c/d'}, 'level_name=a.b_c_d'),
    ('nothing', {}, 'default'),
  )
  def test_setting(self, setting, expected):
    self.assertEqual(sweeps.setting_name(setting), expected)

  def test_runs_are_ordered_by_seed(self):
    runs = self.read_sweep(LOGDIR='runs/my_sweep').runs
    self.assertEqual(
      [run.name for run in runs],
      [
        'learning_rate=0.1/seed_1',
        'learning_rate=0.2/seed_1',
        'learning_rate=0.1/seed_2',
        'learning_rate=0.2/seed_2',
      ],
    )
    self.assertEqual(runs[3].logdir, 'runs/my_sweep/learning_rate=0.2/seed_2')


class CommandsTest(SweepTestCase):
  def test_stage_overrides_setting_overrides_flag_file(self):
    sweep = self.read_sweep(
      LOGDIR='runs/my_sweep',
      FLAGFILE='experiments/popart/multi_task_catch.flags',
      OVERRIDES={
        'a': {'seed_of': 3, 'is_on': False, 'start': 'runs/x/seed_{seed}'},
        'b': {'flagfile': 'experiments/popart/multi_task_catch_impala.flags'},
      },
      SEEDS=(7,),
      STAGES=({}, {'mode': 'test', 'seed_of': 4}),
    )
    head = ('-m', 'tests.experiments.short_run')
    a, b = sweep.runs
    logdir = '--logdir=runs/my_sweep/a/seed_7'
    flagfile = '--flagfile=experiments/popart/multi_task_catch.flags'
    self.assertEqual(
      a.stages,
      (
        (
          *head,
          flagfile,
          '--seed_of=3',
          '--is_on=false',
          '--start=runs/x/seed_7',
          '--seed=7',
          logdir,
        ),
        (
          *head,
          flagfile,
          '--seed_of=4',
          '--is_on=false',
          '--start=runs/x/seed_7',
          '--mode=test',
          '--seed=7',
          logdir,
        ),
      ),
    )
    self.assertEqual(a.modes, ('train', 'test'))
    self.assertEqual(
      b.stages[0][2],
      '--flagfile=experiments/popart/multi_task_catch_impala.flags',
    )

  def test_example(self):
    sweep = sweeps.read(str(EXAMPLE))
    self.assertLen(sweep.runs, 15)
    self.assertEqual(sweep.runs[0].name, 'popart_impala/seed_1')
    self.assertEqual({len(run.stages) for run in sweep.runs}, {2})

  def test_dry_run_prints_commands_and_starts_nothing(self):
    logdir = self.folder / 'runs'
    sweep = self.write_sweep(
      LOGDIR=str(logdir), SEEDS=(1,), ENVIRONMENT={'WORDS': 'a b'}
    )
    expected = [
      "WORDS='a b' python -m tests.experiments.short_run "
      f'--learning_rate={rate} --seed=1 '
      f'--logdir={logdir}/learning_rate={rate}/seed_1'
      for rate in (0.1, 0.2)
    ]
    found = launch(sweep, '--dry_run')
    self.assertEqual(found.stdout.splitlines(), expected)
    self.assertFalse(logdir.exists())
    state = process.State(
      done=[
        '-m tests.experiments.short_run --learning_rate=0.1 --seed=1',
      ]
    )
    process.write_state(str(logdir / 'learning_rate=0.1/seed_1'), state)
    found = launch(sweep, '--dry_run')
    expected[0] = '# done: ' + expected[0]
    self.assertEqual(found.stdout.splitlines(), expected)


class BadInputTest(SweepTestCase):
  @parameterized.named_parameters(
    ('module_type', dict(MODULE=3), 'MODULE must be a string'),
    ('no_module', dict(MODULE='popart.experimant'), 'no module'),
    ('no_package', dict(MODULE='no_such.experiment'), 'no module'),
    ('flag_file', dict(FLAGFILE='no.flags'), 'no flag file no.flags'),
    (
      'flag_file_of_a_setting',
      dict(OVERRIDES=({'flagfile': 'no.flags'},)),
      'flagfile=no: there is no flag file no.flags',
    ),
    ('settings_type', dict(OVERRIDES='x'), 'OVERRIDES must be a tuple'),
    ('no_setting', dict(OVERRIDES=()), 'OVERRIDES is empty'),
    ('setting_type', dict(OVERRIDES=(3,)), '3 is not a dict'),
    (
      'flag_with_dashes',
      dict(OVERRIDES=({'--a': 1},)),
      "'--a' is not the n",
    ),
    ('value_type', dict(OVERRIDES=({'a': [1]},)), r'a is \[1\]'),
    ('own_seed', dict(OVERRIDES=({'seed': 1},)), 'see SEEDS'),
    ('own_logdir', dict(STAGES=({'logdir': 'x'},)), 'STAGES.*see SEEDS'),
    (
      'same_name',
      dict(OVERRIDES=({'a': 'x/y'}, {'a': 'x y'})),
      'two settings are named a=x_y',
    ),
    ('long_name', dict(OVERRIDES=({'a': 'x' * 250},)), 'at most 200'),
    ('no_folder', dict(OVERRIDES={'a/b': {}}), 'cannot name a folder'),
    ('parent_folder', dict(OVERRIDES={'..': {}}), 'cannot name a folder'),
    ('no_seed', dict(SEEDS=()), 'SEEDS must be'),
    ('one_seed', dict(SEEDS=3), 'SEEDS must be'),
    ('negative_seed', dict(SEEDS=(-1,)), 'SEEDS must be'),
    ('seed_twice', dict(SEEDS=(1, 1)), 'SEEDS names a seed twice'),
    ('empty_logdir', dict(LOGDIR=''), 'LOGDIR is empty'),
    ('stages', dict(STAGES={'mode': 'test'}), 'STAGES must be a tuple'),
    ('environment', dict(ENVIRONMENT={'A': 1}), 'ENVIRONMENT must be'),
    ('typing_error', dict(SEED=(1,)), 'SEED is not a constant.*SEEDS?'),
  )
  def test_constant(self, changes, pattern):
    with self.assertRaisesRegex(UserError, 'sweep.py: .*' + pattern):
      self.read_sweep(**changes)

  @parameterized.parameters(*sweeps.REQUIRED)
  def test_missing(self, name):
    constants = self.constants()
    del constants[name]
    text = ''.join(f'{k} = {v!r}\n' for k, v in constants.items())
    with self.assertRaisesRegex(UserError, f'sweep.py: {name} is missing'):
      sweeps.read(self.write(text))

  @parameterized.named_parameters(
    ('missing', 'no.py', 'cannot read no.py: No such file'),
    ('folder', 'experiments', "cannot read experiments|can't find"),
  )
  def test_no_file(self, path, pattern):
    with self.assertRaisesRegex(UserError, pattern):
      sweeps.read(path)

  @parameterized.named_parameters(
    ('syntax', 'MODULE = \n', 'sweep.py:1 is not a sweep file: SyntaxError'),
    ('name', 'MODULE = x\n', 'NameError'),
    ('bytes', 'MODULE = "\0"\n', 'is not a sweep file'),
  )
  def test_not_python(self, text, pattern):
    with self.assertRaisesRegex(UserError, pattern):
      sweeps.read(self.write(text))

  def test_one_line_and_status_1(self):
    blocked = self.folder / 'file'
    blocked.touch()
    sweep = self.write_sweep(LOGDIR=str(blocked / 'runs'))
    found = launch(sweep)
    self.assertEqual(found.returncode, 1)
    self.assertEqual(
      found.stderr, f'error: cannot write to {blocked}/runs: Not a directory\n'
    )
    found = launch(sweep, '--max_parallel=0')
    self.assertEqual(found.stderr, 'error: --max_parallel must be at least 1\n')

  def test_named_pipes_end_in_one_line(self):
    sweep = self.write_sweep()
    log = pathlib.Path(self.read_sweep().runs[1].logdir, 'log')
    log.parent.mkdir(parents=True)
    os.mkfifo(log)
    pipe = self.folder / 'pipe.py'
    os.mkfifo(pipe)
    for path, named in ((sweep, log), (str(pipe), pipe)):
      found = launch(path)
      expected = f'error: {named} is a named pipe, not a file\n'
      self.assertEqual((found.returncode, found.stderr), (1, expected))
    self.assertEqual(os.listdir(log.parent), ['log'])  # None was started.

  def test_damaged_launch_json(self):
    for text in ('', '[]', '{"colour": 1}'):
      (self.folder / 'launch.json').write_text(text)
      with self.assertRaisesRegex(UserError, 'cannot .*launch.json'):
        process.read_state(str(self.folder))


if __name__ == '__main__':
  absltest.main()
