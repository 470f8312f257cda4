"""Tests of prl/collection.py, on the real games and on Catch."""

import contextlib
import dataclasses
import os

import numpy as np
from absl.testing import absltest, parameterized

from core.errors import UserError
from core.experience.timing import Timer
from core.interrupt import Interrupt
from core.suites.task_environments import TaskEnvironments
from core.suites.tasks import Tasks
from prl import collection as collecting
from prl.blocks import Block
from prl.collection import Collection, block_spec
from prl.config import MULTI_TASK, SINGLE_TASK
from tests.prl import small

ATARI = dict(
  full_action_space=True,
  perception='plain',
  num_action_repeats=4,
  held_out_cases=0,
  collection_memory_mb=1.0,
)


def collect(config, agent, folder, iteration=1, fingerprint=0, until=None):
  """Collects a block, or a part of it; returns its spec and the episodes."""
  tasks = Tasks.of(config)
  spec = block_spec(config, tasks, iteration)
  found = Collection(config, agent, tasks, spec, folder, fingerprint, Timer())
  episodes = []
  with contextlib.closing(found):
    for ended in found.steps(Interrupt()):
      episodes += ended
      if found.num_steps == until:
        break
  return spec, episodes


class OnAtariTest(absltest.TestCase):
  def test_blocks_hold_what_the_emulators_show(self):
    config = small.config(
      level_name='breakout,pong',
      num_environments=4,
      num_groups=1,
      random_cases=500,
      horizon=25,
      **ATARI,
    )
    folder = self.create_tempdir().full_path
    agent = small.make_agent(config)
    spec, _ = collect(config, agent, folder)
    block = Block(folder, spec)
    self.assertEqual(spec.rules, ['lives', 'rewards'])
    self.assertEqual(spec.row_tasks, [0, 0, 1, 1])
    # Played again here, without any of the code that wrote it.
    tasks = Tasks.of(config)
    env = TaskEnvironments(tasks, np.array(spec.row_tasks, np.int32), True)
    self.addCleanup(env.close)
    seed = np.random.SeedSequence([1, 1]).generate_state(1)[0] % 2**30
    observation, _ = env.reset(seed=int(seed))
    stacks, deaths, points = [], [], []
    actions = block._actions.astype(np.int32)
    for t in range(spec.num_cases):
      stacks.append(observation.frame)
      observation, rewards, terminated, *_ = env.step(actions[t])
      deaths.append(np.where([1, 1, 0, 0], terminated, rewards < 0))
      points.append(rewards > 0)
    cases = block.cases(np.arange(block.num_cases))
    np.testing.assert_array_equal(cases.frames, np.concatenate(stacks))
    np.testing.assert_array_equal(cases.labels[:, 0, 0], np.concatenate(deaths))
    np.testing.assert_array_equal(
      cases.labels[:, 0, 1], np.concatenate(points) & ~np.concatenate(deaths)
    )
    self._check_that_fire_was_pressed(actions, np.array(deaths))

  def _check_that_fire_was_pressed(self, actions, deaths):
    fire = 1
    self.assertGreater(deaths[:, :2].sum(), 2)
    for row in (0, 1):
      due = [0, *(np.flatnonzero(deaths[:-1, row]) + 1)]
      self.assertTrue(np.all(actions[due, row] == fire))
    self.assertGreater(len(np.unique(actions[:, :2])), 10)
    self.assertFalse(np.all(actions[0, 2:] == fire))  # Pong's are random.


class GoingOnTest(parameterized.TestCase):
  """Whatever was lost, the block becomes the same to the bit."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.config = small.config()
    cls.agent = small.make_agent(cls.config)

  def _contents(self, folder):
    return {
      name: open(os.path.join(folder, name), 'rb').read()  # noqa: SIM115
      for name in sorted(os.listdir(folder))
    }

  @parameterized.product(iteration=(1, 2), until=(5, 12, 31))
  def test_a_part_is_gone_on_with(self, iteration, until):
    part, whole = (self.create_tempdir().full_path for _ in range(2))
    collect(self.config, self.agent, part, iteration, 7, until)
    _, episodes = collect(self.config, self.agent, part, iteration, 7)
    _, expected = collect(self.config, self.agent, whole, iteration, 7)
    self.assertEqual(self._contents(part), self._contents(whole))
    self.assertNotEmpty(expected)
    self.assertEqual(episodes, expected)

  def test_cut_frames_are_played_again(self):
    folder = self.create_tempdir().full_path
    spec, _ = collect(self.config, self.agent, folder, 2, 7)
    expected = self._contents(folder)
    path = os.path.join(folder, 'frames.bin')
    os.truncate(path, 9 * spec.frame_bytes + 5)
    # Without the weights that planned it.
    self._negate()
    self.addCleanup(self._negate)
    collect(self.config, self.agent, folder, 2, None)
    self.assertEqual(self._contents(folder), expected)

  def _negate(self):
    for weight in self.agent.network.trainable_variables:
      weight.assign(-weight)

  def test_other_weights_do_not_go_on_with_it(self):
    folder = self.create_tempdir().full_path
    collect(self.config, self.agent, folder, 2, 7, until=15)
    with self.assertRaisesRegex(UserError, 'planner with other weights'):
      collect(self.config, self.agent, folder, 2, 8)

  def test_games_that_cannot_be_played_again_are_refused(self):
    folder = self.create_tempdir().full_path
    spec, _ = collect(self.config, self.agent, folder, until=15)
    with open(os.path.join(folder, 'frames.bin'), 'r+b') as file:
      file.seek(11 * spec.frame_bytes)
      file.write(b'\x01' * spec.frame_bytes)
    with self.assertRaisesRegex(UserError, 'led to other frames'):
      collect(self.config, self.agent, folder)

  def test_chance_and_planner_play_differently(self):
    folders = [self.create_tempdir().full_path for _ in range(2)]
    actions = []
    for iteration, folder in enumerate(folders, start=1):
      config = dataclasses.replace(self.config, random_cases=80)
      spec, _ = collect(config, self.agent, folder, iteration)
      actions.append(Block(folder, spec)._actions)
    self.assertFalse(np.array_equal(*actions))


class SpecTest(parameterized.TestCase):
  def test_sizes_of_the_paper(self):
    tasks = Tasks.of(MULTI_TASK)
    total = 0
    for iteration in range(1, 20):
      spec = block_spec(MULTI_TASK, tasks, iteration)
      cases = spec.num_cases * spec.num_rows
      self.assertEqual(cases, 1_200_000 if iteration == 1 else 600_000)
      total += cases
      rows = np.bincount(spec.row_tasks)
      self.assertEqual(rows.tolist(), [8, 8, 8])
    self.assertEqual(total, 3 * 4_000_000)
    single = block_spec(SINGLE_TASK, Tasks.of(SINGLE_TASK), 1)
    self.assertEqual(single.num_cases * single.num_rows, 400_000)

  @parameterized.parameters(
    (dict(label_rules='catch=lives'), 'catch counts no lives; .*=rewards'),
    (dict(label_rules='catch=score'), 'there are lives, rewards'),
    (dict(num_environments=3), 'cannot be dealt evenly'),
  )
  def test_wrong_input(self, changes, message):
    config = small.config(**changes)
    with self.assertRaisesRegex(UserError, message):
      block_spec(config, Tasks.of(config), 1)

  def test_fire_in_a_game_without_it(self):
    config = small.config(fire_games='catch')
    with self.assertRaisesRegex(UserError, 'no action of catch'):
      collecting.fire_action(config, Tasks.of(config), 'catch')


if __name__ == '__main__':
  absltest.main()
