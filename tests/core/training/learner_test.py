"""Tests of core/training/learner.py."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest

from core.experience.timing import Timer
from core.training.learner import Learner
from tests import runs
from tests.unrolls import SMALL_SPEC, random_unroll


class PerTaskAgent:
  """Reports a scalar and two vectors, and looks at what it learns from."""

  env_spec = SMALL_SPEC

  def learning_rate(self, env_frames):
    return 0.5 - env_frames / 1000

  def update(self, unroll, learning_rate):
    return dict(
      total_loss=tf.reduce_sum(unroll.env_outputs.reward),
      shift=tf.constant([0.5, -2.0], tf.float64),
      gradient_norm=learning_rate,
      scale=tf.constant([3.0, 4.0]),
    )


class MetricsTest(absltest.TestCase):
  def test_metrics_per_task_are_told_from_scalars(self):
    unroll = random_unroll(5, 4)
    learner = Learner(runs.tiny_config(), PerTaskAgent(), Timer())
    row, task_metrics = learner.step(unroll)
    self.assertEqual(
      task_metrics,
      dict(a=dict(shift=0.5, scale=3.0), b=dict(shift=-2.0, scale=4.0)),
    )
    self.assertEqual(
      list(row),
      [
        *('num_updates', 'env_frames', 'total_loss', 'gradient_norm'),
        *('learning_rate', 'policy_lag_mean', 'policy_lag_max'),
      ],
    )
    np.testing.assert_allclose(
      row['total_loss'], np.sum(unroll.env_outputs.reward), rtol=1e-5
    )
    self.assertIsInstance(row['gradient_norm'], float)
    # The agent says the rate, of the frames before the update.
    self.assertEqual((row['learning_rate'], row['gradient_norm']), (0.5, 0.5))
    row, _ = learner.step(unroll)
    self.assertEqual(row['learning_rate'], 0.48)
    self.assertAlmostEqual(row['gradient_norm'], 0.48, places=6)

  def test_metrics_of_the_only_task(self):
    class OneTaskAgent(PerTaskAgent):
      env_spec = SMALL_SPEC._replace(task_names=('a',))

      def update(self, unroll, learning_rate):
        metrics = super().update(unroll, learning_rate)
        return {
          name: value[..., :1] if value.ndim else value
          for name, value in metrics.items()
        }

    learner = Learner(runs.tiny_config(), OneTaskAgent(), Timer())
    row, task_metrics = learner.step(random_unroll(5, 4))
    self.assertEqual(task_metrics, dict(a=dict(shift=0.5, scale=3.0)))
    self.assertNotIn('shift', row)

  def test_no_metrics_per_task(self):
    config = runs.tiny_config()
    learner = Learner(config, runs.make_agent(config), Timer())
    row, task_metrics = learner.step(random_unroll(5, 4))
    self.assertEqual(task_metrics, {})
    self.assertEqual((row['num_updates'], row['env_frames']), (1, 20))


class EpisodesTest(absltest.TestCase):
  def test_episodes_are_read_once(self):
    config = runs.tiny_config(level_name='catch', num_action_repeats=4)
    unroll = random_unroll(6, 5, seed=1)
    agent = runs.make_agent(config)
    agent.env_spec = agent.env_spec._replace(task_names=('a', 'b'))
    learner = Learner(config, agent, Timer())
    learner.set_state(dict(env_frames=700, num_updates=5))
    info = unroll.env_outputs.info
    info.episode_done[0] = True  # These were read with the unroll before.
    expected = [
      (
        700,
        'ab'[unroll.task_id[column]],
        float(info.episode_return[t, column]),
        4 * info.episode_step[t, column],
        None,
      )
      for t in range(1, 7)
      for column in range(5)
      if info.episode_done[t, column]
    ]
    self.assertNotEmpty(expected)
    found = [tuple(e) for e in learner.finished_episodes(unroll)]
    self.assertEqual(found, expected)

  def test_success_where_a_task_can(self):
    config = runs.tiny_config(level_name='catch', num_action_repeats=4)
    unroll = random_unroll(6, 3, seed=1)
    learner = Learner(config, runs.make_agent(config), Timer())
    info = unroll.env_outputs.info
    info.episode_done[:] = False
    info.episode_done[2] = True
    success = np.zeros(info.episode_done.shape, np.float32)
    success[2] = [1.0, 0.0, np.nan]
    outputs = unroll.env_outputs._replace(
      info=info._replace(episode_success=success)
    )
    unroll = unroll._replace(
      env_outputs=outputs, task_id=np.zeros_like(unroll.task_id)
    )
    found = [e.episode_success for e in learner.finished_episodes(unroll)]
    self.assertEqual(found, [True, False, None])


if __name__ == '__main__':
  absltest.main()
