"""Tests of export.py and run_exported.py in experiments/speed."""

import dataclasses
import gzip
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

import impala.agent
from core.errors import UserError
from experiments.speed import export, run_exported
from tests.experiments.speed import exports
from tests.experiments.speed.exports import LEARNERS, ROOT, read_manifest

NUM_OUTPUTS = 6 + 3 * 10  # Metrics; weights with two slots each.
SCRIPT = str(ROOT / 'experiments/speed/run_exported.py')


def run_script(*args, without=('tensorflow',)):
  """Runs the script by its path, outside of the checkout."""
  folder = tempfile.gettempdir()
  return exports.run_python(SCRIPT, *args, without=without, cwd=folder)


class ExportTestCase(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    temporary = tempfile.TemporaryDirectory()
    cls.addClassCleanup(temporary.cleanup)
    cls.folder = pathlib.Path(temporary.name)
    cls.exported = exports.write('shallow', cls.folder)

  def copy(self):
    folder = self.folder / 'copies' / self.id()
    ignored = shutil.ignore_patterns('timing_*')
    shutil.copytree(self.exported, folder, ignore=ignored)
    return folder

  def change_output(self, name, change):
    """Returns a copy of the export in which one expected output differs."""
    folder = self.copy()

    def apply(manifest):
      (output,) = [o for o in manifest['outputs'] if o['name'] == name]
      change(output['expected'])

    exports.change_manifest(folder, apply)
    return folder

  def assert_one_line(self, result, expected):
    self.assertEqual(result.returncode, 1, result.stderr)
    self.assertLen(result.stderr.splitlines(), 1)
    self.assertStartsWith(result.stderr, 'error: ')
    self.assertIn(expected, result.stderr)


class RunExportedTest(ExportTestCase):
  @parameterized.named_parameters(
    ('jaxlib_alone', ('tensorflow', 'jax')),
    ('jax', ('tensorflow',)),
  )
  def test_outputs_equal_tensorflow(self, without):
    folder = self.copy()
    result = run_script(
      str(folder), '--repeats=2', '--tolerance=1e-3', without=without
    )
    self.assertEqual(result.returncode, 0, result.stderr)
    self.assertEqual(result.stdout.count('pass '), NUM_OUTPUTS)
    self.assertNotIn('FAIL', result.stdout)
    timing = json.loads((folder / 'timing_cpu.json').read_text())
    times = timing['default_precision']
    self.assertEqual(timing['num_updates'], 2)
    self.assertAlmostEqual(
      times['env_frames_per_sec'] * times['ms_per_update'] / 1000,
      3 * 2 * 4,
      places=3,
    )
    self.assertBetween(times['largest_error'], 0, 1e-3)

  @parameterized.named_parameters(
    ('metric', 'gradient_norm'),
    ('moment', 'rmsprop_moment/agent/torso_linear/w'),
    ('mean_square', 'rmsprop_mean_square/agent/torso_linear/w'),
  )
  def test_wrong_output_is_found(self, name):
    def enlarge(expected):
      expected['step_norm'] *= 1.01

    folder = self.change_output(name, enlarge)
    result = run_script(str(folder), '--repeats=1')
    self.assert_one_line(result, '1 of 36 outputs are off')
    rows = [line.split() for line in result.stdout.splitlines()]
    self.assertEqual([row[2] for row in rows if row[0] == 'FAIL'], [name])
    self.assertFalse((folder / 'timing_cpu.json').exists())

  def test_tolerance_is_heeded(self):
    folder = self.change_output(
      'gradient_norm', lambda x: x.update(samples=[1.01 * x['samples'][0]])
    )
    result = run_script(str(folder), '--repeats=1', '--tolerance=1')
    self.assertEqual(result.returncode, 0, result.stderr)

  def test_nan_is_found(self):
    folder = self.change_output(
      'gradient_norm', lambda x: x.update(samples=[float('nan')])
    )
    result = run_script(str(folder), '--repeats=1')
    self.assert_one_line(result, '1 of 36 outputs are off')

  @parameterized.named_parameters(
    ('missing', 'manifest.json', None, 'cannot read'),
    ('manifest', 'manifest.json', b'{', 'is damaged'),
    ('empty_manifest', 'manifest.json', b'{}', 'is damaged'),
    ('archive', 'learner.mlir.gz', b'module {', 'is damaged'),
    ('cut_archive', 'learner.mlir.gz', gzip.compress(b'x')[:9], 'is damaged'),
    ('program', 'learner.mlir.gz', gzip.compress(b'{'), 'does not run'),
    (
      'other_program',
      'learner.mlir.gz',
      gzip.compress(b'module {}'),
      'does not run',
    ),
  )
  def test_damaged_export(self, name, content, expected):
    folder = self.copy()
    if content is None:
      (folder / name).unlink()
    else:
      (folder / name).write_bytes(content)
    self.assert_one_line(run_script(str(folder)), expected)

  @parameterized.named_parameters(
    ('seed', {'seed': 7}, 'unroll.env_outputs.reward'),
    ('recipe', {'inputs': 0}, 'unroll.task_id'),
  )
  def test_inputs_made_otherwise_are_found(self, changes, expected):
    folder = self.copy()

    def change(manifest):
      if 'seed' in changes:
        manifest['seed'] = changes['seed']
      else:
        manifest['inputs'][0]['recipe'] = {'kind': 'constant', 'value': 3}

    exports.change_manifest(folder, change)
    result = run_script(str(folder))
    self.assert_one_line(result, f'{expected} is not made as it was')

  def test_what_is_missing_is_said(self):
    folder = str(self.exported)
    result = run_script(folder, without=('jaxlib',))
    self.assert_one_line(result, 'pip install jaxlib')
    self.assert_one_line(run_script('nowhere'), 'nowhere')
    result = run_script(folder, '--repeats=0')
    self.assert_one_line(result, '--repeats')


class RelativeErrorTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(3)
    self.before = rng.standard_normal(5000)
    self.step = 0.02 * rng.standard_normal(5000)

  def error(self, output):
    expected = run_exported.describe_output(
      self.before + self.step, self.before
    )
    found = run_exported.describe_output(output, self.before)
    return run_exported.relative_error(found, expected)

  def test_equal(self):
    self.assertEqual(self.error(self.before + self.step), 0)

  def test_weight_that_stayed_is_found(self):
    # Its step is far smaller than the weight itself.
    self.assertGreater(self.error(self.before), 0.9)

  def test_step_of_other_length_is_measured(self):
    error = self.error(self.before + 1.1 * self.step)
    self.assertBetween(error, 0.05, 0.3)

  def test_what_a_step_to_almost_nothing_leaves_counts(self):
    left = 0.01 * self.before
    expected = run_exported.describe_output(left, self.before)
    found = run_exported.describe_output(1.1 * left, self.before)
    self.assertBetween(run_exported.relative_error(found, expected), 0.09, 0.2)

  def test_order_between_the_samples_counts(self):
    step = self.step.copy()
    step[1:39], step[40:78] = self.step[40:78], self.step[1:39]
    found = run_exported.describe_output(self.before + step, self.before)
    expected = run_exported.describe_output(
      self.before + self.step, self.before
    )
    self.assertEqual(found['samples'], expected['samples'])
    self.assertGreater(self.error(self.before + step), 5e-3)

  def test_rounding_of_large_numbers_is_no_error(self):
    before = 100 + self.before
    rounded = [x.astype(np.float32) for x in (before, before + 1e-6)]
    expected = run_exported.describe_output(before + 1e-6, before)
    found = run_exported.describe_output(rounded[1], rounded[0])
    self.assertLess(run_exported.relative_error(found, expected), 1e-4)


class InputsTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('integers', {'kind': 'integers', 'end': 5}, 'int32', {0, 1, 2, 3, 4}, 2),
    ('flags', {'kind': 'flags', 'probability': 0.1}, 'bool', {0, 1}, 0.1),
    ('signs', {'kind': 'signs', 'probability': 0.2}, 'float32', {-1, 0, 1}, 0),
    ('constant', {'kind': 'constant', 'value': 2}, 'float32', {2}, 2),
    ('bytes', {'kind': 'bytes'}, 'uint8', {*range(256)}, 127.5),
  )
  def test_numbers(self, recipe, dtype, values, mean):
    described = {'name': 'x', 'shape': [200, 50], 'dtype': dtype}
    (array,) = run_exported.make_inputs([described | {'recipe': recipe}], 1)
    self.assertEqual((array.shape, array.dtype), ((200, 50), dtype))
    self.assertEqual({*array.ravel().tolist()}, values)
    scale = max(values) - min(values)
    self.assertAlmostEqual(array.mean(), mean, delta=0.02 * scale)

  def test_scalar(self):
    recipe = {'kind': 'constant', 'value': 0.5}
    described = {'name': 'x', 'shape': [], 'dtype': 'float32'}
    (x,) = run_exported.make_inputs([described | {'recipe': recipe}], 1)
    self.assertEqual((x.shape, x.dtype, x), ((), 'float32', 0.5))

  def test_uniform(self):
    recipe = {'kind': 'uniform', 'low': -1, 'high': 3}
    described = {'shape': [9999], 'dtype': 'float32', 'recipe': recipe}
    x, y = run_exported.make_inputs(
      [described | {'name': name} for name in 'xy'], 1
    )
    self.assertBetween(x.min(), -1, -0.99)
    self.assertBetween(x.max(), 2.99, 3)
    self.assertLess(abs(np.corrcoef(x, y)[0, 1]), 0.05)

  def test_words(self):
    described = {'name': 'x', 'shape': [3, 400, 16], 'dtype': 'int32'}
    described['recipe'] = {'kind': 'words'}
    (words,) = run_exported.make_inputs([described], 1)
    np.testing.assert_array_equal(words[0], words[2])
    num_words = (words[0] > 0).sum(axis=1)
    self.assertEqual({*num_words.tolist()}, {*range(17)})
    for row, n in zip(words[0], num_words, strict=True):
      self.assertTrue(np.all(row[:n] > 0))
    self.assertEqual((words[words > 0].min(), words.max()), (1, 1000))


class ExportLearnerTest(ExportTestCase):
  def test_export_names_nothing_of_the_machine(self):
    program = exports.read_program(self.exported)
    self.assertNotIn('loc(', program)
    self.assertNotIn('#loc', program)
    for text in (program, json.dumps(read_manifest(self.exported))):
      self.assertNotIn(str(ROOT), text)
      self.assertNotIn(str(self.folder), text)

  def test_operations_are_of_stablehlo(self):
    program = exports.read_program(self.exported)
    operations = re.findall(r'^ +(?:%\S+ = )?"?(\w+)\.\w+', program, re.M)
    self.assertGreater(len(operations), 500)
    self.assertEqual(set(operations), {'stablehlo', 'func'})

  def test_manifest_says_what_was_exported(self):
    manifest = read_manifest(self.exported)
    self.assertEqual(manifest['config']['unroll_length'], 3)
    self.assertEqual(manifest['config']['torso'], 'shallow')
    self.assertEqual(manifest['env_frames_per_update'], 3 * 2 * 4)
    self.assertEqual(manifest['precision'], 'float32')
    self.assertLen(manifest['outputs'], NUM_OUTPUTS)
    for output in manifest['outputs'][6:]:
      replaced = manifest['inputs'][output['replaces_input']]
      self.assertEqual(output['name'], replaced['name'])

  def test_no_array_is_stored(self):
    sizes = {path.name: path.stat().st_size for path in self.exported.iterdir()}
    self.assertEqual(sizes.keys(), {'learner.mlir.gz', 'manifest.json'})
    self.assertLess(sum(sizes.values()), 200_000)
    for output in read_manifest(self.exported)['outputs']:
      self.assertLessEqual(len(output['expected']['samples']), 64)

  def test_every_gradient_counts(self):
    # A learner that barely moved could not be checked.
    for output in read_manifest(self.exported)['outputs']:
      self.assertGreater(output['expected']['largest_step'], 0, output['name'])

  @parameterized.named_parameters(
    ('mirrored', {'strategy': 'mirrored'}, 'one_device'),
    ('not_compiled', {'xla': 'off'}, 'compiled'),
  )
  def test_refused(self, changes, expected):
    learner = LEARNERS['shallow']
    config = dataclasses.replace(learner.config, **changes)
    with self.assertRaisesRegex(UserError, expected):
      export.export_learner(
        impala.agent.Agent, config, learner.env_spec, 'unused'
      )

  def test_command_line(self):
    folder = self.folder / 'command'
    flags = ['--preset=atari_expert_shallow', '--unroll_length=1']
    subprocess.run(
      [
        *(sys.executable, '-m', 'experiments.speed.export'),
        *(f'--out={folder}', '--batch_size=1', *flags),
      ],
      cwd=ROOT,
      check=True,
      capture_output=True,
    )
    manifest = read_manifest(folder)
    self.assertEqual(manifest['config']['batch_size'], 1)
    self.assertEqual(manifest['config']['epsilon'], 0.01)
    shapes = {i['name']: i['shape'] for i in manifest['inputs']}
    self.assertEqual(
      shapes['unroll.env_outputs.observation.frame'], [2, 1, 4, 84, 84]
    )
    self.assertEqual(shapes['unroll.agent_outputs.policy_logits'], [2, 1, 18])

  def test_folder_must_be_named(self):
    with self.assertRaisesRegex(UserError, 'where to write: --out=FOLDER'):
      export.export_config(export.Config())

  def test_full_precision(self):
    program = exports.read_program(self.exported)
    full = run_exported.full_precision(program)
    self.assertGreater(len(re.findall(r'\bHIGHEST\b', full)), 20)
    self.assertNotRegex(full, r'\bDEFAULT\b')


if __name__ == '__main__':
  absltest.main()
