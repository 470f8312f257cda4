"""The import rules and limits of size that hold over the whole tree."""

import ast
import dataclasses
import importlib
import json
import pathlib
import re
import subprocess
import sys

from absl.testing import absltest, parameterized

from tools import build_files
from tools.build_files import BUILDS_ON, is_private

ROOT = pathlib.Path(__file__).resolve().parents[1]
MODULES = build_files.find_modules(ROOT)
PAPERS = [paper for paper in BUILDS_ON if (ROOT / paper).is_dir()]

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_LINES_WITHOUT_DOCSTRING = 8

# Heavy, not in requirements.txt or needed by few: imported where used.
OPTIONAL = {
  *('deepmind_lab', 'dm_control', 'mujoco', 'metaworld', 'ray', 'matplotlib'),
  *('humanoid_bench', 'dex_envs', 'jaxrl'),
  *('vizdoom', 'labmaze', 'PIL'),
  'jax',  # run_exported opens an accelerator through it.
}
# Imported where used themselves, and full of the package.
WHOLLY_OPTIONAL = {'experiments.speed.jax_learner': {'jax'}}
# In requirements.txt though nothing of ours imports them; it says why.
INDIRECT = {
  *('tensorflow-probability', 'tf-keras', 'pandas'),
  *('pytest', 'pytest-xdist', 'ruff'),
}
DISTRIBUTIONS = {
  'PIL': 'pillow',
  'absl': 'absl-py',
  'sonnet': 'dm-sonnet',
  'tree': 'dm-tree',
}

# Prints, as JSON, what importing each module changed: a file of ours must
# define no flag, set no environment variable and start nothing. Third-party
# packages come first, so what they do is not counted.
INERT_IMPORT = """
import importlib, json, os, sys, threading
from absl import flags
for name in json.loads(sys.argv[1]):
  importlib.import_module(name)
def state():
  return {
    'environment': dict(os.environ),
    'flags': sorted(flags.FLAGS),
    'threads': threading.active_count(),
    'folder': os.getcwd(),
    'path': list(sys.path),
  }
changes = {}
for name in json.loads(sys.argv[2]):
  before = state()
  importlib.import_module(name)
  after = state()
  what = [key for key in before if before[key] != after[key]]
  if what:
    changes[name] = what
print(json.dumps(changes))
"""


def find_violations(module: str, names: set[str]) -> list[str]:
  """Return which of the imported names a module of ours may not import.

  Args:
    module: dotted name of the importing module.
    names: what `build_files.imported_names` finds in it.
  """
  package, stem = module.split('.')[0], module.split('.')[-1]
  broken = []
  for name in sorted(names):
    top, last = name.split('.')[0], name.split('.')[-1]
    ours = top in build_files.PACKAGES
    is_paper = package in BUILDS_ON
    if package != 'tests' and (
      name.startswith('.')
      or (name == 'absl.flags' and module != 'core.flags')
      or (package == 'core' and ours and top != 'core')
      or (ours and top in ('experiments', 'tests', 'tools') and top != package)
    ):
      broken.append(name)
    elif is_paper and top in BUILDS_ON and top != package:
      builds_on_it = top in BUILDS_ON[package]
      extends = stem == last == 'config' and name.count('.') == 1
      if not builds_on_it or (is_private(last) and not extends):
        broken.append(name)
    elif is_paper and not is_private(stem) and not _is_pure(name, package):
      broken.append(name)
  return broken


def _is_pure(name: str, paper: str) -> bool:
  """Whether a paper's equations may import this name."""
  top, last = name.split('.')[0], name.split('.')[-1]
  if top == paper:
    return not is_private(last)
  if top == 'core':
    return name.split('.')[1:2] in ([], ['types'])
  return top in {'numpy', 'tensorflow'} | sys.stdlib_module_names


def _imports(module: str) -> set[str]:
  path = MODULES[module]
  return build_files.imported_names(ast.parse(path.read_text(), str(path)))


def _top_level_imports(tree: ast.Module) -> set[str]:
  """Names imported outside of any function."""
  names, pending = set(), list(tree.body)
  while pending:
    node = pending.pop()
    if isinstance(node, (ast.Import, ast.ImportFrom)):
      names |= build_files.imported_names(node)
    elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
      pending.extend(ast.iter_child_nodes(node))
  return names


def _third_party(names: set[str]) -> set[str]:
  tops = {name.split('.')[0] for name in names}
  return tops - set(build_files.PACKAGES) - sys.stdlib_module_names - {''}


def _declared() -> set[str]:
  lines = (ROOT / 'requirements.txt').read_text().splitlines()
  matches = (re.match(r'[\w-]+', line) for line in lines)
  return {match[0] for match in matches if match}


def _functions_and_classes(tree: ast.AST, prefix: str = ''):
  """Yield (dotted name, node); what is inside of a function is its own."""
  for node in ast.iter_child_nodes(tree):
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
      yield prefix + node.name, node
    elif isinstance(node, ast.ClassDef):
      yield prefix + node.name, node
      yield from _functions_and_classes(node, f'{prefix}{node.name}.')


def _sources() -> list[str]:
  return [name for name in MODULES if not name.startswith('tests.')]


class ImportRulesTest(parameterized.TestCase):
  def test_tree_keeps_the_rules(self):
    broken = {m: find_violations(m, _imports(m)) for m in MODULES}
    self.assertEqual({m: names for m, names in broken.items() if names}, {})

  @parameterized.named_parameters(
    ('core_paper', 'core.losses', 'impala.vtrace'),
    ('core_script', 'core.losses', 'experiments.plots'),
    ('core_flags', 'core.losses', 'absl.flags'),
    ('paper_flags', 'impala.experiment', 'absl.flags'),
    ('script_flags', 'experiments.plots', 'absl.flags'),
    ('contribution_mechanism', 'impala.vtrace', 'core.losses'),
    ('contribution_sonnet', 'impala.vtrace', 'sonnet'),
    ('contribution_config', 'impala.vtrace', 'impala.config'),
    ('contribution_later_one', 'impala.vtrace', 'popart.popart'),
    ('contribution_unrelated', 'popart.popart', 'brc.brc'),
    ('contribution_second_agent', 'brc.n_step', 'brc.drq_agent'),
    ('agent_unrelated', 'prl.agent', 'impala.vtrace'),
    ('agent_of_another', 'popart.agent', 'impala.agent'),
    ('config_of_another', 'brc.config', 'impala.config'),
    ('config_of_a_later_one', 'impala.config', 'popart.config'),
    ('agent_config_of_its_parent', 'popart.agent', 'impala.config'),
    ('experiment_of_another', 'popart.experiment', 'impala.experiment'),
    ('paper_script', 'impala.agent', 'experiments.plots'),
    ('paper_test', 'impala.agent', 'tests.fakes'),
    ('script_test', 'experiments.plots', 'tests.fakes'),
    ('relative', 'core.losses', '.types'),
  )
  def test_forbidden(self, module, name):
    self.assertEqual(find_violations(module, {name}), [name])

  @parameterized.named_parameters(
    ('core_core', 'core.losses', 'core.types'),
    ('flags_module', 'core.flags', 'absl.flags'),
    ('config_of_its_parent', 'popart.config', 'impala.config'),
    ('contribution_types', 'impala.vtrace', 'core.types.Unroll'),
    ('contribution_earlier_one', 'popart.popart', 'impala.vtrace'),
    ('agent_mechanism', 'impala.agent', 'core.losses'),
    ('agent_own_config', 'impala.agent', 'impala.config'),
    ('agent_contribution', 'pixel_control.agent', 'popart.popart'),
    ('script_agents', 'experiments.plots', 'impala.agent'),
    ('test_flags', 'tests.core.flags_test', 'absl.flags'),
  )
  def test_allowed(self, module, name):
    self.assertEqual(find_violations(module, {name}), [])

  def test_every_python_folder_is_known_to_the_rules(self):
    folders = {
      path.name
      for path in ROOT.iterdir()
      if path.is_dir() and path.name[0] != '.' and any(path.rglob('*.py'))
    }
    self.assertEmpty(folders - set(build_files.PACKAGES) - {'runs'})

  def test_optional_packages_are_imported_where_used(self):
    for module in _sources():
      names = _top_level_imports(ast.parse(MODULES[module].read_text()))
      self.assertEmpty(names & WHOLLY_OPTIONAL.keys(), module)
      tops = {name.split('.')[0] for name in names}
      tops -= WHOLLY_OPTIONAL.get(module, set())
      self.assertEmpty(tops & OPTIONAL, module)

  def test_exported_learner_runs_without_tensorflow(self):
    edges = build_files.find_edges(ROOT)
    self.assertEmpty(edges['experiments.speed.run_exported'])
    pending, needed = {'experiments.speed.gpu_check'}, set()
    while pending:
      module = pending.pop()
      needed.add(module)
      pending |= edges[module] - needed
    self.assertIn('experiments.speed.jax_learner', needed)
    for module in needed:
      third_party = _third_party(_imports(module))
      self.assertEmpty(third_party - {'numpy', 'jaxlib', 'jax'}, module)

  def test_imports_and_requirements_agree(self):
    used = set().union(*(_third_party(_imports(m)) for m in MODULES))
    used = {DISTRIBUTIONS.get(name, name.replace('_', '-')) for name in used}
    optional = {n.replace('_', '-') for n in OPTIONAL}
    optional -= {'matplotlib', 'jax', 'dm-control', 'mujoco', 'metaworld'}
    optional -= {'vizdoom', 'labmaze', 'ray'}
    self.assertEqual(used - optional | INDIRECT, _declared() | INDIRECT)
    self.assertContainsSubset(INDIRECT, _declared())


class ImportTest(absltest.TestCase):
  def test_importing_a_module_changes_nothing_else(self):
    sources = _sources()
    names = set()
    for module in sources:
      names |= _top_level_imports(ast.parse(MODULES[module].read_text()))
    third_party = sorted(_third_party(names))
    result = subprocess.run(
      [
        *(sys.executable, '-c', INERT_IMPORT),
        *(json.dumps(third_party), json.dumps(sources)),
      ],
      cwd=ROOT,
      capture_output=True,
      text=True,
      timeout=300,
    )
    self.assertEqual(result.returncode, 0, result.stderr)
    self.assertEqual(json.loads(result.stdout), {})

  def test_package_files_hold_no_code(self):
    for path in ROOT.glob('*/**/__init__.py'):
      if path.relative_to(ROOT).parts[0] in build_files.PACKAGES:
        self.assertEqual(path.read_text(), '', str(path))


class PaperTest(parameterized.TestCase):
  @parameterized.named_parameters(*zip(PAPERS, PAPERS, strict=True))
  def test_folder_has_the_five_files(self, paper):
    names = {path.name for path in (ROOT / paper).iterdir()}
    expected = {'agent.py', 'config.py', 'experiment.py', 'README.md'}
    self.assertContainsSubset(expected, names)
    modules = {m for m in MODULES if m.startswith(f'{paper}.')}
    stated = {m for m in modules if not is_private(m.rpartition('.')[2])}
    self.assertNotEmpty(stated, 'no file states the contribution')

  @parameterized.named_parameters(*zip(PAPERS, PAPERS, strict=True))
  def test_hyperparameters_are_one_frozen_dataclass(self, paper):
    config = importlib.import_module(f'{paper}.config').Config
    self.assertTrue(dataclasses.is_dataclass(config))
    self.assertTrue(config.__dataclass_params__.frozen)


class SizeTest(absltest.TestCase):
  def test_files(self):
    lengths = {m: len(p.read_text().splitlines()) for m, p in MODULES.items()}
    long = {m: n for m, n in lengths.items() if n > MAX_FILE_LINES}
    self.assertEqual(long, {})

  def test_functions(self):
    long = {}
    for module in _sources():
      for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
          lines = node.end_lineno - node.lineno + 1
          if lines > MAX_FUNCTION_LINES:
            long[f'{module}.{node.name}'] = lines
    self.assertEqual(long, {})

  def test_docstrings(self):
    missing = []
    for module in _sources():
      tree = ast.parse(MODULES[module].read_text())
      if not ast.get_docstring(tree):
        missing.append(module)
      for name, node in _functions_and_classes(tree):
        is_public = not any(part[0] == '_' for part in name.split('.'))
        lines = node.end_lineno - node.lineno + 1
        is_long = lines > MAX_LINES_WITHOUT_DOCSTRING
        if is_public and is_long and not ast.get_docstring(node):
          missing.append(f'{module}.{name}')
    self.assertEqual(missing, [])


class TextTest(absltest.TestCase):
  def test_no_file_names_a_path_of_one_machine(self):
    pattern = re.compile(r'(?<![\w.~>}])/(?:work|root|home|Users|tmp/v)/')
    found = []
    for path in _text_files():
      text = path.read_text(errors='ignore')
      if match := pattern.search(text):
        line = text.count('\n', 0, match.start()) + 1
        found.append(f'{path.relative_to(ROOT)}:{line}')
    self.assertEqual(found, [])


def _text_files() -> list[pathlib.Path]:
  """Files that are, or would be, committed."""
  result = subprocess.run(
    ['git', 'ls-files', '-co', '--exclude-standard', '-z'],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  if result.returncode == 0:
    paths = [ROOT / name for name in result.stdout.split('\0') if name]
  else:  # An export without its .git folder.
    skipped = {'.venv', 'runs', '__pycache__', '.pytest_cache', '.ruff_cache'}
    paths = [
      path
      for path in ROOT.rglob('*')
      if not skipped & set(path.relative_to(ROOT).parts)
    ]
  return [path for path in paths if path.is_file() and path.suffix != '.gz']


if __name__ == '__main__':
  absltest.main()
