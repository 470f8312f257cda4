"""Tests of core/suites/doom.py."""

import numpy as np
from absl.testing import absltest, parameterized

from core.environments.doom.env import DoomProtocol
from core.errors import UserError
from core.evaluation import score_table
from core.suites import doom, tasks
from core.suites.doom import Doom
from core.suites.task_environments import TaskEnvironments
from tests.doom import needs_wheels
from tests.tasks import tasks_of

SUITE = Doom()


class NamesTest(parameterized.TestCase):
  @parameterized.parameters(
    ('doom', 26, 'doom:mazes_0', 'doom:lasertag_seven_large'),
    ('doom_mazes', 8, 'doom:mazes_0', 'doom:mazes_7'),
    ('doom_navigation', 4, 'doom:nav_collect', 'doom:nav_goal_doors'),
    (
      *('doom_lasertag', 6, 'doom:lasertag_one_small'),
      'doom:lasertag_seven_large',
    ),
    ('doom14', 14, 'doom:explore_object_locations_small', 'doom:memory_cue'),
  )
  def test_sets(self, name, size, first, last):
    found = tasks.expand(name)
    self.assertLen(set(found), size)
    self.assertEqual((found[0], found[-1]), (first, last))
    self.assertContainsSubset(found, doom.TASKS)

  def test_room_to_check_learning_is_in_no_set(self):
    self.assertEqual(tasks.expand('doom:one_room'), ('doom:one_room',))
    for name in ('doom', *doom.LISTS):
      self.assertNotIn('doom:one_room', tasks.expand(name))

  @parameterized.parameters(
    ('doom:nav_gaol', 'doom:nav_goal'),
    ('doom:lasertag_two_small', 'doom:lasertag_one_small'),
    ('doom:explore_goal_location_small', 'doom:explore_goal_locations_small'),
    ('mazes_0', 'doom:mazes_0'),
    ('doom:one_rom', 'doom:one_room'),
    ('doom_maze', 'doom_mazes'),
    ('doom15', 'doom14'),
  )
  def test_unknown_task_gets_the_nearest(self, name, nearest):
    with self.assertRaisesRegex(
      UserError, f"^unknown task '{name}'; did you mean .*{nearest}"
    ) as caught:
      tasks.expand(name)
    self.assertNotIn('\n', str(caught.exception))


class ProtocolTest(parameterized.TestCase):
  def test_options_reach_the_protocol(self):
    options = dict(
      width=64, height=48, num_action_repeats=2, action_set='popart'
    )
    run = tasks_of('doom:mazes_0', **options)
    protocol = run.protocol('doom:mazes_0')
    self.assertEqual(protocol, DoomProtocol(**options))
    self.assertEqual(run.env_spec.frame_shape, (48, 64, 3))
    self.assertEqual(run.env_spec.num_actions, 15)
    self.assertIn(
      'action repeat 2; popart actions; 64x48 pixels; frames are tics',
      SUITE.evaluation_line(protocol),
    )

  def test_defaults_are_those_of_deepmind_lab(self):
    spec = tasks_of('doom:nav_goal').env_spec
    self.assertEqual(
      spec,
      tasks_of('rooms_watermaze').env_spec._replace(
        task_names=('doom:nav_goal',)
      ),
    )

  @parameterized.parameters(dict(width=161), dict(height=121))
  def test_frames_larger_than_the_engine_draws(self, **options):
    with self.assertRaisesRegex(UserError, 'frames of at most 160x120'):
      tasks_of('doom:mazes_0', **options)

  def test_other_suites_look_different(self):
    with self.assertRaisesRegex(UserError, 'one agent needs the same'):
      _ = tasks_of('doom:mazes_0', 'pong').env_spec


class ScoresTest(absltest.TestCase):
  def test_every_task_has_references_and_none_is_a_humans(self):
    for task in (*doom.TASKS, *doom.CHECKS):
      reference = SUITE.reference(task)
      self.assertBetween(reference.low, 0.0, 10.0)
      self.assertGreater(reference.high, reference.low + 8.0)
      self.assertFalse(reference.is_human)
      self.assertIsNone(SUITE.reference(task, is_human_starts=True))
    self.assertIsNone(SUITE.reference('mazes_0'))

  def test_table_has_a_column_for_each_and_no_human_one_is_filled(self):
    rows = [
      dict(
        task='doom:nav_goal',
        episode=i,
        length=5400,
        protocol='sampled policy',
        **{'return': 10.0 * i},
      )
      for i in range(3)
    ]
    text = score_table.score_markdown(rows)
    header, _, body, *_ = text.splitlines()
    cells = [dict(zip(header.split(' | '), body.split(' | '), strict=True))][0]
    reference = SUITE.reference('doom:nav_goal')
    self.assertEqual(cells['random play'], f'{reference.low:.1f}')
    self.assertEqual(cells['scripted player |'], f'{reference.high:.1f} |')
    self.assertEqual(cells['human'], '-')
    self.assertNotIn('human-normalised', text)


@needs_wheels
class EnvironmentsTest(absltest.TestCase):
  def test_tasks_of_several_kinds_and_a_film(self):
    run = tasks_of('doom:language_select', 'doom:nav_goal')
    envs = TaskEnvironments(run, np.array([0, 1, 1]), is_training=True)
    self.addCleanup(envs.close)
    observation, _ = envs.reset(seed=3)
    self.assertEqual(observation.frame.shape, (3, 72, 96, 3))
    self.assertTrue(observation.instruction[0].any())
    self.assertFalse(observation.instruction[1:].any())
    following, *_, infos = envs.step(np.array([0, 6, 7], np.int32))
    self.assertFalse(infos['episode_done'].any())
    # One to film sees the same.
    game = run.make_game('doom:language_select')
    self.addCleanup(game.close)
    first, _ = game.reset(seed=3)
    np.testing.assert_array_equal(first['frame'], observation.frame[0])
    np.testing.assert_array_equal(
      first['instruction'], observation.instruction[0]
    )
    second, *_ = game.step(0)
    np.testing.assert_array_equal(second['frame'], following.frame[0])
    self.assertEqual(game.render().shape, (120, 160, 3))
    self.assertEqual(game.metadata['render_fps'], 35 / 4)
    for refused in (
      game.save_state,
      lambda: game.reset(options={'start_state': b''}),
    ):
      with self.assertRaisesRegex(UserError, 'language_select has no saved'):
        refused()


if __name__ == '__main__':
  absltest.main()
