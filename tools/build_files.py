"""Writes the BUILD files from the imports, and checks the ones that are there.

BUILD files state which of our modules uses which, and who may use it at all:
the import rules of this repository. Nobody should have to type them, so
`python -m tools.build_files` writes them; `--check` (a test runs it) reads them
back and compares them with the sources.
"""

import argparse
import ast
import pathlib
import sys
from typing import Any

# A paper's folder, and the papers whose contributions it builds on.
BUILDS_ON = {
  'impala': (),
  'popart': ('impala',),
  'pixel_control': ('impala', 'popart'),
  'distral': ('impala',),
  'stacx': ('impala',),
  'prl': (),
  'brc': (),
}
PRIVATE = (
  'agent',
  'networks',
  'config',
  'experiment',
  'model',
  'blocks',
  'dataset',
  'collection',
  'iterations',
  'evaluation',
  'benchmark',
)  # A paper's own; the rest is shared.
PACKAGES = ('core', *BUILDS_ON, 'experiments', 'tests', 'tools')

_HEADER = (
  '# Written by `python -m tools.build_files`: run it again, do not edit.\n'
)
_ROOT = """\
# Bazel sees the import rules: a library lists the modules of ours that it
# imports, and its visibility says who may import it. Third-party packages come
# from requirements-lock.txt and are not listed. `make test` runs the tests.
"""


def is_private(stem: str) -> bool:
  """Tells whether a module, such as `agent` or `drq_agent`, is its paper's."""
  return stem.rpartition('_')[2] in PRIVATE


def find_modules(root: pathlib.Path) -> dict[str, pathlib.Path]:
  """Map the dotted name of each of our modules to its file.

  An `__init__.py` is left out: it is empty, and Bazel makes its own.
  """
  modules = {}
  for package in PACKAGES:
    for path in sorted((root / package).rglob('*.py')):
      if path.name != '__init__.py':
        name = '.'.join(path.relative_to(root).with_suffix('').parts)
        modules[name] = path
  return modules


def imported_names(tree: ast.AST) -> set[str]:
  """Return every dotted name that a module imports, lazily or at its top.

  `from a import b` gives both `a` and `a.b`, as either may be the module.
  """
  names = set()
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      module = '.' * node.level + (node.module or '')
      names.add(module)
      names |= {f'{module}.{alias.name}' for alias in node.names}
  return names


def find_edges(root: pathlib.Path) -> dict[str, set[str]]:
  """Map each of our modules to those of ours that it imports."""
  modules = find_modules(root)
  edges = {}
  for name, path in modules.items():
    names = imported_names(ast.parse(path.read_text(), str(path)))
    edges[name] = (names & modules.keys()) - {name}
  return edges


def visibility_of(name: str) -> str:
  """Return the package group to which the import rules show a module."""
  package, stem = name.split('.')[0], name.split('.')[-1]
  if package == 'core':
    return '//:core_users'
  if package == 'tests':
    return '//:tests'
  if package == 'tools':
    return '//:tools_users'
  # A config may extend the config of a paper that it builds on.
  if _users_of(package) and (not is_private(stem) or stem == 'config'):
    return f'//:builds_on_{package}'
  return '//:leaves'


def render(root: pathlib.Path) -> dict[pathlib.Path, str]:
  """Return the text of every BUILD file that the sources call for."""
  texts = {root / 'BUILD': _HEADER + _ROOT + _render_groups()}
  modules, edges = find_modules(root), find_edges(root)
  for name, path in modules.items():
    build = path.parent / 'BUILD'
    texts.setdefault(build, _HEADER)
    texts[build] += _render_target(name, path, edges[name])
  return texts


def check(root: pathlib.Path) -> list[str]:
  """Return what is wrong with the BUILD files, one line for each finding."""
  modules, edges = find_modules(root), find_edges(root)
  targets, groups = _read_targets(root)
  findings = [f'{n}: no such source' for n in sorted(targets.keys() - edges)]
  for name, imported in edges.items():
    if name not in targets:
      findings.append(f'{name}: in no BUILD file')
      continue
    deps = {_module_of(dep, name) for dep in targets[name].get('deps', ())}
    findings += [f'{name}: deps lack {d}' for d in sorted(imported - deps)]
    findings += [
      f'{name}: unused in deps: {d}' for d in sorted(deps - imported)
    ]
    for dep in sorted(imported & targets.keys()):
      if not _is_visible(name, dep, targets[dep]['visibility'], groups):
        findings.append(f'{name}: may not import {dep}')
    if name.endswith('_test') and not _has_main(modules[name]):
      findings.append(f'{name}: has no main, so it passes unseen')
  return findings


def _read_targets(root: pathlib.Path) -> tuple[dict, dict]:
  """Return the rule of each module, and the packages of each group."""
  targets, groups = {}, {}
  for build in [root / 'BUILD', *_find_build_files(root)]:
    package = '.'.join(build.parent.relative_to(root).parts)
    for kind, rule in _parse(build) if build.exists() else ():
      if kind == 'package_group':
        groups[f'//:{rule["name"]}'] = rule['packages']
      for source in rule.get('srcs', ()):
        targets[f'{package}.{source.removesuffix(".py")}'] = rule
  return targets, groups


def _find_build_files(root: pathlib.Path) -> list[pathlib.Path]:
  return [path for p in PACKAGES for path in sorted((root / p).rglob('BUILD'))]


def _render_groups() -> str:
  """Return who belongs to each package group that a visibility names."""
  leaves = ['//experiments/...', '//tests/...']
  groups = {
    'tests': ['//tests/...'],
    'tools_users': ['//tools/...', '//tests/...'],
    'leaves': leaves,
    'core_users': ['//core/...', *(f'//{p}' for p in BUILDS_ON), *leaves],
  }
  for paper in BUILDS_ON:
    if users := _users_of(paper):
      groups[f'builds_on_{paper}'] = [*(f'//{user}' for user in users), *leaves]
  return ''.join(
    _render_rule('package_group', {'name': name, 'packages': packages})
    for name, packages in groups.items()
  )


def _users_of(paper: str) -> list[str]:
  return [user for user, papers in BUILDS_ON.items() if paper in papers]


def _render_target(name: str, path: pathlib.Path, deps: set[str]) -> str:
  """Return one BUILD rule; a test and a script are also libraries to others."""
  rule = 'py_library'
  if path.stem.endswith('_test'):
    rule = 'py_test'
  elif _has_main(path):
    rule = 'py_binary'
  package = name.rpartition('.')[0]
  arguments = {'name': path.stem, 'srcs': [path.name]}
  if package.startswith('tests') and rule != 'py_test':
    arguments['testonly'] = True
  arguments['visibility'] = [visibility_of(name)]
  if deps:
    # Buildifier's order: this package's targets first.
    labels = {_label_of(dep, package) for dep in deps}
    arguments['deps'] = sorted(labels, key=lambda x: (x[0] != ':', x))
  return _render_rule(rule, arguments)


def _has_main(path: pathlib.Path) -> bool:
  return "\nif __name__ == '__main__':" in path.read_text()


def _render_rule(rule: str, arguments: dict[str, Any]) -> str:
  lines = []
  for key, value in arguments.items():
    if isinstance(value, list) and len(value) > 1:
      lines += [f'{key} = [', *(f'    "{item}",' for item in value), '],']
    elif isinstance(value, list):
      lines.append(f'{key} = ["{value[0]}"],')
    else:
      lines.append(
        f'{key} = {value},' if value is True else f'{key} = "{value}",'
      )
  return f'\n{rule}(\n' + ''.join(f'    {line}\n' for line in lines) + ')\n'


def _label_of(name: str, package: str) -> str:
  folder, _, stem = name.rpartition('.')
  return f':{stem}' if folder == package else f'//{_slashes(folder)}:{stem}'


def _module_of(label: str, user: str) -> str:
  package, _, stem = label.rpartition(':')
  folder = package[2:].replace('/', '.') if package else user.rpartition('.')[0]
  return f'{folder}.{stem}'


def _slashes(dotted: str) -> str:
  return dotted.replace('.', '/')


def _parse(build: pathlib.Path) -> list[tuple[str, dict[str, Any]]]:
  """Return the rules of a BUILD file, whose syntax is also Python's."""
  calls = [s.value for s in ast.parse(build.read_text(), str(build)).body]
  return [
    (call.func.id, {k.arg: ast.literal_eval(k.value) for k in call.keywords})
    for call in calls
  ]


def _is_visible(user: str, dep: str, labels: list[str], groups: dict) -> bool:
  """Say whether a target with these visibility labels may be imported."""
  package = f'//{_slashes(user.rpartition(".")[0])}'
  if package == f'//{_slashes(dep.rpartition(".")[0])}':
    return True
  for pattern in (p for label in labels for p in groups.get(label, ())):
    folder = pattern.removesuffix('/...')
    if package == folder:
      return True
    if pattern != folder and package.startswith(f'{folder}/'):
      return True
  return False


def main(argv: list[str] | None = None) -> int:
  """Write the BUILD files, or with `--check` name what is wrong with them."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--check', action='store_true', help='write nothing')
  options = parser.parse_args(argv)
  root = pathlib.Path(__file__).resolve().parent.parent
  if options.check:
    findings = check(root)
    print('\n'.join(findings), file=sys.stderr)
    return 1 if findings else 0
  texts = render(root)
  for stale in set(_find_build_files(root)) - texts.keys():
    stale.unlink()
  for path, text in texts.items():
    path.write_text(text)
  return 0


if __name__ == '__main__':
  sys.exit(main())
