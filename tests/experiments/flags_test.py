"""Every flag file: documented, parsed, its agent built, one update made.

Each plays some of its tasks: Atari on the real games, what users install
themselves on a stand-in (tests/fake_deepmind_lab, tests/fake_robots), what is
trained alike.
"""

import dataclasses
import importlib
import os
import pathlib
import re
import sys
import unittest
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.flags import FlagValues
from absl.testing import absltest, parameterized

from brc import drq_config
from core import flags
from core.environments.doom import pictures
from core.experience.actor import Actor
from core.experience.timing import Timer
from core.suites import tasks as tasks_module
from core.suites.task_environments import TaskEnvironments
from core.suites.tasks import Tasks
from core.training.learner import Learner
from experiments.tables import published
from tests import runs
from tests.doom import HAS_WHEELS, plain_textures

FOLDER = runs.ROOT / 'experiments'
FILES = sorted(FOLDER.rglob('*.flags'))
NAMES = [str(path.relative_to(FOLDER)) for path in FILES]
NUM_TASKS = 3  # Of a file's many, first, middle and last.

# Rows of papers that learn from a replay.
OF_REPLAY = [name for name in NAMES if name.startswith('brc/')]
# PRL's are built in tests/prl.
OF_UNROLLS = [n for n in NAMES if not n.startswith(('brc/', 'prl/'))]

# Tasks that a stand-in has, by how those begin for which they stand.
STAND_INS = {
  'humanoidbench:h1-': ('walk', 'slide'),
  'humanoidbench:h1hand-': ('walk', 'push'),
  'shadow_hand:': ('mug', 'cube'),
}

# First-person tasks with frames of other sizes than DeepMind Lab's.
SMALL_FRAMES = {
  'distral/doom_mazes_2cores.flags': (42, 42, 3),
  'impala/doom_explore_goal_locations_small_2cores.flags': (36, 48, 3),
  'popart/doom14_2cores.flags': (36, 48, 3),
}

# What the head of a file must say.
HEAD = dict(
  paper=r'arXiv:\d{4}\.\d{5}',
  where=r'\b([Tt]able|[Ff]igures?) [A-Z]?\.?\d|Published: nothing',
  published=r'\bPublished\b',
  expectation=r'\bTo expect\b',
  command=r'python -m \w+\.\w*experiment|\bmake \w+',
)
# Rows that need deepmind_lab outside of tests.
ON_DEEPMIND_LAB = {
  'distral/figure_4_laser_tag.flags': 9,
  'distral/figure_4_mazes.flags': 9,
  'distral/figure_4_navigation.flags': 9,
  'impala/dmlab30.flags': 9,
  'impala/dmlab_single_level.flags': 9,
  'pixel_control/figure_5_pixel_popart_impala.flags': 15,
  'pixel_control/figure_7_pixel_impala.flags': 15,
  'popart/table_1_dmlab30_impala.flags': 15,
  'popart/table_1_dmlab30_impala_9_actions.flags': 9,
  'popart/table_1_dmlab30_popart_impala.flags': 15,
}


def setUpModule():
  tests = runs.ROOT / 'tests'
  fakes = [str(tests / f'fake_{name}') for name in ('deepmind_lab', 'robots')]
  python_path = os.pathsep.join([*fakes, os.environ.get('PYTHONPATH', '')])
  patch = mock.patch.dict(os.environ, {'PYTHONPATH': python_path})
  patch.start()
  unittest.addModuleCleanup(patch.stop)
  for fake in fakes:
    sys.path.insert(0, fake)
    unittest.addModuleCleanup(sys.path.remove, fake)


def parse(name, *arguments):
  """Returns the config of a flag file, of the command in its head."""
  paper = pathlib.Path(name).parts[0]
  command = re.search(rf'python -m ({paper}\.\w*)experiment', head(name))
  stem = command[1] if command else f'{paper}.'
  module = importlib.import_module(f'{stem}config')
  values = FlagValues()
  flags.define(module.Config, module.PRESETS, values)
  argv = ['experiment', f'--flagfile={FOLDER / name}', *arguments]
  values(argv)
  return flags.resolve(module.Config, module.PRESETS, values, argv)


def head(name):
  """Returns the comment at the top of a file, as one line.

  With that of the file that it builds on, if it does.
  """
  lines = (FOLDER / name).read_text().splitlines()
  end = [line.startswith('#') for line in lines].index(False)
  text = ' '.join(line.lstrip('#').strip() for line in lines[:end])
  if lines[end].startswith('--flagfile='):
    base = pathlib.Path(lines[end].partition('=')[2])
    text += ' ' + head(base.relative_to('experiments'))
  return text


def some_of(names):
  """Returns two of a file's tasks, or those that stand for them."""
  for prefix, known in STAND_INS.items():
    if names[0].startswith(prefix):
      return [f'{prefix}{name}' for name in known][: len(names)]
  return [names[i] for i in sorted({0, len(names) - 1})]


class FlagFilesTest(parameterized.TestCase):
  def test_folders_are_papers_with_files(self):
    papers = {pathlib.Path(name).parts[0] for name in NAMES}
    self.assertContainsSubset(['impala', 'popart'], papers)
    for paper in papers:
      self.assertTrue((runs.ROOT / paper / 'experiment.py').exists(), paper)

  @parameterized.parameters(*NAMES)
  def test_head_says_what_it_is(self, name):
    text = head(name)
    for what, pattern in HEAD.items():
      self.assertRegex(text, pattern, f'{name} does not say its {what}')
    for path in re.findall(r'--flagfile=(\S+)', text):
      self.assertTrue((runs.ROOT / path).exists(), path)

  @parameterized.parameters(*OF_REPLAY)
  def test_steps_are_as_many_of_every_task(self, name):
    config = parse(name)
    names = tasks_module.expand(config.level_name)
    self.assertEqual(config.total_environment_frames % len(names), 0)
    sees_frames = isinstance(config, drq_config.Config)
    if 'figure_' in name and not sees_frames:
      is_single = name.endswith(('_single.flags', '_transfer.flags'))
      self.assertEqual(len(names) == 1, is_single)
      self.assertEqual(config.batch_size, 256 if is_single else 1024)
      self.assertEqual(config.critic_width, 4096)

  @parameterized.parameters(*OF_REPLAY)
  def test_builds_its_agent_and_learns_from_a_replay(self, name):
    # As the papers' other rows below: sizes and tracing would take minutes.
    tf.config.run_functions_eagerly(True)
    self.addCleanup(tf.config.run_functions_eagerly, False)
    config = parse(name)
    # Dogs take long to build.
    shown = some_of(tasks_module.expand(config.level_name))
    sees_frames = isinstance(config, drq_config.Config)
    num_steps = 4 if sees_frames else 3
    small = dict(encoder_channels='2') if sees_frames else dict(actor_width=8)
    config = dataclasses.replace(
      config,
      level_name=','.join(shown),
      logdir=self.create_tempdir().full_path,
      critic_width=8,
      batch_size=4,
      warm_up_steps=num_steps,
      replay_capacity=4,
      evaluation_steps=0,
      total_environment_frames=(
        num_steps * len(shown) * config.num_action_repeats
      ),
      xla='off',
      **small,
    )
    tasks = Tasks.of(config)
    agent = runs.agent_of(config, tasks.env_spec)
    before = {n: v.numpy() for n, v in agent.variables().items()}
    runs.module_of(config, 'experiment').train(config, agent, tasks)
    (*_, row) = runs.rows(config, 'updates.csv')
    self.assertEqual(int(row['num_updates']), config.updates_per_step)
    moved = ('critic/', 'actor/', 'target_critic/', 'head/', 'target_head/')
    for n, variable in agent.variables().items():
      self.assertTrue(np.all(np.isfinite(variable)), n)
      if n.startswith((*moved, 'encoder/section0_conv0/w')):
        self.assertFalse(np.array_equal(before[n], variable), n)

  @parameterized.parameters(*SMALL_FRAMES)
  def test_plays_with_frames_of_another_size(self, name):
    config = parse(name)
    spec = Tasks.of(config).env_spec
    self.assertEqual(spec.frame_shape, SMALL_FRAMES[name])
    self.assertEqual(config.num_environments % len(spec.task_names), 0)
    self.assertEqual(config.num_environments % config.batch_size, 0)

  @parameterized.parameters(*OF_UNROLLS)
  def test_builds_its_agent_and_makes_an_update(self, name):
    # The network, its heads and its losses are the file's; its batch, tracing
    # and compiling would take minutes.
    tf.config.run_functions_eagerly(True)
    self.addCleanup(tf.config.run_functions_eagerly, False)
    if '/doom' in name:
      if not HAS_WHEELS:
        self.skipTest('needs vizdoom and labmaze')
      plain = mock.patch.object(pictures, 'textures', plain_textures)
      self.enter_context(plain)
    config = dataclasses.replace(
      parse(name), unroll_length=2, unroll_overlap=0, xla='off'
    )
    tasks = Tasks.of(config)
    num_tasks = len(tasks.names)
    task_id = np.unique(np.linspace(0, num_tasks - 1, NUM_TASKS).astype(int))
    if name.startswith('distral/'):  # A network per task needs every task.
      task_id = np.arange(num_tasks)
    config = dataclasses.replace(config, batch_size=len(task_id))
    agent = runs.agent_of(config, tasks.env_spec)
    before = {n: v.numpy() for n, v in agent.variables().items()}
    timer = Timer()
    actor = Actor(
      agent.act,
      agent.initial_state,
      [TaskEnvironments(tasks, np.int32(task_id), True)],
      tasks.env_spec,
      config.unroll_length,
      config.seed,
      timer,
    )
    self.addCleanup(actor.close)
    (unroll,) = actor.collect(0)
    np.testing.assert_array_equal(unroll.task_id, task_id)
    row, _ = Learner(config, agent, timer).step(unroll)
    self.assertNotEqual(row['total_loss'], 0.0)
    for variable in agent.network.trainable_variables:
      old = before[variable.name.removesuffix(':0')]
      self.assertTrue(np.all(np.isfinite(variable)), variable.name)
      # These levels need not speak.
      if 'instruction_encoder' not in variable.name:
        self.assertFalse(np.array_equal(old, variable), variable.name)

  def test_rows_on_deepmind_lab(self):
    found = {}
    for name in NAMES:
      tasks = Tasks.of(parse(name))
      if tasks.suites[0].name == 'dmlab30':
        spec = tasks.env_spec
        size = (84, 84) if name.startswith('distral/') else (72, 96)
        self.assertEqual(spec.frame_shape, (*size, 3))
        self.assertEqual(spec.instruction_length, 16)
        found[name] = spec.num_actions
    self.assertEqual(found, ON_DEEPMIND_LAB)


class PopArtTableTest(parameterized.TestCase):
  """The files of Table 1 hold what the paper prints."""

  FILES = [name for name in NAMES if name.startswith('popart/table_1_')]

  def test_all_rows_are_there(self):
    self.assertLen(self.FILES, 6 + 3)

  @parameterized.parameters(*FILES)
  def test_published_values_are_those_of_the_reference(self, name):
    agent = 'PopArt-IMPALA' if 'popart_impala' in name else 'IMPALA'
    suite = 'dmlab30' if 'dmlab30' in name else 'atari57'
    if '_unclipped' in name:
      suite += '_unclipped'
    table = published.select('popart', 'Table 1')
    values = table.value[(table['row'] == agent) & (table.task == suite)]
    self.assertLen(values, 2)
    if name.endswith('impala_9_actions.flags'):
      self.assertIn('no row in Table 1', head(name))
      return
    for value in values:
      self.assertIn(f' {value} %', head(name))

  @parameterized.parameters(*FILES)
  def test_hyperparameters_are_the_appendixs(self, name):
    config = parse(name)
    is_lab = 'dmlab30' in name
    expected = dict(  # Tables 3 to 7.
      statistics_step_size=3e-4,
      scale_lower_bound=1e-4,
      scale_upper_bound=1e6,
      unroll_length=100 if is_lab else 20,
      discounting=0.99,
      baseline_cost=0.5,
      batch_size=32,
      momentum=0.0,
      num_action_repeats=4,
      torso='deep',
      use_lstm=is_lab,
      total_environment_frames=int(10e9 if is_lab else 11.4e9),
    )
    rewards = 'none' if 'unclipped' in name else 'abs_one'
    expected['reward_clipping'] = 'soft_asymmetric' if is_lab else rewards
    expected['value_head'] = 'single'
    for part, value_head in (
      ('popart_', 'popart'),
      ('multihead', 'multi_head'),
    ):
      if part in name.removeprefix('popart/'):
        expected['value_head'] = value_head
    for field, value in expected.items():
      self.assertEqual(getattr(config, field), value, field)
    # Table 9: fixed values within the ranges of the population.
    self.assertBetween(config.entropy_cost, 5e-5, 1e-2)
    self.assertBetween(config.learning_rate, 5e-6, 5e-3)
    self.assertBetween(config.epsilon, 1e-7, 1e-1)
    self.assertTrue(is_lab or 10 <= config.max_gradient_norm <= 100)
    # The comment gives the values that the file has.
    for value in (config.entropy_cost, config.learning_rate, config.epsilon):
      self.assertIn(f': {value}', head(name))


if __name__ == '__main__':
  absltest.main()
