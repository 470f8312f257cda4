"""BUILD files hold every source, every import and no forbidden one."""

import pathlib
import tempfile

from absl.testing import absltest, parameterized

from tools import build_files

ROOT = pathlib.Path(__file__).resolve().parents[1]

MAIN = "if __name__ == '__main__':\n  pass\n"

# A tree in which each kind of module stands: mechanism, two contributions, one
# on the other, an agent, a script and a test.
SOURCES = {
  'core/types.py': 'import numpy\n',
  'impala/vtrace.py': 'from core import types\n',
  'impala/agent.py': 'import core.types\nfrom impala import vtrace\n',
  'popart/popart.py': 'def f():\n  from impala.vtrace import from_logits\n',
  'experiments/plots.py': 'import impala.agent\n' + MAIN,
  'tests/impala/agent_test.py': 'from impala import agent\n' + MAIN,
}


class TreeTest(absltest.TestCase):
  def test_build_files_agree_with_the_sources(self):
    findings = build_files.check(ROOT)
    self.assertEmpty(
      findings, 'run: python -m tools.build_files\n' + '\n'.join(findings)
    )


class CheckTest(parameterized.TestCase):
  """What `check` finds, on a small tree that is right until one edit."""

  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.root = pathlib.Path(folder.name)
    for name, text in SOURCES.items():
      self._write(name, text)
    for path, text in build_files.render(self.root).items():
      path.write_text(text)

  def _write(self, name: str, text: str) -> None:
    path = self.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)

  def _replace(self, name: str, old: str, new: str) -> None:
    text = (self.root / name).read_text()
    self.assertIn(old, text)
    self._write(name, text.replace(old, new))

  def test_written_files_have_no_findings(self):
    self.assertEqual(build_files.check(self.root), [])

  def test_rules_by_kind_of_source(self):
    for name, rule in (
      ('core', 'py_library'),
      ('experiments', 'py_binary'),
      ('tests/impala', 'py_test'),
    ):
      self.assertIn(f'\n{rule}(', (self.root / name / 'BUILD').read_text())

  def test_source_without_target(self):
    self._write('core/losses.py', '')
    self.assertEqual(
      build_files.check(self.root), ['core.losses: in no BUILD file']
    )

  def test_target_without_source(self):
    (self.root / 'experiments/plots.py').unlink()
    self.assertEqual(
      build_files.check(self.root), ['experiments.plots: no such source']
    )

  def test_missing_edge(self):
    self._replace('impala/BUILD', '":vtrace",', '')
    self.assertEqual(
      build_files.check(self.root), ['impala.agent: deps lack impala.vtrace']
    )

  def test_missing_edge_of_a_lazy_import(self):
    self._replace('popart/BUILD', '"//impala:vtrace"', '')
    self.assertEqual(
      build_files.check(self.root), ['popart.popart: deps lack impala.vtrace']
    )

  def test_superfluous_edge(self):
    self._write('impala/vtrace.py', '')
    self.assertEqual(
      build_files.check(self.root),
      ['impala.vtrace: unused in deps: core.types'],
    )

  @parameterized.named_parameters(
    ('core_uses_a_paper', 'core/types.py', 'impala.vtrace'),
    ('core_uses_a_script', 'core/types.py', 'experiments.plots'),
    ('agent_of_another_paper', 'popart/popart.py', 'impala.agent'),
    ('later_contribution', 'impala/vtrace.py', 'popart.popart'),
    ('paper_uses_a_script', 'impala/agent.py', 'experiments.plots'),
    ('script_uses_a_test', 'experiments/plots.py', 'tests.impala.agent_test'),
    ('script_uses_a_tool', 'experiments/plots.py', 'tools.any'),
    ('tool_uses_core', 'tools/any.py', 'core.types'),
  )
  def test_forbidden_import(self, user, imported):
    self._write('tools/any.py', '')
    self._write(user, f'import {imported}\n')
    for path, text in build_files.render(self.root).items():
      path.write_text(text)
    name = user.removesuffix('.py').replace('/', '.')
    self.assertEqual(
      build_files.check(self.root), [f'{name}: may not import {imported}']
    )

  def test_visibility_of_the_file_counts_not_of_the_generator(self):
    self._replace('impala/BUILD', '"//:builds_on_impala"', '"//:leaves"')
    self.assertEqual(
      build_files.check(self.root),
      ['popart.popart: may not import impala.vtrace'],
    )

  def test_test_that_bazel_would_not_run(self):
    self._write('tests/impala/agent_test.py', 'from impala import agent\n')
    self.assertEqual(
      build_files.check(self.root),
      ['tests.impala.agent_test: has no main, so it passes unseen'],
    )


if __name__ == '__main__':
  absltest.main()
