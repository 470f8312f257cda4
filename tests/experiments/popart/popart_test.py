"""The experiments under experiments/popart: environments, figures, tables."""

import os

import numpy as np
from absl.testing import absltest, parameterized

from core.suites.tasks import Tasks
from experiments.popart import (
  atari_unclipped_small,
  multi_task_catch,
  scaled_catch,
)
from experiments.tables import markdown
from popart.config import Config
from tests import runs
from tests.experiments import folders


class ScaledCatchTest(parameterized.TestCase):
  def play(self, copy, moves):
    """Returns frames and rewards of one episode of `moves` (-1, 0, 1)."""
    env = scaled_catch.ScaledCatch(copy)
    frames = [env.reset(seed=3)[0]]
    rewards = []
    order = scaled_catch.ACTION_ORDERS[copy % 6]
    for move in moves:
      frame, reward, *_ = env.step(order.index(move + 1))
      frames.append(frame)
      rewards.append(reward)
    return frames, rewards

  @parameterized.parameters(*range(7))
  def test_reward_is_scaled_and_actions_are_reordered(self, copy):
    ball = scaled_catch.ScaledCatch(copy)
    ball.reset(seed=3)
    column = ball._ball[1]
    direction = int(np.sign(column - 2))
    moves = [direction] * abs(column - 2) + [0] * (9 - abs(column - 2))
    frames, rewards = self.play(copy, moves)
    self.assertEqual(rewards[:-1], [0.0] * 8)
    self.assertEqual(rewards[-1], scaled_catch.SCALES[copy])
    missed = [-direction or 1] * 9
    self.assertEqual(self.play(copy, missed)[1][-1], -scaled_catch.SCALES[copy])
    for frame in frames:
      self.assertEqual(frame.shape, (60, 44, 1))
      self.assertEqual(frame.dtype, np.uint8)

  def test_every_copy_looks_different(self):
    frames = {self.play(copy, [0])[0][0].tobytes() for copy in range(7)}
    self.assertLen(frames, 7)

  def test_last_copy_is_upside_down(self):
    for copy, is_falling in ((0, True), (6, False)):
      frames, _ = self.play(copy, [0, 0, 0])
      rows = [np.argwhere(f[:40, :, 0])[:, 0] for f in frames]
      ball = [r.min() if is_falling else r.max() for r in rows]
      self.assertEqual(np.sign(ball[-1] - ball[0]), 1 if is_falling else -1)

  def test_task_names(self):
    self.assertLen(scaled_catch.TASKS, len(scaled_catch.SCALES))
    names = [f'experiments.popart.scaled_catch:{t}' for t in scaled_catch.TASKS]
    spec = Tasks.of(Config(level_name=','.join(names))).env_spec
    self.assertEqual((spec.frame_shape, spec.num_actions), ((60, 44, 1), 3))


class CommittedTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.enter_context(folders.working_in(runs.ROOT))

  @parameterized.named_parameters(
    ('multi_task_catch', multi_task_catch),
    ('atari_unclipped_small', atari_unclipped_small),
  )
  def test_table_in_the_readme_is_that_of_the_records(self, script):
    found = markdown.read(script.README, script.NAME)
    self.assertEqual(found, script.make_table())

  def test_figures_can_be_drawn(self):
    path = os.path.join(self.create_tempdir().full_path, 'figure.png')
    for draw in (
      multi_task_catch.draw,
      atari_unclipped_small.draw_curves,
      atari_unclipped_small.draw_statistics,
    ):
      draw(path)
      self.assertGreater(os.path.getsize(path), 10_000)
      os.remove(path)

  def test_popart_solves_every_scale_and_the_baselines_do_not(self):
    table = multi_task_catch.make_table().splitlines()[2:]
    solved = {line.split('|')[1].strip(): line.split('|')[-2] for line in table}
    self.assertEqual(solved.pop('PopArt-IMPALA').strip(), '7 of 7')
    self.assertLen(solved, 2)
    for line in solved.values():
      self.assertLess(int(line.split()[0]), 7)


if __name__ == '__main__':
  absltest.main()
