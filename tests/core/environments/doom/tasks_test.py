"""Tests of core/environments/doom/tasks.py: the rules, without engine."""

import numpy as np
from absl.testing import absltest, parameterized

from core.environments.doom import scene, tasks
from core.environments.doom.tasks import PLAYABLE, TASKS
from tests.doom import needs_wheels, seen


def drawn(name, seed=0, num_scenes=1):
  """Returns a task's rules and its first scenes."""
  rules, rng = PLAYABLE[name].make_rules(), np.random.default_rng(seed)
  rules.begin(rng)
  return rules, [rules.scene(rng) for _ in range(num_scenes)]


def actors(one):
  return [item.actor for item in one.items]


@needs_wheels
class ScenesTest(parameterized.TestCase):
  def test_there_are_26(self):
    self.assertLen(TASKS, 26)
    self.assertLen(tasks.MAZES, 8)
    self.assertLen(tasks.EXPLORE, 6)
    self.assertLen(tasks.LASER_TAG, 6)
    lengths = [task.num_tics for task in TASKS.values()]
    self.assertEqual([lengths.count(n) for n in (3600, 5400, 7200)], [2, 21, 3])
    self.assertEqual(set(PLAYABLE) - set(TASKS), {'one_room'})

  @parameterized.parameters(*PLAYABLE)
  def test_scenes_can_be_made_and_are_repeatable(self, name):
    rules, scenes = drawn(name, seed=3, num_scenes=4)
    self.assertEqual(scenes, drawn(name, seed=3, num_scenes=4)[1])
    self.assertNotEqual(scenes, drawn(name, seed=4, num_scenes=4)[1])
    for one in scenes:
      scene.check(one)
      reached = scene.distances(one.maze, one.closed, one.start)
      if 'Goal' in actors(one):
        (goal,) = (i.cell for i in one.items if i.actor == 'Goal')
        self.assertIn(goal, reached)

  @parameterized.parameters(
    ('mazes_3', 13, 4, True),
    ('nav_collect', 15, 12, False),
    ('nav_collect_return', 13, 8, False),
    ('nav_goal', 13, 0, True),
    ('nav_goal_doors', 15, 0, True),
    ('explore_object_locations_small', 11, 5, False),
    ('explore_object_locations_large', 21, 15, False),
    ('explore_goal_locations_small', 11, 3, True),
    ('explore_goal_locations_large', 21, 10, True),
    ('explore_obstructed_goals_small', 11, 3, True),
    ('explore_obstructed_goals_large', 21, 10, True),
  )
  def test_mazes(self, name, size, num_apples, has_goal):
    _, (one, other, third) = drawn(name, num_scenes=3)
    self.assertLen(one.maze.rows, size)
    self.assertEqual(actors(one).count('Apple'), num_apples)
    self.assertEqual(actors(one).count('Goal'), int(has_goal))
    has_doors = 'doors' in name or 'obstructed' in name
    self.assertEqual(bool(scene.doors(one.maze)), has_doors)
    # The next scene of an episode: another place, in two tasks another maze.
    is_new = name.startswith('nav_collect')
    self.assertEqual(one.maze != other.maze, is_new)
    self.assertEqual(one.items != other.items, is_new)
    self.assertGreater(len({one.start, other.start, third.start}), 1)

  def test_about_half_of_the_doors_are_closed(self):
    rules, rng = TASKS['nav_goal_doors'].make_rules(), np.random.default_rng(0)
    counts = np.zeros(2)
    for _ in range(60):
      rules.begin(rng)
      one = rules.scene(rng)
      counts += len(one.closed), len(scene.doors(one.maze))
    self.assertBetween(counts[0] / counts[1], 0.3, 0.5)

  def test_fixed_mazes_keep_layout_and_goal_over_episodes(self):
    import labmaze

    layouts = set()
    for i in range(8):
      _, (one,) = drawn(f'mazes_{i}', seed=0)
      _, (other,) = drawn(f'mazes_{i}', seed=1)
      self.assertEqual(one.maze, other.maze)
      maze = labmaze.RandomMaze(height=13, width=13, random_seed=100 + i)
      self.assertEqual('\n'.join((*one.maze.rows, '')), str(maze.entity_layer))
      self.assertEqual(one.items[0], other.items[0])
      self.assertNotEqual(one.items[1:], other.items[1:])
      layouts.add(one.maze.rows)
    self.assertLen(layouts, 8)

  def test_instruction_names_the_right_object(self):
    _, scenes = drawn('language_select', num_scenes=200)
    told = {one.instruction for one in scenes}
    self.assertGreater(len(told), 20)
    for one in scenes:
      right, wrong = actors(one)
      kind, colour, shape = right.split('_')
      self.assertEqual(kind, 'Right')
      self.assertEqual(one.instruction, f'collect the {colour} {shape}')
      self.assertStartsWith(wrong, 'Wrong_')
      self.assertNotIn(f'_{colour}_', wrong)

  def test_only_the_cue_tells_which_ball_is_right(self):
    _, scenes = drawn('memory_cue', num_scenes=400)
    seen_of = {'red': [], 'blue': []}
    for one in scenes:
      cue, right, wrong = one.items
      colour = cue.actor.removeprefix('Cue_')
      self.assertEqual(right.actor, f'Right_{colour}_ball')
      self.assertNotEqual(wrong.actor, f'Wrong_{colour}_ball')
      seen_of[colour].append((cue.cell, right.cell))
    for found in seen_of.values():
      # Each on either side as often.
      self.assertLen(set(found), 2)
      for place in set(found):
        self.assertBetween(found.count(place), 75, 125)


@needs_wheels
class JudgeTest(parameterized.TestCase):
  @parameterized.parameters(
    ('mazes_0', dict(apples=2), dict(apples=4), 2.0, False),
    ('mazes_0', dict(apples=1), dict(apples=2, goals=1), 11.0, True),
    ('nav_goal', {}, dict(goals=1), 10.0, True),
    ('one_room', {}, dict(goals=1), 10.0, True),
    ('one_room', {}, {}, 0.0, False),
    ('nav_collect', dict(apples=10), dict(apples=11), 1.0, False),
    ('nav_collect', dict(apples=11), dict(apples=12), 1.0, True),
    ('language_select', {}, dict(goals=1), 10.0, True),
    ('language_select', {}, dict(bad=1), -10.0, True),
    ('memory_cue', {}, dict(bad=1), -10.0, True),
    ('memory_cue', {}, {}, 0.0, False),
    ('lasertag_one_small', dict(tags=1), dict(tags=3), 2.0, False),
    ('lasertag_one_small', dict(tags=1), dict(tags=0), 0.0, False),
  )
  def test_reward(self, name, before, after, reward, is_over):
    rules, (one,) = drawn(name)
    found = rules.judge(one, seen(**before), seen(**after))
    self.assertEqual(found, (reward, is_over))

  def test_apples_count_when_they_are_brought_home(self):
    rules, (one,) = drawn('nav_collect_return')
    x, y = scene.centre(one.maze, one.start)
    away, home = dict(x=x + 65, y=y), dict(x=x + 63, y=y)
    for place, num_apples, expected in (
      (away, 3, (0.0, False)),
      (home, 3, (3.0, False)),
      (home, 3, (0.0, False)),
      (away, 8, (0.0, False)),
      (home, 8, (5.0, True)),
    ):
      after = seen(**place, apples=num_apples)
      self.assertEqual(rules.judge(one, seen(), after), expected)


if __name__ == '__main__':
  absltest.main()
