"""Tests of core/environments/two_rooms.py."""

import json

import numpy as np
from absl.testing import absltest, parameterized
from gymnasium.vector import AutoresetMode

from core.environments import two_rooms
from core.errors import UserError

STAY, UP, DOWN, LEFT, RIGHT = range(5)


def rectangle(rows, columns):
  """Returns all cells of closed ranges of rows and columns."""
  return {
    (row, column)
    for row in range(rows[0], rows[1] + 1)
    for column in range(columns[0], columns[1] + 1)
  }


FREE_CELLS = {
  'a': rectangle((1, 5), (1, 5))
  | rectangle((1, 5), (11, 15))
  | rectangle((3, 3), (6, 10)),
  'b': rectangle((1, 7), (1, 2))
  | rectangle((1, 7), (7, 8))
  | rectangle((4, 4), (3, 6)),
}
TASKS = (
  dict(testcase_name='_a', name='two_rooms/2/13', layout='a', goal=(2, 13)),
  dict(testcase_name='_b', name='two_rooms_b/4/3', layout='b', goal=(4, 3)),
)


class SlowTwoRooms:
  """One agent, in plain Python."""

  def __init__(self, layout, goal):
    self.cells, self.goal = sorted(FREE_CELLS[layout]), goal

  def start(self, cell):
    self.cell, self.previous_action, self.wall = cell, None, False
    self.num_steps = 0

  def step(self, action):
    """Returns reward, terminated and truncated; does not reset."""
    row, column = self.cell
    target = {
      STAY: (row, column),
      UP: (row - 1, column),
      DOWN: (row + 1, column),
      LEFT: (row, column - 1),
      RIGHT: (row, column + 1),
    }[action]
    self.wall = target not in self.cells
    self.previous_action = action
    if not self.wall:
      self.cell = target
    self.num_steps += 1
    is_at_goal = self.cell == self.goal
    reward = -0.1 + (-0.5 if self.wall else 0) + (1 if is_at_goal else 0)
    return reward, is_at_goal, self.num_steps == 100 and not is_at_goal

  def frame(self):
    code = [0] * (len(self.cells) + 8)
    code[self.cells.index(self.cell)] = 255
    previous = 5 if self.previous_action is None else self.previous_action
    code[len(self.cells) + previous] = 255
    code[len(self.cells) + 6 + int(self.wall)] = 255
    return np.array(code, np.uint8)[None, None]


def cell_of(frame, layout):
  """Returns row and column."""
  return sorted(FREE_CELLS[layout])[int(frame.ravel().argmax())]


class TwoRoomsVectorEnvTest(parameterized.TestCase):
  @parameterized.named_parameters(*TASKS)
  def test_against_one_agent_at_a_time(self, name, layout, goal):
    num_envs = 6
    env = two_rooms.make_vector_env(name, num_envs)
    slow = [SlowTwoRooms(layout, goal) for _ in range(num_envs)]
    frames, info = env.reset(seed=3)
    self.assertEqual(info, {})
    for agent, frame in zip(slow, frames, strict=True):
      agent.start(cell_of(frame, layout))
    rng = np.random.default_rng(0)
    num_ends = {'terminated': 0, 'truncated': 0}
    for _ in range(700):
      actions = rng.integers(5, size=num_envs, dtype=np.int32)
      frames, rewards, terminated, truncated, info = env.step(actions)
      self.assertEqual(info, {})
      for i, agent in enumerate(slow):
        reward, is_terminated, is_truncated = agent.step(actions[i])
        self.assertAlmostEqual(rewards[i], reward, places=6)
        self.assertEqual(
          (terminated[i], truncated[i]), (is_terminated, is_truncated)
        )
        if is_terminated or is_truncated:
          agent.start(cell_of(frames[i], layout))
          self.assertNotEqual(agent.cell, goal)
        np.testing.assert_array_equal(frames[i], agent.frame())
      num_ends['terminated'] += terminated.sum()
      num_ends['truncated'] += truncated.sum()
    self.assertGreater(min(num_ends.values()), 5)  # Both were seen.

  def test_arrays_have_the_declared_types(self):
    env = two_rooms.make_vector_env('two_rooms/1/1', 3)
    self.assertEqual(env.metadata['autoreset_mode'], AutoresetMode.SAME_STEP)
    self.assertEqual(env.single_observation_space.shape, (1, 1, 55 + 6 + 2))
    self.assertEqual((env.single_action_space.n, env.num_envs), (5, 3))
    frames, _ = env.reset(seed=0)
    self.assertIn(frames, env.observation_space)
    self.assertIn(np.array([0, 4, 2]), env.action_space)
    frames, rewards, terminated, truncated, _ = env.step(np.array([0, 4, 2]))
    self.assertIn(frames, env.observation_space)
    self.assertEqual(rewards.dtype, np.float32)
    self.assertEqual((terminated.dtype, truncated.dtype), (bool, bool))

  def test_goal_in_the_last_step_is_no_cut(self):
    env = two_rooms.make_vector_env('two_rooms/1/1', 2)
    env.reset(seed=0)
    cell = sorted(FREE_CELLS['a']).index((1, 2))
    state = two_rooms.state_index(cell, two_rooms.NO_ACTION, 0)
    env.set_state({**env.get_state(), 'state': [state] * 2})
    for _ in range(99):
      _, _, terminated, truncated, _ = env.step(np.array([STAY, STAY]))
      self.assertFalse(terminated.any() or truncated.any())
    _, rewards, terminated, truncated, _ = env.step(np.array([LEFT, STAY]))
    np.testing.assert_allclose(rewards, [0.9, -0.1], rtol=1e-6)
    self.assertEqual(terminated.tolist(), [True, False])
    self.assertEqual(truncated.tolist(), [False, True])

  def test_starts_are_uniform_without_the_goal(self):
    num_envs = 16_200
    env = two_rooms.make_vector_env('two_rooms/3/8', num_envs)
    frames, _ = env.reset(seed=0)
    counts = (frames[:, 0, 0, :55] == 255).sum(axis=0)
    goal = sorted(FREE_CELLS['a']).index((3, 8))
    self.assertEqual(counts[goal], 0)
    others = np.delete(counts, goal)
    expected = num_envs / 54
    self.assertLess(np.abs(others - expected).max(), 5 * np.sqrt(expected))

  def test_state_goes_through_json_and_holds_everything(self):
    env = two_rooms.make_vector_env('two_rooms_b/1/1', 4)
    other = two_rooms.make_vector_env('two_rooms_b/1/1', 4)
    env.reset(seed=1)
    rng = np.random.default_rng(0)
    actions = rng.integers(5, size=[400, 4])
    for action in actions[:50]:
      env.step(action)
    other.reset(seed=2)
    other.set_state(json.loads(json.dumps(env.get_state())))
    num_ends = 0
    for action in actions:
      expected, actual = env.step(action), other.step(action)
      for a, b in zip(expected[:4], actual[:4], strict=True):
        np.testing.assert_array_equal(a, b)
      num_ends += (expected[2] | expected[3]).sum()
    self.assertGreater(num_ends, 10)  # The generators are part of the state.
    self.assertEqual(env.get_state(), other.get_state())

  def test_row_is_seeded_with_its_number(self):
    task = 'two_rooms/5/15'
    together = two_rooms.make_vector_env(task, 3)
    alone = [two_rooms.make_vector_env(task, 1) for _ in range(3)]
    frames = [together.reset(seed=7)[0]]
    rows = [[env.reset(seed=7 + i)[0] for i, env in enumerate(alone)]]
    rng = np.random.default_rng(0)
    for actions in rng.integers(5, size=[250, 3]):
      frames.append(together.step(actions)[0])
      rows.append(
        [env.step(a[None])[0] for env, a in zip(alone, actions, strict=True)]
      )
    rows.append([env.reset()[0] for env in alone])  # The generators go on.
    frames.append(together.reset()[0])
    np.testing.assert_array_equal(frames, np.array(rows)[:, :, 0])

  def test_other_actions_are_refused(self):
    env = two_rooms.make_vector_env('two_rooms/1/1', 1)
    env.reset(seed=0)
    with self.assertRaises(IndexError):
      env.step(np.array([5]))


class GridTest(parameterized.TestCase):
  @parameterized.parameters('a', 'b')
  def test_free_cells(self, layout):
    cells = two_rooms.make_grid(layout).cells
    self.assertEqual([*map(tuple, cells)], sorted(FREE_CELLS[layout]))

  def test_every_state_has_an_index(self):
    index = two_rooms.state_index(*np.indices([55, 6, 2]))
    np.testing.assert_array_equal(np.sort(index.ravel()), np.arange(660))
    self.assertLen(two_rooms.make_grid('a').next_state, 660)

  def test_goals_are_different_and_in_both_rooms(self):
    places = two_rooms.make_grid('a').places
    rng = np.random.default_rng(0)
    seen = np.zeros(len(places))
    for _ in range(500):
      goals = two_rooms.draw_goals('a', 3, rng)
      self.assertLen(set(goals), 3)
      self.assertContainsSubset({'L', 'R'}, places[goals])
      seen[goals] += 1
    self.assertGreater(seen.min(), 0)  # Those of the corridor as well.

  def test_unknown_layout(self):
    with self.assertRaisesRegex(UserError, "'c'.*a, b"):
      two_rooms.make_grid('c')

  @parameterized.parameters(1, 33)
  def test_impossible_number_of_goals(self, num_tasks):
    with self.assertRaisesRegex(UserError, f'2 to 32.*not {num_tasks}'):
      two_rooms.draw_goals('b', num_tasks, np.random.default_rng(0))


class TaskNameTest(parameterized.TestCase):
  @parameterized.parameters(
    ('two_rooms/1/5', ('a', 1, 5)), ('two_rooms_b/7/8', ('b', 7, 8))
  )
  def test_names(self, name, expected):
    self.assertTrue(two_rooms.is_task(name))
    self.assertEqual(two_rooms.parse_task(name), expected)

  @parameterized.parameters('pong', 'catch', 'two_rooms_mine:make')
  def test_other_tasks(self, name):
    self.assertFalse(two_rooms.is_task(name))

  @parameterized.named_parameters(
    ('nothing', 'two_rooms', 'write two_rooms/ROW/COLUMN'),
    ('column_missing', 'two_rooms/1', 'write two_rooms/ROW/COLUMN'),
    ('too_long', 'two_rooms/1/2/3', 'write two_rooms/ROW/COLUMN'),
    ('negative', 'two_rooms/-1/2', 'write two_rooms/ROW/COLUMN'),
    ('no_number', 'two_rooms/1/x', 'write two_rooms/ROW/COLUMN'),
    ('second_name', 'two_rooms/01/2', 'write two_rooms/ROW/COLUMN'),
    ('newline', 'two_rooms/1/2\n', 'write two_rooms/ROW/COLUMN'),
    ('layout', 'two_rooms_c/1/2', 'unknown layout.*two_rooms or two_rooms_b'),
    ('second_prefix', 'two_rooms_a/1/2', 'unknown layout'),
    (
      'wall',
      'two_rooms/2/8',
      'in a wall; free are rows 1-5 in columns 1-5, row 3 in columns 6-10, '
      'rows 1-5 in columns 11-15',
    ),
    ('border', 'two_rooms_b/0/1', 'in a wall; free are rows 1-7 in columns 1-'),
    ('outside', 'two_rooms/3/17', 'outside of the 7 x 17 grid; free are rows'),
    ('below', 'two_rooms/7/1', 'outside of the 7 x 17 grid'),
  )
  def test_one_line_says_what_is_wrong(self, name, message):
    with self.assertRaisesRegex(UserError, message) as caught:
      two_rooms.parse_task(name)
    self.assertNotIn('\n', str(caught.exception))
    with self.assertRaisesRegex(UserError, message):
      two_rooms.make_vector_env(name, 1)


if __name__ == '__main__':
  absltest.main()
