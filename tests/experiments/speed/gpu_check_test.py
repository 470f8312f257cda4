"""Tests of the speed check: TensorFlow's learners beside those in JAX."""

import json
import pathlib
import shutil
import subprocess
import tempfile

from absl.testing import absltest, parameterized

from experiments.speed import run_exported, table
from tests.experiments.speed import exports
from tests.experiments.speed.exports import LEARNERS, ROOT

KINDS = ('tensorflow', 'jax')


def run_check(folder, *args, without=('tensorflow',)):
  command = ('-m', 'experiments.speed.gpu_check', str(folder), *args)
  return exports.run_python(*command, without=without)


class GpuCheckTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    temporary = tempfile.TemporaryDirectory()
    cls.addClassCleanup(temporary.cleanup)
    cls.folder = pathlib.Path(temporary.name)
    for name in (*LEARNERS, 'stacx', 'brc'):
      exports.write(name, cls.folder)
    cls.add_wrong_one()
    names = [*LEARNERS, 'stacx', 'brc', 'wrong']
    (cls.folder / run_exported.PROGRAMS_FILE).write_text(json.dumps(names))
    cls.result = run_check(cls.folder, '--budget_secs=0')
    text = (cls.folder / 'gpu_check.json').read_text()
    cls.report = json.loads(text)
    cls.entries = {entry['name']: entry for entry in cls.report['programs']}

  @classmethod
  def add_wrong_one(cls):
    shutil.copytree(cls.folder / 'shallow', cls.folder / 'wrong')

    def change(manifest):
      (output,) = (
        o for o in manifest['outputs'] if o['name'] == 'agent/torso_linear/w'
      )
      output['expected']['signed_step_sum'] += output['expected']['step_norm']

    exports.change_manifest(cls.folder / 'wrong', change)

  @parameterized.named_parameters(*((n, n) for n in LEARNERS))
  def test_both_equal_tensorflow(self, name):
    for kind in KINDS:
      result = self.entries[name][kind]
      self.assertNotIn('failed', result, kind)
      self.assertLess(result['largest_error'], 5e-3, kind)

  @parameterized.named_parameters(*((n, n) for n in LEARNERS))
  def test_rates(self, name):
    entry = self.entries[name]
    config = LEARNERS[name].config
    frames = config.unroll_length * config.batch_size * 4
    self.assertEqual(entry['env_frames_per_update'], frames)
    for kind in KINDS:
      result = entry[kind]
      self.assertEqual(result['num_updates'], 3)
      secs = result['ms_per_update'] / 1000
      self.assertAlmostEqual(result['env_frames_per_sec'] * secs, frames)
      rate = entry['flops_per_update'] / secs
      self.assertAlmostEqual(result['flops_per_sec'], rate)
      self.assertNotIn('share_of_peak', result)  # A CPU has none here.
      # At least the weights and their two slots.
      least = 12 * exports.num_weights(self.folder / name)
      self.assertBetween(result['memory_bytes'], least, 100 * least)
    ratio = entry['jax']['ms_per_update'] / entry['tensorflow']['ms_per_update']
    self.assertAlmostEqual(entry['tensorflow_to_jax'], ratio)

  def test_stacx_equals_tensorflow_and_has_no_like_in_jax(self):
    entry = self.entries['stacx']
    self.assertLess(entry['tensorflow']['largest_error'], 5e-3)
    self.assertEqual(entry['jax']['skipped'], 'STACX was not written in JAX')
    outputs = exports.read_manifest(self.folder / 'stacx')['outputs']
    steps = {o['name']: o['expected']['largest_step'] for o in outputs}
    for name in ('eta', 'eta_adam/mean', 'g_e_gradient_head_3', 'kl'):
      self.assertGreater(steps[name], 0, name)

  def test_brc_equals_tensorflow_and_has_no_like_in_jax(self):
    entry = self.entries['brc']
    self.assertLess(entry['tensorflow']['largest_error'], 5e-4)
    self.assertEqual(entry['jax']['skipped'], 'BRC was not written in JAX')
    self.assertEqual(entry['env_frames_per_update'], 2)
    outputs = exports.read_manifest(self.folder / 'brc')['outputs']
    steps = {o['name']: o['expected']['largest_step'] for o in outputs}
    for name in ('embedding', 'actor/input/w', 'target_critic/head/w'):
      self.assertGreater(steps[name], 0, name)

  def test_wrong_output_is_reported_and_the_rest_kept(self):
    self.assertEqual(self.result.returncode, 1)
    lines = self.result.stderr.splitlines()
    self.assertLen(lines, 1)
    self.assertStartsWith(lines[0], 'error: 2 failed')
    for kind in KINDS:
      failure = self.entries['wrong'][kind]['failed']
      self.assertStartsWith(failure, '1 of 36 outputs are off')
      self.assertIn('agent/torso_linear/w', failure)
      self.assertNotIn('ms_per_update', self.entries['wrong'][kind])

  def test_nothing_is_begun_after_the_limit(self):
    out = self.folder / 'late.json'
    result = run_check(self.folder, f'--out={out}', '--limit_secs=-1')
    self.assertEqual(result.returncode, 0, result.stderr)
    for entry in json.loads(out.read_text())['programs']:
      for kind in KINDS:
        self.assertEqual(entry[kind].keys(), {'skipped'})

  def test_without_jax(self):
    names = self.folder / 'one' / run_exported.PROGRAMS_FILE
    shutil.copytree(self.folder / 'popart', names.parent / 'popart')
    names.write_text('["popart"]')
    result = run_check(
      names.parent, '--budget_secs=0', without=('tensorflow', 'jax')
    )
    self.assertEqual(result.returncode, 0, result.stderr)
    report = json.loads((names.parent / 'gpu_check.json').read_text())
    (entry,) = report['programs']
    self.assertIn('env_frames_per_sec', entry['tensorflow'])
    self.assertIn('no jax', entry['jax']['skipped'])
    self.assertIsNone(report['versions']['jax'])

  def test_table(self):
    text = table.make_table([self.report])
    lines = text.splitlines()
    self.assertLen(lines, 2 + len(self.entries))
    self.assertIn('| cpu | popart | float32 | ', text)
    entry = self.entries['shallow']
    for kind in KINDS:
      self.assertIn(f'{entry[kind]["env_frames_per_sec"]:,.0f}', lines[2])
      self.assertIn(f'{entry[kind]["memory_bytes"] / 2**20:,.0f}', lines[2])
    self.assertEqual(lines[-1].count('failed'), 2)


class TableTest(absltest.TestCase):
  def test_share_of_peak_and_skipped(self):
    entry = {
      'name': 'impala_deep_bfloat16',
      'precision': 'bfloat16',
      'tensorflow': {
        'env_frames_per_sec': 12345.6,
        'share_of_peak': 0.0345,
        'memory_bytes': 3 * 2**20,
      },
      'jax': {'skipped': 'no jax'},
    }
    text = table.make_table([{'device': 'X', 'programs': [entry]}])
    self.assertEqual(
      text.splitlines()[-1],
      '| X | impala deep | bfloat16 | 12,346 | skipped |  | 3.5% |  | 3 |  |',
    )

  def test_a_later_report_stands_for_an_earlier_one(self):
    def report(**result):
      entry = {'name': 'a_float32', 'precision': 'float32'}
      return {'device': 'X', 'programs': [entry | {'tensorflow': result}]}

    reports = [report(failed='why'), report(env_frames_per_sec=7.0)]
    lines = table.make_table(reports).splitlines()
    self.assertLen(lines, 3)
    self.assertIn('| 7 |', lines[-1])

  def test_what_is_no_report_is_said(self):
    result = exports.run_python('-m', 'experiments.speed.table', 'nowhere')
    self.assertEqual(result.returncode, 1)
    self.assertIn('error: cannot read nowhere', result.stderr)


class ScriptTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('none', ()),
    ('no_folder', ('run',)),
    ('unknown', ('walk', 'folder')),
  )
  def test_usage(self, *args):
    result = self.run_script(*args[0])
    self.assertEqual(result.returncode, 2)
    self.assertLen(result.stderr.splitlines(), 1)

  def test_empty_folder(self):
    with tempfile.TemporaryDirectory() as folder:
      result = self.run_script('run', folder)
    self.assertEqual(result.returncode, 1)
    self.assertLen(result.stderr.splitlines(), 1)
    self.assertIn(f'cannot read {folder}/programs.json', result.stderr)

  def run_script(self, *args):
    return subprocess.run(
      [ROOT / 'experiments/speed/gpu_check.sh', *args],
      cwd=tempfile.gettempdir(),
      capture_output=True,
      text=True,
      timeout=60,
    )


if __name__ == '__main__':
  absltest.main()
