"""The floors of core, and what its parts may know of suites and papers."""

import ast
import pathlib
import re

from absl.testing import absltest, parameterized

from core.run_config import ActorLearnerConfig, ReplayConfig
from tools import build_files

ROOT = pathlib.Path(__file__).resolve().parents[1]
MODULES = build_files.find_modules(ROOT)
CORE = [name for name in MODULES if name.startswith('core.')]

# Each floor imports lower ones only; rooms of one floor do not see each other.
# Flat files that are not named are the ground floor.
FLOORS = (
  ('base',),
  ('networks', 'environments'),
  ('suites',),
  ('run_config',),
  ('device',),
  ('experience',),
  ('training',),
  ('evaluation',),
  ('modes',),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
MAX_FILES = 16
# What only a suite or its engine may say.
SUITE_NAMES = re.compile(
  'atari|dmlab|deepmind|two_rooms|catch|point_mass|_ale|dm_control|rwrl|control:'
  '|doom'
)


def room_of(module: str) -> str:
  """Returns the room of a module of core: its folder, or its own name."""
  room = module.split('.')[1]
  return room if room in FLOOR_OF else 'base'


def upward_imports(module: str, imported: set[str]) -> list[str]:
  """Returns the modules of core that a module may not import."""
  room = room_of(module)
  return [
    name
    for name in sorted(imported)
    if name.startswith('core.')
    and room_of(name) != room
    and FLOOR_OF[room_of(name)] >= FLOOR_OF[room]
  ]


def words_of(tree: ast.AST) -> set[str]:
  """Returns names and strings of a module, but for its docstrings."""
  docstrings = {
    id(node.body[0].value)
    for node in ast.walk(tree)
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
    and isinstance(node.body[0], ast.Expr)
  }
  words = set()
  for node in ast.walk(tree):
    if isinstance(node, ast.Name):
      words.add(node.id)
    elif isinstance(node, ast.Attribute):
      words.add(node.attr)
    elif isinstance(node, ast.alias):
      words.add(node.name)
    elif isinstance(node, ast.Constant) and id(node) not in docstrings:
      words.add(str(node.value))
  return words


def config_fields_read(tree: ast.AST) -> set[str]:
  """Returns the x of every `config.x` and `self._config.x`."""
  fields = set()
  for node in ast.walk(tree):
    if isinstance(node, ast.Attribute):
      owner = node.value
      names = getattr(owner, 'id', None), getattr(owner, 'attr', None)
      if names[0] == 'config' or names[1] == '_config':
        fields.add(node.attr)
  return fields


def parse(module: str) -> ast.Module:
  """Returns the syntax of a module of ours."""
  return ast.parse(MODULES[module].read_text())


class FloorsTest(parameterized.TestCase):
  def test_no_import_goes_up(self):
    edges = build_files.find_edges(ROOT)
    wrong = {m: upward_imports(m, edges[m]) for m in CORE}
    self.assertEqual({m: names for m, names in wrong.items() if names}, {})

  @parameterized.parameters(
    ('core.losses', 'core.suites.scores'),
    ('core.unrolls', 'core.device'),
    ('core.environments.atari', 'core.suites.atari'),
    ('core.suites.tasks', 'core.run_config'),
    ('core.run_config', 'core.device'),
    ('core.device', 'core.experience.actor'),
    ('core.experience.actor', 'core.training.learner'),
    ('core.training.train', 'core.evaluation.evaluate'),
    ('core.evaluation.evaluate', 'core.modes'),
  )
  def test_upward_is_found(self, module, imported):
    self.assertEqual(upward_imports(module, {imported}), [imported])
    self.assertEqual(upward_imports(imported, {module}), [])

  def test_rooms_of_one_floor_do_not_see_each_other(self):
    pair = ['core.networks.torsos', 'core.environments.atari']
    for module, imported in (pair, pair[::-1]):
      self.assertEqual(upward_imports(module, {imported}), [imported])

  def test_rooms_exist(self):
    rooms = {room_of(module) for module in CORE}
    self.assertEqual(rooms, set(FLOOR_OF))

  def test_no_folder_is_crowded(self):
    for folder in {MODULES[module].parent for module in CORE}:
      self.assertLessEqual(len(list(folder.glob('*.py'))), MAX_FILES, folder)


class KnowledgeTest(absltest.TestCase):
  def test_only_suites_and_engines_name_a_suite(self):
    found = {}
    agents = [m for m in MODULES if m.endswith(('.agent', '.experiment'))]
    for module in [*CORE, *agents]:
      if room_of(module) in ('suites', 'environments'):
        continue
      if module.split('.')[0] in ('tests', 'experiments'):
        continue
      words = {w for w in words_of(parse(module)) if SUITE_NAMES.search(w)}
      if words:
        found[module] = words
    self.assertEqual(found, {})

  def test_a_name_of_a_suite_is_found(self):
    tree = ast.parse('"""Of catch."""\ndef f():\n  return tasks.is_atari(1)')
    self.assertEqual(words_of(tree), {'tasks', 'is_atari', '1'})
    self.assertTrue(SUITE_NAMES.search('is_atari'))

  def test_core_reads_fields_of_its_own_configs_only(self):
    known = set(dir(ActorLearnerConfig(logdir='')))
    known |= set(dir(ReplayConfig(logdir='')))
    found = {}
    for module in CORE:
      unknown = config_fields_read(parse(module)) - known
      if unknown - {'names', 'describe', 'field'}:  # Of the module config.
        found[module] = unknown
    self.assertEqual(found, {})

  def test_a_field_of_a_paper_is_found(self):
    tree = ast.parse('self._config.torso; config.seed')
    self.assertEqual(config_fields_read(tree), {'torso', 'seed'})


if __name__ == '__main__':
  absltest.main()
