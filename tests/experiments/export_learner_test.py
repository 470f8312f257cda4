"""Tests of experiments/export_learner.py and experiments/run_exported.py."""

import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zlib

import numpy as np
import tree
from absl.testing import absltest, parameterized

from core.errors import UserError
from experiments import export_learner

ROOT = pathlib.Path(__file__).resolve().parents[2]
VARIANTS = {
  'atari': dataclasses.replace(
    export_learner.PRESETS['atari_expert_shallow'],
    unroll_length=3,
    batch_size=2,
    num_actions=6,
  ),
  'dmlab': export_learner.Config(
    observation='dmlab', unroll_length=2, batch_size=2
  ),
}


def run_exported(*args, without=('tensorflow',)):
  """Runs the script where the packages `without` cannot be imported."""
  with tempfile.TemporaryDirectory() as blocked:
    for package in without:
      path = pathlib.Path(blocked, f'{package}.py')
      path.write_text('raise ImportError')
    return subprocess.run(
      [sys.executable, str(ROOT / 'experiments/run_exported.py'), *args],
      cwd=blocked,
      env={'PYTHONPATH': blocked},
      capture_output=True,
      text=True,
      timeout=300,
    )


def read(folder):
  manifest = json.loads((folder / 'manifest.json').read_text())
  with np.load(folder / 'example.npz') as example:
    return manifest, dict(example)


def by_name(folder, kind):
  manifest, arrays = read(folder)
  names = [description['name'] for description in manifest[f'{kind}s']]
  return {name: arrays[f'{kind}_{i:03}'] for i, name in enumerate(names)}


class ExportTestCase(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    temporary = tempfile.TemporaryDirectory()
    cls.addClassCleanup(temporary.cleanup)
    cls.folder = pathlib.Path(temporary.name)

  def exported(self, variant):
    """Exports a variant once; returns its folder."""
    folder = self.folder / variant
    if not folder.exists():
      config = dataclasses.replace(VARIANTS[variant], out=str(folder))
      export_learner.export_learner(config)
    return folder

  def copy(self, variant='atari'):
    folder = self.folder / 'copies' / self.id()
    ignored = shutil.ignore_patterns('timing_*')
    shutil.copytree(self.exported(variant), folder, ignore=ignored)
    return folder

  def change(self, folder, **changed):
    _, arrays = read(folder)
    np.savez(folder / 'example.npz', **{**arrays, **changed})

  def assert_one_line(self, result, expected):
    self.assertEqual(result.returncode, 1, result.stderr)
    self.assertLen(result.stderr.splitlines(), 1)
    self.assertStartsWith(result.stderr, 'error: ')
    self.assertIn(expected, result.stderr)


class RunExportedTest(ExportTestCase):
  @parameterized.named_parameters(
    ('shallow_atari', 'atari', 6 + 3 * 10, 3 * 2 * 4, 1e-3),
    # One maximum or ReLU that rounding decides weighs much in so few frames.
    ('deep_lstm_dmlab', 'dmlab', 6 + 3 * 41, 2 * 2 * 4, 0.05),
  )
  def test_outputs_equal_tensorflow(
    self, variant, num_outputs, num_frames, tolerance
  ):
    folder = self.exported(variant)
    result = run_exported(
      str(folder), '--repeats=2', f'--tolerance={tolerance}'
    )
    self.assertEqual(result.returncode, 0, result.stderr)
    self.assertEqual(result.stdout.count('pass '), num_outputs)
    self.assertNotIn('FAIL', result.stdout)
    timing = json.loads((folder / 'timing_cpu.json').read_text())
    times = timing['default_precision']
    self.assertEqual(timing['num_updates'], 2)
    self.assertAlmostEqual(
      times['env_frames_per_sec'] * times['ms_per_update'] / 1000,
      num_frames,
      places=3,
    )
    self.assertBetween(times['largest_error'], 0, tolerance)

  @parameterized.named_parameters(
    ('metric', 'gradient_norm'),
    ('moment', 'rmsprop_moment/agent/torso_linear/w'),
    ('mean_square', 'rmsprop_mean_square/agent/torso_linear/w'),
  )
  def test_wrong_output_is_found(self, name):
    folder = self.copy()
    index = list(by_name(folder, 'output')).index(name)
    output = by_name(folder, 'output')[name]
    self.change(folder, **{f'output_{index:03}': output * np.float32(1.01)})
    result = run_exported(str(folder), '--repeats=1', '--tolerance=1e-3')
    self.assert_one_line(result, '1 of 36 outputs are off')
    rows = [line.split() for line in result.stdout.splitlines()]
    self.assertEqual([row[2] for row in rows if row[0] == 'FAIL'], [name])
    self.assertFalse((folder / 'timing_cpu.json').exists())
    result = run_exported(str(folder), '--repeats=1', '--tolerance=1')
    self.assertEqual(result.returncode, 0, result.stderr)

  def test_weight_that_stayed_is_found(self):
    # Its step is far smaller than the weight itself.
    folder = self.copy()
    name = 'agent/torso_linear/w'
    index = list(by_name(folder, 'output')).index(name)
    before = by_name(folder, 'input')[name]
    self.change(folder, **{f'output_{index:03}': before})
    result = run_exported(str(folder), '--repeats=1', '--tolerance=0.01')
    self.assert_one_line(result, '1 of 36 outputs are off')

  def test_nan_is_found(self):
    folder = self.copy()
    self.change(folder, output_000=np.float32(np.nan))
    result = run_exported(str(folder), '--repeats=1', '--tolerance=1e-3')
    self.assert_one_line(result, '1 of 36 outputs are off')

  @parameterized.named_parameters(
    ('missing', 'manifest.json', None, 'cannot read'),
    ('manifest', 'manifest.json', b'{', 'is damaged'),
    ('empty_manifest', 'manifest.json', b'{}', 'is damaged'),
    ('example', 'example.npz', b'PK\x03\x04', 'is damaged'),
    ('program', 'learner.mlir', b'module {', 'does not run'),
    ('other_program', 'learner.mlir', b'module {}', 'does not run'),
  )
  def test_damaged_export(self, name, content, expected):
    folder = self.copy()
    if content is None:
      (folder / name).unlink()
    else:
      (folder / name).write_bytes(content)
    self.assert_one_line(run_exported(str(folder)), expected)

  @parameterized.named_parameters(
    ('shape', np.zeros([3], np.int32), 'task_id is ([3]'),
    ('dtype', np.zeros([2], np.float32), 'task_id is ([2]'),
    ('pickle', np.array([None, None]), 'allow_pickle=False'),
  )
  def test_wrong_array(self, array, expected):
    folder = self.copy()
    self.change(folder, input_000=array)
    self.assert_one_line(run_exported(str(folder)), expected)

  def test_what_is_missing_is_said(self):
    folder = str(self.exported('atari'))
    result = run_exported(folder, without=('jaxlib',))
    self.assert_one_line(result, 'pip install jaxlib')
    self.assert_one_line(run_exported('nowhere'), 'nowhere')
    result = run_exported(folder, '--repeats=0')
    self.assert_one_line(result, '--repeats')


class ExportLearnerTest(ExportTestCase):
  @parameterized.named_parameters(*((name, name) for name in VARIANTS))
  def test_export_names_nothing_of_the_machine(self, variant):
    folder = self.exported(variant)
    manifest, _ = read(folder)
    program = (folder / 'learner.mlir').read_text()
    self.assertNotIn('loc(', program)
    self.assertNotIn('#loc', program)
    for text in (program, json.dumps(manifest)):
      self.assertNotIn(str(ROOT), text)
      self.assertNotIn(str(folder), text)

  def test_manifest_says_what_was_exported(self):
    manifest, arrays = read(self.exported('atari'))
    self.assertEqual(manifest['config']['unroll_length'], 3)
    self.assertEqual(manifest['env_frames_per_update'], 3 * 2 * 4)
    self.assertEqual(manifest['config']['torso'], 'shallow')
    num_arrays = len(manifest['inputs']) + len(manifest['outputs'])
    self.assertLen(arrays, num_arrays)
    for output in manifest['outputs'][6:]:
      replaced = manifest['inputs'][output['replaces_input']]
      self.assertEqual(output['name'], replaced['name'])

  def test_batch_is_lively_and_small_when_packed(self):
    config = dataclasses.replace(
      VARIANTS['dmlab'], unroll_length=50, batch_size=16
    )
    env_spec = export_learner.make_env_spec(config)
    unroll = export_learner.make_unroll(config, env_spec)
    self.assertEqual(env_spec.num_actions, 15)
    frame, instruction = unroll.env_outputs.observation
    self.assertEqual(frame.shape, (51, 16, 72, 96, 3))
    self.assertEqual(unroll.agent_outputs.policy_logits.shape, (51, 16, 15))
    self.assertLess(len(zlib.compress(frame.tobytes())), 0.05 * frame.size)
    self.assertGreater(np.std(frame, axis=(0, 1)).min(), 50)
    is_flat = np.all(np.diff(frame, axis=3) == 0, axis=-1)
    self.assertLess(is_flat.mean(), 0.001)
    self.assertEqual({*unroll.env_outputs.reward.flat}, {-1.0, 0.0, 1.0})
    self.assertBetween(unroll.env_outputs.done.mean(), 0.02, 0.1)
    num_words = (instruction > 0).sum(axis=2)
    self.assertGreater(len({*num_words.flat}), 3)
    self.assertBetween(instruction.max(), 900, 1000)
    again = export_learner.make_unroll(config, env_spec)
    tree.map_structure(np.testing.assert_array_equal, unroll, again)

  def test_weights_pack(self):
    weights = by_name(self.exported('atari'), 'input')['agent/torso_linear/w']
    self.assertFalse(np.any(weights.view(np.uint32) & 0xFFFF))
    self.assertGreater(len(np.unique(weights)), 1000)

  @parameterized.named_parameters(
    ('no_folder', {'out': ''}, '--out'),
    ('mirrored', {'strategy': 'mirrored'}, 'one_device'),
    ('not_compiled', {'xla': 'off'}, 'compiled'),
  )
  def test_refused(self, changes, expected):
    config = dataclasses.replace(VARIANTS['atari'], out='unused')
    with self.assertRaisesRegex(UserError, expected):
      export_learner.export_learner(dataclasses.replace(config, **changes))

  def test_command_line(self):
    folder = self.folder / 'command'
    flags = ['--preset=atari_expert_shallow', '--unroll_length=1']
    subprocess.run(
      [
        *(sys.executable, '-m', 'experiments.export_learner'),
        *(f'--out={folder}', '--batch_size=1', *flags),
      ],
      cwd=ROOT,
      check=True,
      capture_output=True,
    )
    manifest, _ = read(folder)
    self.assertEqual(manifest['config']['batch_size'], 1)
    self.assertEqual(manifest['config']['epsilon'], 0.01)
    shapes = {i['name']: i['shape'] for i in manifest['inputs']}
    self.assertEqual(
      shapes['unroll.env_outputs.observation.frame'], [2, 1, 4, 84, 84]
    )
    self.assertEqual(shapes['unroll.agent_outputs.policy_logits'], [2, 1, 18])


if __name__ == '__main__':
  absltest.main()
